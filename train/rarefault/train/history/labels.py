"""From events to the class of each bin.

A bin carries what holds at its END, the last instant that its samples can show. ``event_times`` says how an event is
placed on the grid:

``exact``
    the bins whose end lies in ``(start, end]``; an event in which no bin ends labels the one that it begins in;
``rounded``
    start and end are rounded to the grid's borders, and the bins that end there or between them are labelled, as the
    literature on the PHM Society's data of 2015 has it. Up to half a bin before its start, an event is then expected to
    be known of, and labels a bin more than it lasts.

Where several events are active, ``overlap`` decides:

``rarest``
    the class with the smallest total event time in the whole history wins;
``file order``
    the event that stands later in the log wins.

A bin without an event is normal, or carries no label where the log has it as unlabelled.
"""

import numpy as np
from numpy.typing import ArrayLike

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.history.data import NO_LABEL, Events, EventTimes, History, Stretches


def label_bins(history: History, device: ArrayLike, index: ArrayLike, grid: GridSpec) -> Int64:
    """Class of each bin, -1 where nobody knows it, [E].

    Args:
        history: gives events, classes and the rule for overlaps.
        device: slot of each bin's device, [E].
        index: number of the bin since the epoch, [E].
        grid: the bins.
    """
    bins = _SortedBins(np.asarray(device, np.int64), np.asarray(index, np.int64))
    first, stop = bins.spans(history.events, grid, history.event_times)
    label = np.zeros(len(bins.key), np.int64)
    if len(history.unlabelled):
        spans = bins.spans(history.unlabelled, grid, history.event_times)
        unknown = active(*spans, np.ones(len(history.unlabelled), bool), len(label))
        label[unknown] = NO_LABEL
    if history.overlap == "file order":
        for fault, a, b in zip(history.events.fault.tolist(), first.tolist(), stop.tolist(), strict=True):
            label[a:b] = fault
    else:
        for fault in precedence(history):
            label[active(first, stop, history.events.fault == fault, len(label))] = fault
    return bins.restore(label)


def active_bins(history: History, device: ArrayLike, index: ArrayLike, grid: GridSpec, which: Bool) -> Bool:
    """The bins in which any of the chosen events is active, whatever else is, [E].

    Args:
        history: gives events and how they are placed.
        device: slot of each bin's device, [E].
        index: number of the bin since the epoch, [E].
        grid: the bins.
        which: events, [V].
    """
    bins = _SortedBins(np.asarray(device, np.int64), np.asarray(index, np.int64))
    first, stop = bins.spans(history.events, grid, history.event_times)
    return bins.restore(active(first, stop, which, len(bins.key)).astype(np.int64)) > 0


def event_time_ms(events: Events, n_classes: int) -> Int64:
    """Total duration of each class's events, milliseconds, overlaps counted as often as they occur, [K]."""
    total = np.zeros(n_classes, np.int64)
    np.add.at(total, events.fault, events.end_ms - events.start_ms)
    return total


def precedence(history: History) -> list[int]:
    """The faults in the order in which the rule ``rarest`` lets them give way: from the commonest to the rarest."""
    return list(history.rarity) or commonest_first(history.events, len(history.classes))


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


def labelled_bins(events: Events | Stretches, grid: GridSpec, event_times: EventTimes) -> tuple[Int64, Int64]:
    """First and last bin that each event labels where no other one is active, [V] each.

    Of a stretch without an end of a bin, it is none: the last one is before the first.
    """
    if event_times == "rounded":
        half = grid.period_ms // 2  # of two borders as near, the later one
        return grid.bin_of(events.start_ms + half) - 1, grid.bin_of(events.end_ms + half) - 1
    first = grid.bin_of(events.start_ms)
    shortest = 1 if isinstance(events, Events) else 0
    return first, np.maximum(first + shortest - 1, grid.bin_of(events.end_ms) - 1)


def labelled_ends(events: Events, grid: GridSpec, event_times: EventTimes) -> tuple[Int64, Int64]:
    """Ends of the bins of :func:`labelled_bins`, milliseconds since the epoch, [V] each."""
    first, last = labelled_bins(events, grid, event_times)
    return grid.end_ms(first), grid.end_ms(last)


class _SortedBins:
    """Bins sorted by device and index, so that an event is a span of positions."""

    _SHIFT = 43  # bins are numbered below 2**42 even at a period of one millisecond

    def __init__(self, device: Int64, index: Int64) -> None:
        key = (device << self._SHIFT) + index
        self._order = None if bool((key[1:] >= key[:-1]).all()) else np.argsort(key, kind="stable")
        self.key: Int64 = key if self._order is None else key[self._order]

    def spans(self, events: Events | Stretches, grid: GridSpec, event_times: EventTimes) -> tuple[Int64, Int64]:
        """First and one past last position of each event's bins, [V] each."""
        base = events.device.astype(np.int64) << self._SHIFT
        low, high = labelled_bins(events, grid, event_times)
        return (
            np.searchsorted(self.key, base + np.maximum(low, 0), "left"),
            np.searchsorted(self.key, base + np.maximum(high, -1), "right"),
        )

    def restore(self, label: Int64) -> Int64:
        """Values in the bins' given order."""
        if self._order is None:
            return label
        out = np.empty_like(label)
        out[self._order] = label
        return out
