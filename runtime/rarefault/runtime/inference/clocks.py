"""The devices' clocks: what the samples of a device say of its time, in their order of arrival.

A device's time is the largest time seen of it: it closes bins, and what comes after its bin has closed is late. A clock
that was wrong once must not stop a device for good, so two things are not believed at once:

* a sample further ahead than ``max_gap`` waits, with its values, until a second sample that is as far ahead agrees.
  A sample that goes on where the device was before drops it. So a single absurd stamp closes nothing, while the first
  sample after a real gap is taken with the one that follows it, and the verdicts of ordinary data stay as they are;
* where several wrong samples agreed, the present ones are late. ``restart_after`` of them in a row that go forward, or
  three that span ``max_gap``, and that lie where nothing was ever judged, make the device start anew at their time.

No window is judged twice: bins that a device has been at are remembered as stretches, are no reason to start anew, and
are dropped where its time comes to them again. So an old backlog that was judged before moves nothing; one from a
stretch that was never judged is judged, if it comes in one piece.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefault.runtime.arrays import NEVER, Bool, Int64, after, begins, ends
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.times import TIME_LIMIT_MS

#: Stretches of bins that are remembered of each device, beside the present one and all before the floor.
STRETCHES = 4
#: Late samples in a row that are enough where they span ``max_gap``, and from which on a device counts as muted.
FEW = 3
#: Samples that are looked at together after something unusual, at first; then twice as many, and so on.
LOOK = 32
#: Beyond every bin.
NO_WALL = 1 << 62

_REMEMBERED = (
    "newest_ms",
    "waiting_ms",
    "waiting_count",
    "late_run",
    "strays",
    "stray_first_ms",
    "stray_newest_ms",
    "begin",
    "floor",
    "stretches",
    "unsettled",
)
#: What each is of a device that is not known yet.
_FRESH = {"waiting_count": 0, "late_run": 0, "strays": 0, "unsettled": True}


@dataclass(frozen=True, slots=True)
class Restart:
    """A device started anew.

    Attributes:
        device: its slot.
        from_ms: the time that it was at.
        to_ms: the time that it is at now.
    """

    device: int
    from_ms: int
    to_ms: int


@dataclass(slots=True)
class Fate:
    """What becomes of samples, [M].

    Attributes:
        touched: devices of the samples, each once.
        keep: samples that are placed now.
        waiting: samples that wait now for another one to agree; rows, in order.
        placed: devices whose sample that waited from before is placed now, before all others of theirs; with its time.
        cleared: devices whose sample from before waits no more.
        later: samples to be looked at again, once the bins that close now have been emitted.
        restarts: devices that start anew with the first of their later samples.
        cuts: by device, a bin that no earlier one may be carried into.
        accepted, late, distrusted: numbers of samples placed, late, and dropped because they stood alone.
    """

    touched: Int64
    keep: Bool
    waiting: list[int] = field(default_factory=list)
    placed: list[tuple[int, int]] = field(default_factory=list)
    cleared: list[int] = field(default_factory=list)
    later: Bool | None = None
    restarts: list[Restart] = field(default_factory=list)
    cuts: dict[int, int] = field(default_factory=dict)
    accepted: int = 0
    late: int = 0
    distrusted: int = 0


class Clocks:
    """The time of every device.

    Args:
        spec: of the grid.

    Attributes:
        newest_ms: largest time believed of each device, [D].
        waiting_ms: time of the sample that waits for another one to agree, [D].
    """

    newest_ms: Int64
    waiting_ms: Int64
    waiting_count: Int64
    late_run: Int64  # late samples since the last one on time
    strays: Int64  # late samples in a row that lie where nothing was judged ...
    stray_first_ms: Int64  # ... the time of the first ...
    stray_newest_ms: Int64  # ... and of the last
    begin: Int64  # first bin of the present stretch
    floor: Int64  # bins up to this one have been judged, or never will be
    stretches: Int64  # first and last bin of what was judged, [D, STRETCHES, 2]
    unsettled: Bool  # whether the next sample needs a closer look

    def __init__(self, spec: GridSpec) -> None:
        self.spec = spec
        self.gap_ms = round(spec.max_gap_s * 1000)
        self.capacity = 0
        self.allocate(0)

    def allocate(self, capacity: int) -> None:
        """Make room for ``capacity`` devices, keeping what is there."""
        for name in _REMEMBERED:
            shape = (STRETCHES, 2) if name == "stretches" else ()
            fill = _FRESH.get(name, NEVER)
            fresh: NDArray[Any] = np.full((capacity, *shape), fill, bool if name == "unsettled" else np.int64)
            if self.capacity:
                fresh[: self.capacity] = getattr(self, name)
            setattr(self, name, fresh)
        self.capacity = capacity

    def state(self) -> dict[str, NDArray[Any]]:
        """All that is remembered, as arrays."""
        return {name: getattr(self, name) for name in _REMEMBERED}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`state` gave; KeyError or ValueError where it is not that."""
        for name in _REMEMBERED:
            if state[name].shape != getattr(self, name).shape:
                raise ValueError(f"a grid's {name} has shape {state[name].shape}, not {getattr(self, name).shape}")
            setattr(self, name, state[name].copy())

    def forget(self, devices: Int64) -> None:
        """Make slots as new."""
        for name in _REMEMBERED:
            getattr(self, name)[devices] = _FRESH.get(name, NEVER)

    def start_after(self, device: int, newest_ms: int) -> None:
        """Begin with a device that had a sample of that time once."""
        self.newest_ms[device] = newest_ms
        self.begin[device] = self.spec.bin_of(newest_ms)
        self.floor[device] = self.spec.bin_of(max(0, newest_ms - self.spec.lateness_ms)) - 1

    def start_anew(self, device: int) -> None:
        """Take the next sample of a device as its first."""
        self.newest_ms[device] = NEVER
        self.unsettled[device] = True

    def heard_ms(self, devices: Int64) -> Int64:
        """Time of the last sample of each device, be it late because its clock was wrong before, [D]."""
        heard: Int64 = np.where(self.strays[devices] >= FEW, self.stray_newest_ms[devices], self.newest_ms[devices])
        return heard

    def muted(self) -> Int64:
        """Slots of devices of which all samples have been late for a while."""
        return np.flatnonzero((self.strays >= FEW) | (self.late_run >= self.spec.restart_after))

    def follow(self, devices: Int64, times: Int64) -> Fate:
        """What becomes of samples that are sorted by device, then by arrival."""
        spec = self.spec
        first = begins(devices)
        rank = np.cumsum(first) - 1
        touched = devices[first]
        known = self.newest_ms[devices]
        # One running maximum serves all devices: each is lifted above the ones before it.
        lift = rank * TIME_LIMIT_MS
        newest = np.maximum.accumulate(np.maximum(times, np.where(first, known, 0)) + lift) - lift
        before = np.where(first, known, after(NEVER, newest))
        closing = spec.end_ms(spec.bin_of(times)) + spec.lateness_ms
        ordinary = (closing > before) & (times - before <= self.gap_ms)
        slow = self.unsettled[touched]
        last = ends(first)
        if not slow.any() and ordinary.all():
            self.newest_ms[touched] = newest[last]
            return Fate(touched, ordinary, accepted=len(times))
        slow[rank[~ordinary]] = True
        plain = ~slow
        self.newest_ms[touched[plain]] = newest[last][plain]
        ordinary &= plain[rank]
        fate = Fate(touched, ordinary, accepted=int(ordinary.sum()))
        start, stop = np.flatnonzero(first), np.flatnonzero(last) + 1
        for r in np.flatnonzero(slow).tolist():
            _Walk(self, int(touched[r]), fate).go(times, int(start[r]), int(stop[r]))
        return fate


