"""The channels of a device as sums over time, so that the change of their means at any instant costs a look-up.

A channel set is the channels that report together. Of a value counts what it differs from usual at its time of the
week: what changes at the same hours on all days, such as a set point in the morning, tells nothing of faults.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.train.history.data import History

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
#: Steps of the usual course of a day or week.
COURSE_MS = 1_800_000
#: Periods that a set must last for its course to be known.
REPEATS = 4
#: Fewest samples of a set.
FEWEST = 20
#: A change counts for at most so many times its usual size, so that no single one decides.
MOST_CHANGE = 6.0
#: Samples at which the usual size of a change is measured.
MEASURED = 5000
#: Share of values at either end that are cut, so that codes and spikes do not decide.
TAIL = 0.1


@dataclass(frozen=True, eq=False)
class ChannelSet:
    """Channels (c of them) of a device that report together (n samples).

    Attributes:
        columns: which channels, [c].
        time_ms: of the samples, strictly ascending, [n].
        sums: of the values before each sample, [n + 1, c].
    """

    columns: Int64
    time_ms: Int64
    sums: Float64

    @cached_property
    def period_ms(self) -> float:
        """Median time between two samples."""
        return float(np.median(np.diff(self.time_ms)))

    def changes(self, before_ms: tuple[Int64, Int64], after_ms: tuple[Int64, Int64]) -> tuple[Float64, Bool]:
        """Mean within a span minus the mean within an earlier one, [b, c], and where both have samples, [b].

        Args:
            before_ms: from and to of the earlier span, [b] each.
            after_ms: from and to of the later span, [b] each.
        """
        (a0, a1), (b0, b1) = (
            (np.searchsorted(self.time_ms, low), np.searchsorted(self.time_ms, high))
            for low, high in (before_ms, after_ms)
        )
        n_before, n_after = a1 - a0, b1 - b0
        there = (n_before > 0) & (n_after > 0)
        after = (self.sums[b1] - self.sums[b0]) / np.maximum(n_after, 1)[:, None]
        before = (self.sums[a1] - self.sums[a0]) / np.maximum(n_before, 1)[:, None]
        return np.where(there[:, None], after - before, 0.0), there

    def presence(self, before_ms: tuple[Int64, Int64], after_ms: tuple[Int64, Int64]) -> Float64:
        """1 where samples come only in the later span, -1 where only in the earlier one, else 0, [b].

        What is before the first or after the last sample is 0.
        """
        (low, low_end), (high, high_end) = before_ms, after_ms
        count = [np.searchsorted(self.time_ms, edge) for edge in (low, low_end, high, high_end)]
        inside = (low >= self.time_ms[0]) & (high_end <= self.time_ms[-1])
        return np.where(inside, np.sign(count[3] - count[2]) - np.sign(count[1] - count[0]), 0).astype(np.float64)


def channel_sets_of(history: History, rows: Int64, columns: Int64) -> Iterator[ChannelSet]:
    """The channel sets of a device.

    Args:
        history: any.
        rows: the device's samples, in order of time.
        columns: the channels to look at.
    """
    together: dict[bytes, list[int]] = {}
    for column in columns.tolist():
        there = np.isfinite(history.values[rows, column])
        if there.sum() >= FEWEST:
            together.setdefault(np.packbits(there).tobytes(), []).append(column)
    for key, names in together.items():
        there = np.unpackbits(np.frombuffer(key, np.uint8), count=len(rows)).astype(bool)
        own = rows[there]
        time_ms, first = np.unique(history.time_ms[own], return_index=True)
        if len(time_ms) >= FEWEST:
            chosen = np.array(names, np.int64)
            values = history.values[np.ix_(own[first], chosen)]
            yield _channel_set(chosen, time_ms, values, history.counter_mask[chosen])


def _channel_set(columns: Int64, time_ms: Int64, values: Float64, counters: Bool) -> ChannelSet:
    for i in range(values.shape[1]):
        column = values[:, i]
        if counters[i]:  # what counts is how fast it counts
            rate = np.diff(column) / np.diff(time_ms)
            column = np.append(rate[:1], rate)
        column = np.clip(column, *np.percentile(column, [TAIL, 100 - TAIL]))
        values[:, i] = column - _usual(time_ms, column)
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    return ChannelSet(columns, time_ms, sums)


def _usual(time_ms: Int64, column: Float64) -> Float64 | float:
    """The mean at the time of the week of each sample, of the day in a shorter history, [n]; of all in a short one."""
    lasts = time_ms[-1] - time_ms[0]
    for cycle_ms in (WEEK_MS, DAY_MS):
        if lasts >= REPEATS * cycle_ms:
            step = (time_ms % cycle_ms) // COURSE_MS
            count = np.bincount(step)
            mean: Float64 = np.bincount(step, column)[step] / count[step]
            return mean
    return float(column.mean())
