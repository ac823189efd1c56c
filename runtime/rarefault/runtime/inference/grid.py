"""The time grid: irregular samples to fixed bins, for all devices at once.

One algorithm serves the trainer (the whole history in one push) and the daemon (a few messages a push): the result
does not depend on how the samples are cut into pushes, only on their order of arrival at each device.

The rules, for a period P (without an offset, bin ``b`` covers ``[b P, (b + 1) P)`` from the epoch on; see
:meth:`rarefault.runtime.inference.manifest.GridSpec.bin_of`):

* per bin and channel the last value by time wins; of two at the same time, the one that arrived last;
* a bin closes when the largest time seen of its device reaches its end and ``allowed_lateness`` more; a sample of a
  closed bin is late: counted and dropped. Which times are believed, and when a device starts anew because all of its
  samples are late, is said in :mod:`rarefault.runtime.inference.clocks`;
* a counter (a channel that only increases, such as an energy meter) becomes its increase per bin since its last value;
  where it did not increase, the interval is invalid and the value missing;
* an empty cell repeats the channel's last value for ``max_hold``, then it is missing (NaN);
* empty bins between two occupied ones are emitted when the later one closes; occupied bins further apart than
  ``max_gap`` start a new segment, into which nothing is held or carried.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefault.runtime.arrays import NEVER, Bool, Float32, Float64, Int32, Int64, after, begins, ends
from rarefault.runtime.inference.clocks import Clocks, Fate, Restart
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.times import TIME_LIMIT_MS

#: What a grid remembers of each device, beside its clock.
_REMEMBERED = (
    "_occupied",
    "_cut",
    "_held",
    "_held_bin",
    "_meter",
    "_meter_bin",
    "_open_bin",
    "_open_value",
    "_open_time",
    "_waiting_value",
)
#: Those of them that are values.
_VALUES = {"_held", "_meter", "_open_value", "_waiting_value"}


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


@dataclass(slots=True)
class _Rows:
    """One row per (device, bin) in that order, with each channel's value and the time that it is from."""

    device: Int64
    index: Int64
    value: Float64
    time: Int64

    def take(self, rows: "Bool | Int64") -> "_Rows":
        return _Rows(self.device[rows], self.index[rows], self.value[rows], self.time[rows])


