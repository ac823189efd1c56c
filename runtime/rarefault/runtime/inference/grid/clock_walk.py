"""The closer look: the samples of one device, one after the other, where something is unusual.

The rules are in :mod:`rarefault.runtime.inference.grid.clocks`.
"""

from dataclasses import dataclass, field

import numpy as np

from rarefault.runtime.arrays import NEVER, Bool, DeviceArrays, Int64, after
from rarefault.runtime.inference.manifest import GridSpec

#: Stretches of bins that are remembered of each device, beside the present one and all before the floor.
STRETCHES = 4
#: Late samples in a row that are enough where they span ``max_gap``, and from which on a device counts as muted.
FEW = 3
#: Samples that are looked at together after something unusual, at first; then twice as many, and so on.
LOOK = 32
#: Beyond every bin.
NO_WALL = 1 << 62

#: What a walk keeps of its device as numbers, beside the stretches.
_NUMBERS = (
    "newest_ms",
    "waiting_ms",
    "waiting_count",
    "late_run",
    "strays",
    "stray_first_ms",
    "stray_newest_ms",
    "begin",
    "floor",
)


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
class Placement:
    """Which samples are placed in bins, which wait, and which devices start anew.

    Attributes:
        touched: devices of the samples, each once, [T].
        keep: whether a sample is placed now, [M].
        waiting: rows of the samples that now wait for another one to agree, in order.
        placed: device and time of each sample of an earlier push that waited and is placed now, before the new ones.
        cleared: devices whose sample of an earlier push no longer waits.
        later: whether a sample has to be followed again, after the bins that close now were emitted, [M]; None: none.
        restarts: devices that start anew with the first of their later samples.
        cuts: by device, a bin that no earlier value may be carried into.
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


class ClockArrays(DeviceArrays):
    """What is remembered of every device's clock, one row each.

    Attributes:
        newest_ms: largest time believed, [D].
        waiting_ms: time of the sample that waits for another one to agree, [D].
        waiting_count: number of samples that wait with that time, [D].
        late_run: late samples since the last one on time, [D].
        strays: late samples in a row that lie where nothing was judged, [D].
        stray_first_ms, stray_newest_ms: time of the first and the last of them, [D].
        begin: first bin of the present stretch, [D].
        floor: bins up to this one have been judged, or never will be, [D].
        stretches: first and last bin of earlier stretches that were judged, [D, STRETCHES, 2].
        unsettled: whether the next sample needs a closer look, [D].
    """

    newest_ms: Int64
    waiting_ms: Int64
    waiting_count: Int64
    late_run: Int64
    strays: Int64
    stray_first_ms: Int64
    stray_newest_ms: Int64
    begin: Int64
    floor: Int64
    stretches: Int64
    unsettled: Bool

    def __init__(self) -> None:
        super().__init__(
            newest_ms=NEVER,
            waiting_ms=NEVER,
            waiting_count=0,
            late_run=0,
            strays=0,
            stray_first_ms=NEVER,
            stray_newest_ms=NEVER,
            begin=NEVER,
            floor=NEVER,
            stretches=np.full((STRETCHES, 2), NEVER),
            unsettled=True,
        )


class DeviceWalk:
    """Follows one device's samples, one after the other.

    Args:
        clocks: of all devices; read at first, and written when the walk is at its end.
        spec: of the grid.
        device: slot of the device.
        placement: where the walk enters what becomes of the samples.
    """

    def __init__(self, clocks: ClockArrays, spec: GridSpec, device: int, placement: Placement) -> None:
        self.clocks, self.spec, self.device, self.placement = clocks, spec, device, placement
        self.gap_ms = spec.gap_ms
        for name in _NUMBERS:
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
                if self.placement.later is None:
                    self.placement.later = np.zeros(len(times), bool)
                self.placement.later[at:stop] = True
                break
            at += 1
        self.placement.waiting += self.rows
        self._remember()

    def _run(self, times: Int64, at: int, stop: int) -> int:
        """Take samples as long as they are ordinary, and return where the first one is that is not."""
        spec, size = self.spec, LOOK
        while at < stop:
            part = times[at : min(at + size, stop)]
            peak = np.maximum(np.maximum.accumulate(part), self.newest_ms)
            before = after(self.newest_ms, peak)
            bins = spec.bin_of(part)
            odd = (spec.end_ms(bins) + spec.lateness_ms <= before) | (part - before > self.gap_ms)
            odd |= (bins <= self.floor) | (bins >= self._wall())
            taken = int(odd.argmax()) if odd.any() else len(part)
            if taken:
                self.placement.keep[at : at + taken] = True
                self.placement.accepted += taken
                self.newest_ms = int(peak[taken - 1])
                self.begin = min(self.begin, int(bins[:taken].min()))
                at += taken
            if taken < len(part):
                return at
            size = min(2 * size, 1 << 16)
        return at

    def _step(self, row: int, time_ms: int) -> bool:
        """Take one sample; False where the bins before it have to be emitted first."""
        spec, gap_ms = self.spec, self.gap_ms
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
        self.placement.keep[row] = True
        self.placement.accepted += 1
        self.newest_ms = max(self.newest_ms, time_ms)
        self.late_run = self.strays = 0

    def _drop_late(self) -> None:
        self.late_run += 1
        self.placement.late += 1

    def _jump(self, row: int, time_ms: int) -> bool:
        """A sample far ahead: it waits, or agrees with one that does, of which the earlier is believed."""
        gap_ms, waiting_ms = self.gap_ms, self.waiting_ms
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
        last = self.spec.bin_of(self.newest_ms)
        if self.begin > last or index - last > self.spec.most_bins:  # else the bins between are filled, and so judged
            self._add((self.begin, last), index)
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
            self.placement.placed.append((self.device, self.waiting_ms))
        self.placement.keep[self.rows] = True
        self.placement.accepted += self.waiting_count
        self.newest_ms = max(self.newest_ms, self.waiting_ms)
        self.late_run = self.strays = 0
        self._clear()

    def _distrust(self) -> None:
        """Drop what waits: nothing agreed with it."""
        self.placement.distrusted += self.waiting_count
        self._clear()

    def _clear(self) -> None:
        if self.stored:
            self.placement.cleared.append(self.device)
            self.stored = False
        self.rows = []
        self.waiting_ms, self.waiting_count = NEVER, 0

    def _stray(self, time_ms: int, index: int) -> bool:
        """Count a late sample that lies where nothing was judged; whether it is one too many."""
        if index >= self.begin or any(a <= index <= z for a, z in self.stretches):
            return False
        gap_ms = self.gap_ms
        # One that is far off begins the count anew: so it does not matter if a part of the samples comes again.
        if not self.strays or abs(time_ms - self.stray_newest_ms) > gap_ms:
            self.strays, self.stray_first_ms, self.stray_newest_ms = 1, time_ms, time_ms
        elif time_ms > self.stray_newest_ms:
            self.strays, self.stray_newest_ms = self.strays + 1, time_ms
            few = self.strays >= FEW and time_ms - self.stray_first_ms >= gap_ms
            return few or self.strays >= self.spec.restart_after
        return False

    def _restart(self, time_ms: int, index: int) -> bool:
        self.placement.late -= 1  # it will be the first of the new stretch
        self.placement.restarts.append(Restart(self.device, self.newest_ms, time_ms))
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
            self.begin = self.placement.cuts[self.device] = max(crossed) + 1
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
        for name in _NUMBERS:
            getattr(clocks, name)[device] = getattr(self, name)
        clocks.stretches[device] = NEVER
        if self.stretches:
            clocks.stretches[device, : len(self.stretches)] = self.stretches
        floor_open = self.spec.end_ms(self.floor) + self.spec.lateness_ms > self.newest_ms
        # Whether samples out of order may still move the beginning of the stretch back.
        begin_open = self.spec.end_ms(self.begin - 1) + self.spec.lateness_ms > self.newest_ms
        clocks.unsettled[device] = (
            self.newest_ms == NEVER
            or self.waiting_ms != NEVER
            or self.late_run > 0
            or self._wall() != NO_WALL
            or (self.floor != NEVER and floor_open)
            or begin_open
        )
