"""Which marks numbers are written with, as far as the numbers show it.

``1.000`` is one or a thousand. A point is known to be the decimal mark where some number of the file has another count
of digits after it, or more than three before it; it is known to part thousands where a number has two, or a comma
after it. A column whose numbers above 999 all have a point before their last three digits, and whose smaller ones have
none, shows neither, and nobody should guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.parsing.text_form import PLAIN, NumberForm

_GROUPED = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"
_POINT = r"^[+-]?\d*\.(\d{0,2}|\d{4,})$|^[+-]?(0\d*|\d{4,})\.\d|^[+-]?\d+(\.\d*)?[eE]"
_LONG = r"^[+-]?[1-9]\d{3,}$"
_SHORT = r"^[+-]?[1-9]\d{0,2}$"
_COMMA = r"^[+-]?\d+,\d+$"
_COMMA_GROUPED = r"^[+-]?[1-9]\d{0,2}(,\d{3})+$"
#: Numbers with two marks, or with one that is no decimal mark; the first group is what parts thousands.
_MARKED: tuple[tuple[str, NumberForm], ...] = (
    (r"^[+-]?\d{1,3}(\.\d{3})+,\d+$|^[+-]?\d{1,3}(\.\d{3}){2,}$", NumberForm(",", ".")),
    (r"^[+-]?\d{1,3}(,\d{3})+\.\d+$|^[+-]?\d{1,3}(,\d{3}){2,}$", NumberForm(".", ",")),
    (r"^[+-]?\d{1,3}(['\u2019]\d{3})+,\d+$", NumberForm(",", "'")),
    (r"^[+-]?\d{1,3}(['\u2019]\d{3})+(\.\d+)?$", NumberForm(".", "'")),
    (r"^[+-]?\d{1,3}([ \u00a0\u202f\u2009]\d{3})+,\d+$", NumberForm(",", " ")),
    (r"^[+-]?\d{1,3}([ \u00a0\u202f\u2009]\d{3})+(\.\d+)?$", NumberForm(".", " ")),
)


@dataclass(slots=True)
class NumberEvidence:
    """What the cells of a column show: an example of each, "" where there is none.

    Attributes:
        grouped: ``1.000``, a point that may part thousands.
        point: ``0.5``, a point that is the decimal mark.
        long: ``1000``, thousands that nothing parts.
        short: ``985``, no mark.
        comma: ``20,5``, a comma that is the decimal mark.
        comma_grouped: ``1,000``, a comma that may part thousands.
        marked: ``1.234,5``, and which form that is.
        form: of ``marked``.
    """

    grouped: str = ""
    point: str = ""
    long: str = ""
    short: str = ""
    comma: str = ""
    comma_grouped: str = ""
    marked: str = ""
    form: NumberForm = PLAIN

    def take(self, text: pl.Series, other: pl.Series, *, points: bool = True) -> None:
        """Add what more cells of the column show; what is known already is not looked for.

        Args:
            text: of all cells, [m].
            other: of those that are no number, [n].
            points: whether it matters what a point is; where another column has shown it, it does not.
        """
        if points and not self.point:
            unknown = {"grouped": _GROUPED, "long": _LONG, "short": _SHORT, "point": _POINT}
            unknown = {name: pattern for name, pattern in unknown.items() if not getattr(self, name)}
            text = text.str.strip_chars()
            text = text.filter(text.str.contains("|".join(unknown.values())))  # few, once most is known
            for name, pattern in unknown.items() if len(text) else ():
                setattr(self, name, _first(text, pattern))
        if not len(other):
            return
        other = other.str.strip_chars()
        self.comma_grouped = self.comma_grouped or _first(other, _COMMA_GROUPED)
        self.comma = self.comma or _first(other.filter(~other.str.contains(_COMMA_GROUPED)), _COMMA)
        for pattern, form in () if self.marked else _MARKED:
            if marked := _first(other, pattern):
                self.marked, self.form = marked, form
                break


def number_evidence(text: pl.Series) -> NumberEvidence:
    """What the cells of a column show, [m]."""
    found, text = NumberEvidence(), text.drop_nulls().str.strip_chars()
    found.take(text, text.filter(text.cast(pl.Float64, strict=False).is_null()))
    return found


def number_findings(columns: Mapping[str, NumberEvidence], separator: str) -> list[Finding]:
    """The keys ``decimal`` and ``thousands``, as far as columns need others than the usual ones.

    Args:
        columns: what each shows, by name.
        separator: between the fields: in a file with commas between them, a point is hardly a mark of thousands.
    """
    for name, one in columns.items():
        if one.marked:
            return _both(one.form, f"{name} holds {one.marked!r}")
    point = next((name for name, one in columns.items() if one.point), None)
    comma = next((name for name, one in columns.items() if one.comma), None)
    if point is None and comma is not None:
        found = [Finding("decimal", ",", f"{comma} holds {columns[comma].comma!r} and no column a decimal point")]
        grouped = next((f"{name} holds {one.grouped!r}" for name, one in columns.items() if one.grouped), None)
        return found if grouped is None else [*found, Finding("thousands", ".", grouped)]
    for name, one in columns.items():
        if one.comma_grouped and comma is None:
            other = "" if point is not None else 'decimal = ","'
            return [Finding("thousands", ",", _readings(name, one.comma_grouped, one.short), other)]
        if point is None and one.grouped and not one.long and (one.short or separator != ","):
            return [Finding("thousands", ".", _readings(name, one.grouped, one.short), 'decimal = "."')]
    return []


def _both(form: NumberForm, evidence: str) -> list[Finding]:
    found = [Finding("thousands", form.thousands, evidence)]
    return found if form.decimal == "." else [Finding("decimal", form.decimal, evidence), *found]


def _readings(name: str, grouped: str, short: str) -> str:
    whole = grouped.replace(".", "").replace(",", "")
    beside = f" beside {short!r}" if short else ""
    return f"{name} holds {grouped!r}{beside}, which is {grouped.replace(',', '.')} or {whole}"


def _first(text: pl.Series, pattern: str) -> str:
    """The first cell that fits, "" where none does."""
    fits = text.str.contains(pattern)
    return str(text[int(fits.arg_max() or 0)]) if fits.any() else ""
