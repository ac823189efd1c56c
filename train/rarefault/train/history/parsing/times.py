"""Columns of times, all rows at once: ISO 8601, other usual ways to write a date, numbers, and date-times.

A date such as ``01/03/2024`` has two readings. Its rows are not read until somebody knows the order, see
:mod:`rarefault.train.history.dialect.times`.
"""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.times import MILLISECONDS_FROM, TIME_LIMIT_MS
from rarefault.train.history.parsing.cells import MISSING
from rarefault.train.history.parsing.text_form import USUAL, TimeForm

#: Microseconds in a unit of a date-time, as a fraction.
_MICROSECONDS = {"d": (86_400_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}
_DAY_US = 86_400_000_000
#: How many of each unit are a millisecond; what a number counts follows from its size by the same steps.
_PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
#: 1 January 1970 as a spreadsheet's day.
EXCEL_1970 = {"excel": 25569.0, "excel1904": 24107.0}

_CLOCK = r"(?:(?:[Tt]|,? +-? ?)(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?: *([AaPp])\.?[Mm]\.?)?)?"
_ZONE = r" *(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?$"
_REST = _CLOCK + _ZONE
_ISO = r"^(\d{4})-(\d\d)-(\d\d)" + _REST
_SECONDS = re.compile(r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d(Z?)")
#: The same day in other ways, and which of the three groups are year, month and day.
_OTHERS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    (r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})" + _REST, (0, 1, 2)),
    (r"^(?:[A-Za-z]{3},? +)?(\d{1,2})[-/. ]+(\p{L}{3,9})[-/., ]+(\d{4})" + _REST, (2, 1, 0)),
    (r"^(\p{L}{3,9})\.? +(\d{1,2}),? +(\d{4})" + _REST, (2, 0, 1)),
    (r"^(\d{4})(\d\d)(\d\d)[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?()" + _ZONE, (0, 1, 2)),
)
#: A day whose order nobody knows; the year has four digits.
NUMERIC_DATE = r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})"
_DAY_FIRST, _MONTH_FIRST = (2, 1, 0), (2, 0, 1)

#: Directives of a format that name a time of the day.
_HOURS = frozenset({"%H", "%I"})
_CLOCK_MARKS = _HOURS | {"%M", "%T", "%R", "%s", "%c", "%r", "%X"}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = {word: number for number, word in enumerate(_MONTHS, 1)} | {"mär": 3, "mrz": 3, "mai": 5, "okt": 10, "dez": 12}


@dataclass(slots=True)
class Times:
    """A column of times (m rows).

    Attributes:
        ms: milliseconds since the epoch, [m]; 0 where not good.
        good: whether it is a time between 1970 and 2109, [m].
        naive: whether it has no zone of its own, [m].
        later_ms: where the clocks were set back over it, the second of its two times; otherwise as ``ms``, [m].
        far: whether it is a time of the year 2110 or later, [m].
        undecided: whether it is a day whose order is not known, [m]; not good.
    """

    ms: Int64
    good: Bool
    naive: Bool
    later_ms: Int64
    far: Bool
    undecided: Bool

    @property
    def ambiguous(self) -> Bool:
        """Whether the clocks were set back over it, so that it occurred twice, [m]."""
        return np.asarray(self.later_ms != self.ms)


@dataclass(slots=True)
class _Moments:
    """What stands in the cells (m of them), before zones.

    Attributes:
        us: microseconds since the epoch, UTC or of an unknown zone; null where there is no time, [m].
        naive: whether the zone is unknown, [m].
        undecided: whether it is a day whose order is not known, [m].
    """

    us: pl.Series
    naive: Bool
    undecided: Bool


def parse_times(values: pl.Series, form: TimeForm = USUAL, *, day_ends: bool = False) -> Times:
    """A column of times as milliseconds since the epoch.

    Args:
        values: text, numbers or date-times, [m].
        form: zone, format, unit and order of day and month.
        day_ends: a day without a time of the day is the midnight that ends it, not the one that begins it.
    """
    found = _moments(values, form)
    us = found.us
    if day_ends:
        us = us + pl.Series(np.where(is_day(values, form), _DAY_US, 0))
    times = _checked(us, found.naive, found.undecided)
    if found.naive.any():
        _place(times, us, found.naive, form.zone)
    return times


