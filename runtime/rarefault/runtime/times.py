"""Points in time: outside ISO 8601 text or epoch numbers, inside int64 milliseconds since the epoch, UTC."""

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache

#: From here on a number counts milliseconds, below it seconds (1e11 s is the year 5138, 1e11 ms is 1973).
MILLISECONDS_FROM = 1e11

#: Times are kept below 2**42 ms (the year 2109), so that the grid can order (device, time) in one int64.
TIME_LIMIT_MS = 1 << 42

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def parse_time_ms(value: str | float) -> int:
    """Milliseconds since the epoch of an ISO 8601 text with a time zone, or of epoch seconds or milliseconds.

    >>> parse_time_ms("2024-03-01T12:00:00+01:00"), parse_time_ms(1709290800), parse_time_ms(1709290800000)
    (1709290800000, 1709290800000, 1709290800000)
    >>> parse_time_ms("2024-03-01T12:00:00")
    Traceback (most recent call last):
    ValueError: time '2024-03-01T12:00:00' has no time zone; write it like 2011-03-01T12:00:03Z

    Args:
        value: a number from 1e11 on counts milliseconds, a smaller one seconds.

    Returns:
        Whole milliseconds, UTC.

    Raises:
        ValueError: not a time, no time zone, or outside 1970 to 2109.
    """
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError(f"time {value!r} has no time zone; write it like 2011-03-01T12:00:03Z")
        ms = (moment - _EPOCH) // _MILLISECOND
    elif isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a time")
    else:
        ms = math.floor(value if abs(value) >= MILLISECONDS_FROM else value * 1000 + 0.5)
    if not 0 <= ms < TIME_LIMIT_MS:
        raise ValueError(f"time {value!r} is outside 1970 to 2109")
    return ms


def format_ms(time_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds.

    >>> format_ms(1709290800000)
    '2024-03-01T11:00:00.000Z'
    """
    second, millisecond = divmod(int(time_ms), 1000)
    return f"{_second(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    # Devices of a fleet share their bins, so that the same few seconds recur.
    return f"{_EPOCH + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S}"
