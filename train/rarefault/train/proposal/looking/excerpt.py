"""A copy of what will be looked at: small files as they are, of large ones the beginning, the middle and the end.

The copies stand in a folder that is laid out like the real one, so that a configuration reads them as it will read the
files themselves.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.parsing.lines import ROWS
from rarefault.train.history.parsing.packed import GZIP, members, opened

#: Bytes of all files together that are looked at, and the least and the most of one.
ALL_BYTES, LEAST_BYTES, MOST_BYTES = 48 << 20, 256 << 10, 12 << 20
#: Files that are looked at; of more, some evenly over all.
MOST_FILES = 60
#: Cuts in a file of which three parts are copied.
CUTS = 2


@dataclass(slots=True)
class Excerpt:
    """The copies.

    Attributes:
        root: folder that stands for the root of the file system.
        looked: bytes that are looked at, and bytes that there are, by file.
    """

    root: Path
    looked: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def place(self, path: Path) -> Path:
        """Where a path stands in the copy."""
        real = path.resolve()
        return self.root / real.relative_to(real.anchor)

    @property
    def share(self) -> float:
        """Share of the bytes that is looked at."""
        looked, there = (sum(column) for column in zip(*self.looked.values(), strict=True)) if self.looked else (1, 1)
        return min(1.0, looked / max(there, 1))

    def cuts(self) -> int:
        """Places where rows may be missing between two that stand together."""
        parts = CUTS * sum(0 < looked < there for looked, there in self.looked.values())
        between = sum(looked > 0 for looked, _ in self.looked.values())
        return parts + (between if any(not looked for looked, _ in self.looked.values()) else 0)

    def describe(self) -> str:
        """What part was looked at; "" where it was all."""
        if self.share >= 1:
            return ""
        parts = [path.name for path, (looked, there) in self.looked.items() if looked < there]
        none = sum(not looked for looked, _ in self.looked.values())
        what = f"beginning, middle and end of {len(parts) - none} large file(s)" if len(parts) > none else ""
        left = f"{len(self.looked) - none} of {len(self.looked)} files" if none else ""
        return f"looked at {self.share:.1%} of the bytes: {' and '.join(text for text in (left, what) if text)}"

    def plain(self, text: str) -> str:
        """A message with the names of the real files."""
        return text.replace(f"{self.root}/", "/")


def excerpt(paths: Sequence[Path], root: Path) -> Excerpt:
    """Copy what will be looked at.

    Args:
        paths: the files.
        root: an empty folder.

    Raises:
        HistoryError: one cannot be read.
    """
    made = Excerpt(root)
    count = min(len(paths), MOST_FILES)
    chosen = {paths[i * (len(paths) - 1) // max(count - 1, 1)] for i in range(count)}
    most = max(LEAST_BYTES, min(MOST_BYTES, ALL_BYTES // max(count, 1)))
    for path in paths:
        if not path.is_file():  # in an archive, which is copied by its own name
            archive = next(folder for folder in path.parents if folder.is_file())
            if archive not in made.looked:
                _copy(archive, made, most)
        elif path in chosen:
            _copy(path, made, most)
        else:
            made.looked[path] = (0, path.stat().st_size)
    return made


def _copy(path: Path, made: Excerpt, most: int) -> None:
    size, place = path.stat().st_size, made.place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        return
    suffix = path.suffix.lower()
    if size <= most or (suffix in ROWS and suffix != ".parquet"):
        place.symlink_to(path.resolve())
        made.looked[path] = (size, size)
        return
    if suffix == ".parquet":
        made.looked[path] = (_copy_rows(path, place, most, size), size)
        return
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    if suffix == ".zip":
        _copy_archive(path, place, most)
    elif packed:
        with opened(path) as unpacked:
            place.write_bytes(_whole_lines(unpacked.read(most)))
    else:
        with path.open("rb") as file:
            place.write_bytes(_three_parts(file, size, most))
    share = most if not packed and suffix != ".zip" else min(size, most // 8)  # text shrinks to about an eighth
    made.looked[path] = (share, size)


def _three_parts(file: IO[bytes], size: int, most: int) -> bytes:
    """Half of what is wanted from the beginning, the rest from the middle and the end, in whole lines."""
    head = _whole_lines(file.read(most // 2))
    wide = _width(head)
    parts = [head]
    for at in ((size - most // 4) // 2, size - most // 4):
        file.seek(at - at % wide)
        part = file.read(most // 4)
        begin = _line_end(part, wide)
        part = part[begin:]
        parts.append(part if at + most // 4 >= size else _whole_lines(part))
    return b"".join(parts)


def _width(raw: bytes) -> int:
    """Bytes of a character: two of UTF-16."""
    return 2 if raw[:4096].count(0) > len(raw[:4096]) // 4 else 1


def _line_end(raw: bytes, wide: int, *, last: bool = False) -> int:
    """One past the first or the last end of a line; 0 where there is none."""
    newline = b"\n" if wide == 1 else b"\n\0" if raw[1:64:2].count(0) > raw[:64:2].count(0) else b"\0\n"
    mark = newline if newline in raw else b"\r"
    find = raw.rfind if last else raw.find
    at = find(mark)
    while wide == 2 and at % 2 == 1:
        at = raw.rfind(mark, 0, at) if last else raw.find(mark, at + 1)
    return at + len(mark) if at >= 0 else 0


def _whole_lines(raw: bytes) -> bytes:
    return raw[: _line_end(raw, _width(raw), last=True)] or raw


def _copy_rows(path: Path, place: Path, most: int, size: int) -> int:
    """Rows of a Parquet file from the beginning, the middle and the end."""
    try:
        scan = pl.scan_parquet(path, glob=False)
        height = int(scan.select(pl.len()).collect().item())
        n = max(1, int(height * most / size) // 3)
        starts = sorted({0, max(0, height // 2 - n // 2), max(0, height - n)})
        pl.concat([scan.slice(start, n).collect() for start in starts]).write_parquet(place)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise HistoryError(f"{path}: cannot be read as Parquet: {error}") from error
    return min(most, size)


def _copy_archive(path: Path, place: Path, most: int) -> None:
    """An archive with the beginning of each of its files."""
    inside = members(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as copy:
        for member in inside:
            name = member.relative_to(path).as_posix()
            with archive.open(name) as file:
                copy.writestr(name, _whole_lines(file.read(max(LEAST_BYTES, most // len(inside)))))