def _moments(values: pl.Series, form: TimeForm) -> _Moments:
    known = np.zeros(len(values), bool)
    kind = values.dtype
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        zoned = getattr(kind, "time_zone", None) is not None
        return _Moments(_microseconds(values), known if zoned else values.is_not_null().to_numpy(), known)
    if form.format:
        return _formatted(as_digits(values), form.format)
    if kind.is_numeric():
        return _numbers(values.cast(pl.Float64), form)
    text = values.cast(pl.String).str.strip_chars()
    # No day of a spreadsheet has marks of thousands, so a comma is its decimal mark in any case.
    commas = form.decimal == "," or form.unit in EXCEL_1970
    plain = text.str.replace(",", ".", literal=True) if commas else text
    number = plain.cast(pl.Float64, strict=False)
    if not number.null_count():
        return _numbers(number, form)
    moments = _written(text, form)
    if number.null_count() < len(number):
        counted, is_number = _numbers(number, form), number.is_not_null()
        moments.us = counted.us.zip_with(is_number, moments.us)
        moments.naive = np.where(is_number.to_numpy(), counted.naive, moments.naive)
    return moments


def _microseconds(values: pl.Series) -> pl.Series:
    """Dates or date-times as microseconds since the epoch, [m]; what is far outside of all good times stays outside."""
    up, down = _MICROSECONDS[getattr(values.dtype, "time_unit", None) or "d"]
    count = values.to_physical().cast(pl.Int64)
    return count.clip(-_DAY_US * down // up, (TIME_LIMIT_MS * 1000 + _DAY_US) * down // up) * up // down


def as_digits(values: pl.Series) -> pl.Series:
    """A column as text without blanks around it; whole numbers are written without decimals, [m]."""
    if values.dtype.is_float():
        there = values.fill_nan(None).drop_nulls()
        if ((there == there.round()) & (there.abs() < 2**63)).all():
            values = values.fill_nan(None).cast(pl.Int64)
    return values.cast(pl.String).str.strip_chars()


def _formatted(text: pl.Series, wanted: str) -> _Moments:
    """Text in a format of ``strptime``."""
    pattern = polars_format(wanted)
    if ",%f" in wanted:
        text = text.str.replace(r",(\d+)", ".$1")
    if (_CLOCK_MARKS - _HOURS).isdisjoint(_marks(wanted)) and not _HOURS.isdisjoint(_marks(wanted)):
        text, pattern = text + " 00", pattern + " %M"  # polars takes no hour without a minute
    moment = text.str.to_datetime(pattern, strict=False, time_unit="us")
    there = moment.is_not_null().to_numpy()
    zoned = "%z" in wanted or "%s" in wanted or moment.dtype.time_zone is not None  # type: ignore[attr-defined]
    return _Moments(_clipped(moment.dt.timestamp("us")), there & (not zoned), np.zeros(len(there), bool))


def _marks(wanted: str) -> set[str]:
    """The directives of a format."""
    return set(re.findall(r"%[A-Za-z]", wanted))


def polars_format(wanted: str) -> str:
    """A format of Python's ``strptime`` as polars takes it."""
    return wanted.replace("%z", "%#z").replace(",%f", "%.f").replace(".%f", "%.f")


def _clipped(us: pl.Series) -> pl.Series:
    """Times that have a place in every zone's calendar; those of no good time stay so."""
    return us.clip(-_DAY_US, TIME_LIMIT_MS * 1000 + _DAY_US)


def _numbers(number: pl.Series, form: TimeForm) -> _Moments:
    value = number.fill_null(np.nan).to_numpy()
    none = np.zeros(len(value), bool)
    with np.errstate(invalid="ignore", over="ignore"):
        if form.unit in EXCEL_1970:
            # A day of a spreadsheet is a double: to the millisecond it is exact, below it is not.
            ms = np.round((value - EXCEL_1970[form.unit]) * 86_400_000)
            none = ~np.isnan(value)
        elif form.unit:
            ms = np.floor(value / _PER_MS[form.unit] + (0.5 if form.unit == "s" else 0))
        else:
            size = np.abs(value)
            ms = np.floor(value * 1000 + 0.5)
            for unit, start in (("ms", 1.0), ("us", 1e3), ("ns", 1e6)):
                ms = np.where(size >= MILLISECONDS_FROM * start, np.floor(value / _PER_MS[unit]), ms)
        ms = np.clip(np.where(np.isnan(ms), -1, ms), -1, TIME_LIMIT_MS + 1)
    us = pl.Series(ms.astype(np.int64) * 1000)
    return _Moments(us, none, np.zeros(len(value), bool))


def _written(text: pl.Series, form: TimeForm) -> _Moments:
    """Text that is no number."""
    usual = _plain_iso(text)
    if usual is not None:
        return usual
    us, naive = _from_groups(text, _ISO, (0, 1, 2))
    undecided = np.zeros(len(text), bool)
    for pattern, order in _OTHERS:
        _fill(text, us, naive, pattern, order)
    left = (us.is_null() & text.str.contains(NUMERIC_DATE)).fill_null(value=False)
    if left.any():
        if form.day_first is None:
            undecided = left.to_numpy()
        else:
            _fill(text, us, naive, NUMERIC_DATE + _REST, _DAY_FIRST if form.day_first else _MONTH_FIRST)
    return _Moments(us, naive, undecided)


def _plain_iso(text: pl.Series) -> _Moments | None:
    """Text that is ISO 8601 to the second throughout, with a Z or without a zone; None where some is not."""
    found = _SECONDS.fullmatch(text[0] or "") if len(text) else None
    if found is None:
        return None
    moment = text.str.to_datetime(f"%Y-%m-%d{found[1]}%H:%M:%S{found[2]}", strict=False, time_unit="us")
    if moment.null_count():
        return None
    unknown = np.zeros(len(text), bool)
    return _Moments(_clipped(moment.dt.timestamp("us")), unknown | (not found[2]), unknown)


def _fill(text: pl.Series, us: pl.Series, naive: Bool, pattern: str, order: tuple[int, int, int]) -> None:
    """Read what is not read yet, in place."""
    if not us.null_count():
        return
    left = us.is_null()
    if text.null_count() == left.sum() or not (fits := left & text.str.contains(pattern).fill_null(value=False)).any():
        return
    rows = np.flatnonzero(fits.to_numpy())
    found, unzoned = _from_groups(text.gather(rows), pattern, order)
    us.scatter(rows, found)
    naive[rows] = unzoned


def _from_groups(text: pl.Series, pattern: str, order: tuple[int, int, int]) -> tuple[pl.Series, Bool]:
    """Microseconds since the epoch, null where the pattern does not fit, and which have no zone, [m] each."""
    groups = text.str.extract_groups(pattern).struct.unnest().get_columns()
    year, month, day = (groups[i] for i in order)
    hour, minute, second, fraction, half, offset = groups[3:]
    if month.str.contains(r"^\p{L}").any():
        short = month.str.to_lowercase().str.slice(0, 3)
        month = short.replace_strict(_MONTH, default=None, return_dtype=pl.Int64).cast(pl.String)
    date = (year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2)).str.to_date("%Y-%m-%d", strict=False)
    us = date.to_physical().cast(pl.Int64) * _DAY_US
    hours, good = _number(hour), None
    if half.is_not_null().any() and (half != "").any():
        afternoon, twelve = half.str.to_lowercase() == "p", half.is_not_null() & (half != "")
        good = ~twelve | hours.is_between(1, 12)
        hours = (hours % 12 + afternoon.fill_null(value=False).cast(pl.Int64) * 12).zip_with(twelve, hours)
    minutes, seconds = _number(minute), _number(second)
    inside = (hours < 24) & (minutes < 60) & (seconds < 60)
    us = us + (hours * 3600 + minutes * 60 + seconds) * 1_000_000
    if fraction.is_not_null().any():
        us = us + _number(fraction.str.pad_end(6, "0").str.slice(0, 6))
    us = us - _offset_us(offset)
    inside = inside if good is None else inside & good
    us = us.set(~inside.fill_null(value=False), None)
    return us, (offset.is_null() & us.is_not_null()).to_numpy().copy()


