"""The rules of the grid written plainly, one sample at a time, and recordings to hold the grid against them."""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from rarefault.runtime.inference.grid import Bins, Grid
from rarefault.runtime.inference.manifest import MOST_HELD, GridSpec

NAN, ENDED = math.nan, math.inf


@dataclass
class PlainDevice:
    """The rules of the grid for one device, written as simply as they can be."""

    spec: GridSpec
    counters: list[bool]
    newest: int | None = None
    open: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    occupied: int | None = None
    held: list[tuple[int, float] | None] = field(default_factory=list)
    meter: list[tuple[int, float] | None] = field(default_factory=list)
    late: int = 0
    accepted: int = 0
    distrusted: int = 0
    restarts: int = 0
    late_run: int = 0
    strays: tuple[int, int, int] = (0, 0, 0)
    waiting: list[tuple[int, list[float]]] = field(default_factory=list)
    begin: int = -1
    floor: int = -1
    cut: int = -1
    stretches: list[tuple[int, int]] = field(default_factory=list)
    bins: list[tuple[int, list[float], bool]] = field(default_factory=list)

    def bin(self, time: int) -> int:
        """Bins begin at the offset; with one, there is a bin before it, which is number 0."""
        offset = round(self.spec.offset_s * 1000)
        return (time - offset) // self.spec.period_ms + (offset > 0)

    def end(self, index: int) -> int:
        offset = round(self.spec.offset_s * 1000)
        return (index + (offset == 0)) * self.spec.period_ms + offset

    def push(self, time: int, values: list[float]) -> None:
        """One sample: what its time says of the device's time."""
        gap = round(self.spec.max_gap_s * 1000)
        index = self.bin(time)
        if self.newest is None:
            self.begin = index
            self.place(time, values)
        elif index <= self.floor or any(self.begin < a <= index <= z for a, z in self.stretches):
            self.miss()  # judged before
        elif time > self.newest + gap:
            self.far_ahead(time, values, gap)
        elif self.end(index) + self.spec.lateness_ms <= self.newest:
            self.miss()
            if self.is_one_too_many(time, index, gap):
                self.late -= 1
                self.start_anew(time, values, index)
        else:
            self.cross(index)
            if time > self.newest or self.late_run:
                self.distrust()
            self.begin = min(self.begin, index)
            self.place(time, values)

    def far_ahead(self, time: int, values: list[float], gap: int) -> None:
        waiting = self.waiting[0][0] if self.waiting else None
        if waiting is None or time == waiting:
            self.waiting.append((time, values))
        elif time < waiting - gap or (time > waiting + gap and self.late_run):
            self.distrust()
            self.waiting.append((time, values))
        else:
            assert self.newest is not None
            self.cross(first := self.bin(min(time, waiting)))
            last = self.bin(self.newest)
            if self.begin > last:  # it has just crossed a stretch
                self.begin = first
            elif first - last > self.most_bins:  # else the bins between are filled, and so judged
                self.remember((self.begin, last), first)
                self.begin = first
            agreed, self.waiting = self.waiting, []
            for sample in agreed:
                self.place(*sample)
            if time > waiting + gap:
                self.waiting = [(time, values)]
            else:
                self.place(time, values)

    @property
    def most_bins(self) -> int:
        """While it is not known whether anything is held, more may be filled."""
        return max(self.spec.gap_bins, MOST_HELD) if self.spec.hold == "until death" else self.spec.gap_bins

    def miss(self) -> None:
        self.late += 1
        self.late_run += 1

    def distrust(self) -> None:
        self.distrusted += len(self.waiting)
        self.waiting = []

    def is_one_too_many(self, time: int, index: int, gap: int) -> bool:
        if index >= self.begin or any(a <= index <= z for a, z in self.stretches):
            return False
        count, first, newest = self.strays
        if not count or abs(time - newest) > gap:
            self.strays = (1, time, time)
        elif time > newest:
            self.strays = (count + 1, first, time)
            return (count + 1 >= 3 and time - first >= gap) or count + 1 >= self.spec.restart_after
        return False

    def start_anew(self, time: int, values: list[float], index: int) -> None:
        assert self.newest is not None
        self.distrust()
        self.restarts += 1
        self.floor = index - 1
        self.stretches = [s for s in self.stretches if s[1] > self.floor]
        self.remember((self.begin, self.bin(self.newest)), index)
        self.newest = self.occupied = None
        self.open.clear()
        self.begin = index
        self.place(time, values)

    def cross(self, index: int) -> None:
        crossed = [z for a, z in self.stretches if self.begin < a and z < index]
        if crossed:
            assert self.newest is not None
            if self.begin <= self.bin(self.newest):
                self.remember((self.begin, self.bin(self.newest)), index)
            self.begin = self.cut = max(crossed) + 1

    def remember(self, stretch: tuple[int, int], present: int) -> None:
        self.stretches = sorted([*self.stretches, stretch])
        if len(self.stretches) > 4:
            if self.stretches[0][1] < present:
                self.floor = max(self.floor, self.stretches.pop(0)[1])
            else:
                self.stretches.pop()

    def place(self, time: int, values: list[float]) -> None:
        """Into its bin; bins before it close."""
        self.late_run, self.strays = 0, (0, 0, 0)
        none = ENDED if self.spec.hold == "until death" else NAN
        values = [none if value == -math.inf else value for value in values]
        cells = self.open.setdefault(self.bin(time), [(-1, NAN)] * len(values))
        for c, value in enumerate(values):
            if not math.isnan(value) and time >= cells[c][0]:
                cells[c] = (time, value)
        self.accepted += 1
        self.newest = max(time, self.newest if self.newest is not None else time)
        for b in sorted(self.open):
            if self.end(b) + self.spec.lateness_ms <= self.newest:
                self.close(b, [value for _, value in self.open.pop(b)])

    def close(self, index: int, values: list[float]) -> None:
        n = len(values)
        ends = self.spec.hold == "until death"
        anew = self.occupied is None or self.occupied < self.cut <= index
        latest = (
            [self.meter[c] if self.counters[c] else self.held[c] for c in range(n)] if self.occupied is not None else []
        )
        alive = ends and any(last is not None and math.isfinite(last[1]) for last in latest)
        longest = max(self.spec.gap_bins, MOST_HELD) if alive else self.spec.gap_bins
        reset = anew or (self.occupied is not None and index - self.occupied > longest)
        if reset:
            self.meter = [None] * n
            if anew or not ends:
                self.forget()
        else:
            assert self.occupied is not None
            for empty in range(self.occupied + 1, index):
                self.emit(empty, [NAN] * n, reset=False)
        for c in range(n):
            if self.counters[c] and math.isinf(values[c]):
                self.meter[c] = (index, values[c])
            elif self.counters[c] and not math.isnan(values[c]):
                before, self.meter[c] = self.meter[c], (index, values[c])
                before = before if before and math.isfinite(before[1]) else None
                increase = values[c] - before[1] if before else NAN
                values[c] = increase / (index - before[0]) if before and increase > 0 else NAN
        self.occupied = index
        self.emit(index, values, reset=reset)

    def forget(self) -> None:
        """Nothing is held any more."""
        self.held = [None] * len(self.counters)

    def emit(self, index: int, values: list[float], *, reset: bool) -> None:
        row = []
        for c, value in enumerate(values):
            if not math.isnan(value):
                self.held[c] = (index, value)
            last = self.held[c]
            held = last is not None and index - last[0] <= self.spec.hold_bins
            held = held or (self.spec.hold == "until death" and not self.counters[c])
            row.append(last[1] if last and held and math.isfinite(last[1]) else NAN)
        self.bins.append((index, row, reset))


