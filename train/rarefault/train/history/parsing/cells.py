"""Columns to numbers, times and names, all rows at once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Float64, Int32, Int64
from rarefault.runtime.telemetry.values import WORDS
from rarefault.runtime.times import MILLISECONDS_FROM, TIME_LIMIT_MS

#: What programs write for an empty cell, in any case.
EMPTY = frozenset({"", "nan", "nat", "na", "n/a", "<na>", "null", "-"})
#: Text that stands for "no value", in any case; as a label "none" means no fault.
MISSING = ("none", *EMPTY)

#: A larger value would become infinite as a float32, which is what the model sees.
LARGEST = float(np.finfo(np.float32).max)
#: Microseconds in a unit of a date-time, as a fraction.
_MICROSECONDS = {"d": (86_400_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}
_DAY_US = 86_400_000_000

_DAY = r"^\d{4}-\d\d-\d\d$"
_ISO = r"^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?)?\s*([Zz]|[+-]\d\d(?::?\d\d)?)?$"


@dataclass(slots=True)
class Times:
    """A column of times (m rows).

    Attributes:
        ms: milliseconds since the epoch, [m]; 0 where not good.
        good: whether it is a time between 1970 and 2109, [m].
        naive: whether it has no zone of its own, [m].
        ambiguous: whether the clocks were set back over it, so that it occurred twice, [m].
    """

    ms: Int64
    good: Bool
    naive: Bool
    ambiguous: Bool


def parse_times(values: pl.Series, zone: str) -> Times:
    """ISO 8601 text, epoch seconds or milliseconds, or date-times.

    Args:
        values: text, numbers or date-times, [m].
        zone: where times without an offset are from; with "" those are not good.
    """
    if values.dtype.is_numeric():
        return _from_numbers(values.cast(pl.Float64))
    if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
        us = _microseconds(values)  # of a date-time with a zone, in UTC
        if getattr(values.dtype, "time_zone", None) is None:
            return _from_naive(us.cast(pl.Datetime("us")), values.is_not_null().to_numpy(), zone)
        return _checked(us, np.zeros(len(values), bool), np.zeros(len(values), bool))
    text = values.cast(pl.String).str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    times = _from_numbers(number)
    if number.null_count():
        iso = _from_iso(text, zone)
        is_number = number.is_not_null().to_numpy()
        for name in ("ms", "good", "naive", "ambiguous"):
            setattr(times, name, np.where(is_number, getattr(times, name), getattr(iso, name)))
    return times


def _microseconds(values: pl.Series) -> pl.Series:
    """Dates or date-times as microseconds since the epoch, [m]; what is far outside of all good times stays outside."""
    up, down = _MICROSECONDS[getattr(values.dtype, "time_unit", None) or "d"]
    count = values.to_physical().cast(pl.Int64)
    return count.clip(-_DAY_US * down // up, (TIME_LIMIT_MS * 1000 + _DAY_US) * down // up) * up // down


def _from_numbers(number: pl.Series) -> Times:
    value = number.fill_null(np.nan).to_numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        ms = np.floor(np.where(np.abs(value) >= MILLISECONDS_FROM, value, value * 1000 + 0.5))
        good = (ms >= 0) & (ms < TIME_LIMIT_MS)
    none = np.zeros(len(value), bool)
    return Times(np.where(good, ms, 0).astype(np.int64), good, none, none)


def _from_iso(text: pl.Series, zone: str) -> Times:
    day, minute, second, offset = text.str.extract_groups(_ISO).struct.unnest().get_columns()
    clock = day + "T" + minute.fill_null("00:00") + second.fill_null(":00")
    moment = clock.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    naive = (offset.is_null() & moment.is_not_null()).to_numpy()
    hours = offset.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = offset.str.slice(3).str.strip_chars_start(":").cast(pl.Int64, strict=False).fill_null(0)
    sign = np.where(offset.str.starts_with("-").fill_null(value=False).to_numpy(), -1, 1)
    shift_us = sign * (hours * 60 + minutes).to_numpy() * 60_000_000
    times = _checked(moment.dt.timestamp("us") - pl.Series(shift_us), naive, np.zeros(len(text), bool))
    if naive.any():
        local = _from_naive(moment, naive, zone)
        for name in ("ms", "good", "ambiguous"):
            setattr(times, name, np.where(naive, getattr(local, name), getattr(times, name)))
    return times


def _from_naive(moment: pl.Series, naive: Bool, zone: str) -> Times:
    if not zone:
        return Times(np.zeros(len(moment), np.int64), np.zeros(len(moment), bool), naive, np.zeros(len(moment), bool))
    if zone == "UTC":
        return _checked(moment.dt.timestamp("us"), naive, np.zeros(len(moment), bool))
    first, second = (
        moment.dt.replace_time_zone(zone, ambiguous=which, non_existent="null").dt.timestamp("us")
        for which in ("earliest", "latest")
    )
    return _checked(first, naive, (first != second).fill_null(value=False).to_numpy() & naive)


def _checked(us: pl.Series, naive: Bool, ambiguous: Bool) -> Times:
    known = us.is_not_null().to_numpy()
    ms = us.fill_null(0).to_numpy() // 1000
    good = known & (ms >= 0) & (ms < TIME_LIMIT_MS)
    return Times(np.where(good, ms, 0), good, naive, ambiguous)


def beyond_float32(value: Float64) -> Bool:
    """Which finite values would become infinite as a float32."""
    return np.abs(value) > LARGEST  # NaN is not


def has_no_end(values: pl.Series) -> Bool:
    """Which events have no end: those with an empty one, and with a day of the year 2110 or later, [m]."""
    if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
        return (_microseconds(values) >= TIME_LIMIT_MS * 1000).fill_null(value=True).to_numpy()
    if values.dtype.is_numeric():
        return values.cast(pl.Float64).fill_null(np.nan).is_nan().to_numpy()
    text = values.cast(pl.String).fill_null("").str.strip_chars()
    empty = text.str.to_lowercase().is_in(MISSING)
    return (empty | text.str.contains(r"^(2[1-9][1-9]\d|2[2-9]\d\d|[3-9]\d\d\d)-\d\d-\d\d")).to_numpy()


def is_day(values: pl.Series) -> Bool:
    """Which times are a day without a time of the day, [m]."""
    if values.dtype == pl.Date:
        return values.is_not_null().to_numpy()
    if values.dtype != pl.String:
        return np.zeros(len(values), bool)
    return values.str.strip_chars().str.contains(_DAY).fill_null(value=False).to_numpy()


def next_day(values: pl.Series) -> pl.Series:
    """Days as the days after them, in the same form; null where there is none."""
    days = values if values.dtype == pl.Date else values.str.strip_chars().str.to_date("%Y-%m-%d", strict=False)
    later = (days.to_physical().cast(pl.Int32) + 1).cast(pl.Date)
    return later if values.dtype == pl.Date else later.dt.strftime("%Y-%m-%d")


def parse_numbers(values: pl.Series, states: Mapping[str, float] | None = None) -> tuple[Float64, Bool]:
    """Values (NaN where there is none), [m], and the cells that hold something else than a finite number, [m].

    Booleans, and the words true, false, on and off, are 1 and 0.

    Args:
        values: text, numbers or Booleans, [m].
        states: number of each word that the channel may have, in place of these words; see
            :func:`rarefault.runtime.telemetry.values.number_of`, which reads live values by the same rule.
    """
    if states is not None and values.dtype == pl.Boolean:
        values = values.cast(pl.String)
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        number = values.cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
        bad = np.isinf(number)
    else:
        text = values.cast(pl.String).str.strip_chars()
        parsed = text.cast(pl.Float64, strict=False)
        if states is not None:
            parsed = text.replace_strict(dict(states), default=None, return_dtype=pl.Float64).fill_null(parsed)
        elif parsed.null_count() > text.null_count():
            words = text.str.to_lowercase().replace_strict(dict(WORDS), default=None, return_dtype=pl.Float64)
            parsed = parsed.fill_null(words)
        number = parsed.fill_null(np.nan).to_numpy().copy()
        missing = text.is_null() | text.str.to_lowercase().is_in(MISSING)
        bad = (parsed.is_null() & ~missing).to_numpy() | np.isinf(number)
    number[~np.isfinite(number)] = np.nan  # one bit pattern for all that is missing
    return number, bad


class Names:
    """Names met so far, numbered in the order of their first appearance."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}

    def codes(self, values: pl.Series) -> Int32:
        """The number of each name (text, [m]), [m]."""
        text = values.cast(pl.String).fill_null("").str.strip_chars()
        met = text.unique(maintain_order=True).to_list()
        for name in met:
            self.code(name)
        codes = text.replace_strict(met, [self._code[name] for name in met], return_dtype=pl.Int32)
        return codes.to_numpy().astype(np.int32)

    def code(self, name: str) -> int:
        """The number of one name, new or known."""
        return self._code.setdefault(name, len(self._code))

    def __contains__(self, name: str) -> bool:
        return name in self._code

    def __len__(self) -> int:
        return len(self._code)

    def list(self) -> list[str]:
        """All names, by number."""
        return list(self._code)