def _number(text: pl.Series) -> pl.Series:
    return text.cast(pl.Int64, strict=False).fill_null(0)


def _offset_us(offset: pl.Series) -> pl.Series:
    """How far a zone's clocks are ahead of UTC, [m]; 0 where none is written."""
    if not offset.str.contains(r"\d").any():
        return pl.Series([0]).new_from_index(0, len(offset))
    hours, minutes = _number(offset.str.slice(1, 2)), _number(offset.str.slice(3).str.strip_chars_start(":"))
    sign = np.where(offset.str.starts_with("-").fill_null(value=False).to_numpy(), -1, 1)
    return (hours * 60 + minutes) * pl.Series(sign) * 60_000_000


def _checked(us: pl.Series, naive: Bool, undecided: Bool) -> Times:
    known = us.is_not_null().to_numpy()
    ms = us.fill_null(0).to_numpy() // 1000
    good = known & (ms >= 0) & (ms < TIME_LIMIT_MS)
    ms = np.where(good, ms, 0)
    return Times(ms, good, naive, ms.copy(), known & (us.fill_null(0).to_numpy() >= TIME_LIMIT_MS * 1000), undecided)


def _place(times: Times, us: pl.Series, naive: Bool, zone: str) -> None:
    """Give naive times their zone, in place; without one they are not good."""
    if zone == "UTC":
        return
    if not zone:
        for array in (times.ms, times.later_ms):
            array[naive] = 0
        times.good[naive] = False
        return
    rows = np.flatnonzero(naive)
    local = _clipped(us.gather(rows)).cast(pl.Datetime("us"))
    first, second = (
        _checked(
            local.dt.replace_time_zone(zone, ambiguous=which, non_existent="null").dt.timestamp("us"),
            naive[rows],
            naive[rows],
        )
        for which in ("earliest", "latest")
    )
    times.ms[rows], times.good[rows], times.later_ms[rows] = first.ms, first.good, second.ms


