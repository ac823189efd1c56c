"""Derived inputs: what the grid adds to the channels' values of each bin, alike in a history and live.

``still``      bins from the first of the run of equal values to the last sample; the run goes on through empty cells
``age``        bins since the last sample of the value; 0 where the bin has one
``spread``     largest minus smallest value within the bin; missing where the bin has no sample
``low``        smallest value within the bin
``high``       largest value within the bin
``count``      samples within the bin; one that is delivered twice counts twice
``deviation``  value minus the device's own recent normal (:mod:`rarefault.runtime.inference.grid.baseline`)

Values are those that the model reads: of a counter the increase per bin. ``still``, ``age`` and ``deviation`` are
missing where the value is; ``still`` and ``age`` end at ``MOST_BINS`` and begin anew in each segment, but not at the
window's border.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import NEVER, Bool, DeviceArrays, Float64, Int64
from rarefault.runtime.inference.grid.baseline import Baseline
from rarefault.runtime.inference.grid.held import last_values
from rarefault.runtime.inference.manifest import OF_READINGS, GridSpec, Statistic

#: Largest value of ``still`` and ``age``: beyond it, more bins tell nothing new.
MOST_BINS = 255


@dataclass(frozen=True, slots=True)
class FilledBins:
    """Bins of a push, sorted by device, then by index, while their inputs are made.

    Attributes:
        device: slot of the device, [E].
        index: number of the bin, [E].
        boundary: rows where a segment or a device begins, [E]; not those into which values are held.
        starts: rows where a segment begins, [E]; likewise.
        last: the last row of each device, [E].
        occupied: rows of the bins that have samples, [R].
        value: of the bin itself, NaN where it has none, infinite where the value ends, [E, C].
        held_bin: the bin that the last value is from, [E, C].
        known: value that the model reads, [E, C].
        extent: of the samples of the bins that have some, [R, 3, Q].
    """

    device: Int64
    index: Int64
    boundary: Bool
    starts: Bool
    last: Bool
    occupied: Int64
    value: Float64
    held_bin: Int64
    known: Float64
    extent: Float64


class _Runs(DeviceArrays):
    """Runs of equal values.

    Attributes:
        run_value: value of the present run of each channel, [D, S].
        run_bin: the bin that it begins with, [D, S].
    """

    run_value: Float64
    run_bin: Int64

    def __init__(self, n_channels: int) -> None:
        super().__init__(run_value=np.full(n_channels, np.nan), run_bin=np.full(n_channels, NEVER))


class DerivedInputs:
    """Makes the derived inputs of closed bins.

    Args:
        spec: of the grid.
        derived: number of the channel and statistic of each input, [X].

    Attributes:
        extents: channels of which the extent of a bin's samples is wanted, [Q].
        memories: what is remembered of the devices.
    """

    def __init__(self, spec: GridSpec, derived: Sequence[tuple[int, Statistic]]) -> None:
        self.derived = tuple(derived)
        self.extents = self._channels(*OF_READINGS, "count")
        self._still, self._aged = self._channels("still"), self._channels("age")
        self._deviating = self._channels("deviation")
        self._runs = _Runs(len(self._still))
        self._baseline = Baseline(spec, len(self._deviating))
        self.memories: tuple[DeviceArrays, ...] = (self._runs, self._baseline)

    def _channels(self, *statistics: Statistic) -> Int64:
        return np.array(sorted({channel for channel, statistic in self.derived if statistic in statistics}), np.int64)

    def of(self, bins: FilledBins) -> Float64:
        """The inputs of each bin, [E, X]."""
        found = np.empty((len(bins.index), len(self.derived)))
        if not self.derived:
            return found
        made = self._made(bins)
        for column, (channel, statistic) in enumerate(self.derived):
            channels, values = made[statistic]
            found[:, column] = values[:, np.searchsorted(channels, channel)]
        return found

    def _made(self, bins: FilledBins) -> dict[Statistic, tuple[Int64, Float64]]:
        """The channels that each statistic is wanted of, and its values of these."""
        made: dict[Statistic, tuple[Int64, Float64]] = {}
        if len(self._aged):
            age = np.minimum(bins.index[:, None] - bins.held_bin[:, self._aged], MOST_BINS)
            made["age"] = self._aged, np.where(np.isnan(bins.known[:, self._aged]), np.nan, age)
        if len(self._still):
            made["still"] = self._still, self._lengths(bins)
        if len(self._deviating):
            own, known = bins.value[:, self._deviating], bins.known[:, self._deviating]
            made["deviation"] = self._deviating, self._baseline.deviation(bins.device, bins.index, own, known)
        if len(self.extents):
            low, high, count = self._extents_of_all(bins)
            made |= {name: (self.extents, of) for name, of in _extent_statistics(low, high, count).items()}
        return made

    def _lengths(self, bins: FilledBins) -> Float64:
        """Bins from the first to the last sample of each run of equal values, [E, S]."""
        runs, value = self._runs, bins.value[:, self._still]
        row = (bins.index, bins.boundary, bins.starts)
        before, _ = last_values(value, *row, runs.run_value[bins.device], runs.run_bin[bins.device], inclusive=False)
        differs = np.where(value == before, np.nan, value)
        run_value, run_bin = last_values(
            differs, *row, runs.run_value[bins.device], runs.run_bin[bins.device], inclusive=True
        )
        last = bins.device[bins.last]
        runs.run_value[last], runs.run_bin[last] = run_value[bins.last], run_bin[bins.last]
        length = np.minimum(bins.held_bin[:, self._still] - run_bin, MOST_BINS)
        return np.where(np.isnan(bins.known[:, self._still]), np.nan, length)

    def _extents_of_all(self, bins: FilledBins) -> tuple[Float64, Float64, Float64]:
        """Lowest and highest value and number of samples, of bins without any, too, [E, Q] each."""
        n = (len(bins.index), len(self.extents))
        low, high, count = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)
        low[bins.occupied], high[bins.occupied], count[bins.occupied] = bins.extent.transpose(1, 0, 2)
        return low, high, count


def _extent_statistics(low: Float64, high: Float64, count: Float64) -> dict[Statistic, Float64]:
    return {"spread": high - low, "low": low, "high": high, "count": count}
