"""Which part of a device an event is of, where the log does not name it but its times show it.

Where each part of a device reports at instants of its own and the fault log is written by what watches the samples, an
event begins and ends with a sample of the part that it is of. The PHM Society's data of 2015 are so (decision 0010).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rarefault.runtime.arrays import Int32, Int64
from rarefault.train.history.data import NO_UNIT, History

#: An event and a sample this near to each other belong together, milliseconds.
TOLERANCE_MS = 1000


def with_units(history: History, units: Sequence[str]) -> History:
    """The history with the unit of each event whose start and end both fall on samples of one unit alone.

    Args:
        history: any.
        units: names; a unit's channels begin with its name and a full stop.
    """
    events = history.events
    found = np.full(len(events), NO_UNIT, np.int32)
    for slot in np.unique(events.device):
        own = np.flatnonzero(events.device == slot)
        samples = history.device == slot
        times = []
        for name in units:
            channels = [i for i, channel in enumerate(history.channels) if channel.startswith(f"{name}.")]
            reported = samples.copy()
            reported[samples] = np.isfinite(history.values[np.ix_(samples, channels)]).any(axis=1)
            times.append(history.time_ms[reported])
        found[own] = units_of(events.start_ms[own], events.end_ms[own], times)
    return replace(history, events=replace(events, unit=found), units=tuple(units))


def units_of(start_ms: Int64, end_ms: Int64, sample_ms: Sequence[Int64]) -> Int32:
    """Number of the unit that each interval is of, -1 where that is none or several, [V].

    Args:
        start_ms, end_ms: of the intervals, [V].
        sample_ms: times of each unit's samples, sorted.
    """
    fits = np.array([_near(start_ms, times) & _near(end_ms, times) for times in sample_ms])
    if not len(fits):
        return np.full(len(start_ms), NO_UNIT, np.int32)
    return np.where(fits.sum(axis=0) == 1, fits.argmax(axis=0), NO_UNIT).astype(np.int32)


def _near(time_ms: Int64, sample_ms: Int64) -> np.ndarray:
    """Which times are near a sample, [V]."""
    first = np.searchsorted(sample_ms, time_ms - TOLERANCE_MS, "left")
    return first < np.searchsorted(sample_ms, time_ms + TOLERANCE_MS, "right")
