"""Tasks for other processes, which import little."""

from rarefault.runtime.errors import HistoryError


def square(number: int) -> int:
    """The number's square; two has none."""
    if number == 2:
        raise HistoryError("number two has no fault")
    return number * number
