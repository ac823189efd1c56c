"""Open bins: what has been sampled in the bins that may still get more samples."""

from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import NEVER, Bool, DeviceArrays, Float64, Int64, begins, ends
from rarefault.runtime.inference.manifest import GridSpec


@dataclass(slots=True)
class OccupiedBins:
    """Bins that have samples, one row for each, sorted by device, then by bin.

    Attributes:
        device: slot of the device, [R].
        index: number of the bin since the epoch, [R].
        value: last value of each channel in the bin, NaN where there is none, [R, C].
        time: when that value was sampled, milliseconds since the epoch, [R, C].
        extent: of the samples in the bin, for the channels of which it is wanted, [R, 3, Q]; see :func:`extent_of`.
    """

    device: Int64
    index: Int64
    value: Float64
    time: Int64
    extent: Float64

    def take(self, rows: Bool | Int64) -> "OccupiedBins":
        """The selected rows."""
        return OccupiedBins(self.device[rows], self.index[rows], self.value[rows], self.time[rows], self.extent[rows])


#: Extent of no sample: lowest and highest value, number; [3, 1].
NO_EXTENT = np.array([[np.nan], [np.nan], [0.0]])


def extent_of(value: Float64, columns: Int64) -> Float64:
    """Lowest and highest value and number of single samples, [M, 3, Q].

    Args:
        value: channel values, NaN = not reported, [M, C].
        columns: the channels of which it is wanted, [Q].
    """
    if not len(columns):
        return np.empty((len(value), 3, 0))
    own = value[:, columns]
    own = np.where(np.isinf(own), np.nan, own)
    return np.stack((own, own, ~np.isnan(own)), axis=1)


def joined_extent(one: Float64, other: Float64) -> Float64:
    """Extent of the samples of both, [R, 3, Q]."""
    low, high = np.fmin(one[:, 0], other[:, 0]), np.fmax(one[:, 1], other[:, 1])
    return np.stack((low, high, one[:, 2] + other[:, 2]), axis=1)


