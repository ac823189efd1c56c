"""Closed bins: holds values through empty bins, makes increases of counters, and finds where segments begin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rarefault.runtime.arrays import NEVER, Bool, DeviceArrays, Float32, Float64, Int32, Int64, after, begins, ends
from rarefault.runtime.inference.grid.open_bins import OccupiedBins
from rarefault.runtime.inference.manifest import GridSpec


@dataclass(frozen=True, slots=True)
class Bins:
    """Closed bins, sorted by device, then by index.

    Attributes:
        device: slot of the device, [E].
        index: number of the bin since the epoch, [E].
        values: channel values, NaN where missing, [E, C].
        reset: whether the bin is the first of a segment, [E].
    """

    device: Int32
    index: Int64
    values: Float32
    reset: Bool

    def __len__(self) -> int:
        return len(self.index)


def no_bins(n_channels: int) -> Bins:
    """No bin at all."""
    return Bins(np.empty(0, np.int32), np.empty(0, np.int64), np.empty((0, n_channels), np.float32), np.empty(0, bool))


class BinFiller(DeviceArrays):
    """Turns the bins that close into an unbroken row of bins for each segment.

    Args:
        spec: of the grid.
        n_channels: number of channels C.
        counters: which channels are counters, [C]; none by default.

    Attributes:
        occupied: last closed bin that had a sample, [D].
        cut: bin that nothing before it is carried into, [D].
        held, held_bin: last value of each channel, and the bin that it is from, [D, C].
        meter, meter_bin: last reading of each counter, and the bin that it is from, [D, C].
    """

    occupied: Int64
    cut: Int64
    held: Float64
    held_bin: Int64
    meter: Float64
    meter_bin: Int64

    def __init__(self, spec: GridSpec, n_channels: int, counters: ArrayLike | None = None) -> None:
        no_value, no_bin = np.full(n_channels, np.nan), np.full(n_channels, NEVER)
        super().__init__(occupied=NEVER, cut=NEVER, held=no_value, held_bin=no_bin, meter=no_value, meter_bin=no_bin)
        self.spec = spec
        self.n_channels = n_channels
        self._counters = np.zeros(n_channels, bool) if counters is None else np.asarray(counters, bool)

    def start_anew(self, device: int) -> None:
        """Let nothing be carried into the next bin of a device."""
        self.occupied[device] = NEVER

    def fill(self, rows: OccupiedBins) -> Bins:
        """The bins that close, and the empty ones between them and the last closed bin of their device."""
        if len(rows.index) == 0:
            return no_bins(self.n_channels)
        first = begins(rows.device)
        previous = np.where(first, self.occupied[rows.device], after(NEVER, rows.index))
        cut = self.cut[rows.device]
        reset = (previous == NEVER) | (rows.index - previous > self.spec.gap_bins)
        reset |= (previous < cut) & (cut <= rows.index)
        fill = np.where(reset, 0, rows.index - previous - 1)
        at: Int64 = np.cumsum(fill + 1) - 1  # where each occupied bin stands among the emitted ones
        n = int(at[-1]) + 1
        owner = np.repeat(np.arange(len(at)), fill + 1)
        index: Int64 = rows.index[owner] + np.arange(n, dtype=np.int64) - at[owner]
        device = rows.device[owner]
        starts = np.zeros(n, bool)
        starts[at[reset]] = True
        value = np.full((n, self.n_channels), np.nan)
        value[at] = rows.value

        boundary = starts.copy()
        boundary[at[first] - fill[first]] = True  # the first emitted bin of each device
        self._difference(value, device, index, boundary, starts)
        held = self._hold(value, device, index, boundary, starts)
        last = ends(begins(device))
        self.occupied[device[last]] = index[last]
        return Bins(device.astype(np.int32), index, held.astype(np.float32), starts)

    def _difference(self, value: Float64, device: Int64, index: Int64, boundary: Bool, starts: Bool) -> None:
        """Counters, in place: readings become increase per bin since the reading before."""
        columns = np.flatnonzero(self._counters)
        if not len(columns):
            return
        reading = value[:, columns]
        carried = (self.meter[device][:, columns], self.meter_bin[device][:, columns])
        before, before_bin = _previous(reading, index, boundary, starts, *carried, inclusive=False)
        latest, latest_bin = _previous(reading, index, boundary, starts, *carried, inclusive=True)
        last = ends(begins(device))
        increase = reading - before
        with np.errstate(invalid="ignore"):
            value[:, columns] = np.where(increase > 0, increase / (index[:, None] - before_bin), np.nan)
        owners = device[last][:, None]
        self.meter[owners, columns] = latest[last]
        self.meter_bin[owners, columns] = latest_bin[last]

    def _hold(self, value: Float64, device: Int64, index: Int64, boundary: Bool, starts: Bool) -> Float64:
        """Repeat each channel's last value for the hold time."""
        held, held_bin = _previous(
            value, index, boundary, starts, self.held[device], self.held_bin[device], inclusive=True
        )
        last = ends(begins(device))
        self.held[device[last]] = held[last]
        self.held_bin[device[last]] = held_bin[last]
        return np.where(index[:, None] - held_bin <= self.spec.hold_bins, held, np.nan)


def _previous(
    value: Float64,
    index: Int64,
    boundary: Bool,
    starts: Bool,
    carried: Float64,
    carried_bin: Int64,
    *,
    inclusive: bool,
) -> tuple[Float64, Int64]:
    """Per cell the last value at or (``inclusive=False``) before it in its segment, and the bin that it is from.

    Args:
        value: [E, C], NaN where there is none.
        index: bin of each row, [E].
        boundary: rows where a segment or a device begins, [E].
        starts: rows where a segment begins, so that nothing is carried into it, [E].
        carried: each row's device's value from before the push, [E, C].
        carried_bin: the bin that it is from, [E, C].
    """
    n = len(index)
    row = np.arange(n)[:, None]
    source = np.maximum.accumulate(np.where(np.isnan(value), -1, row), axis=0)
    if not inclusive:
        source = np.concatenate((np.full_like(source[:1], -1), source[:-1]))
    begin = np.maximum.accumulate(np.where(boundary, np.arange(n), 0))
    inside = source >= begin[:, None]
    continued = ~starts[begin][:, None]
    found = np.maximum(source, 0)
    past = np.where(continued, carried, np.nan)
    past_bin = np.where(continued, carried_bin, NEVER)
    return (
        np.where(inside, np.take_along_axis(value, found, axis=0), past),
        np.where(inside, index[found], past_bin),
    )
