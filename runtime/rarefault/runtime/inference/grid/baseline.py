"""The recent normal of each device and channel, which the statistic ``deviation`` is the distance from.

The normal is a mean of the device's own values, weighted down by their age with the time constant ``baseline_s``. It
changes at the end of each block of bins, of which a time constant has ``BLOCKS``; within a block it stays, so that a
value does not pull its own normal. Values count for it that

* are the bin's own, and not held through an empty bin;
* lie within ``WIDE`` times the mean absolute deviation of the normal; those further off count as if they lay there. The
  mean absolute deviation itself has no such limit, so that the normal follows a lasting step.

There is a deviation once as many values are in the normal as ``SETTLED`` blocks have bins. A gap, a restart of the
device's clock or an empty window do not change the normal: it is the device's. It ends where the device is forgotten.
The memory is seven numbers for each device and channel.

Whether a fault is active is not known here: what lasts as long as the time constant becomes normal. The value itself
stays an input beside its deviation.
"""

import math

import numpy as np

from rarefault.runtime.arrays import NEVER, DeviceArrays, Float64, Int64, begins
from rarefault.runtime.inference.manifest import GridSpec

#: Blocks in a time constant, and those of which the values make a normal that a deviation is taken from.
BLOCKS, SETTLED = 120, 2
#: Mean absolute deviations within which a value counts as it is.
WIDE = 5.0
#: Numbers beyond this are errors, and would spoil a sum.
_ABSURD = 1e30


class Baseline(DeviceArrays):
    """The recent normal of each device.

    Args:
        spec: of the grid.
        n_channels: number of channels B that have one.

    Attributes:
        block: the present block of each device, [D].
        normal, normal_weight: mean, and values in it, weighted by their age, [D, B].
        away, away_weight: mean absolute deviation from the normal, and values in it, [D, B].
        block_sum, block_away, block_count: sums over the present block and number of its values, [D, B].
    """

    block: Int64
    normal: Float64
    normal_weight: Float64
    away: Float64
    away_weight: Float64
    block_sum: Float64
    block_away: Float64
    block_count: Float64

    def __init__(self, spec: GridSpec, n_channels: int) -> None:
        zero = np.zeros(n_channels)
        names = ("normal", "normal_weight", "away", "away_weight", "block_sum", "block_away", "block_count")
        super().__init__(block=NEVER, **dict.fromkeys(names, zero))
        self._block_bins = max(1, round(spec.baseline_s / spec.period_s / BLOCKS))
        self._fade = self._block_bins * spec.period_s / spec.baseline_s
        self._settled = float(SETTLED * self._block_bins)

    def deviation(self, device: Int64, index: Int64, value: Float64, known: Float64) -> Float64:
        """Values minus the normal of their device, NaN where there is none yet, [E, B].

        Args:
            device: slot of each bin's device, sorted, [E].
            index: number of the bin, ascending for each device, [E].
            value: of the bin itself, NaN where it has none, [E, B].
            known: value that the model reads, [E, B].
        """
        block = index // self._block_bins
        found = np.empty_like(known)
        for rows in _rounds(device, block):
            self._turn(device[rows], block[rows])
            found[rows] = self._take(device[rows], value[rows], known[rows])
        return found

    def _turn(self, device: Int64, block: Int64) -> None:
        """End the blocks of devices that have come to another one.

        Args:
            device: sorted, [E].
            block: the same for all bins of a device, [E].
        """
        first = begins(device)
        owner, to = device[first], block[first]
        other = self.block[owner] != to
        owner, to = owner[other], to[other]
        if not len(owner):
            return
        # Where a clock is set back no time has gone by.
        passed = np.where(self.block[owner] == NEVER, 0, np.maximum(to - self.block[owner], 0))
        fade = np.exp(-self._fade * passed)[:, None]
        count, weight = self.block_count[owner], self.normal_weight[owner]
        judged = np.where(weight > 0, count, 0.0)  # without a normal, nothing is known of deviations
        away_weight = self.away_weight[owner]
        self.normal[owner] = _mean(self.normal[owner], weight, self.block_sum[owner], count)
        self.away[owner] = _mean(self.away[owner], away_weight, self.block_away[owner], judged)
        self.normal_weight[owner] = (weight + count) * fade
        self.away_weight[owner] = (away_weight + judged) * fade
        self.block[owner] = to
        for sums in (self.block_sum, self.block_away, self.block_count):
            sums[owner] = 0.0

    def _take(self, device: Int64, value: Float64, known: Float64) -> Float64:
        """Deviations of bins of one block for each device, which count for the next normal."""
        normal, away = self.normal[device], self.away[device]
        usable = np.abs(value) < _ABSURD
        value = np.where(usable, value, normal)
        limit = np.where(self.away_weight[device] >= self._settled, WIDE * away, math.inf)
        # One after the other, so that sums do not depend on how the samples were cut into pushes.
        np.add.at(self.block_sum, device, np.where(usable, np.clip(value, normal - limit, normal + limit), 0.0))
        np.add.at(self.block_away, device, np.where(usable & (self.normal_weight[device] > 0), abs(value - normal), 0))
        np.add.at(self.block_count, device, usable)
        return np.where(self.normal_weight[device] >= self._settled, known - normal, np.nan)


def _mean(mean: Float64, weight: Float64, total: Float64, count: Float64) -> Float64:
    """The mean of what was in it, and of ``count`` more values."""
    whole = weight + count
    return np.where(whole > 0, mean + (total - count * mean) / np.where(whole > 0, whole, 1.0), mean)


def _rounds(device: Int64, block: Int64) -> list[Int64 | slice]:
    """Rows in turns: the first block of every device, the second of every device, and so on."""
    first = begins(device)
    opens = first | begins(block)
    number: Int64 = np.cumsum(opens)
    turn: Int64 = number - np.maximum.accumulate(np.where(first, number, 0))
    if not turn.any():
        return [slice(None)]  # as it is nearly always in a live turn
    order = np.argsort(turn, kind="stable")
    return list(np.split(order, np.cumsum(np.bincount(turn))[:-1]))
