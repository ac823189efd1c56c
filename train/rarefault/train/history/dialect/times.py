"""How times are written, as far as they show it: the order of day and month, and what a number counts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.proposal.finding import Finding
from rarefault.train.history.parsing.times import EXCEL_1970, NUMERIC_DATE, as_digits

#: Compact days and times, by their count of digits.
_COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
#: A spreadsheet's days from 1970 to 2109.
_SERIAL = (EXCEL_1970["excel"], 76_700.0)
_YEARS = (1970, 2109)
_SHORT_YEAR = r"^\d{1,2}[-/.]\d{1,2}[-/.]\d{2}(\D|$)"
_CLOCK = r"^\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp][Mm])?$"


@dataclass(slots=True)
class OrderEvidence:
    """What dates such as ``01/03/2024`` show of their order: an example of each, "" where there is none.

    Attributes:
        any: one of them.
        day_first: one whose first number is no month.
        month_first: one whose second number is no month.
    """

    any: str = ""
    day_first: str = ""
    month_first: str = ""

    @property
    def settled(self) -> bool | None:
        """Whether the day is first; None where that is not shown, or where both are."""
        return bool(self.day_first) if bool(self.day_first) != bool(self.month_first) else None

    def take(self, text: pl.Series) -> None:
        """Add what other cells show, [m]."""
        groups = text.str.strip_chars().str.extract_groups(NUMERIC_DATE).struct.unnest().get_columns()
        first, second = (group.cast(pl.Int64) for group in groups[:2])
        for name, which in (
            ("any", first.is_not_null()),
            ("day_first", first > 12),
            ("month_first", second > 12),
        ):
            if not getattr(self, name) and which.any():
                setattr(self, name, str(text[int(which.fill_null(value=False).arg_max() or 0)]).strip())


def order_evidence(columns: Iterable[pl.Series]) -> OrderEvidence:
    """What columns of times show of the order of day and month, until one shows it; others are not looked at."""
    found = OrderEvidence()
    for column in columns:
        if column.dtype == pl.String:
            found.take(column)
        if found.settled is not None:
            break
    return found


def order_finding(found: OrderEvidence, key: str = "time_format") -> Finding | None:
    """The format of dates such as ``01/03/2024``; None where there is none of them."""
    if not found.any:
        return None
    day_first, month_first = format_of(found.any, day_first=True), format_of(found.any, day_first=False)
    if found.settled is None:
        evidence = (
            f"{found.day_first!r} has the day first and {found.month_first!r} the month"
            if found.day_first
            else f"{found.any!r} may begin with the day or with the month, and no date shows which"
        )
        return Finding(key, day_first, evidence, f'{key} = "{month_first}"')
    if found.settled:
        return Finding(key, day_first, f"{found.day_first!r} begins with the day")
    return Finding(key, month_first, f"the month stands first in {found.month_first!r}")


def format_of(text: str, *, day_first: bool) -> str:
    """The ``strptime`` format of a time that begins with a numeric date."""
    order = "%d{0}%m{0}%Y" if day_first else "%m{0}%d{0}%Y"
    mark = re.search(r"[-/.]", text)
    found = order.format(mark[0] if mark else "/")
    rest = re.sub(NUMERIC_DATE, "", text)
    half = re.search(r"\s*[AaPp]\.?[Mm]\.?$", rest)
    clock = re.sub(r"(\s*)[AaPp]\.?[Mm]\.?$", r"\1%p", rest)
    for wanted in ("%I" if half else "%H", "%M", "%S"):
        clock = re.sub(r"(?<![%\d.,])\d+", wanted, clock, count=1)
    return found + re.sub(r"([.,])\d+", r"\1%f", clock)


def number_finding(values: pl.Series, key: str = "time") -> Finding | None:
    """What numbers count that stand for times, where they may be days rather than seconds; None where they may not.

    Args:
        values: numbers, or text, [m].
        key: how the keys begin.
    """
    text = as_digits(values).drop_nulls()
    number = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    text, number = text.filter(number.is_not_null()), number.drop_nulls()
    number = number.filter(number.is_finite())
    if not len(number):
        return None
    seconds = f'{key}_unit = "s"'
    example = text[0]
    if number.is_between(*_SERIAL).all():
        return Finding(f"{key}_unit", "excel", f"{example!r} is a day as spreadsheets count them, or a second", seconds)
    digits = text.str.len_chars()
    length = digits[0]
    whole = text.str.contains(r"^\d+$").all()
    if whole and length in _COMPACT and (digits == length).all() and _are_dates(text.cast(pl.Int64), length).all():
        unit = {8: "s", 10: "s", 12: "ms", 14: "us"}[length]
        evidence = f"{example!r} is a day without marks, or a count of {unit} since 1970"
        return Finding(f"{key}_format", _COMPACT[length], evidence, f'{key}_unit = "{unit}"')
    return None


def _are_dates(number: pl.Series, digits: int) -> Bool:
    """Which numbers are possible compact days and times, [m]."""
    rest: Int64 = number.to_numpy()
    good = np.ones(len(rest), bool)
    for low, high in ((0, 59), (0, 59), (0, 23))[(14 - digits) // 2 :]:
        rest, part = np.divmod(rest, 100)
        good &= (part >= low) & (part <= high)
    rest, day = np.divmod(rest, 100)
    year, month = np.divmod(rest, 100)
    good &= (day >= 1) & (day <= 31) & (month >= 1) & (month <= 12)
    return np.asarray(good & (year >= _YEARS[0]) & (year <= _YEARS[1]))


def rounded_number(text: pl.Series) -> str:
    """A time that was rounded to more than a second, such as ``1.70925E+12``; "" where there is none."""
    groups = text.str.extract_groups(r"^\s*\d(?:[.,](\d*))?[eE]\+?(\d+)\s*$").struct.unnest().get_columns()
    power = groups[1].cast(pl.Int64, strict=False)
    digits = groups[0].fill_null("").str.len_chars().cast(pl.Int64)
    # Seconds have nine zeros, milliseconds twelve and so on: what is left must not be more than one.
    lost = (power > 7) & (power - digits > (power - 9).clip(0, 9) // 3 * 3)
    return str(text[int(lost.fill_null(value=False).arg_max() or 0)]) if lost.any() else ""


def short_year(text: pl.Series) -> str:
    """A date whose year has two digits; "" where there is none."""
    found = text.str.strip_chars().str.contains(_SHORT_YEAR).fill_null(value=False)
    return str(text[int(found.arg_max() or 0)]) if found.any() else ""


def is_clock(text: pl.Series) -> bool:
    """Whether a column holds times of the day without a day."""
    there = text.drop_nulls().str.strip_chars()
    return bool(len(there)) and bool(there.str.contains(_CLOCK).all())
