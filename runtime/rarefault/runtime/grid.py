"""The time grid: irregular samples to fixed bins, for all devices at once.

One algorithm serves the trainer (the whole history in one push) and the daemon (a few messages a push): the result
does not depend on how the samples are cut into pushes, only on their order of arrival at each device.

The rules, for a period P (without an offset, bin ``b`` covers ``[b P, (b + 1) P)`` from the epoch on; see
:meth:`rarefault.runtime.manifest.GridSpec.bin_of`):

* per bin and channel the last value by time wins; of two at the same time, the one that arrived last;
* a bin closes when the largest time seen of its device reaches its end and ``allowed_lateness`` more; a sample of a
  closed bin is late: counted and dropped;
* a counter (a channel that only increases, such as an energy meter) becomes its increase per bin since its last value;
  where it did not increase, the interval is invalid and the value missing;
* an empty cell repeats the channel's last value for ``max_hold``, then it is missing (NaN);
* empty bins between two occupied ones are emitted when the later one closes; occupied bins further apart than
  ``max_gap`` start a new segment, into which nothing is held or carried.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefault.runtime.manifest import GridSpec
from rarefault.runtime.times import TIME_LIMIT_MS

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Stands for "no bin yet" and "no time yet"; smaller than any real one.
NEVER = -1

#: What a grid remembers of each device.
_REMEMBERED = (
    "_newest_ms",
    "_occupied",
    "_held",
    "_held_bin",
    "_meter",
    "_meter_bin",
    "_open_bin",
    "_open_value",
    "_open_time",
)


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
    """

    def __init__(self, spec: GridSpec, n_channels: int, counters: ArrayLike | None = None) -> None:
        self.spec = spec
        self.n_channels = n_channels
        self.accepted = 0
        self.late = 0
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
        grow("_newest_ms", (), NEVER, np.int64)  # largest time seen
        grow("_occupied", (), NEVER, np.int64)  # last closed bin that had a sample
        grow("_held", (c,), np.nan, np.float64)  # last value of each channel ...
        grow("_held_bin", (c,), NEVER, np.int64)  # ... and the bin that it is from
        grow("_meter", (c,), np.nan, np.float64)  # last reading of each counter ...
        grow("_meter_bin", (c,), NEVER, np.int64)  # ... and the bin that it is from
        grow("_open_bin", (s,), NEVER, np.int64)
        grow("_open_value", (s, c), np.nan, np.float64)
        grow("_open_time", (s, c), NEVER, np.int64)
        self._capacity = capacity

    def _make_room(self, device: int) -> None:
        if device >= self._capacity:
            self._allocate(max(device + 1, 2 * self._capacity, 16))

    _newest_ms: Int64
    _occupied: Int64
    _held: Float64
    _held_bin: Int64
    _meter: Float64
    _meter_bin: Int64
    _open_bin: Int64
    _open_value: Float64
    _open_time: Int64

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the grid remembers of its devices, as arrays."""
        arrays = {name: getattr(self, name) for name in _REMEMBERED}
        return arrays | {"counts": np.array([self.accepted, self.late])}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`state` of a grid with the same settings gave; ValueError where they differ."""
        capacity = len(state["_newest_ms"])
        self._capacity = 0
        self._allocate(capacity)
        for name in _REMEMBERED:
            if state[name].shape != getattr(self, name).shape:
                raise ValueError(f"a grid's {name} has shape {state[name].shape}, not {getattr(self, name).shape}")
            setattr(self, name, state[name].copy())
        self.accepted, self.late = state["counts"].tolist()

    def newest_ms(self, devices: Int64) -> Int64:
        """Largest time seen of each device, -1 where there is none, [D]."""
        if len(devices):
            self._make_room(int(devices.max()))
        newest: Int64 = self._newest_ms[devices]
        return newest

    def forget(self, devices: Int64) -> None:
        """Make slots as new; those of devices that will not come back, or not soon."""
        there = devices[devices < self._capacity]
        for name in _REMEMBERED:
            getattr(self, name)[there] = np.nan if name in {"_held", "_meter", "_open_value"} else NEVER

    def start_after(self, device: int, newest_ms: int) -> None:
        """Begin a slot with a device that had a sample of that time once: what is older than its bin is late."""
        self._make_room(device)
        self._newest_ms[device] = newest_ms

    def push(self, device: ArrayLike, time_ms: ArrayLike, values: ArrayLike) -> Bins:
        """Take samples in their order of arrival and return the bins that they close.

        Args:
            device: slot of each sample's device, [M].
            time_ms: milliseconds since the epoch, [M].
            values: channel values, NaN = not reported, [M, C].

        Raises:
            ValueError: a time before 1970 or after 2109, or arrays that do not fit each other.
        """
        devices, times = np.asarray(device, np.int64), np.asarray(time_ms, np.int64)
        value = np.asarray(values, np.float64)
        if devices.shape != times.shape or value.shape != (len(times), self.n_channels):
            raise ValueError(f"samples do not fit: device {devices.shape}, time {times.shape}, values {value.shape}")
        if len(times) == 0:
            return self._no_bins()
        if times.min() < 0 or times.max() >= TIME_LIMIT_MS:
            raise ValueError("a sample's time is outside 1970 to 2109")
        self._make_room(int(devices.max()))
        arrived = np.argsort(devices, kind="stable")
        devices, times, value = devices[arrived], times[arrived], value[arrived]
        on_time, touched = self._watermark(devices, times)
        self.accepted += int(on_time.sum())
        self.late += len(on_time) - int(on_time.sum())
        rows = self._merge(touched, devices[on_time], times[on_time], value[on_time])
        return self._emit(self._close(rows))

    def _no_bins(self) -> Bins:
        return Bins(
            np.empty(0, np.int32), np.empty(0, np.int64), np.empty((0, self.n_channels), np.float32), np.empty(0, bool)
        )

    def _watermark(self, devices: Int64, times: Int64) -> tuple[Bool, Int64]:
        """Which samples (sorted by device, in order of arrival) are on time, and the devices they are of."""
        first = begins(devices)
        rank = np.cumsum(first) - 1
        touched = devices[first]
        # One running maximum serves all devices: each is lifted above the ones before it.
        lift = rank * TIME_LIMIT_MS
        newest = np.maximum.accumulate(np.maximum(times, np.where(first, self._newest_ms[devices], 0)) + lift) - lift
        before = np.where(first, self._newest_ms[devices], _after(NEVER, newest))
        closing = self.spec.end_ms(self.spec.bin_of(times)) + self.spec.lateness_ms
        on_time = (closing > before) | (before == NEVER)
        last = ends(first)
        self._newest_ms[touched] = newest[last]
        return on_time, touched

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
        closing = end <= self._newest_ms[rows.device]
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
        previous = np.where(first, self._occupied[rows.device], _after(NEVER, rows.index))
        reset = (previous == NEVER) | (rows.index - previous > self.spec.gap_bins)
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


def begins(numbers: Int32 | Int64) -> Bool:
    """Where a run of equal numbers begins, [E]. Written out: ``np.r_`` takes ten times as long for a few of them."""
    found = np.empty(len(numbers), bool)
    found[:1] = True
    np.not_equal(numbers[1:], numbers[:-1], out=found[1:])
    return found


def ends(first: Bool) -> Bool:
    """Where runs end that begin at ``first``, [E]."""
    found = np.empty(len(first), bool)
    found[-1:] = True
    found[:-1] = first[1:]
    return found


def _after(start: int, numbers: Int64) -> Int64:
    """``start`` and all numbers but the last."""
    found = np.empty_like(numbers)
    found[:1] = start
    found[1:] = numbers[:-1]
    return found


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
