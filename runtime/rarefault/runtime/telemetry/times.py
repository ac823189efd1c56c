"""Times in messages: text or numbers, with the unit, the zone and the format that the mapping names."""

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

from rarefault.runtime.telemetry.reasons import quote
from rarefault.runtime.times import TIME_LIMIT_MS

Unit = Literal["s", "ms", "us", "ns"]

#: Milliseconds in each unit.
_MS: dict[str, float] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
#: From the first number on, a number without a unit counts this: 1e11 s is the year 5138, 1e11 ms is 1973.
_BY_SIZE: tuple[tuple[float, Unit], ...] = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (0.0, "s"))
#: Digits before the point of a number in text that is a time since 2001, in s, ms, us and ns.
_DIGITS = {10, 13, 16, 19}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"([0-9]+)(?:\.[0-9]+)?(?:[eE]\+?[0-9]+)?", re.ASCII)
_ZONE_WORD = re.compile(r"\s*(?:UTC|GMT|Z)$", re.IGNORECASE | re.ASCII)


class TimeReader:
    """Reads times.

    Args:
        unit: of numbers; by their size where it is None.
        zone: IANA name of the zone that text without an offset is in; such text is refused where it is empty.
        format: of text, as for ``strptime``; ISO 8601 where it is empty.
    """

    def __init__(self, unit: Unit | None = None, zone: str = "", format: str = "") -> None:  # noqa: A002
        self._unit = unit
        self._zone: ZoneInfo | None = ZoneInfo(zone) if zone else None
        self._format = format
        self._is_iso = not format

    def read(self, value: Any, arrived_ms: int) -> int:
        """Milliseconds since the epoch.

        >>> reader = TimeReader(zone="Europe/Berlin")
        >>> now = 1767323044000
        >>> [reader.read(time, now) - now for time in ("2026-01-02T04:04:04", "1767323044", 1767323044000000)]
        [0, 0, 0]

        Args:
            value: as the message has it.
            arrived_ms: when it arrived; of two times that a local one may be, as clocks are set back, the nearer one
                counts.

        Raises:
            ValueError: it is no time, can be read in two ways, or is outside of 1970 to 2109.
        """
        kind = type(value)
        if kind is str:
            try:
                # Most have this form. What has no offset raises at the difference.
                ms = (datetime.fromisoformat(value) - _EPOCH) // _MILLISECOND if self._is_iso else None
            except (ValueError, TypeError):
                ms = None
            if ms is None:
                ms = self._text(value, arrived_ms)
        elif kind is int and self._format:
            ms = self._text(str(value), arrived_ms) if value.bit_length() < 64 else -1
        elif kind is int or kind is float:
            ms = self._number(value)
        else:
            raise ValueError(f"{quote(value)} is no time")
        if not 0 <= ms < TIME_LIMIT_MS:
            raise ValueError(f"{quote(value)} is outside of 1970 to 2109")
        return ms

    def _number(self, value: float) -> int:
        unit: str | None = self._unit
        if unit is None:
            if 1e12 <= value < 1e13:
                return math.floor(value)
            if 1e9 <= value < 1e10:
                return math.floor(value * 1000 + 0.5)
            if not -1e20 < value < 1e20:  # also what is not finite
                raise ValueError(f"{quote(value)} is no time")
            if reads_as_date(value):
                raise ValueError(
                    f"{value!r} may be a date and may be a number since 1970: name telemetry.time_unit or time_format"
                )
            unit = next((unit for size, unit in _BY_SIZE if abs(value) >= size), "s")
        if not -1e20 < value < 1e20:
            raise ValueError(f"{quote(value)} is no time")
        if isinstance(value, int) and unit in {"us", "ns"}:
            return value // (1000 if unit == "us" else 1_000_000)
        return math.floor(value * 1000 + 0.5) if unit == "s" else math.floor(value * _MS[unit or "s"])

    def _text(self, text: str, arrived_ms: int) -> int:
        text = text.strip()
        if len(text) > 64:
            raise ValueError(f"{quote(text)} is no time")
        if self._format:
            return self._local(_strptime(text, self._format), text, arrived_ms)
        if (number := _NUMBER.fullmatch(text)) is not None:
            if self._unit is None and len(number[1]) not in _DIGITS:
                raise ValueError(
                    f"{quote(text)} may be a date and may be a number since 1970: name telemetry.time_unit or "
                    "time_format"
                )
            return self._number(int(text) if text.isdecimal() else float(text))
        return self._local(_iso(text), text, arrived_ms)

    def _local(self, moment: datetime, text: str, arrived_ms: int) -> int:
        """A moment that may have no offset."""
        if moment.tzinfo is not None:
            return (moment - _EPOCH) // _MILLISECOND
        if self._zone is None:
            raise ValueError(f'{quote(text)} has no time zone; name it as telemetry.time_zone, such as "Europe/Berlin"')
        earlier, later = ((moment.replace(tzinfo=self._zone, fold=fold) - _EPOCH) // _MILLISECOND for fold in (0, 1))
        return min(earlier, later, key=lambda ms: abs(ms - arrived_ms))


def reads_as_date(value: float) -> bool:
    """Whether the digits of a number are a date or a date and a clock, such as 20240301 or 202403010010."""
    text = str(int(value)) if value == int(value) else ""
    if len(text) not in {8, 12, 14}:
        return False
    try:
        moment = datetime.strptime(text.ljust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - only whether there is one
    except ValueError:
        return False
    return 1970 <= moment.year <= 2109


@lru_cache(maxsize=256)
def _strptime(text: str, format: str) -> datetime:  # noqa: A002 - as in datetime
    try:
        return datetime.strptime(text, format)  # noqa: DTZ007 - the zone follows
    except ValueError:
        raise ValueError(f"{quote(text)} does not fit telemetry.time_format {format!r}") from None


def _iso(text: str) -> datetime:
    """ISO 8601 with a small ``t`` or ``z``, or a word for UTC behind it."""
    written, found = _ZONE_WORD.subn("+00:00", text)
    try:
        moment = datetime.fromisoformat(written.upper())
    except ValueError:
        raise ValueError(f"{quote(text)} is no ISO 8601 time; name its telemetry.time_format") from None
    if not found and len(text) < 11:
        raise ValueError(f"{quote(text)} is a day without a time")
    return moment