class Grid:
    """Turns samples of many devices into bins.

    Devices are slots 0, 1, 2, ...; memory grows to the largest slot seen and stays bounded from there.

    Args:
        spec: period, hold, lateness, gap.
        n_channels: number of channels C.
        counters: which channels are counters, [C]; none by default.

    Attributes:
        accepted: number of samples taken so far.
        late: number of samples dropped because their bin had closed.
        distrusted: number of samples dropped because they were far ahead of the others of their device.
        restarts: how often a device started anew because all of its samples were late.
        heard: devices of which the last push had samples on time, perhaps more than once, [H].
        restarted: devices that started anew in the last push.
    """

    def __init__(self, spec: GridSpec, n_channels: int, counters: ArrayLike | None = None) -> None:
        self.spec = spec
        self.n_channels = n_channels
        self.accepted = self.late = self.distrusted = self.restarts = 0
        self.heard: Int64 = np.empty(0, np.int64)
        self.restarted: list[Restart] = []
        self.clocks = Clocks(spec)
        self._counters = np.zeros(n_channels, bool) if counters is None else np.asarray(counters, bool)
        # Bins that can be open at one time: those of the lateness and the two that it may cut.
        self._n_open = -(-spec.lateness_ms // spec.period_ms) + 2
        self._capacity = 0
        self._allocate(0)

    def _allocate(self, capacity: int) -> None:
        """Make room for ``capacity`` devices, keeping what is there."""

        def grow(name: str, shape: tuple[int, ...], fill: float, dtype: type) -> None:
            fresh: NDArray[Any] = np.full((capacity, *shape), fill, dtype)
            if self._capacity:
                fresh[: self._capacity] = getattr(self, name)
            setattr(self, name, fresh)

        c, s = self.n_channels, self._n_open
        grow("_occupied", (), NEVER, np.int64)  # last closed bin that had a sample
        grow("_cut", (), NEVER, np.int64)  # bin that nothing before it is carried into
        grow("_held", (c,), np.nan, np.float64)  # last value of each channel ...
        grow("_held_bin", (c,), NEVER, np.int64)  # ... and the bin that it is from
        grow("_meter", (c,), np.nan, np.float64)  # last reading of each counter ...
        grow("_meter_bin", (c,), NEVER, np.int64)  # ... and the bin that it is from
        grow("_open_bin", (s,), NEVER, np.int64)
        grow("_open_value", (s, c), np.nan, np.float64)
        grow("_open_time", (s, c), NEVER, np.int64)
        grow("_waiting_value", (c,), np.nan, np.float64)  # of the sample that waits for another one to agree
        self.clocks.allocate(capacity)
        self._capacity = capacity

    def _make_room(self, device: int) -> None:
        if device >= self._capacity:
            self._allocate(max(device + 1, 2 * self._capacity, 16))

    _occupied: Int64
    _cut: Int64
    _held: Float64
    _held_bin: Int64
    _meter: Float64
    _meter_bin: Int64
    _open_bin: Int64
    _open_value: Float64
    _open_time: Int64
    _waiting_value: Float64

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the grid remembers of its devices, as arrays."""
        arrays = {name: getattr(self, name) for name in _REMEMBERED} | self.clocks.state()
        arrays["restart_after"] = np.array(self.spec.restart_after)  # for readers of a snapshot without the model
        return arrays | {"counts": np.array([self.accepted, self.late, self.distrusted, self.restarts])}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`state` of a grid with the same settings gave; KeyError or ValueError elsewhere."""
        capacity = len(state["newest_ms"])
        self._capacity = self.clocks.capacity = 0
        self._allocate(capacity)
        self.clocks.restore(state)
        for name in _REMEMBERED:
            if state[name].shape != getattr(self, name).shape:
                raise ValueError(f"a grid's {name} has shape {state[name].shape}, not {getattr(self, name).shape}")
            setattr(self, name, state[name].copy())
        self.accepted, self.late, self.distrusted, self.restarts = state["counts"].tolist()

    def newest_ms(self, devices: Int64) -> Int64:
        """Largest time believed of each device, -1 where there is none, [D]."""
        if len(devices):
            self._make_room(int(devices.max()))
        newest: Int64 = self.clocks.newest_ms[devices]
        return newest

    def heard_ms(self, devices: Int64) -> Int64:
        """Time of the last sample of each device, -1 where there is none, [D].

        Where a device's clock was far ahead before and its samples are late since, it is the time of these.
        """
        if len(devices):
            self._make_room(int(devices.max()))
        return self.clocks.heard_ms(devices)

    def forget(self, devices: Int64) -> None:
        """Make slots as new; those of devices that will not come back, or not soon."""
        there = devices[devices < self._capacity]
        self.clocks.forget(there)
        for name in _REMEMBERED:
            getattr(self, name)[there] = np.nan if name in _VALUES else NEVER

    def start_after(self, device: int, newest_ms: int) -> None:
        """Begin a slot with a device that had a sample of that time once: what is older than its bin is late."""
        self._make_room(device)
        self.clocks.start_after(device, newest_ms)

    def push(self, device: ArrayLike, time_ms: ArrayLike, values: ArrayLike) -> Bins:
        """Take samples in their order of arrival and return the bins that they close.

        Args:
            device: slot of each sample's device, [M].
            time_ms: milliseconds since the epoch, [M].
            values: channel values, NaN = not reported, [M, C].

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
            yield self._no_bins(), []
            return
        if times.min() < 0 or times.max() >= TIME_LIMIT_MS:
            raise ValueError("a sample's time is outside 1970 to 2109")
        self._make_room(int(devices.max()))
        arrived = np.argsort(devices, kind="stable")
        devices, times, value = devices[arrived], times[arrived], value[arrived]
        while True:
            fate = self.clocks.follow(devices, times)
            self.accepted, self.late = self.accepted + fate.accepted, self.late + fate.late
            self.distrusted, self.restarts = self.distrusted + fate.distrusted, self.restarts + len(fate.restarts)
            self.restarted += fate.restarts
            placed = self._placed(fate, devices, times, value)
            self.heard = np.concatenate((self.heard, placed[0])) if len(self.heard) else placed[0]
            bins = self._emit(self._close(self._merge(fate.touched, *placed)))
            self._start_anew(fate)
            yield bins, fate.restarts
            if fate.later is None:
                return
            devices, times, value = devices[fate.later], times[fate.later], value[fate.later]

    def _placed(self, fate: Fate, devices: Int64, times: Int64, value: Float64) -> tuple[Int64, Int64, Float64]:
        """Device, time and values of the samples that are placed, those first that have waited from before."""
        if not (fate.placed or fate.cleared or fate.waiting):
            if fate.accepted == len(times):
                return devices, times, value
            return devices[fate.keep], times[fate.keep], value[fate.keep]
        owner = np.array([device for device, _ in fate.placed], np.int64)
        since = np.array([time_ms for _, time_ms in fate.placed], np.int64)
        placed = (
            np.concatenate((owner, devices[fate.keep])),
            np.concatenate((since, times[fate.keep])),
            np.concatenate((self._waiting_value[owner], value[fate.keep])),
        )
        self._waiting_value[fate.cleared] = np.nan
        for row in fate.waiting:
            known = ~np.isnan(value[row])
            self._waiting_value[devices[row], known] = value[row, known]
        return placed

    def _start_anew(self, fate: Fate) -> None:
        """Drop the open bins of devices that start anew, and let nothing be carried where they may not."""
        for restart in fate.restarts:
            self.clocks.start_anew(restart.device)
            self._open_bin[restart.device] = NEVER
            self._occupied[restart.device] = NEVER
        for device, cut in fate.cuts.items():
            self._cut[device] = cut

    def _no_bins(self) -> Bins:
        return Bins(
            np.empty(0, np.int32), np.empty(0, np.int64), np.empty((0, self.n_channels), np.float32), np.empty(0, bool)
        )

    def _merge(self, touched: Int64, devices: Int64, times: Int64, value: Float64) -> _Rows:
        """The open bins of the touched devices with the new samples in them."""
        slots = np.nonzero(self._open_bin[touched] != NEVER)
        owner = touched[slots[0]]
        carried = _Rows(
            owner,
            self._open_bin[owner, slots[1]],
            self._open_value[owner, slots[1]],
            self._open_time[owner, slots[1]],
        )
        self._open_bin[touched] = NEVER
        index = self.spec.bin_of(times)
        order = np.lexsort((times, index, devices))  # stable: of equal times the last arrival stays last
        fresh = _Rows(devices[order], index[order], value[order], np.broadcast_to(times[order, None], value.shape))
        return _last_per_cell(_last_per_cell(fresh, carried=None), carried)

    def _close(self, rows: _Rows) -> _Rows:
        """Keep the bins that stay open and return those that close."""
        end = self.spec.end_ms(rows.index) + self.spec.lateness_ms
        closing = end <= self.clocks.newest_ms[rows.device]
        stay = rows.take(~closing)
        at = (stay.device, stay.index % self._n_open)
        self._open_bin[at] = stay.index
        self._open_value[at] = stay.value
        self._open_time[at] = stay.time
        return rows.take(closing)

    def _emit(self, rows: _Rows) -> Bins:
        """Occupied bins, sorted by device and index, to the dense bins between and at them."""
        if len(rows.index) == 0:
            return self._no_bins()
        first = begins(rows.device)
        previous = np.where(first, self._occupied[rows.device], after(NEVER, rows.index))
        cut = self._cut[rows.device]
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
        self._occupied[device[last]] = index[last]
        return Bins(device.astype(np.int32), index, held.astype(np.float32), starts)

    def _difference(self, value: Float64, device: Int64, index: Int64, boundary: Bool, starts: Bool) -> None:
        """Counters, in place: readings become increase per bin since the reading before."""
        columns = np.flatnonzero(self._counters)
        if not len(columns):
            return
        reading = value[:, columns]
        carried = (self._meter[device][:, columns], self._meter_bin[device][:, columns])
        before, before_bin = _previous(reading, index, boundary, starts, *carried, inclusive=False)
        latest, latest_bin = _previous(reading, index, boundary, starts, *carried, inclusive=True)
        last = ends(begins(device))
        increase = reading - before
        with np.errstate(invalid="ignore"):
            value[:, columns] = np.where(increase > 0, increase / (index[:, None] - before_bin), np.nan)
        owners = device[last][:, None]
        self._meter[owners, columns] = latest[last]
        self._meter_bin[owners, columns] = latest_bin[last]

    def _hold(self, value: Float64, device: Int64, index: Int64, boundary: Bool, starts: Bool) -> Float64:
        """Repeat each channel's last value for the hold time."""
        held, held_bin = _previous(
            value, index, boundary, starts, self._held[device], self._held_bin[device], inclusive=True
        )
        last = ends(begins(device))
        self._held[device[last]] = held[last]
        self._held_bin[device[last]] = held_bin[last]
        return np.where(index[:, None] - held_bin <= self.spec.hold_bins, held, np.nan)


def _last_per_cell(rows: _Rows, carried: _Rows | None) -> _Rows:
    """One row per (device, bin), each channel with its last reported value.

    Rows come sorted by device, bin, time and arrival. ``carried`` rows, if given, are older arrivals of the same cells:
    there a newer time wins, and at the same time the new row.
    """
    if carried is None:
        n = len(rows.index)
        if n == 0:
            return rows
        first = begins(rows.device) | begins(rows.index)
        if first.all():  # as it is nearly always where messages are few
            return _Rows(rows.device, rows.index, rows.value, np.where(np.isnan(rows.value), NEVER, rows.time))
        start = np.flatnonzero(first)
        group = np.cumsum(first) - 1
        source = np.maximum.accumulate(np.where(np.isnan(rows.value), -1, np.arange(n)[:, None]), axis=0)
        last = np.flatnonzero(ends(first))
        source = source[last]
        reported = source >= start[group[last]][:, None]
        source = np.maximum(source, 0)
        value = np.where(reported, np.take_along_axis(rows.value, source, axis=0), np.nan)
        time = np.where(reported, np.take_along_axis(rows.time, source, axis=0), NEVER)
        return _Rows(rows.device[last], rows.index[last], value, time)
    if len(carried.index) == 0:
        return rows
    both = _Rows(
        np.concatenate((carried.device, rows.device)),
        np.concatenate((carried.index, rows.index)),
        np.concatenate((carried.value, rows.value)),
        np.concatenate((carried.time, rows.time)),
    )
    order = np.lexsort((both.index, both.device))  # stable: a carried row stands before the new row of its cell
    both = both.take(order)
    twin = np.flatnonzero((both.device[1:] == both.device[:-1]) & (both.index[1:] == both.index[:-1]))
    newer = both.time[twin + 1] >= both.time[twin]
    both.value[twin + 1] = np.where(newer, both.value[twin + 1], both.value[twin])
    both.time[twin + 1] = np.where(newer, both.time[twin + 1], both.time[twin])
    keep = np.ones(len(both.index), bool)
    keep[twin] = False
    return both.take(keep)


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
