"""Opening files, packed ones as well: gzip by what it begins with, and the files in a zip archive by their names.

A file in an archive is named as if the archive were a folder: ``2024.zip/march.csv``.
"""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from rarefault.runtime.errors import HistoryError

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a file.

    Raises:
        HistoryError: it cannot be read, is damaged, or is an archive of several files.
    """
    try:
        with _raw(path) as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise HistoryError(f"{path}: is packed and damaged: {error}") from error
    except (RuntimeError, NotImplementedError) as error:  # a password, or a way of packing that is not known
        raise HistoryError(f"{path}: cannot be unpacked: {error}") from error
    except OSError as error:
        raise HistoryError(f"{path}: cannot be read: {error.strerror or error}") from error


def members(path: Path) -> list[Path]:
    """The files in a zip archive that are no folders, by name; an archive that ends otherwise is one file."""
    if path.suffix.lower() != ".zip":
        return [path]
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(item.filename for item in archive.infolist() if not item.is_dir())
    except (zipfile.BadZipFile, OSError) as error:
        raise HistoryError(f"{path}: cannot be read as a zip archive: {error}") from error
    return [path / name for name in names if not name.startswith("__MACOSX/")]


def exists(path: Path) -> bool:
    """Whether a path is a file, or names one in a zip archive."""
    return path.is_file() or _archive_of(path) is not None


@contextmanager
def _raw(path: Path) -> Iterator[IO[bytes]]:
    if not path.is_file() and (archive := _archive_of(path)) is not None:
        with zipfile.ZipFile(archive) as packed, packed.open(path.relative_to(archive).as_posix()) as file:
            yield file
        return
    with path.open("rb") as file:
        start = file.peek(4)[:4]
        if start.startswith(GZIP):
            with gzip.open(cast(IO[bytes], file)) as unpacked:
                yield cast(IO[bytes], unpacked)
        elif start == ZIP and path.suffix.lower() == ".zip":
            found = members(path)
            if len(found) != 1:
                raise HistoryError(
                    f"{path}: holds {len(found)} files; name one of them, as in {path.name}/{_first(found)}"
                )
            with _raw(found[0]) as inner:
                yield inner
        else:
            yield file


def _first(found: list[Path]) -> str:
    return found[0].name if found else "name.csv"


def _archive_of(path: Path) -> Path | None:
    """The zip archive that holds the file of a path, None where there is none."""
    for folder in path.parents:
        if folder.is_file():
            if not zipfile.is_zipfile(folder):
                return None
            with zipfile.ZipFile(folder) as archive:
                return folder if path.relative_to(folder).as_posix() in archive.namelist() else None
        if folder.is_dir():
            return None
    return None
