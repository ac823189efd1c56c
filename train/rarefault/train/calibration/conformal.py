"""Prediction sets: class-conditional conformal prediction, by event.

The prediction set of a window holds the classes whose posterior is at least their conformal threshold. The threshold of
a class is the largest at which the coverage is reached. The coverage is the expected fraction of the windows of a new
event of the class whose prediction set holds it. The windows of one event are not independent: each held-out event
counts as one, however long it is, and so does the new one
(Dunn, Wasserman and Ramdas, "Distribution-free prediction sets for two-layer hierarchical models", 2023, section 3.1,
pooled distribution functions; class by class as in Vovk, Gammerman and Shafer, "Algorithmic learning in a random
world", 2005, section 4.5). The new event's own part of the distribution counts half (mid-p): counted whole, the
coverage would be reached for certain and exceeded by half of that part on average.

A class with too few events for the coverage has the threshold 0: it is in every prediction set.
"""

import math

import numpy as np

from rarefault.runtime.arrays import Float64, Int64


def least_events(coverage: float) -> int:
    """Number of events that a class needs for a conformal threshold.

    With fewer, the part of the distribution that belongs to the new event is larger than what may be missed.
    """
    return math.ceil(1 / (1 - coverage) - 1e-9) - 1


def fit_conformal_thresholds(posterior: Float64, label: Int64, event: Int64, coverage: float) -> tuple[Float64, Int64]:
    """The conformal threshold of each class [K], 0 where it has too few events, and the number of its events [K].

    Args:
        posterior: calibrated, of held-out windows, [W, K].
        label: -1 where nobody knows it, [W].
        event: see :func:`rarefault.train.dataset.label_runs.event_of`, [W].
        coverage: between 0 and 1.

    For a coverage of 0.9 a class needs nine events; here the first has as many, of one window each:

    >>> posterior = np.linspace(0.1, 0.9, 9)
    >>> thresholds, events = fit_conformal_thresholds(
    ...     np.stack((posterior, 1 - posterior), axis=1), np.zeros(9, int), np.arange(9), coverage=0.9
    ... )
    >>> thresholds.round(2), events
    (array([0.1, 0. ]), array([9, 0]))
    """
    k = posterior.shape[1]
    thresholds, events = np.zeros(k), np.zeros(k, np.int64)
    for c in range(k):
        mine = np.flatnonzero(label == c)
        _, number, size = np.unique(event[mine], return_inverse=True, return_counts=True)
        events[c] = len(size)
        if len(size) < least_events(coverage):
            continue
        order = np.argsort(posterior[mine, c], kind="stable")
        below = (0.5 + np.cumsum(1 / size[number[order]])) / (len(size) + 1)
        # The first window that may not be missed any more.
        thresholds[c] = posterior[mine[order[np.searchsorted(below, 1 - coverage, side="right")]], c]
    return thresholds, events
