"""What a search for a shift of the log found, as ``describe --json`` and ``metrics.json`` have it."""

from typing import Literal

import msgspec

#: ``zone``: a whole number of quarter hours, as between time zones; ``clock``: some other time; ``none``: nothing.
ShiftKind = Literal["zone", "clock", "none"]


class ShiftCurve(msgspec.Struct, kw_only=True):
    """How well the log fits at each shift that was tried (L of them)."""

    shift_s: list[float]
    """Added to all events, seconds, ascending, [L]."""
    fit: list[float]
    """How sharply the channels change at the shifted borders, as a share of the best, [L]."""
    noise: float
    """What the fit reaches at times that have nothing to do with the events."""


class LogShift(msgspec.Struct, kw_only=True):
    """Result of a search."""

    kind: ShiftKind
    text: str
    """The finding with its mend, or why there is none."""
    offset_s: float = 0.0
    """To be added to the log's times."""
    low_s: float = 0.0
    """Least offset that fits nearly as well."""
    high_s: float = 0.0
    """Largest offset that fits nearly as well."""
    events: int = 0
    """Events that were looked at."""
    curve: ShiftCurve | None = None
    """None where the history allows no search."""
