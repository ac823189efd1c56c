"""Which classes a window can be of: class-conditional conformal prediction, by event.

A class is plausible where its posterior is at least its level. The level is the largest at which, of the windows of a
new event of the class, a stated share (the coverage) is expected to have it plausible. Windows of one event are no
independent witnesses: each held-out event counts as one, however long it is, and so does the new one
(Dunn, Wasserman and Ramdas, "Distribution-free prediction sets for two-layer hierarchical models", 2023, section 3.1,
pooled distribution functions; class by class as in Vovk, Gammerman and Shafer, "Algorithmic learning in a random
world", 2005, section 4.5). The new event's own share of the distribution is taken half (mid-p): taken whole, the
coverage would be reached for certain and exceeded by half of that share on average.

Where a class has too few events for the coverage, it abstains: it is plausible always.
"""

import math

import msgspec
import numpy as np

from rarefault.runtime.grid import Bool, Float64, Int64


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How often the true class was plausible, for one class."""

    level: float
    """Least posterior at which the class is plausible; 0 where it always is, as too few events were seen."""
    windows: int
    events: int
    """Runs of windows with one label, of one device without a gap."""
    by_window: float | None
    """Share of the windows in which the class was plausible."""
    by_event: float | None
    """Mean over the events of that share; this is what the coverage is stated of."""


def least_events(coverage: float) -> int:
    """Events that a class needs for a level of its own.

    With fewer, the share that no witness speaks for is larger than what may be missed.
    """
    return math.ceil(1 / (1 - coverage) - 1e-9) - 1


def event_of(device: Int64, fresh: Bool, label: Int64) -> Int64:
    """Number of the event that each window belongs to: a run of one label, [W].

    Args:
        device: slots, sorted, [W].
        fresh: whether the window is the first after a gap, [W].
        label: classes, [W].
    """
    new = (np.diff(device, prepend=-1) != 0) | (np.diff(label, prepend=-2) != 0) | fresh
    return np.cumsum(new)


def fit_levels(posterior: Float64, label: Int64, event: Int64, coverage: float) -> tuple[Float64, Int64]:
    """The level of each class [K], 0 where it has too few events, and the number of its events [K].

    Args:
        posterior: calibrated, of held-out windows, [W, K].
        label: -1 where nobody knows it, [W].
        event: see :func:`event_of`, [W].
        coverage: between 0 and 1.
    """
    k = posterior.shape[1]
    levels, events = np.zeros(k), np.zeros(k, np.int64)
    for c in range(k):
        mine = np.flatnonzero(label == c)
        _, number, size = np.unique(event[mine], return_inverse=True, return_counts=True)
        events[c] = len(size)
        if len(size) < least_events(coverage):
            continue
        order = np.argsort(posterior[mine, c], kind="stable")
        below = (0.5 + np.cumsum(1 / size[number[order]])) / (len(size) + 1)
        # The first window that may not be missed any more.
        levels[c] = posterior[mine[order[np.searchsorted(below, 1 - coverage, side="right")]], c]
    return levels, events


def coverages(
    posterior: Float64, label: Int64, event: Int64, levels: Float64, classes: tuple[str, ...]
) -> dict[str, Coverage]:
    """What the levels reach, by class.

    Args:
        posterior: calibrated, [W, K].
        label: [W].
        event: see :func:`event_of`, [W].
        levels: [K].
        classes: names, [K].
    """
    found = {}
    for c, name in enumerate(classes):
        mine = np.flatnonzero(label == c)
        hit = posterior[mine, c] >= levels[c]
        _, number, size = np.unique(event[mine], return_inverse=True, return_counts=True)
        found[name] = Coverage(
            level=float(levels[c]),
            windows=len(mine),
            events=len(size),
            by_window=float(hit.mean()) if len(mine) else None,
            by_event=float((np.bincount(number, hit) / size).mean()) if len(mine) else None,
        )
    return found
