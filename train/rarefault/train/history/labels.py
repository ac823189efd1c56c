"""From events to the class of each bin.

The rule, everywhere: bin ``b`` (which covers ``[b P, (b + 1) P)``) carries an event iff
``round(start / P) <= b + 1 <= round(end / P)``: the state at the END of the bin, with start and end rounded to the
grid, both inclusive. Where several events are active, ``overlap`` decides:

``rarest``
    the class with the smallest total event time in the whole history wins;
``file order``
    the event that stands later in the log wins.

A bin without an event is normal, or, where the log says that nobody knows, carries no label.
"""

import numpy as np
from numpy.typing import ArrayLike

from rarefault.train.history.data import NO_LABEL, Bool, Events, History, Int64, Stretches


def label_bins(history: History, device: ArrayLike, index: ArrayLike, period_ms: int) -> Int64:
    """Class of each bin, -1 where nobody knows it, [E].

    Args:
        history: gives events, classes and the rule for overlaps.
        device: slot of each bin's device, [E].
        index: number of the bin since the epoch, [E].
        period_ms: width of a bin.
    """
    bins = _Order(np.asarray(device, np.int64), np.asarray(index, np.int64))
    first, stop = bins.spans(history.events, period_ms)
    label = np.zeros(len(bins.key), np.int64)
    if len(history.unlabelled):
        silent = active(*bins.spans(history.unlabelled, period_ms), np.ones(len(history.unlabelled), bool), len(label))
        label[silent] = NO_LABEL
    if history.overlap == "file order":
        for fault, a, b in zip(history.events.fault.tolist(), first.tolist(), stop.tolist(), strict=True):
            label[a:b] = fault
    else:
        for fault in history.rarity or commonest_first(history.events, len(history.classes)):
            label[active(first, stop, history.events.fault == fault, len(label))] = fault
    return bins.restore(label)


def event_time_ms(events: Events, n_classes: int) -> Int64:
    """Total duration of each class's events, milliseconds, overlaps counted as often as they occur, [K]."""
    total = np.zeros(n_classes, np.int64)
    np.add.at(total, events.fault, events.end_ms - events.start_ms)
    return total


def commonest_first(events: Events, n_classes: int) -> list[int]:
    """The faults from the largest to the smallest total event time; of equal ones the higher class is the rarer."""
    total = event_time_ms(events, n_classes)
    return sorted(range(1, n_classes), key=lambda fault: (-int(total[fault]), fault))


def active(first: Int64, stop: Int64, which: Bool, n: int) -> Bool:
    """Which of ``n`` positions lie in at least one span ``[first, stop)`` of the chosen events, [n]."""
    change = np.zeros(n + 1, np.int64)
    np.add.at(change, first[which], 1)
    np.add.at(change, stop[which], -1)
    return np.cumsum(change[:-1]) > 0


def round_to_grid(time_ms: Int64, period_ms: int) -> Int64:
    """The nearest multiple of the period, counted in periods; halves go up."""
    return (2 * time_ms + period_ms) // (2 * period_ms)


class _Order:
    """Bins sorted by device and index, so that an event is a span of positions."""

    _SHIFT = 43  # bins are numbered below 2**42 even at a period of one millisecond

    def __init__(self, device: Int64, index: Int64) -> None:
        key = (device << self._SHIFT) + index
        self._order = None if bool((key[1:] >= key[:-1]).all()) else np.argsort(key, kind="stable")
        self.key: Int64 = key if self._order is None else key[self._order]

    def spans(self, events: Events | Stretches, period_ms: int) -> tuple[Int64, Int64]:
        """First and one past last position of each event's bins, [V] each."""
        base = events.device.astype(np.int64) << self._SHIFT
        low = base + np.maximum(round_to_grid(events.start_ms, period_ms) - 1, 0)
        high = base + np.maximum(round_to_grid(events.end_ms, period_ms) - 1, -1)
        return np.searchsorted(self.key, low, "left"), np.searchsorted(self.key, high, "right")

    def restore(self, label: Int64) -> Int64:
        """Values in the bins' given order."""
        if self._order is None:
            return label
        out = np.empty_like(label)
        out[self._order] = label
        return out