def has_no_end(values: pl.Series, form: TimeForm) -> Bool:
    """Which events have no end: those with an empty one, and with a day of the year 2110 or later, [m]."""
    if values.dtype.is_numeric():
        empty = values.cast(pl.Float64).fill_null(np.nan).is_nan().to_numpy()
    elif values.dtype == pl.String:
        text = values.fill_null("").str.strip_chars().str.to_lowercase()
        empty = text.is_in(MISSING).to_numpy()
    else:
        empty = values.is_null().to_numpy()
    far = parse_times(values, form).far
    return empty | far if not values.dtype.is_numeric() or form.format else empty


def is_day(values: pl.Series, form: TimeForm = USUAL) -> Bool:
    """Which times are a day without a time of the day, [m]."""
    if values.dtype == pl.Date:
        return values.is_not_null().to_numpy()
    if form.format:
        return np.asarray(values.is_not_null().to_numpy() & _CLOCK_MARKS.isdisjoint(_marks(form.format)))
    if form.unit in EXCEL_1970:
        number = values.cast(pl.String).str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        whole = number.drop_nulls() == number.drop_nulls().round()
        return np.asarray(number.is_not_null().to_numpy() & bool(whole.all()))
    if values.dtype != pl.String:
        return np.zeros(len(values), bool)
    text = values.str.strip_chars()
    written = text.is_not_null() & ~text.str.contains(":", literal=True) & text.str.contains(r"\d[-/. ]|[-/. ]\d")
    number = text.cast(pl.Float64, strict=False).is_not_null()
    return (written & ~number & ~text.str.contains(r"^\d{8}[Tt ]")).fill_null(value=False).to_numpy()