specs = st.builds(
    lambda period, offset, hold, late, gap, restart, ends: GridSpec(
        period_s=period,
        offset_s=round(offset * period, 3),
        max_hold_s=hold,
        allowed_lateness_s=late,
        max_gap_s=max(gap, period),
        restart_after=restart,
        hold="until death" if ends else "max_hold_s",
    ),
    st.sampled_from([1.0, 7.0, 10.0]),
    st.sampled_from([0.0, 0.25, 0.999]),
    st.sampled_from([0.0, 5.0, 25.0, 60.0]),
    st.sampled_from([0.0, 3.0, 25.0]),
    st.sampled_from([10.0, 30.0, 80.0]),
    st.sampled_from([3, 5, 20]),
    st.booleans(),
)
values = st.one_of(st.just(NAN), st.integers(-5, 5).map(float), st.just(ENDED), st.just(-ENDED))
sample = st.tuples(st.integers(0, 2), st.integers(0, 200_000), st.lists(values, min_size=3, max_size=3))


@st.composite
def recordings(draw: st.DrawFn) -> list[tuple[int, int, list[float]]]:
    """Samples mostly in order, with jitter, duplicates, gaps and stragglers."""
    picked = draw(st.lists(sample, max_size=60))
    if draw(st.booleans()):
        jitter = draw(st.sampled_from([0, 4_000, 30_000]))
        picked.sort(key=lambda s: s[1] + (s[1] * 7919) % (jitter + 1))
    repeats = draw(st.lists(st.integers(0, max(len(picked) - 1, 0)), max_size=5)) if picked else []
    for r in repeats:
        picked.insert(r, picked[r])
    # Now and then a clock is far ahead for some samples in a row.
    for _ in range(draw(st.integers(0, 2)) if picked else 0):
        first, n = draw(st.integers(0, len(picked) - 1)), draw(st.integers(1, 8))
        ahead = draw(st.sampled_from([15_000, 60_000, 100_000, 10_000_000]))
        picked[first : first + n] = [(d, t + ahead, v) for d, t, v in picked[first : first + n]]
    return picked


