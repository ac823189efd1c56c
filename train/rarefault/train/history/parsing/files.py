"""The files that a ``[data]`` section names, and the parts of their paths that it gives names to."""

import os
from collections.abc import Sequence
from pathlib import Path

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.parsing.packed import exists, members
from rarefault.train.history.parsing.pattern import Pattern

SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".gz", ".zip", ".parquet", ".xlsx")


def find_files(base: Path, pattern: str) -> dict[Path, dict[str, str]]:
    """The files that a name or pattern matches, by name, and the parts of their paths that stand in braces.

    A zip archive is the files in it.

    Raises:
        HistoryError: there is none, or one does not fit the pattern.
    """
    if exists(base / pattern):
        return {path: {} for path in members(base / pattern)}
    if (base / pattern).is_dir():
        raise HistoryError(
            f"data.samples: {pattern!r} is a folder; name the files in it, as in {pattern.rstrip('/')}/*.csv"
        )
    named = Pattern(pattern, path=True)
    given = Path(named.glob)
    root = Path(given.anchor) if given.is_absolute() else base
    try:
        found = sorted(root.glob(str(given.relative_to(root) if given.is_absolute() else given)))
    except (ValueError, IndexError, NotImplementedError) as error:
        raise HistoryError(f"data.samples: {pattern!r} is no pattern for files: {error}") from error
    found = [path for path in found if path.is_file()]
    for path in found:
        if any("\ud800" <= letter <= "\udfff" for letter in path.name):
            raise HistoryError(f"data.samples: the name of the file {path.name!r} is not UTF-8; rename it")
    if not found:
        folder = (base / named.glob).parent
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        raise HistoryError(f"data.samples: no file matches {pattern!r}; {folder_contents(folder, SUFFIXES)}")
    return {inner: parts for path in found for parts in [_parts(named, base, path)] for inner in members(path)}


def _parts(named: Pattern, base: Path, path: Path) -> dict[str, str]:
    """The parts of a path that stand in braces."""
    if not named.names:
        return {}
    absolute = Path(named.text).is_absolute()
    parts = named.match(path.as_posix() if absolute else Path(os.path.relpath(path, base)).as_posix())
    if parts is None:
        raise HistoryError(
            f"data.samples: {path} does not fit {named.text!r}: a part in braces holds none of the marks beside it; "
            "write {name+} for one that does"
        )
    return parts


def folder_contents(folder: Path, suffixes: tuple[str, ...]) -> str:
    """What a folder holds instead of the file that was looked for."""
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    names = sorted(item.name for item in folder.iterdir() if item.suffix.lower() in suffixes)
    return f"{folder} holds {listed(names)}" if names else f"{folder} holds no {' or '.join(suffixes)} file"


def listed(names: Sequence[object], most: int = 12) -> str:
    """Names for a message, cut short where there are many."""
    short = (name if len(name) <= 120 else name[:117] + "..." for name in map(str, names[:most]))
    shown = ", ".join(map(repr, short))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
