"""Which line of a file names its columns, and what stands between its fields."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.parsing.lines import first_lines
from rarefault.train.history.parsing.text_form import SEPARATORS, Separator, TextForm

#: Lines at the beginning of a file that are looked at.
MOST_LINES = 60
#: What comments usually begin with.
_COMMENTS = ("#", "//", ";", "!", "%")


def head(path: Path, form: TextForm) -> list[tuple[int, str]]:
    """The first lines of a file that are not blank, with their numbers."""
    return list(islice(first_lines(path, replace(form, skip_rows=0)), MOST_LINES))


def without_long_fields(lines: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """The lines without those of a quoted field with line breaks, such as a long comment; they have fewer fields."""
    inside: set[int] = set()
    opened = None
    for i, (_, text) in enumerate(lines):
        if text.count('"') % 2 == 0:
            continue
        if opened is None:
            opened = i
        else:
            inside.update(range(opened, i + 1))
            opened = None
    return [line for i, line in enumerate(lines) if i not in inside]


def header_findings(path: Path, form: TextForm, needed: Collection[str]) -> list[Finding]:
    """The keys ``separator`` and ``skip_rows`` or ``comment`` with which a line has all of the needed names."""
    wanted = {name for name in needed if name}
    lines = head(path, form)
    for i, (number, line) in enumerate(lines):
        for mark in SEPARATORS:
            if wanted <= set(fields(line, mark)):
                return [*_separator(mark, form, line), *_before(number, [text for _, text in lines[:i]], form)]
    return []


def separator_finding(lines: Sequence[str]) -> Finding | None:
    """What stands between the fields of most lines; None where nothing does."""
    counted: dict[Separator, tuple[int, int]] = {}
    for mark in SEPARATORS:
        numbers = [len(fields(line, mark)) for line in lines]
        usual = max(set(numbers), key=numbers.count, default=1)
        if usual > 1:
            counted[mark] = (numbers.count(usual), usual)
    if not counted:
        return None
    best = max(counted, key=lambda mark: counted[mark])
    times, usual = counted[best]
    rest = [mark for mark in counted if mark != best and counted[mark][0] == times and counted[mark][1] == usual]
    return Finding(
        "separator",
        best,
        f"{times} of the first {len(lines)} lines have {usual} fields with {best!r} between them",
        f'separator = "{rest[0]}"' if rest else "",
    )


def header_line(lines: Sequence[str], separator: Separator, *, open_ended: bool = False) -> int | None:
    """Which line names the columns: the first with as many fields as most, none of them a number; None where none.

    Args:
        lines: from the beginning of a file.
        separator: between the fields.
        open_ended: whether lines end with the last field that is filled, so that the names may be more than most have.
    """
    numbers = [len(fields(line, separator)) for line in lines]
    usual = max(set(numbers), key=numbers.count, default=0)
    for i, line in enumerate(lines):
        enough = numbers[i] >= usual if open_ended else numbers[i] == usual
        if enough and not any(_is_number(field) for field in fields(line, separator)):
            return i
    return None


def fields(line: str, separator: str) -> list[str]:
    """The fields of a line without blanks around them; a line that cannot be split is one field."""
    try:
        rows = list(csv.reader([line, ""], delimiter=separator))
    except csv.Error:
        return [line]
    return [name.strip() for name in rows[0]] if len(rows) == 2 else [line]


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _separator(mark: Separator, form: TextForm, line: str) -> list[Finding]:
    if mark == (form.separator or ","):
        return []
    return [Finding("separator", mark, f"the columns of {line!r} are separated by {mark!r}")]


def _before(number: int, before: list[str], form: TextForm) -> list[Finding]:
    """How the lines before line ``number`` are left out."""
    if not before or form.skip_rows + 1 == number:
        return []
    mark = next((mark for mark in _COMMENTS if all(line.startswith(mark) for line in before)), "")
    if mark and not form.comment:
        return [Finding("comment", mark, f"{len(before)} lines before the names of the columns begin with {mark!r}")]
    return [Finding("skip_rows", number - 1, f"line {number} has the names of the columns")]