@st.composite
def wrong_clocks(draw: st.DrawFn) -> list[tuple[int, int, list[float]]]:
    """Devices that go on steadily, but for some samples in a row that are stamped far ahead, or come again."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    made = []
    for device in range(3):
        time = 5_000
        for _ in range(rng.integers(60)):
            time += int(rng.integers(500, 9_000)) if rng.random() < 0.97 else int(rng.integers(20_000, 200_000))
            made.append(
                (
                    device,
                    time,
                    [
                        float(rng.integers(-5, 5))
                        if rng.random() < 0.7
                        else rng.choice([ENDED, -ENDED])
                        if rng.random() < 0.2
                        else NAN
                        for _ in range(3)
                    ],
                )
            )
    made.sort(key=lambda s: s[1] + int(rng.integers(0, 3_000)))
    for _ in range(rng.integers(6) if made else 0):
        device, ahead = int(rng.integers(3)), int(rng.choice([12_000, 60_000, 90_000, 150_000, 300_000, 5_000_000]))
        first = int(rng.integers(len(made)))
        mine = [i for i in range(first, len(made)) if made[i][0] == device][: int(rng.integers(1, 25))]
        for i in mine:
            made[i] = (device, made[i][1] + ahead, made[i][2])
    for _ in range(rng.integers(3) if made else 0):
        first = int(rng.integers(len(made)))
        made[first:first] = made[max(0, first - int(rng.integers(1, 30))) : first]
    return made


def push(grid: Grid, part: list[tuple[int, int, list[float]]]) -> Bins:
    return grid.push([s[0] for s in part], [s[1] for s in part], np.array([s[2] for s in part]).reshape(-1, 3))


def cut(items: list[tuple[int, int, list[float]]], cuts: list[int]) -> list[list[tuple[int, int, list[float]]]]:
    edges = [0, *sorted(c % (len(items) + 1) for c in cuts), len(items)]
    return [items[a:b] for a, b in itertools.pairwise(edges)]


def per_device(pushed: list[Bins], device: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mine = [(b.index[b.device == device], b.values[b.device == device], b.reset[b.device == device]) for b in pushed]
    return tuple(np.concatenate(parts) for parts in zip(*mine, strict=True))  # type: ignore[return-value]
