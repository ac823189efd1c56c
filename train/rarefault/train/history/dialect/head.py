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
from itertools import pairwise
from pathlib import Path

import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.dialect.lines import fields, head, header_line, separator_finding
from rarefault.train.history.dialect.numbers import number_evidence, number_findings
from rarefault.train.history.dialect.tags import long_form_findings
from rarefault.train.history.dialect.times import is_clock, number_finding, order_evidence, order_finding
from rarefault.train.history.parsing.frames import Columns, column_names, read_frames
from rarefault.train.history.parsing.lines import ROWS, read_header
from rarefault.train.history.parsing.packed import opened
from rarefault.train.history.parsing.text_form import SEPARATORS, UTF8, Separator, TextForm, TimeForm
from rarefault.train.history.parsing.times import is_day, parse_times

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
    if path.suffix.lower() in ROWS:
        return content_findings(path, TextForm())
    found = []
    encoding = encoding_finding(path)
    if encoding is not None:
        found.append(encoding)
    form = TextForm(encoding=str(encoding.value) if encoding else UTF8)
    lines = head(path, form)
    texts = [text for _, text in lines]
    named = read_header(path, form)  # a first line may name the separator, or the maker of the file
    if texts and (named.separator != "," or texts[0].startswith('"TOA5"')):
        return [*found, *content_findings(path, form)]
    separator = separator_finding(texts)
    mark: Separator = next((one for one in SEPARATORS if separator and separator.value == one), ",")
    if separator is not None and mark != ",":
        found.append(separator)
    at = header_line(texts, mark) or 0
    before, after = header_findings_of(lines, at, mark)
    found += before + after
    keys = {one.key: one.value for one in before + after}
    form = TextForm(
        mark,
        form.encoding,
        str(keys.get("comment", "")),
        int(str(keys.get("skip_rows", 0))),
        int(str(keys.get("skip_after_header", 0))),
    )
    return [*found, *content_findings(path, form)]


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
    times, known = time_findings(columns)
    tags = long_form_findings(columns)
    evidence = {
        name: number_evidence(column)
        for name, column in columns.items()
        if name not in known and column.dtype == pl.String
    }
    return [*number_findings(evidence, form.separator or ","), *times, *tags]


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
    for name, column in columns.items():
        if column.dtype == pl.Boolean or not len(column) or not _are_times(column):
            continue
        found = [Finding("time_column", name, f"{name} holds times such as {str(column[0])!r}")]
        days = column.dtype in (pl.String, pl.Date) and bool(is_day(column).all())
        clock = next((one for one, other in columns.items() if other.dtype == pl.String and is_clock(other)), None)
        if days and clock:
            evidence = f"{name} holds days, {clock} times of the day such as {str(columns[clock][0])!r}"
            found = [Finding("time_column", [name, clock], evidence)]
        order = order_finding(order_evidence([column]))
        number = number_finding(column) if column.dtype.is_numeric() or column.dtype == pl.String else None
        more = [one for one in (order, number) if one is not None]
        zoned = not parse_times(column.head(1000), TimeForm(day_first=True)).naive.any()
        if number or not zoned:
            other = 'time_zone = "Europe/Zurich" or another one'
            more.append(Finding("time_zone", "UTC", f"{str(column[0])!r} has no zone", other))
        return found + more, (name, clock) if days and clock else (name,)
    return [], ()


def _are_times(column: pl.Series) -> bool:
    """Whether nearly all cells are times of these years; numbers must be so for most of what they may count."""
    if column.dtype.is_temporal():
        return column.dtype != pl.Duration
    if column.dtype.is_numeric() or column.cast(pl.Float64, strict=False).count():
        number = column.cast(pl.Float64, strict=False).drop_nulls()
        seconds = number.is_between(6e8, 4.2e9) | number.is_between(6e11, 4.2e12) | number.is_between(6e14, 4.2e18)
        share = float(seconds.to_numpy().mean()) if len(number) else 0.0
        days = number_finding(column) is not None and (number.diff().drop_nulls() >= 0).all()
        return share >= _TIMES or bool(days)
    good = [parse_times(column.head(1000), TimeForm("UTC", day_first=first)).good.mean() for first in (True, False)]
    return bool(max(good) >= _TIMES)
