"""A bound on the windows that trees are grown on: most windows of a long history are normal, and alike.

Of each class that has more windows than its share of the bound, some are drawn, evenly over devices and time. A drawn
window stands for as many windows as its class had for each one that was drawn, so that nothing is biased: where classes
are weighted, they are weighted alike whatever their number, and where they are not, the windows get these weights
(decision 0034).
"""

from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Float64, Int64


@dataclass(frozen=True)
class Drawn:
    """Windows that were drawn.

    Attributes:
        select: numbers of the windows, in their order, [N].
        weight: windows that each of them stands for, itself included, [N]; None where all windows are there.
    """

    select: Int64
    weight: Float64 | None


def draw(label: Int64, most: int, most_normal: int, seed: int) -> Drawn:
    """Windows with a label, no more than the bounds allow.

    Faults share half of ``most``, or what the normal windows leave of it. A fault that needs less than its share leaves
    the rest to the others.

    Args:
        label: of all windows, in order of device and time, 0 for normal, -1 for none, [W].
        most: windows, all classes together; 0: as many as there are.
        most_normal: windows of the normal class, at most.
        seed: of the draws.
    """
    select = np.flatnonzero(label >= 0)
    counts = np.bincount(label[select])
    normal = min(int(counts[0]), most_normal) if len(counts) else 0
    if not most or (len(select) <= most and normal == counts[:1].sum()):
        return Drawn(select, None)
    kept = _shared(counts[1:], max(most // 2, most - normal))
    kept = np.array([min(normal, max(most - int(kept.sum()), 1)), *kept])
    if (kept >= counts).all():
        return Drawn(select, None)
    rng = np.random.default_rng(seed)
    drawn = [_evenly(np.flatnonzero(label == c), int(kept[c]), rng) for c in np.flatnonzero(counts)]
    at = np.sort(np.concatenate(drawn))
    return Drawn(at, (counts / np.maximum(kept, 1))[label[at]])


def _shared(counts: Int64, most: int) -> Int64:
    """So many of each, ``most`` together: all of the smallest, and as many of each other one."""
    kept = np.zeros_like(counts)
    left = most
    for rank, c in enumerate(np.argsort(counts, kind="stable")):
        kept[c] = min(int(counts[c]), max(left // (len(counts) - rank), 1))
        left -= int(kept[c])
    return kept


def _evenly(windows: Int64, count: int, rng: np.random.Generator) -> Int64:
    """One of each of so many stretches of the windows: a fixed step could meet the same hours of every day."""
    edges = np.linspace(0, len(windows), count + 1).astype(np.int64)
    return windows[edges[:-1] + (rng.random(count) * np.diff(edges)).astype(np.int64)]