class OpenBins(DeviceArrays):
    """The open bins of every device.

    Args:
        spec: of the grid.
        n_channels: number of channels C.
        n_extents: number of channels Q of which the extent of a bin's samples is wanted.

    Attributes:
        open_bin: number of each open bin, -1 where there is none, [D, S].
        open_value: last value of each channel in it, [D, S, C].
        open_time: when that value was sampled, [D, S, C].
        open_extent: of its samples, [D, S, 3, Q].
    """

    open_bin: Int64
    open_value: Float64
    open_time: Int64
    open_extent: Float64

    def __init__(self, spec: GridSpec, n_channels: int, n_extents: int = 0) -> None:
        # Bins that can be open at one time: those of the lateness and the two that it may cut.
        self._n_open = -(-spec.lateness_ms // spec.period_ms) + 2
        super().__init__(
            open_bin=np.full(self._n_open, NEVER),
            open_value=np.full((self._n_open, n_channels), np.nan),
            open_time=np.full((self._n_open, n_channels), NEVER),
            open_extent=np.broadcast_to(NO_EXTENT, (self._n_open, 3, n_extents)),
        )
        self.spec = spec

    def drop(self, device: int) -> None:
        """Drop the open bins of a device."""
        self.open_bin[device] = NEVER

    def merge(self, touched: Int64, devices: Int64, times: Int64, value: Float64, extent: Float64) -> OccupiedBins:
        """The open bins of the touched devices with the new samples in them.

        Args:
            touched: slots of the devices, each once, [T].
            devices, times: slot and time of each sample, [M].
            value: channel values, NaN = not reported, [M, C].
            extent: of each sample, [M, 3, Q].
        """
        slots = np.nonzero(self.open_bin[touched] != NEVER)
        owner = touched[slots[0]]
        carried = OccupiedBins(
            owner,
            self.open_bin[owner, slots[1]],
            self.open_value[owner, slots[1]],
            self.open_time[owner, slots[1]],
            self.open_extent[owner, slots[1]],
        )
        self.open_bin[touched] = NEVER
        index = self.spec.bin_of(times)
        order = np.lexsort((times, index, devices))  # stable: of equal times the last arrival stays last
        fresh = OccupiedBins(
            devices[order],
            index[order],
            value[order],
            np.broadcast_to(times[order, None], value.shape),
            extent[order],
        )
        return merged(carried, last_per_bin(fresh))

    def close(self, rows: OccupiedBins, newest_ms: Int64) -> OccupiedBins:
        """Keep the bins that stay open and return those that close.

        Args:
            rows: of :meth:`merge`.
            newest_ms: time of every device, [D].
        """
        end = self.spec.end_ms(rows.index) + self.spec.lateness_ms
        closing = end <= newest_ms[rows.device]
        stay = rows.take(~closing)
        at = (stay.device, stay.index % self._n_open)
        self.open_bin[at] = stay.index
        self.open_value[at] = stay.value
        self.open_time[at] = stay.time
        self.open_extent[at] = stay.extent
        return rows.take(closing)


def last_per_bin(rows: OccupiedBins) -> OccupiedBins:
    """One row per (device, bin), each channel with its last reported value.

    Args:
        rows: sorted by device, bin, time and arrival; several may be of one bin.
    """
    n = len(rows.index)
    if n == 0:
        return rows
    first = begins(rows.device) | begins(rows.index)
    if first.all():  # as it is nearly always where messages are few
        time = np.where(np.isnan(rows.value), NEVER, rows.time)
        return OccupiedBins(rows.device, rows.index, rows.value, time, rows.extent)
    start = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    source = np.maximum.accumulate(np.where(np.isnan(rows.value), -1, np.arange(n)[:, None]), axis=0)
    last = np.flatnonzero(ends(first))
    source = source[last]
    reported = source >= start[group[last]][:, None]
    source = np.maximum(source, 0)
    value = np.where(reported, np.take_along_axis(rows.value, source, axis=0), np.nan)
    time = np.where(reported, np.take_along_axis(rows.time, source, axis=0), NEVER)
    return OccupiedBins(rows.device[last], rows.index[last], value, time, _extent_of_groups(rows.extent, start))


def _extent_of_groups(extent: Float64, start: Int64) -> Float64:
    """Extent of all samples of each group, [R, 3, Q].

    Args:
        extent: of the samples, [M, 3, Q].
        start: first sample of each group, [R].
    """
    if not extent.size:
        return np.zeros((len(start), *extent.shape[1:]))
    low, high = np.fmin.reduceat(extent[:, 0], start), np.fmax.reduceat(extent[:, 1], start)
    return np.stack((low, high, np.add.reduceat(extent[:, 2], start)), axis=1)


def merged(carried: OccupiedBins, rows: OccupiedBins) -> OccupiedBins:
    """Open bins with new samples in them: a newer time wins, and at the same time the new row.

    Args:
        carried: bins that were open before.
        rows: the new samples' bins, each once.
    """
    if len(carried.index) == 0:
        return rows
    both = OccupiedBins(
        np.concatenate((carried.device, rows.device)),
        np.concatenate((carried.index, rows.index)),
        np.concatenate((carried.value, rows.value)),
        np.concatenate((carried.time, rows.time)),
        np.concatenate((carried.extent, rows.extent)),
    )
    order = np.lexsort((both.index, both.device))  # stable: a carried row stands before the new row of its cell
    both = both.take(order)
    twin = np.flatnonzero((both.device[1:] == both.device[:-1]) & (both.index[1:] == both.index[:-1]))
    newer = both.time[twin + 1] >= both.time[twin]
    both.value[twin + 1] = np.where(newer, both.value[twin + 1], both.value[twin])
    both.time[twin + 1] = np.where(newer, both.time[twin + 1], both.time[twin])
    if both.extent.size:
        both.extent[twin + 1] = joined_extent(both.extent[twin], both.extent[twin + 1])
    keep = np.ones(len(both.index), bool)
    keep[twin] = False
    return both.take(keep)
