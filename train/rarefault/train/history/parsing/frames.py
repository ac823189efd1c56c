"""Tables on disk, CSV or Parquet, as blocks of named columns."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.parsing.lines import Block, read_blocks, read_header

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
SEPARATORS = (",", ";", "\t", "|")


def read_frames(
    path: Path, needed: Mapping[str, str], separator: str, encoding: str
) -> Iterator[tuple[Block, dict[str, pl.Series]]]:
    """A table's rows a block at a time, with its columns by name, each [m]: text, numbers, times or Booleans.

    A column of another type has the type's name in every row, unless it is needed.

    Args:
        path: the file.
        needed: the columns that must be there, and what to do where one is not; "" is none.
        separator: between the fields of a CSV file.
        encoding: of a CSV file.

    Raises:
        HistoryError: the file cannot be read, or a needed column is not in it or holds no such values.
    """
    if path.suffix.lower() == ".parquet":
        frame = _read_parquet(path)
        _require(path, frame.columns, needed, separator)
        columns = {}
        for name in frame.columns:
            column = plain(frame[name])
            if column is None and name in needed:
                raise HistoryError(
                    f"{path}: column {name!r} is of type {frame[name].dtype}, which cannot be read; write it as text, "
                    "numbers or times"
                )
            # As the name of its type, a column that cannot be read is one of text without any number.
            kind = pl.Series([str(frame[name].dtype)])
            columns[name] = kind.new_from_index(0, frame.height) if column is None else column
        text = pl.Series([""]).new_from_index(0, frame.height)
        yield Block(path, np.arange(1, frame.height + 1), text, [], np.ones(frame.height, bool)), columns
        return
    names = read_header(path, separator, encoding)
    _require(path, names, needed, separator)
    for block in read_blocks(path, len(names), separator=separator, header=True, encoding=encoding):
        yield block, dict(zip(names, block.fields, strict=True))


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise HistoryError(f"{path}: cannot be read as Parquet: {error}") from error


def plain(column: pl.Series) -> pl.Series | None:
    """A column as text, numbers, times or Booleans, [m]; None where it is of none of these types."""
    kind = column.dtype
    if kind.is_decimal():
        return column.cast(pl.Float64)
    if kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Null):
        return column
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        return _in_calendar(column)
    if kind in (pl.Categorical, pl.Enum, pl.Binary):
        try:
            return column.cast(pl.String)  # some writers do not mark text as such
        except pl.exceptions.ComputeError:
            pass  # no UTF-8, so no text
    return None


def _in_calendar(column: pl.Series) -> pl.Series:
    """Times between the years 2 and 9998, those outside moved there: beyond, they have no text, only a crash."""
    unit = getattr(column.dtype, "time_unit", "d")
    if unit == "ns":
        return column  # from 1677 to 2262
    per_day = {"d": 1, "ms": 86_400_000, "us": 86_400_000_000}[unit]
    first, last = (per_day * (day - date(1970, 1, 1)).days for day in (date(2, 1, 1), date(9998, 12, 31)))
    return column.to_physical().clip(first, last).cast(column.dtype)


def find_files(base: Path, pattern: str) -> list[Path]:
    """The files that a name or glob pattern matches, by name.

    Raises:
        HistoryError: there is none.
    """
    if (base / pattern).is_file():
        return [base / pattern]
    if (base / pattern).is_dir():
        raise HistoryError(
            f"data.samples: {pattern!r} is a folder; name the files in it, as in {pattern.rstrip('/')}/*.csv"
        )
    given = Path(pattern)
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
    short = (name if len(name) <= 120 else name[:117] + "..." for name in map(str, names[:most]))
    shown = ", ".join(map(repr, short))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _require(path: Path, there: Sequence[str], needed: Mapping[str, str], separator: str) -> None:
    for name, remedy in needed.items():
        if name and name not in there:
            other = next((mark for mark in SEPARATORS if mark != separator and any(mark in item for item in there)), "")
            hint = f"if its fields are separated by {other!r}, set data.separator" if other else remedy
            raise HistoryError(f"{path}: no column {name!r}; columns there: {listed(there)}; {hint}")
