r"""How a file is written, from its beginning: what a ``[data]`` section would have to say to read it.

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder:
...     path = Path(folder) / "plant.csv"
...     _ = path.write_text("Zeit;Druck\n13.03.2024 10:00;3,0\n13.03.2024 11:00;3,1\n")
...     for finding in dialect_findings(path):
...         print(finding.key, finding.value)
separator ;
decimal ,
time_column Zeit
time_format %d.%m.%Y %H:%M
time_zone UTC
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.dialect.lines import (
    MOST_LINES,
    fields,
    head,
    header_line,
    separator_finding,
    without_long_fields,
)
from rarefault.train.history.dialect.numbers import number_evidence, number_findings
from rarefault.train.history.dialect.tags import long_form_findings
from rarefault.train.history.dialect.times import is_clock, number_finding, order_evidence, order_finding
from rarefault.train.history.parsing.frames import Columns, column_names, read_frames
from rarefault.train.history.parsing.lines import ROWS, names_itself, read_header
from rarefault.train.history.parsing.packed import opened
from rarefault.train.history.parsing.sheets import WORKBOOKS, first_rows
from rarefault.train.history.parsing.text_form import SEPARATORS, UTF8, Separator, TextForm, TimeForm
from rarefault.train.history.parsing.times import is_day, parse_times
from rarefault.train.history.time_columns import joined

#: Bytes of a file that are looked at for its encoding.
_BYTES = 1 << 20
#: Rows whose cells show the form of numbers and times.
_MOST_ROWS = 100_000
#: A column of times has at least so many of them.
_TIMES = 0.9


def dialect_findings(path: Path) -> list[Finding]:
    """What a table's file shows of encoding, lines, numbers and times; keys that are as by default are not named.

    Args:
        path: CSV, Parquet or a workbook.

    Raises:
        HistoryError: it cannot be read at all.
    """
    found, form = form_findings(path)
    return [*found, *content_findings(path, form)]


def form_findings(path: Path, sheet: str = "") -> tuple[list[Finding], TextForm]:
    """What a table's file shows of encoding and lines, and the form that this makes.

    Args:
        path: CSV, Parquet or a workbook.
        sheet: of a workbook; "" is its only one.

    Raises:
        HistoryError: it cannot be read at all.
    """
    suffix = path.suffix.lower()
    if suffix in WORKBOOKS:
        return _sheet_findings(path, sheet)
    if suffix in ROWS:
        return [], TextForm()
    found = []
    encoding = encoding_finding(path)
    if encoding is not None:
        found.append(encoding)
    form = TextForm(encoding=str(encoding.value) if encoding else UTF8)
    lines = head(path, form)
    lines = without_long_fields(lines)
    texts = [text for _, text in lines]
    if not texts or names_itself(texts[0]):
        read_header(path, form)  # an empty file is refused
        return found, form
    separator = separator_finding(texts)
    mark: Separator = next((one for one in SEPARATORS if separator and separator.value == one), ",")
    if separator is not None and mark != ",":
        found.append(separator)
    return _with_header(found, TextForm(mark, form.encoding), lines)


def _with_header(
    found: list[Finding], form: TextForm, lines: Sequence[tuple[int, str]], *, open_ended: bool = False
) -> tuple[list[Finding], TextForm]:
    """The findings with those of the lines around the one with the names, and the form with them."""
    mark = form.separator or ","
    at = header_line([text for _, text in lines], mark, open_ended=open_ended) or 0
    before, after = header_findings_of(lines, at, mark)
    keys = {one.key: one.value for one in before + after}
    form = replace(
        form,
        comment=str(keys.get("comment", "")),
        skip_rows=int(str(keys.get("skip_rows", 0))),
        skip_after_header=int(str(keys.get("skip_after_header", 0))),
    )
    return [*found, *before, *after], form


def _sheet_findings(path: Path, sheet: str) -> tuple[list[Finding], TextForm]:
    """As :func:`form_findings`, of a workbook: its rows have the place of lines."""
    form = TextForm(sheet=sheet)
    named = [Finding("sheet", sheet, f"{path.name} has several sheets")] if sheet else []
    lines = [
        (number, ";".join(map(_field, _without_end(cells)))) for number, cells in first_rows(path, sheet, MOST_LINES)
    ]
    found, form = _with_header(named, replace(form, separator=";"), lines, open_ended=True)
    return found, replace(form, separator=None)


def _without_end(cells: list[str]) -> list[str]:
    """The cells up to the last that holds something: a title stands in the first alone."""
    return cells[: max(i + 1 for i, cell in enumerate(cells) if cell)]


def _field(cell: str) -> str:
    quoted = cell.replace('"', '""')
    return f'"{quoted}"' if ";" in cell or '"' in cell else cell


def encoding_finding(path: Path) -> Finding | None:
    """The encoding of a file's text; None where it is UTF-8. What is neither it nor UTF-16 may be one of many."""
    with opened(path) as file:
        raw = file.read(_BYTES)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Finding("encoding", "utf-16", "the file begins with the mark of UTF-16")
    even, odd = raw[::2].count(0), raw[1::2].count(0)
    if max(even, odd) > len(raw) // 4:
        return Finding("encoding", "utf-16-le" if odd > even else "utf-16-be", "every other byte is 0")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        if error.end < len(raw) - 3 or len(raw) < _BYTES:
            line = raw[: error.start].rpartition(b"\n")[2] + raw[error.start :].partition(b"\n")[0]
            shown = line.decode("cp1252", "replace").strip()[:60]
            return Finding("encoding", "cp1252", f"{shown!r} is not UTF-8", 'encoding = "latin-1" or another one')
    return None


