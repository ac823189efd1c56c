"""Times as they come: ISO 8601 and epoch numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarefault.runtime.times import TIME_LIMIT_MS, format_ms, parse_time_ms


@pytest.mark.parametrize(
    "value",
    [
        "2011-03-01T12:00:03Z",
        "2011-03-01T13:00:03+01:00",
        "2011-03-01 12:00:03.000+00:00",
        1298980803,
        1298980803.0,
        1298980803000,
    ],
)
def test_one_moment_in_many_forms(value: str | float) -> None:
    """ISO text with any zone, epoch seconds and epoch milliseconds all mean the same moment."""
    assert parse_time_ms(value) == 1298980803000


@pytest.mark.parametrize(
    "value", ["yesterday", "2011-03-01T12:00:03", math.nan, math.inf, -5, "1950-01-01T00:00:00Z", 1e300, True, ""]
)
def test_what_is_no_time_is_refused(value: str | float) -> None:
    """Text that is no time, naive times, and times outside the range are errors."""
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own sentence
        parse_time_ms(value)


@given(st.integers(0, TIME_LIMIT_MS - 1))
def test_format_and_parse_are_inverse(ms: int) -> None:
    """Every representable time survives the way out and back."""
    assert parse_time_ms(format_ms(ms)) == ms
