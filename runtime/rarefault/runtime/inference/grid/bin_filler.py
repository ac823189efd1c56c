"""Closed bins: holds values through empty bins, makes increases of counters, and finds where segments begin."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rarefault.runtime.arrays import NEVER, Bool, DeviceArrays, Float32, Float64, Int32, Int64, after, begins, ends
from rarefault.runtime.inference.grid.derived import DerivedInputs, FilledBins
from rarefault.runtime.inference.grid.held import last_values
from rarefault.runtime.inference.grid.open_bins import OccupiedBins
from rarefault.runtime.inference.manifest import GridSpec, Statistic


@dataclass(frozen=True, slots=True)
class Bins:
    """Closed bins, sorted by device, then by index.

    Attributes:
        device: slot of the device, [E].
        index: number of the bin since the epoch, [E].
        values: inputs of the model, NaN where missing: the channels' values, then what is derived from them, [E, I].
        reset: whether the bin is the first of a segment, [E].
    """

    device: Int32
    index: Int64
    values: Float32
    reset: Bool

    def __len__(self) -> int:
        return len(self.index)


def no_bins(n_inputs: int) -> Bins:
    """No bin at all."""
    return Bins(np.empty(0, np.int32), np.empty(0, np.int64), np.empty((0, n_inputs), np.float32), np.empty(0, bool))


class BinFiller(DeviceArrays):
    """Turns the bins that close into an unbroken row of bins for each segment.

    Args:
        spec: of the grid.
        n_channels: number of channels C.
        counters: which channels are counters, [C]; none by default.
        derived: number of the channel and statistic of each derived input, [X].

    Attributes:
        n_inputs: number of inputs I: channels and derived inputs.
        derived: makes the derived inputs.
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

    def __init__(
        self,
        spec: GridSpec,
        n_channels: int,
        counters: ArrayLike | None = None,
        derived: Sequence[tuple[int, Statistic]] = (),
    ) -> None:
        no_value, no_bin = np.full(n_channels, np.nan), np.full(n_channels, NEVER)
        super().__init__(occupied=NEVER, cut=NEVER, held=no_value, held_bin=no_bin, meter=no_value, meter_bin=no_bin)
        self.spec = spec
        self.n_channels = n_channels
        self.derived = DerivedInputs(spec, derived)
        self.n_inputs = n_channels + len(self.derived.derived)
        self._counters = np.zeros(n_channels, bool) if counters is None else np.asarray(counters, bool)

    def start_anew(self, device: int) -> None:
        """Let nothing be carried into the next bin of a device."""
        self.occupied[device] = NEVER

    def fill(self, rows: OccupiedBins) -> Bins:
        """The bins that close, and the empty ones between them and the last closed bin of their device."""
        if len(rows.index) == 0:
            return no_bins(self.n_inputs)
        first = begins(rows.device)
        previous = np.where(first, self.occupied[rows.device], after(NEVER, rows.index))
        cut = self.cut[rows.device]
        anew = (previous == NEVER) | ((previous < cut) & (cut <= rows.index))
        reset = anew | (rows.index - previous > self._longest(rows, first, anew))
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
        hold_from = (boundary, starts)
        if self.spec.ends:
            # What holds until it ends does so across a gap.
            begins_anew = np.zeros(n, bool)
            begins_anew[at[anew]] = True
            boundary_of_hold = begins_anew.copy()
            boundary_of_hold[at[first] - fill[first]] = True
            hold_from = (boundary_of_hold, begins_anew)
        known, held_bin = self._hold(value, device, index, *hold_from)
        last = ends(begins(device))
        self.occupied[device[last]] = index[last]
        inputs = known
        if self.derived.derived:
            bins = FilledBins(device, index, *hold_from, last, at, value, held_bin, known, rows.extent)
            inputs = np.concatenate((known, self.derived.of(bins)), axis=1)
        return Bins(device.astype(np.int32), index, inputs.astype(np.float32), starts)

    def _longest(self, rows: OccupiedBins, first: Bool, anew: Bool) -> int | Int64:
        """Most bins from the one before to each row for them to be of one segment, [R].

        It is more while any value of the device holds.
        """
        if not self.spec.ends:
            return self.spec.gap_bins
        carried = np.where(self._counters, self.meter, self.held)
        latest, _ = last_values(
            rows.value,
            rows.index,
            first | anew,
            anew,
            carried[rows.device],
            np.broadcast_to(np.int64(0), rows.value.shape),
            inclusive=True,
        )
        before: Bool = np.asarray(np.isfinite(carried[rows.device]).any(axis=1))
        after_row: Bool = np.asarray(np.isfinite(latest).any(axis=1))
        holds = np.where(first, before, np.concatenate((before[:1], after_row[:-1])))
        return np.where(holds, self.spec.most_bins, self.spec.gap_bins)

    def _difference(self, value: Float64, device: Int64, index: Int64, boundary: Bool, starts: Bool) -> None:
        """Counters, in place: readings become increase per bin since the reading before."""
        columns = np.flatnonzero(self._counters)
        if not len(columns):
            return
        reading = value[:, columns]
        carried = (self.meter[device][:, columns], self.meter_bin[device][:, columns])
        before, before_bin = last_values(reading, index, boundary, starts, *carried, inclusive=False)
        latest, latest_bin = last_values(reading, index, boundary, starts, *carried, inclusive=True)
        last = ends(begins(device))
        with np.errstate(invalid="ignore"):
            increase = reading - before
            value[:, columns] = np.where(increase > 0, increase / (index[:, None] - before_bin), np.nan)
        owners = device[last][:, None]
        self.meter[owners, columns] = latest[last]
        self.meter_bin[owners, columns] = latest_bin[last]

    def _hold(self, value: Float64, device: Int64, index: Int64, boundary: Bool, starts: Bool) -> tuple[Float64, Int64]:
        """Each channel's last value, repeated for the hold time, and the bin that it is from."""
        held, held_bin = last_values(
            value, index, boundary, starts, self.held[device], self.held_bin[device], inclusive=True
        )
        last = ends(begins(device))
        self.held[device[last]] = held[last]
        self.held_bin[device[last]] = held_bin[last]
        young = index[:, None] - held_bin <= self.spec.hold_bins
        if self.spec.ends:
            young |= ~self._counters
        return np.where(young & np.isfinite(held), held, np.nan), held_bin
