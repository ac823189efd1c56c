"""Stretches of a device's time, ``[start, end)``, and what was there; each is written as an event."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rarefault.runtime.times import TIME_LIMIT_MS, format_ms

#: End of what is open-ended.
FOREVER_MS = TIME_LIMIT_MS - 1

# Where a row of the labels is from.
LOG, FEEDBACK, BOTH = "log", "feedback", "log and feedback"
UNANSWERED, NO_STATE, OUTSIDE = "unanswered", "no alarm state", "outside the labelled time"


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch of a device's time and what was there: a fault, ``normal``, or ``unlabelled``; and at which unit."""

    device: str
    start_ms: int
    end_ms: int
    fault: str
    source: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Samples of a device: how many, the first, the last."""

    samples: int
    first_ms: int
    last_ms: int


def clip(row: Row, low_ms: int, high_ms: int) -> Row | None:
    """The part of a row in ``[low_ms, high_ms)``; None where there is none."""
    if row.start_ms >= high_ms or row.end_ms < low_ms:
        return None
    # The instant of the last sample is the end of what reaches to it.
    end_ms = row.end_ms if row.end_ms < high_ms else high_ms - 1
    return replace(row, start_ms=max(row.start_ms, low_ms), end_ms=max(end_ms, row.start_ms, low_ms))


def overlay(rows: Iterable[Row]) -> list[Row]:
    """The rows without overlaps, in order of time: a later one covers earlier ones."""
    visible: list[Row] = []
    for row in rows:
        visible = [piece for under in visible for piece in cut(under, [row])]
        visible.append(row)
    return sorted(visible, key=lambda row: row.start_ms)


def cut(row: Row, holes: Sequence[Row]) -> list[Row]:
    """What is left of a row outside the holes."""
    pieces = [row]
    for hole in holes:
        left: list[Row] = []
        for piece in pieces:
            if not meet(piece, hole):
                left.append(piece)
                continue
            if piece.start_ms < hole.start_ms:
                left.append(replace(piece, end_ms=hole.start_ms))
            if hole.end_ms < piece.end_ms:
                left.append(replace(piece, start_ms=hole.end_ms))
        pieces = left
    return pieces


def meet(a: Row, b: Row) -> bool:
    """Whether two rows share some time; one of no length is an instant."""
    return a.start_ms < max(b.end_ms, b.start_ms + 1) and b.start_ms < max(a.end_ms, a.start_ms + 1)


def describe_time(start_ms: int, end_ms: int) -> str:
    """Such as ``2024-01-01 00:10 to 2024-01-01 03:00``, UTC."""
    return " to ".join(format_ms(ms)[:16].replace("T", " ") for ms in (start_ms, end_ms))
