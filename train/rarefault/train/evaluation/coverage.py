"""Coverage: how often the prediction set holds the true class, by window and by event."""

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int64


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How often the prediction set contained the true class, for one class."""

    level: float
    """Conformal threshold of the class: the least posterior with which it is in the set. 0 if it always is, because too
    few events were seen."""
    windows: int
    """Windows with this label."""
    events: int
    """Runs of windows with this label, of one device and without a gap."""
    by_window: float | None
    """Share of the windows whose set contained the class."""
    by_event: float | None
    """Mean over the events of that share. This is what the coverage is about."""


def coverages(
    posterior: Float64, label: Int64, event: Int64, thresholds: Float64, classes: tuple[str, ...]
) -> dict[str, Coverage]:
    """What the thresholds reach, by class.

    Args:
        posterior: calibrated, [W, K].
        label: [W].
        event: see :func:`rarefault.train.dataset.label_runs.event_of`, [W].
        thresholds: [K].
        classes: names, [K].
    """
    found = {}
    for c, name in enumerate(classes):
        mine = np.flatnonzero(label == c)
        hit = posterior[mine, c] >= thresholds[c]
        events = len(np.unique(event[mine]))
        found[name] = Coverage(
            level=float(thresholds[c]),
            windows=len(mine),
            events=events,
            by_window=float(hit.mean()) if len(mine) else None,
            by_event=mean_by_event(hit, event[mine]) if len(mine) else None,
        )
    return found


def mean_by_event(hit: Bool, event: Int64) -> float:
    """Mean over the events of the share of their windows that are hit.

    >>> mean_by_event(np.array([True, False, False, True]), np.array([0, 0, 0, 1]))
    0.6666666666666666

    Args:
        hit: [W].
        event: [W].
    """
    _, number, size = np.unique(event, return_inverse=True, return_counts=True)
    return float((np.bincount(number, hit) / size).mean())