class _Walk:
    """One device's samples, one after the other where something is unusual."""

    def __init__(self, clocks: Clocks, device: int, fate: Fate) -> None:
        self.clocks, self.device, self.fate, self.spec = clocks, device, fate, clocks.spec
        for name in _REMEMBERED:
            if name not in ("stretches", "unsettled"):
                setattr(self, name, int(getattr(clocks, name)[device]))
        self.stretches = sorted((a, z) for a, z in clocks.stretches[device].tolist() if a != NEVER)
        self.stored = self.waiting_ms != NEVER  # whether what waits is from before
        self.rows: list[int] = []  # of what waits and is not

    newest_ms: int
    waiting_ms: int
    waiting_count: int
    late_run: int
    strays: int
    stray_first_ms: int
    stray_newest_ms: int
    begin: int
    floor: int

    def go(self, times: Int64, at: int, stop: int) -> None:
        """Follow the samples from ``at`` on, and remember where they lead."""
        while at < stop:
            if self.newest_ms != NEVER and self.waiting_ms == NEVER and not self.late_run:
                at = self._run(times, at, stop)
                if at == stop:
                    break
            if not self._step(at, int(times[at])):
                if self.fate.later is None:
                    self.fate.later = np.zeros(len(times), bool)
                self.fate.later[at:stop] = True
                break
            at += 1
        self.fate.waiting += self.rows
        self._remember()

    def _run(self, times: Int64, at: int, stop: int) -> int:
        """Take samples as long as they are ordinary, and return where the first one is that is not."""
        spec, size = self.spec, LOOK
        while at < stop:
            part = times[at : min(at + size, stop)]
            peak = np.maximum(np.maximum.accumulate(part), self.newest_ms)
            before = after(self.newest_ms, peak)
            bins = spec.bin_of(part)
            odd = (spec.end_ms(bins) + spec.lateness_ms <= before) | (part - before > self.clocks.gap_ms)
            odd |= (bins <= self.floor) | (bins >= self._wall())
            taken = int(odd.argmax()) if odd.any() else len(part)
            if taken:
                self.fate.keep[at : at + taken] = True
                self.fate.accepted += taken
                self.newest_ms = int(peak[taken - 1])
                self.begin = min(self.begin, int(bins[:taken].min()))
                at += taken
            if taken < len(part):
                return at
            size = min(2 * size, 1 << 16)
        return at

    def _step(self, row: int, time_ms: int) -> bool:
        """Take one sample; False where the bins before it have to be emitted first."""
        spec, gap_ms = self.spec, self.clocks.gap_ms
        index = spec.bin_of(time_ms)
        if self.newest_ms == NEVER:
            self.begin = index
            self._place(row, time_ms)
        elif index <= self.floor or self._ahead(index):
            self._drop_late()
        elif time_ms - self.newest_ms > gap_ms:
            return self._jump(row, time_ms)
        elif spec.end_ms(index) + spec.lateness_ms <= self.newest_ms:
            self._drop_late()
            return not (self._stray(time_ms, index) and self._restart(time_ms, index))
        else:
            if self._crosses(index):
                return False
            if time_ms > self.newest_ms or self.late_run:  # else it may be the last one again
                self._distrust()
            self.begin = min(self.begin, index)
            self._place(row, time_ms)
        return True

    def _place(self, row: int, time_ms: int) -> None:
        self.fate.keep[row] = True
        self.fate.accepted += 1
        self.newest_ms = max(self.newest_ms, time_ms)
        self.late_run = self.strays = 0

    def _drop_late(self) -> None:
        self.late_run += 1
        self.fate.late += 1

    def _jump(self, row: int, time_ms: int) -> bool:
        """A sample far ahead: it waits, or agrees with one that does, of which the earlier is believed."""
        gap_ms, waiting_ms = self.clocks.gap_ms, self.waiting_ms
        if time_ms == waiting_ms:
            self._wait(row, time_ms)  # the same again, or other channels of it
            return True
        # Two that are apart as well may be those of a device that reports rarely, but not while others are late.
        apart = time_ms < waiting_ms - gap_ms or (time_ms > waiting_ms + gap_ms and self.late_run > 0)
        if waiting_ms == NEVER or apart:
            self._distrust()
            self._wait(row, time_ms)
            return True
        index = self.spec.bin_of(min(time_ms, waiting_ms))
        if self._crosses(index):
            return False
        self._add((self.begin, self.spec.bin_of(self.newest_ms)), index)
        self.begin = index
        self._place_waiting()
        if time_ms - waiting_ms > gap_ms:
            self._wait(row, time_ms)
        else:
            self._place(row, time_ms)
        return True

    def _wait(self, row: int, time_ms: int) -> None:
        self.waiting_ms = time_ms
        self.waiting_count += 1
        self.rows.append(row)

    def _place_waiting(self) -> None:
        if self.stored:
            self.fate.placed.append((self.device, self.waiting_ms))
        self.fate.keep[self.rows] = True
        self.fate.accepted += self.waiting_count
        self.newest_ms = max(self.newest_ms, self.waiting_ms)
        self.late_run = self.strays = 0
        self._clear()

    def _distrust(self) -> None:
        """Drop what waits: nothing agreed with it."""
        self.fate.distrusted += self.waiting_count
        self._clear()

    def _clear(self) -> None:
        if self.stored:
            self.fate.cleared.append(self.device)
            self.stored = False
        self.rows = []
        self.waiting_ms, self.waiting_count = NEVER, 0

    def _stray(self, time_ms: int, index: int) -> bool:
        """Count a late sample that lies where nothing was judged; whether it is one too many."""
        if index >= self.begin or any(a <= index <= z for a, z in self.stretches):
            return False
        gap_ms = self.clocks.gap_ms
        # One that is far off begins the count anew: so it does not matter if a part of the samples comes again.
        if not self.strays or abs(time_ms - self.stray_newest_ms) > gap_ms:
            self.strays, self.stray_first_ms, self.stray_newest_ms = 1, time_ms, time_ms
        elif time_ms > self.stray_newest_ms:
            self.strays, self.stray_newest_ms = self.strays + 1, time_ms
            few = self.strays >= FEW and time_ms - self.stray_first_ms >= gap_ms
            return few or self.strays >= self.spec.restart_after
        return False

    def _restart(self, time_ms: int, index: int) -> bool:
        self.fate.late -= 1  # it will be the first of the new stretch
        self.fate.restarts.append(Restart(self.device, self.newest_ms, time_ms))
        self._distrust()
        self.floor = index - 1
        self.stretches = [stretch for stretch in self.stretches if stretch[1] > self.floor]
        self._add((self.begin, self.spec.bin_of(self.newest_ms)), index)
        self.begin = NEVER
        self.late_run = self.strays = 0
        return True

    def _wall(self) -> int:
        """First bin ahead that was judged already."""
        return min((a for a, _ in self.stretches if a > self.begin), default=NO_WALL)

    def _ahead(self, index: int) -> bool:
        return any(self.begin < a <= index <= z for a, z in self.stretches)

    def _crosses(self, index: int) -> bool:
        """Whether stretches lie between the device's time and a bin: they are behind then, and nothing goes across.

        What lies between them stays open land: a clock may be far ahead again and again.
        """
        crossed = [z for a, z in self.stretches if self.begin < a and z < index]
        if crossed:
            self._add((self.begin, self.spec.bin_of(self.newest_ms)), index)
            self.begin = self.fate.cuts[self.device] = max(crossed) + 1
        return bool(crossed)

    def _add(self, stretch: tuple[int, int], present: int) -> None:
        """Remember a stretch. Of too many, the oldest goes, with all before it; of those ahead, the furthest."""
        if stretch[0] > stretch[1]:
            return  # the device has just crossed one, and has not been anywhere since
        self.stretches = sorted([*self.stretches, stretch])
        if len(self.stretches) > STRETCHES:
            if self.stretches[0][1] < present:
                self.floor = max(self.floor, self.stretches.pop(0)[1])
            else:
                self.stretches.pop()

    def _remember(self) -> None:
        clocks, device = self.clocks, self.device
        for name in _REMEMBERED:
            if name not in ("stretches", "unsettled"):
                getattr(clocks, name)[device] = getattr(self, name)
        clocks.stretches[device] = NEVER
        if self.stretches:
            clocks.stretches[device, : len(self.stretches)] = self.stretches
        floor_open = self.spec.end_ms(self.floor) + self.spec.lateness_ms > self.newest_ms
        clocks.unsettled[device] = (
            self.newest_ms == NEVER
            or self.waiting_ms != NEVER
            or self.late_run > 0
            or self._wall() != NO_WALL
            or (self.floor != NEVER and floor_open)
        )
