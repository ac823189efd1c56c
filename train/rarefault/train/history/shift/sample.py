"""The part of a history that a search looks at, so that its cost is bounded."""

from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.train.history.data import Events, History
from rarefault.train.history.shift.channel_sets import DAY_MS, ChannelSet, channel_sets_of

#: Devices and channels that are looked at, and values of all of them.
MOST_DEVICES, MOST_CHANNELS, MOST_VALUES = 16, 48, 12_000_000
#: A shorter history has no times to compare with that are far from its events.
SHORTEST_MS = 5 * DAY_MS


@dataclass(frozen=True, eq=False)
class Sampled:
    """Streams of some devices.

    Attributes:
        channel_sets: by slot.
        spans_ms: first and last sample, by slot.
        period_ms: median time between two samples of a channel set.
    """

    channel_sets: dict[int, list[ChannelSet]]
    spans_ms: dict[int, tuple[int, int]]
    period_ms: float


def sample(history: History, rng: np.random.Generator) -> Sampled | None:
    """The devices with most events; None where none of them lasts long enough.

    Args:
        history: any.
        rng: draws channels where there are many.
    """
    count = np.bincount(history.events.device, minlength=len(history.devices))
    columns = np.arange(len(history.channels))
    if len(columns) > MOST_CHANNELS:
        columns = np.sort(rng.permutation(columns)[:MOST_CHANNELS])
    channel_sets: dict[int, list[ChannelSet]] = {}
    spans: dict[int, tuple[int, int]] = {}
    room = MOST_VALUES // max(len(columns), 1)
    for slot in np.argsort(-count, kind="stable")[:MOST_DEVICES].tolist():
        rows = np.flatnonzero(history.device == slot) if count[slot] else np.empty(0, np.int64)
        rows = rows[_busiest(history.time_ms[rows], history.events, slot, room)]
        if len(rows) < 2 or history.time_ms[rows[-1]] - history.time_ms[rows[0]] < SHORTEST_MS:
            continue
        own = list(channel_sets_of(history, rows, columns))
        if own:
            channel_sets[slot] = own
            spans[slot] = (int(history.time_ms[rows[0]]), int(history.time_ms[rows[-1]]))
            room -= len(rows)
    if not channel_sets:
        return None
    periods = [channel_set.period_ms for own in channel_sets.values() for channel_set in own]
    return Sampled(channel_sets, spans, float(np.median(periods)))


def _busiest(time_ms: Int64, events: Events, slot: int, room: int) -> slice:
    """The ``room`` samples in a row during which most events begin."""
    n = len(time_ms)
    if n <= room:
        return slice(0, n)
    begins = np.searchsorted(time_ms, np.sort(events.start_ms[events.device == slot]))
    first = np.clip(begins - 1, 0, n - room)
    held = np.searchsorted(begins, first + room) - np.searchsorted(begins, first)
    start = int(first[held.argmax()]) if room > 0 else 0
    return slice(start, start + max(room, 0))
