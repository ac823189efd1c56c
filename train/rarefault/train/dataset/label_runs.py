"""Runs of one label: the windows of one event of a device."""

import numpy as np

from rarefault.runtime.arrays import Bool, Int64


def event_of(device: Int64, fresh: Bool, label: Int64) -> Int64:
    """Number of the event that each window belongs to: a run of one label, [W].

    Args:
        device: slots, sorted, [W].
        fresh: whether the window is the first after a gap, [W].
        label: classes, [W].
    """
    new = (np.diff(device, prepend=-1) != 0) | (np.diff(label, prepend=-2) != 0) | fresh
    return np.cumsum(new)
