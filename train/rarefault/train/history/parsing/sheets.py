"""Workbooks of spreadsheet programs, one sheet as a table."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Int64
from rarefault.runtime.errors import HistoryError
from rarefault.train.history.parsing.text_form import TextForm

WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def read_sheet(path: Path, form: TextForm) -> tuple[Int64, pl.DataFrame]:
    """Numbers of the rows that are not empty, [m], and the sheet, [m] each column.

    Args:
        path: the workbook.
        form: its sheet, the rows before the header and after it, or the names of the columns.

    Raises:
        HistoryError: it cannot be read, or has several sheets of which none is named.
    """
    fastexcel = _library(path)
    header = None if form.header else form.skip_rows
    first = (form.skip_rows if form.header else form.skip_rows + 1) + form.skip_after_header
    try:
        book = fastexcel.read_excel(path)
        sheet = _sheet(path, book.sheet_names, form)
        frame = book.load_sheet(
            sheet,
            header_row=header,
            column_names=list(form.header) or None,
            # Counted from the row after the header.
            skip_rows=first if header is None else form.skip_after_header,
            schema_sample_rows=None,
            dtype_coercion="coerce",
        ).to_polars()
    except (fastexcel.FastExcelError, OSError, pl.exceptions.PolarsError) as error:
        raise HistoryError(f"{path}: cannot be read as a workbook: {error}") from error
    frame = frame.select(pl.all().name.map(str.strip))
    line = np.arange(first + 1, first + frame.height + 1)
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    return line[filled.to_numpy()], frame.filter(filled)


def sheet_names(path: Path) -> list[str]:
    """The names of a workbook's sheets.

    Raises:
        HistoryError: it cannot be read.
    """
    fastexcel = _library(path)
    try:
        return [str(name) for name in fastexcel.read_excel(path).sheet_names]
    except (fastexcel.FastExcelError, OSError) as error:
        raise HistoryError(f"{path}: cannot be read as a workbook: {error}") from error


def first_rows(path: Path, sheet: str, most: int) -> list[tuple[int, list[str]]]:
    """The first rows of a sheet that are not empty, as text, with their numbers from 1; "" is an empty cell.

    Raises:
        HistoryError: it cannot be read, or has several sheets of which none is named.
    """
    fastexcel = _library(path)
    try:
        book = fastexcel.read_excel(path)
        name = _sheet(path, book.sheet_names, TextForm(sheet=sheet))
        frame = book.load_sheet(name, header_row=None, n_rows=most, dtypes="string").to_polars()
    except (fastexcel.FastExcelError, OSError, pl.exceptions.PolarsError) as error:
        raise HistoryError(f"{path}: cannot be read as a workbook: {error}") from error
    rows = [["" if cell is None else str(cell).strip() for cell in row] for row in frame.rows()]
    return [(number, row) for number, row in enumerate(rows, 1) if any(row)]


def _library(path: Path) -> Any:
    if importlib.util.find_spec("fastexcel") is None:
        raise HistoryError(f"{path}: workbooks need a library more: pip install fastexcel, or save the sheet as CSV")
    import fastexcel

    return fastexcel


def _sheet(path: Path, names: list[Any], form: TextForm) -> str:
    """The name of the sheet to read."""
    if form.sheet:
        if form.sheet not in names:
            raise HistoryError(f"{path}: no sheet {form.sheet!r}; sheets there: {', '.join(map(repr, names))}")
        return form.sheet
    if len(names) != 1:
        raise HistoryError(
            f"{path}: has the sheets {', '.join(map(repr, names))}; name the one that is meant as {form.prefix}sheet"
        )
    return str(names[0])