def header_findings_of(
    lines: Sequence[tuple[int, str]], at: int, separator: Separator
) -> tuple[list[Finding], list[Finding]]:
    """What is to be left out before the line with the names of the columns, and after it.

    Args:
        lines: numbers and texts from the beginning of a file, without blank ones.
        at: which of them has the names.
        separator: between the fields.
    """
    before, after = [], []
    if at:
        first = {text[0] for _, text in lines[:at]}
        evidence = f"line {lines[at][0]} is the first with all columns"
        if first == {"#"}:
            before.append(Finding("comment", "#", f"{evidence}, the lines before it begin with '#'"))
        else:
            before.append(Finding("skip_rows", lines[at][0] - 1, evidence))
    n = 0
    for (_, text), (_, following) in pairwise(lines[at + 1 : at + 5]):
        if _numeric(text, separator) or not _numeric(following, separator):
            break
        n += 1
    if n:
        after.append(Finding("skip_after_header", n, f"line {lines[at + 1][0]} holds no number, those after it do"))
    return before, after


def _numeric(line: str, separator: Separator) -> bool:
    """Whether some field of a line begins as a number or a time does."""
    return any(field[:1].isdigit() or field[:2].lstrip("+-").isdigit() for field in fields(line, separator))


def content_findings(path: Path, form: TextForm) -> list[Finding]:
    """Numbers and times of a file, as far as its first rows show them."""
    try:
        columns = _first_rows(path, form)
    except HistoryError:
        return []  # what stands in the way is said when the file is read
    return column_findings(columns, form.separator or ",")


def column_findings(columns: Columns, separator: str) -> list[Finding]:
    """Numbers and times of the columns of a file, or of several of one kind.

    Args:
        columns: by name, each [m].
        separator: between the fields.
    """
    times, known = time_findings(columns)
    tags = long_form_findings({name: column for name, column in columns.items() if name not in known})
    evidence = {
        name: number_evidence(column)
        for name, column in columns.items()
        if name not in known and column.dtype == pl.String
    }
    return [*number_findings(evidence, separator), *times, *tags]


def _first_rows(path: Path, form: TextForm) -> Columns:
    """The columns of a file's first block."""
    if not any(column_names(path, form)):
        return {}
    for block, columns in read_frames(path, {}, form):
        rows = pl.Series(block.good).arg_true().head(_MOST_ROWS)
        return {name: column.gather(rows) for name, column in columns.items() if name}
    return {}


def time_findings(columns: Columns) -> tuple[list[Finding], tuple[str, ...]]:
    """Which column holds the times, or which two, and how they are written; and their names."""
    # A counter may look like a time; what is written as one does not look like anything else.
    for name, column in sorted(columns.items(), key=lambda item: _is_number(item[1])):
        if not len(column) or not are_times(column):
            continue
        found = [Finding("time_column", name, f"{name} holds times such as {str(column[0])!r}")]
        days = column.dtype in (pl.String, pl.Date) and bool(is_day(column).all())
        clock = next((one for one, other in columns.items() if other.dtype == pl.String and is_clock(other)), None)
        if days and clock:
            evidence = f"{name} holds days, {clock} times of the day such as {str(columns[clock][0])!r}"
            found = [Finding("time_column", [name, clock], evidence)]
        moments = joined(columns, (name, clock)) if days and clock else column
        order = order_finding(order_evidence([moments]))
        number = number_finding(column) if column.dtype.is_numeric() or column.dtype == pl.String else None
        more = [one for one in (order, number) if one is not None]
        zoned = not parse_times(column.head(1000), TimeForm(day_first=True)).naive.any()
        if number or not zoned:
            other = 'time_zone = "Europe/Zurich" or another one'
            more.append(Finding("time_zone", "UTC", f"{str(column[0])!r} has no zone", other))
        return found + more, (name, clock) if days and clock else (name,)
    return [], ()


def _is_number(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or bool(column.dtype == pl.String and _as_numbers(column).count())


def _as_numbers(column: pl.Series) -> pl.Series:
    """Cells as numbers, with a point or a comma before the fraction; null where they are none."""
    text = column.str.replace(",", ".", literal=True) if column.dtype == pl.String else column
    return text.cast(pl.Float64, strict=False)


def are_times(column: pl.Series) -> bool:
    """Whether nearly all cells are times of these years; numbers must be so for most of what they may count."""
    if column.dtype in (pl.Boolean, pl.Null):
        return False
    if column.dtype.is_temporal():
        return column.dtype != pl.Duration
    if _is_number(column):
        number = _as_numbers(column).drop_nulls()
        seconds = number.is_between(6e8, 4.2e9) | number.is_between(6e11, 4.2e12) | number.is_between(6e14, 4.2e18)
        share = float(seconds.to_numpy().mean()) if len(number) else 0.0
        days = number_finding(column) is not None and (number.diff().drop_nulls() >= 0).all()
        return share >= _TIMES or bool(days)
    good = [parse_times(column.head(1000), TimeForm("UTC", day_first=first)).good.mean() for first in (True, False)]
    return bool(max(good) >= _TIMES)
