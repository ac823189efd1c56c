"""Tables on disk, CSV or Parquet, as blocks of named columns."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.lines import Block, read_blocks, read_header

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
SEPARATORS = (",", ";", "\t", "|")


def read_frames(path: Path, needed: Sequence[str], separator: str) -> Iterator[tuple[Block, dict[str, pl.Series]]]:
    """A table's rows a block at a time, with its columns by name, each [m].

    Raises:
        HistoryError: the file cannot be read, or a needed column is not in it.
    """
    if path.suffix.lower() == ".parquet":
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise HistoryError(f"{path}: cannot be read as Parquet: {error}") from error
        _require(path, frame.columns, needed, separator)
        text = pl.Series([""]).new_from_index(0, frame.height)
        block = Block(path, np.arange(1, frame.height + 1), text, [], np.ones(frame.height, bool))
        yield block, {name: frame[name] for name in frame.columns}
        return
    names = read_header(path, separator)
    _require(path, names, needed, separator)
    for block in read_blocks(path, len(names), separator=separator, header=True):
        yield block, dict(zip(names, block.fields, strict=True))


def find_files(base: Path, pattern: str) -> list[Path]:
    """The files that a name or glob pattern matches, by name.

    Raises:
        HistoryError: there is none.
    """
    given = Path(pattern)
    root = Path(given.anchor) if given.is_absolute() else base
    found = sorted(path for path in root.glob(str(given.relative_to(root) if given.is_absolute() else given)))
    found = [path for path in found if path.is_file()]
    if not found:
        folder = (base / pattern).parent
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        raise HistoryError(f"data.samples: no file matches {pattern!r}; {folder_contents(folder, SUFFIXES)}")
    return found


def folder_contents(folder: Path, suffixes: tuple[str, ...]) -> str:
    """What a folder holds instead of the file that was looked for."""
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    names = sorted(item.name for item in folder.iterdir() if item.suffix.lower() in suffixes)
    return f"{folder} holds {listed(names)}" if names else f"{folder} holds no {' or '.join(suffixes)} file"


def listed(names: Sequence[object], most: int = 12) -> str:
    """Names for a message, cut short where there are many."""
    shown = ", ".join(map(repr, map(str, names[:most])))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _require(path: Path, there: Sequence[str], needed: Sequence[str], separator: str) -> None:
    for name in needed:
        if name and name not in there:
            other = next((mark for mark in SEPARATORS if mark != separator and any(mark in item for item in there)), "")
            hint = f"; if its fields are separated by {other!r}, set data.separator" if other else ""
            raise HistoryError(f"{path}: no column {name!r}; columns there: {listed(there)}{hint}")
