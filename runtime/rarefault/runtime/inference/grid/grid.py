"""The grid itself: clocks, open bins and filler in a row."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefault.runtime.arrays import ALL, DeviceArrays, Float64, Int64
from rarefault.runtime.inference.grid.bin_filler import BinFiller, Bins, no_bins
from rarefault.runtime.inference.grid.clock_walk import Placement, Restart
from rarefault.runtime.inference.grid.clocks import Clocks
from rarefault.runtime.inference.grid.open_bins import NO_EXTENT, OpenBins, extent_of, joined_extent
from rarefault.runtime.inference.manifest import GridSpec, Statistic
from rarefault.runtime.times import TIME_LIMIT_MS


class _Waiting(DeviceArrays):
    """The sample of each device that waits for another one to agree.

    Attributes:
        waiting_value: its values, NaN where there is none, [D, C].
        waiting_extent: its extent; there may be several of that time, [D, 3, Q].
    """

    waiting_value: Float64
    waiting_extent: Float64

    def __init__(self, n_channels: int, n_extents: int) -> None:
        no_extent = np.broadcast_to(NO_EXTENT, (3, n_extents))
        super().__init__(waiting_value=np.full(n_channels, np.nan), waiting_extent=no_extent)


class Grid:
    """Turns samples of many devices into bins.

    Devices are slots 0, 1, 2, ...; memory grows to the largest slot seen and stays bounded from there.

    Args:
        spec: period, hold, lateness, gap.
        n_channels: number of channels C.
        counters: which channels are counters, [C]; none by default.
        derived: number of the channel and statistic of each derived input; see
            :mod:`rarefault.runtime.inference.grid.derived`.

    Attributes:
        accepted: number of samples taken so far.
        late: number of samples dropped because their bin had closed.
        distrusted: number of samples dropped because they were far ahead of the others of their device.
        restarts: how often a device started anew because all of its samples were late.
        heard: devices of which the last push had samples on time, perhaps more than once, [H].
        restarted: devices that started anew in the last push.
    """

    def __init__(
        self,
        spec: GridSpec,
        n_channels: int,
        counters: ArrayLike | None = None,
        derived: Sequence[tuple[int, Statistic]] = (),
    ) -> None:
        self.spec = spec
        self.n_channels = n_channels
        self.accepted = self.late = self.distrusted = self.restarts = 0
        self.heard: Int64 = np.empty(0, np.int64)
        self.restarted: list[Restart] = []
        self.clocks = Clocks(spec)
        self._filler = BinFiller(spec, n_channels, counters, derived)
        self._extents = self._filler.derived.extents
        self._open = OpenBins(spec, n_channels, len(self._extents))
        self._waiting = _Waiting(n_channels, len(self._extents))
        self._values = (self._open, self._filler, self._waiting, *self._filler.derived.memories)
        self._parts = (self.clocks, *self._values)

    def _make_room(self, devices: int) -> None:
        for part in self._parts:
            part.make_room(devices)

    def state(self, rows: slice = ALL) -> dict[str, NDArray[Any]]:
        """All that the grid remembers of its devices, as arrays."""
        arrays = self.clocks.state(rows)
        for part in self._values:
            arrays |= {f"_{name}": value for name, value in part.state(rows).items()}  # "_": as snapshots have them
        arrays["restart_after"] = np.array(self.spec.restart_after)  # for readers of a snapshot without the model
        return arrays | {"counts": np.array([self.accepted, self.late, self.distrusted, self.restarts])}

    def restore(self, state: dict[str, NDArray[Any]], first: int = 0) -> None:
        """Go on from what :meth:`state` of a grid with the same settings gave; KeyError or ValueError elsewhere."""
        self.clocks.restore(state, first)
        values = {name.removeprefix("_"): value for name, value in state.items() if name.startswith("_")}
        for part in self._values:
            part.restore(values, first)
        if {part.capacity for part in self._parts} != {self.clocks.capacity}:
            raise ValueError("a grid's arrays have different numbers of devices")
        self.accepted, self.late, self.distrusted, self.restarts = state["counts"].tolist()

    def newest_ms(self, devices: Int64) -> Int64:
        """Largest time believed of each device, -1 where there is none, [D]."""
        if len(devices):
            self._make_room(int(devices.max()) + 1)
        newest: Int64 = self.clocks.newest_ms[devices]
        return newest

    def heard_ms(self, devices: Int64) -> Int64:
        """Time of the last sample of each device, -1 where there is none, [D].

        Where a device's clock was far ahead before and its samples are late since, it is the time of these.
        """
        if len(devices):
            self._make_room(int(devices.max()) + 1)
        return self.clocks.heard_ms(devices)

    def forget(self, devices: Int64) -> None:
        """Make slots as new; those of devices that will not come back, or not soon."""
        for part in self._parts:
            part.forget(devices)

    def start_after(self, device: int, newest_ms: int) -> None:
        """Begin a slot with a device that had a sample of that time once: what is older than its bin is late."""
        self._make_room(device + 1)
        self.clocks.start_after(device, newest_ms)

    def push(self, device: ArrayLike, time_ms: ArrayLike, values: ArrayLike) -> Bins:
        """Take samples in their order of arrival and return the bins that they close.

        Args:
            device: slot of each sample's device, [M].
            time_ms: milliseconds since the epoch, [M].
            values: channel values, NaN = not reported, infinite = ended, minus infinite = a number that means no
                value, [M, C].

        Raises:
            ValueError: a time before 1970 or after 2109, or arrays that do not fit each other.
        """
        parts = [bins for bins, _ in self.turns(device, time_ms, values)]
        if len(parts) == 1:
            return parts[0]
        device_ = np.concatenate([part.device for part in parts])
        order = np.argsort(device_, kind="stable")
        index, value, reset = (
            np.concatenate([getattr(part, name) for part in parts])[order] for name in ("index", "values", "reset")
        )
        return Bins(device_[order], index, value, reset)

    def turns(self, device: ArrayLike, time_ms: ArrayLike, values: ArrayLike) -> Iterator[tuple[Bins, list[Restart]]]:
        """Like :meth:`push`, in as many parts as it takes: after each part, the devices that start anew then.

        In every part bins are sorted by device, then by index; where a device starts anew, its index may fall from one
        part to the next. All parts must be taken.
        """
        devices, times = np.asarray(device, np.int64), np.asarray(time_ms, np.int64)
        value = np.asarray(values, np.float64)
        if devices.shape != times.shape or value.shape != (len(times), self.n_channels):
            raise ValueError(f"samples do not fit: device {devices.shape}, time {times.shape}, values {value.shape}")
        self.heard, self.restarted = np.empty(0, np.int64), []
        if len(times) == 0:
            yield no_bins(self._filler.n_inputs), []
            return
        if times.min() < 0 or times.max() >= TIME_LIMIT_MS:
            raise ValueError("a sample's time is outside 1970 to 2109")
        if (none := np.isneginf(value)).any():
            value = np.where(none, np.inf if self.spec.ends else np.nan, value)
        self._make_room(int(devices.max()) + 1)
        arrived = np.argsort(devices, kind="stable")
        devices, times, value = devices[arrived], times[arrived], value[arrived]
        while True:
            placement = self.clocks.follow(devices, times)
            self._count(placement)
            placed = self._placed(placement, devices, times, value)
            self.heard = np.concatenate((self.heard, placed[0])) if len(self.heard) else placed[0]
            occupied = self._open.merge(placement.touched, *placed)
            bins = self._filler.fill(self._open.close(occupied, self.clocks.newest_ms))
            self._start_anew(placement)
            yield bins, placement.restarts
            if placement.later is None:
                return
            devices, times, value = devices[placement.later], times[placement.later], value[placement.later]

    def _count(self, placement: Placement) -> None:
        self.accepted += placement.accepted
        self.late += placement.late
        self.distrusted += placement.distrusted
        self.restarts += len(placement.restarts)
        self.restarted += placement.restarts

    def _placed(
        self, placement: Placement, devices: Int64, times: Int64, value: Float64
    ) -> tuple[Int64, Int64, Float64, Float64]:
        """Device, time, values and extent of the samples that are placed, those first that have waited from before."""
        extent = extent_of(value, self._extents)
        if not (placement.placed or placement.cleared or placement.waiting):
            if placement.accepted == len(times):
                return devices, times, value, extent
            return devices[placement.keep], times[placement.keep], value[placement.keep], extent[placement.keep]
        owner = np.array([device for device, _ in placement.placed], np.int64)
        since = np.array([time_ms for _, time_ms in placement.placed], np.int64)
        placed = (
            np.concatenate((owner, devices[placement.keep])),
            np.concatenate((since, times[placement.keep])),
            np.concatenate((self._waiting.waiting_value[owner], value[placement.keep])),
            np.concatenate((self._waiting.waiting_extent[owner], extent[placement.keep])),
        )
        self._waiting.waiting_value[placement.cleared] = np.nan
        self._waiting.waiting_extent[placement.cleared] = NO_EXTENT
        for row in placement.waiting:
            known = ~np.isnan(value[row])
            self._waiting.waiting_value[devices[row], known] = value[row, known]
            if extent.size:
                waiting, at = self._waiting.waiting_extent, devices[[row]]
                waiting[at] = joined_extent(waiting[at], extent[[row]])
        return placed

    def _start_anew(self, placement: Placement) -> None:
        """Drop the open bins of devices that start anew, and let nothing be carried where they may not."""
        for restart in placement.restarts:
            self.clocks.start_anew(restart.device)
            self._open.drop(restart.device)
            self._filler.start_anew(restart.device)
        for device, cut in placement.cuts.items():
            self._filler.cut[device] = cut
