"""One table as it was looked at: how its lines are written, and its columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.dialect.head import are_times, form_findings
from rarefault.train.history.dialect.lines import fields, head
from rarefault.train.history.parsing.frames import Columns, read_frames
from rarefault.train.history.parsing.lines import ROWS
from rarefault.train.history.parsing.packed import opened
from rarefault.train.history.parsing.sheets import WORKBOOKS, sheet_names
from rarefault.train.history.parsing.text_form import TextForm
from rarefault.train.proposal.looking.excerpt import Excerpt

_NAMELESS = "the first line holds no names but values: these, {!r} and so on, are made up"

_RIGHT = "header = [...] with the right names"


@dataclass(frozen=True, slots=True)
class Look:
    """A table.

    Attributes:
        path: the file.
        sheet: of a workbook with several; "" otherwise.
        form: how it is written.
        findings: the keys that make the form.
        columns: that have a name, each [m]; of a large file its parts, one after the other.
        rows: m.
        units: the line of units after the header, by column; empty where there is none.
        ascii: whether what was looked at is text that is the same in all encodings of single bytes.
    """

    path: Path
    sheet: str
    form: TextForm
    findings: tuple[Finding, ...]
    columns: Columns
    rows: int
    units: dict[str, str]
    ascii: bool

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.path.name} [{self.sheet}]" if self.sheet else self.path.name


def look_at(path: Path, made: Excerpt) -> list[Look]:
    """The tables of a file: one, or one for each sheet that holds something.

    Raises:
        HistoryError: it cannot be read.
    """
    seen = made.place(path)
    if path.suffix.lower() not in WORKBOOKS:
        return [_look(path, seen, "")]
    names = sheet_names(seen)
    if len(names) == 1:
        return [_look(path, seen, "")]
    looks, why = [], ""
    for name in names:
        try:
            looks.append(_look(path, seen, name))
        except HistoryError as error:
            why = str(error)  # a sheet of notes or of charts
    looks = [look for look in looks if look.rows]
    if not looks:
        raise HistoryError(f"{path}: no sheet holds a table{f': {why}' if why else ''}")
    return looks


def _look(path: Path, seen: Path, sheet: str) -> Look:
    findings, form = form_findings(seen, sheet)
    if path.suffix.lower() not in ROWS and (names := _made_up_names(seen, form)) is not None:
        finding = Finding("header", list(names), _NAMELESS.format(names[0]), "" if names[1:] == ("end",) else _RIGHT)
        findings, form = [*findings, finding], replace(form, header=names)
    blocks, columns = [], {}
    form = replace(form, records=True)
    for block, found in read_frames(seen, {}, form):
        good = pl.Series(block.good)
        blocks.append({name: column.filter(good) for name, column in found.items() if name})
    if blocks:
        columns = {name: pl.concat([block[name] for block in blocks]) for name in blocks[0]}
    rows = max((len(column) for column in columns.values()), default=0)
    form = replace(form, records=False)
    plain = path.suffix.lower() not in ROWS and _is_ascii(seen)
    return Look(path, sheet, form, tuple(findings), columns, rows, _units(seen, form, list(columns)), plain)


def _is_ascii(seen: Path) -> bool:
    with opened(seen) as file:
        return file.read().isascii()


def _made_up_names(seen: Path, form: TextForm) -> tuple[str, ...] | None:
    """Names for the columns of a file whose first line has none; None where it has."""
    if form.skip_rows or form.skip_after_header or form.separator is None:
        return None
    lines = [fields(text, form.separator) for _, text in head(seen, form)]
    first = lines[0] if lines else []
    clocks = [i for i, field in enumerate(first) if field and are_times(pl.Series([field]))]
    there = [i for i, field in enumerate(first) if field]
    words = [i for i in there if i not in clocks and not _is_number(first[i])]
    # Beside a time, a word that the lines below repeat is a cell as well, such as a machine's name.
    cells = bool(clocks) and all(any(first[i] == line[i] for line in lines[1:] if len(line) > i) for i in words)
    if not there or (words and not cells):
        return None
    names = [f"column {i}" for i in range(1, len(first) + 1)]
    if clocks:
        wanted = ["start", "end"] if len(clocks) > 1 and len(first) <= 4 else ["time"]
        for i, name in zip(clocks, wanted, strict=False):
            names[i] = name
    if len(words) == 1:  # the question at the key says that the names are made up
        names[words[0]] = "device"
    return tuple(names)


def _is_number(text: str) -> bool:
    return pl.Series([text]).cast(pl.Float64, strict=False).null_count() == 0


def _units(seen: Path, form: TextForm, names: Sequence[str]) -> dict[str, str]:
    """The units in the line after that with the names."""
    if form.skip_after_header != 1 or form.separator is None or seen.suffix.lower() in ROWS:
        return {}
    lines = [fields(text, form.separator) for _, text in head(seen, replace(form, comment=form.comment))]
    at = next((i for i, line in enumerate(lines) if set(names) <= set(line)), None)
    if at is None or at + 1 >= len(lines) or len(lines[at + 1]) != len(lines[at]):
        return {}
    both = zip(lines[at], lines[at + 1], strict=True)
    return {name: unit.strip("[]() ") for name, unit in both if unit.strip("[]()- ") and len(unit) <= 14}
