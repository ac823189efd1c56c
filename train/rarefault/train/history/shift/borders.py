"""The borders of a log's events, in groups of events that ought to look alike."""

from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.train.history.data import Events

#: Fewest events of a group; what a single event happens to coincide with must not decide.
FEWEST_ALIKE = 4
#: Events of a group that are looked at, drawn at random where it has more.
MOST_ALIKE = 200
#: Events that are looked at in all.
MOST_EVENTS = 900
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Borders:
    """Starts and ends of events (b borders of e events in g groups), in the order of their groups.

    Attributes:
        device: slot, [b].
        time_ms: as logged, milliseconds since the epoch, [b].
        sign: 1 for a start, -1 for an end, [b].
        lasts_ms: of the border's event, milliseconds, [b].
        first: position of each group's first border, [g].
        cluster: number of the device's day that the event begins on, [b]; what happened on one day is no independent
            evidence.
        events: e.
    """

    device: Int64
    time_ms: Int64
    sign: Float64
    lasts_ms: Int64
    first: Int64
    cluster: Int64
    events: int

    @property
    def sizes(self) -> Int64:
        """Borders of each group, [g]."""
        return np.diff(np.append(self.first, len(self.device)))


def borders_of(events: Events, spans_ms: dict[int, tuple[int, int]], rng: np.random.Generator) -> Borders | None:
    """The borders that lie within the samples; None where no group has enough of them.

    A group is the events of one fault at one unit of one device; where these are too few, those of all devices, or of
    all units.

    Args:
        events: the log.
        spans_ms: first and last sample of the devices that are looked at.
        rng: draws events where there are many.
    """
    table = _joined(events, spans_ms)
    table = table[_inside(table, spans_ms)]
    left, groups = table, []
    for keys in ((0, 3, 4), (3, 4), (3,)):
        if not len(left):
            break
        _, number, count = np.unique(left[:, keys], axis=0, return_inverse=True, return_counts=True)
        number = number.reshape(-1)
        groups += [left[number == group] for group in np.flatnonzero(count >= FEWEST_ALIKE).tolist()]
        left = left[count[number] < FEWEST_ALIKE]
    if not groups:
        return None
    most = _most([len(one) for one in groups])
    groups = [one if len(one) <= most else one[np.sort(rng.permutation(len(one))[:most])] for one in groups]
    return _borders(groups, spans_ms)


def _most(sizes: list[int]) -> int:
    """Events that each group may have, so that there are not too many in all."""
    most = MOST_ALIKE
    while most > FEWEST_ALIKE and sum(min(size, most) for size in sizes) > MOST_EVENTS:
        most = most * 3 // 4
    return max(most, FEWEST_ALIKE)


def _joined(events: Events, spans_ms: dict[int, tuple[int, int]]) -> Int64:
    """Device, start, end, fault and unit of the events; those of one fault that touch are one, [e, 5]."""
    columns = (events.device, events.start_ms, events.end_ms, events.fault, events.unit)
    table = np.stack(columns, axis=1).astype(np.int64)[np.isin(events.device, list(spans_ms))]
    table = table[np.lexsort((table[:, 1], table[:, 4], table[:, 3], table[:, 0]))]
    rows: list[list[int]] = []
    for row in table.tolist():
        last = rows[-1] if rows else None
        if last and last[0] == row[0] and last[3:] == row[3:] and row[1] <= last[2]:
            last[2] = max(last[2], row[2])
        else:
            rows.append(row)
    return np.array(rows, np.int64).reshape(-1, 5)


def _inside(table: Int64, spans_ms: dict[int, tuple[int, int]]) -> np.ndarray:
    """Events that begin or end within the samples of their device, [e]."""
    low, high = np.array([spans_ms[slot] for slot in table[:, 0].tolist()], np.int64).reshape(-1, 2).T
    start, end = table[:, 1], table[:, 2]
    return ((start > low) & (start < high)) | ((end > low) & (end < high))


def _borders(groups: list[Int64], spans_ms: dict[int, tuple[int, int]]) -> Borders | None:
    pieces = []
    for number, table in enumerate(groups):
        for column, sign in ((1, 1), (2, -1)):
            own = np.full((len(table), 1), number)
            lasts = table[:, [2]] - table[:, [1]]
            day = table[:, [1]] // _DAY_MS
            pieces.append(np.hstack([own, table[:, [0, column]], np.full_like(own, sign), day, lasts]))
    rows = np.concatenate(pieces)
    low, high = np.array([spans_ms[slot] for slot in rows[:, 1].tolist()], np.int64).T
    # The end of the samples is no end of an event.
    rows = rows[(rows[:, 2] > low) & (rows[:, 2] < high)]
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    if not len(rows):
        return None
    first = np.flatnonzero(np.append(True, np.diff(rows[:, 0]) > 0))
    _, cluster = np.unique(rows[:, [1, 4]], axis=0, return_inverse=True)
    events = sum(map(len, groups))
    return Borders(
        rows[:, 1], rows[:, 2], rows[:, 3].astype(np.float64), rows[:, 5], first, cluster.reshape(-1), events
    )
