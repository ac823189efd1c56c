"""Tables on disk, CSV, Parquet or workbooks, as blocks of named columns."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.dialect.lines import header_findings
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.lines import Block, read_blocks, read_header
from rarefault.train.history.parsing.sheets import WORKBOOKS, read_sheet
from rarefault.train.history.parsing.text_form import SEPARATORS, TextForm

#: Rows of a Parquet file that are read at a time.
PARQUET_ROWS = 1 << 19
Columns = dict[str, pl.Series]


def read_frames(
    path: Path,
    needed: Mapping[str, str],
    form: TextForm,
    wanted: Callable[[str], bool] = lambda _: True,
    is_number: Callable[[str], bool] = lambda _: False,
) -> Iterator[tuple[Block, Columns]]:
    """A table's rows a block at a time, with its columns by name, each [m]: text, numbers, times or Booleans.

    A column of another type has the type's name in every row, unless it is needed.

    Args:
        path: the file.
        needed: the columns that must be there, and what to do where one is not; "" is none.
        form: how a CSV file's lines are written.
        wanted: whether a column that is not needed is read.
        is_number: whether a column of a CSV file may be read as numbers from now on, which is faster; asked in another
            thread.

    Raises:
        HistoryError: the file cannot be read, or a needed column is not in it or holds no such values.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path, needed, form, wanted)
        return
    if suffix in WORKBOOKS:
        line, frame = read_sheet(path, form)
        _require(path, frame.columns, needed, form)
        yield _block(path, line, frame, needed)
        return
    header = read_header(path, form)
    _require(path, header.names, needed, form)
    chosen = [i for i, name in enumerate(header.names) if name and (name in needed or wanted(name))]

    def numbers() -> set[int]:
        return {i for i in chosen if is_number(header.names[i])}

    for block in ahead(read_blocks(path, len(header.names), form, header, numbers)):
        yield block, {header.names[i]: block.fields[i] for i in chosen}


def ahead(items: Iterator[Block]) -> Iterator[Block]:
    """Blocks, of which the next is read in a thread while one is used: polars and files need no lock."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


def column_names(path: Path, form: TextForm) -> tuple[str, ...]:
    """The names of a table's columns."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return tuple(_parquet_schema(path))
    return tuple(read_sheet(path, form)[1].columns) if suffix in WORKBOOKS else read_header(path, form).names


def _parquet(
    path: Path, needed: Mapping[str, str], form: TextForm, wanted: Callable[[str], bool]
) -> Iterator[tuple[Block, Columns]]:
    names = list(_parquet_schema(path))
    _require(path, names, needed, form)
    chosen = [name for name in names if name in needed or wanted(name)]
    row, scan = 0, pl.scan_parquet(path, glob=False).select(chosen)
    while True:
        try:
            frame = scan.slice(row, PARQUET_ROWS).collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise HistoryError(f"{path}: cannot be read as Parquet: {error}") from error
        if frame.height or not row:
            yield _block(path, np.arange(row + 1, row + frame.height + 1), frame, needed)
        row += frame.height
        if frame.height < PARQUET_ROWS:
            return


def _parquet_schema(path: Path) -> Mapping[str, pl.DataType]:
    try:
        return pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise HistoryError(f"{path}: cannot be read as Parquet: {error}") from error


def _block(path: Path, line: np.ndarray, frame: pl.DataFrame, needed: Collection[str]) -> tuple[Block, Columns]:
    """A frame as a block, with its columns as far as they can be read."""
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
    return Block(path, line, text, [], np.ones(frame.height, bool)), columns


def plain(column: pl.Series) -> pl.Series | None:
    """A column as text, numbers, times or Booleans, [m]; None where it is of none of these types."""
    kind = column.dtype
    if kind.is_decimal():
        return column.cast(pl.Float64)
    if kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Null):
        return column
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        return _in_calendar(column)
    if kind == pl.Time:
        return column.dt.to_string("%H:%M:%S%.f")
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


def _require(path: Path, there: Sequence[str], needed: Mapping[str, str], form: TextForm) -> None:
    for name, remedy in needed.items():
        if name and name not in there:
            findings = [] if path.suffix.lower() in (".parquet", *WORKBOOKS) else header_findings(path, form, needed)
            other = next((mark for mark in SEPARATORS if any(mark in item for item in there)), "")
            hint = remedy
            if findings:
                hint = "; ".join(finding.sentence(form.prefix) for finding in findings)
            elif other and other != form.separator:
                hint = f"if its fields are separated by {other!r}, set {form.prefix}separator"
            raise HistoryError(f"{path}: no column {name!r}; columns there: {listed(there)}; {hint}")
