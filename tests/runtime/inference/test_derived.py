"""Derived inputs against a plain reading of their rules, and live against a whole recording."""

import itertools
import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.examples import examples
from tests.harness.plain_grid import NAN, PlainDevice, cut, per_device, push, recordings, specs, wrong_clocks

from rarefault.runtime.arrays import Float32, Float64
from rarefault.runtime.inference.grid import Grid
from rarefault.runtime.inference.grid.baseline import BLOCKS, SETTLED, WIDE
from rarefault.runtime.inference.grid.derived import MOST_BINS
from rarefault.runtime.inference.manifest import (
    OF_READINGS,
    STATISTICS,
    DecisionSpec,
    Derived,
    ExpertSpec,
    FilterSpec,
    GridSpec,
    Manifest,
    Statistic,
    WindowSpec,
)
from rarefault.runtime.inference.pipeline import PART, Pipeline

COUNTERS = [False, False, True]
#: Everything that may be derived of three channels, the last of which is a counter; not in order.
DERIVED: list[tuple[int, Statistic]] = [
    (channel, statistic)
    for statistic, channel in itertools.product(reversed(STATISTICS), (1, 2, 0))
    if not (COUNTERS[channel] and statistic in OF_READINGS)
]


@dataclass
class Normal:
    """The recent normal of one channel of one device."""

    normal: float = 0.0
    weight: float = 0.0
    away: float = 0.0
    away_weight: float = 0.0
    values: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    def turn(self, fade: float) -> None:
        """A block ends."""
        n = len(self.values)
        if self.weight > 0:
            whole = self.away_weight + n
            self.away += (sum(self.distances) - n * self.away) / whole if whole else 0.0
            self.away_weight = whole * fade
        if self.weight + n > 0:
            self.normal += (sum(self.values) - n * self.normal) / (self.weight + n)
        self.weight = (self.weight + n) * fade
        self.values, self.distances = [], []

    def take(self, value: float, settled: int) -> None:
        limit = WIDE * self.away if self.away_weight >= settled else math.inf
        self.values.append(min(max(value, self.normal - limit), self.normal + limit))
        self.distances.append(abs(value - self.normal))


@dataclass
class PlainDerived(PlainDevice):
    """The rules of the grid and of its derived inputs for one device."""

    samples: dict[int, list[list[float]]] = field(default_factory=dict)
    runs: list[tuple[float, int, int] | None] = field(default_factory=list)
    normals: list[Normal] = field(default_factory=lambda: [Normal() for _ in COUNTERS])
    block: int | None = None
    rows: list[list[float]] = field(default_factory=list)

    def place(self, time: int, values: list[float]) -> None:
        self.samples.setdefault(self.bin(time), []).append(list(values))
        super().place(time, values)

    def start_anew(self, time: int, values: list[float], index: int) -> None:
        self.samples.clear()
        super().start_anew(time, values, index)

    def forget(self) -> None:
        super().forget()
        self.runs = [None] * len(self.counters)

    def emit(self, index: int, values: list[float], *, reset: bool) -> None:
        super().emit(index, values, reset=reset)
        self.turn(index)
        taken, known = self.samples.pop(index, []), self.bins[-1][1]
        self.rows.append([self.derived(s, c, index, values[c], known[c], taken) for c, s in DERIVED])
        for c, value in enumerate(values):
            if math.isfinite(value):
                self.normals[c].take(value, self.settled)

    @property
    def block_bins(self) -> int:
        return max(1, round(self.spec.baseline_s / self.spec.period_s / BLOCKS))

    @property
    def settled(self) -> int:
        return SETTLED * self.block_bins

    def turn(self, index: int) -> None:
        block = index // self.block_bins
        if self.block is not None and block != self.block:
            passed = max(0, block - self.block) * self.block_bins * self.spec.period_s
            for normal in self.normals:
                normal.turn(math.exp(-passed / self.spec.baseline_s))
        self.block = block

    def derived(
        self, statistic: str, c: int, index: int, value: float, known: float, taken: list[list[float]]
    ) -> float:
        run, normal = self.runs[c], self.normals[c]
        if statistic == "still" and not math.isnan(value):
            begin = run[1] if run is not None and run[0] == value else index
            run = self.runs[c] = (value, begin, index)
        within = [row[c] for row in taken if math.isfinite(row[c])]
        if statistic == "count":
            return len(within)
        if statistic in OF_READINGS:
            low, high = (min(within), max(within)) if within else (NAN, NAN)
            return {"low": low, "high": high, "spread": high - low}[statistic]
        if math.isnan(known):
            return NAN
        if statistic == "still":
            assert run is not None
            return min(run[2] - run[1], MOST_BINS)
        if statistic == "age":
            held = self.held[c]
            assert held is not None
            return min(index - held[0], MOST_BINS)
        return known - normal.normal if normal.weight >= self.settled else NAN


@examples(200)
@given(
    specs,
    st.sampled_from([1.0, 100.0, 250.0, 1000.0]),
    recordings() | wrong_clocks(),
    st.lists(st.integers(0, 100), max_size=8),
)
def test_any_cutting_into_pushes_gives_what_the_rules_say(
    spec: GridSpec, time_constant: float, recording: list[tuple[int, int, list[float]]], cuts: list[int]
) -> None:
    """Bulk, piecewise, sample by sample and restored in between, the grid emits the inputs of the plain reading."""
    spec = msgspec.structs.replace(spec, baseline_s=time_constant * spec.period_s)
    plain = [PlainDerived(spec, COUNTERS) for _ in range(3)]
    for device, time, row in recording:
        plain[device].push(time, list(row))
    whole = push(Grid(spec, 3, COUNTERS, DERIVED), recording)
    for parts in ([recording], cut(recording, cuts), [[s] for s in recording]):
        grid, pushed = Grid(spec, 3, COUNTERS, DERIVED), []
        for part in parts or [[]]:
            pushed.append(push(grid, part))
            before, grid = grid, Grid(spec, 3, COUNTERS, DERIVED)
            grid.restore(before.state())
        for device, want in enumerate(plain):
            index, value, _ = per_device(pushed, device)
            assert index.tolist() == [b[0] for b in want.bins]
            np.testing.assert_array_equal(value, per_device([whole], device)[1])  # to the last bit
            expected = np.array([[*b[1], *r] for b, r in zip(want.bins, want.rows, strict=True)], np.float32)
            np.testing.assert_allclose(value, expected.reshape(-1, 3 + len(DERIVED)), rtol=1e-5, atol=1e-5)


def still_of(values: list[float]) -> list[float]:
    """``still`` of samples that come once in a bin."""
    grid = Grid(GridSpec(period_s=1, max_hold_s=3, max_gap_s=10), 1, None, [(0, "still")])
    n = len(values) + 1
    found = grid.push([0] * n, np.arange(n) * 1000, [[v] for v in (*values, 0.5)]).values[:, 1]
    return [float(bins) for bins in found]


def test_still_counts_equal_samples_and_ends_at_the_cap() -> None:
    """Empty cells neither lengthen a run nor end it."""
    np.testing.assert_array_equal(
        still_of([1, 1, 1, 2, NAN, 2, NAN, NAN, NAN, NAN, 2, 3]), [0, 1, 2, 0, 0, 2, 2, 2, 2, NAN, 7, 0]
    )
    assert still_of([4.0] * 400)[-1] == MOST_BINS


def baseline_of(values: np.ndarray, blocks: float = 1) -> np.ndarray:
    """``deviation`` of samples that come once in a bin; a block has so many bins."""
    spec = GridSpec(period_s=1, max_gap_s=10, baseline_s=BLOCKS * blocks)
    grid = Grid(spec, 1, None, [(0, "deviation")])
    n = len(values)
    found: np.ndarray = grid.push(np.zeros(n), np.arange(n) * 1000, values[:, None]).values[:, 1]
    return found


def test_the_normal_is_that_of_the_device_and_is_not_moved_by_an_outlier() -> None:
    """A reading of 65535 leaves the deviation of those after it as it was; a lasting step becomes normal."""
    rng = np.random.default_rng(0)
    values = 20 + rng.normal(0, 1, 3000)
    quiet = baseline_of(values)
    assert np.isnan(quiet[:2]).all()
    assert abs(quiet[500:].mean()) < 0.1
    spoilt = values.copy()
    spoilt[1000] = 65_535
    assert abs(baseline_of(spoilt)[1001:] - quiet[1001:]).max() < 0.5
    spoilt[1000] = 3e38
    assert np.isfinite(baseline_of(spoilt)[1001:]).all()
    stepped = values + np.where(np.arange(3000) < 1000, 0, 50)
    found = baseline_of(stepped)
    assert found[1001] > 40
    assert abs(found[2500:].mean()) < 1


def test_what_was_constant_can_change_for_good() -> None:
    """A normal without any deviation yet follows a step, too."""
    found = baseline_of(np.where(np.arange(3000) < 1000, 7.0, 9.0))
    assert found[999] == 0
    assert found[1001] == 2
    assert abs(found[-1]) < 0.01


def test_the_normal_outlasts_a_gap_and_ends_where_the_device_is_forgotten() -> None:
    """A gap resets runs and holding, but not the normal."""
    spec = GridSpec(period_s=1, max_gap_s=10, baseline_s=BLOCKS)
    grid = Grid(spec, 1, None, [(0, "deviation"), (0, "still")])
    grid.push([0] * 50, np.arange(50) * 1000, [[5.0]] * 50)
    later = grid.push([0] * 3, 100_000 + np.arange(3) * 1000, [[6.0]] * 3)
    assert later.values[1:, 1].tolist() == [1.0, 1.0]
    assert later.values[1:, 2].tolist() == [0.0, 1.0]
    grid.forget(np.array([0]))
    assert np.isnan(grid.push([0] * 3, 200_000 + np.arange(3) * 1000, [[6.0]] * 3).values[:, 1]).all()


def test_a_grid_of_other_derived_inputs_does_not_go_on() -> None:
    """A state belongs to its settings."""
    grid = Grid(GridSpec(), 2, None, [(0, "still"), (1, "low"), (1, "deviation")])
    grid.push([0], [0], [[1.0, 2.0]])
    others: list[list[tuple[int, Statistic]]] = [
        [(0, "still")],
        [(0, "still"), (1, "low")],
        [(0, "low"), (1, "low"), (1, "deviation")],
    ]
    for derived in others:
        with pytest.raises(ValueError, match="shape"):
            Grid(GridSpec(), 2, None, derived).restore(grid.state())


def sum_of_inputs(window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
    """A step that reads every input of every bin, exactly: whole quarters add up the same in any order."""
    total = state / 2 + np.nansum(np.clip(np.round(window * 4) / 4, -9, 9), axis=(1, 2))[:, None]
    return np.concatenate((-np.logaddexp(0, total), -np.logaddexp(0, -total)), axis=1)[:, None], total


MANIFEST = Manifest(
    name="sum",
    channels=("a", "b", "m"),
    counters=("m",),
    classes=("normal", "high"),
    derived=tuple(Derived("abm"[channel], statistic) for channel, statistic in DERIVED),
    grid=GridSpec(period_s=10, max_hold_s=20, allowed_lateness_s=5, max_gap_s=60, restart_after=5, baseline_s=2400),
    window=WindowSpec(length=3, stride=1),
    state_size=1,
    missing=(-9999,),
    decision=DecisionSpec(prior=(0.5, 0.5), thresholds=(1.0, 1.0), experts=(ExpertSpec(name="network"),)),
)


def test_live_verdicts_are_those_of_the_whole_recording() -> None:
    """Late samples, gaps, a clock that is ahead for a while, repeats and a restart of the daemon at any time."""
    rng = np.random.default_rng(4)
    steps = rng.choice([2, 6, 11, 25, 200], 600, p=[0.3, 0.3, 0.3, 0.09, 0.01]) * 1000
    rows = [
        (int(device), int(at + rng.integers(-6000, 1)), [float(rng.integers(3)), rng.normal(), float(i)])
        for device in range(3)
        for i, at in enumerate(np.cumsum(steps) + 1_000_000)
    ]
    rows.sort(key=lambda row: row[1])
    rows[300:308] = [(d, t + 90_000_000, v) for d, t, v in rows[300:308]]
    rows[700:700] = rows[690:700]
    device, time_ms = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    values = np.array([r[2] for r in rows])
    values[rng.random(values.shape) < 0.2] = -9999

    def run(size: int) -> list[tuple[int, int, float]]:
        pipeline = Pipeline(MANIFEST, sum_of_inputs, "sum@0")
        found: list[tuple[int, int, float]] = []
        slots = np.array([pipeline.slot(f"d{d}") for d in range(3)])
        for at in range(0, len(rows), size):
            part = slice(at, at + size)
            verdicts = pipeline.push(slots[device[part]], time_ms[part], values[part], explained=True)
            found += zip(
                verdicts.device.tolist(), verdicts.end_ms.tolist(), verdicts.posterior[:, 1].tolist(), strict=True
            )
            if at % 7 == 0:
                before, pipeline = pipeline, Pipeline(MANIFEST, sum_of_inputs, "sum@0")
                pipeline.restore(before.snapshot())
        assert pipeline.grid.late > 10
        assert pipeline.grid.restarts > 0
        return sorted(found)

    whole = run(len(rows))
    assert len(whole) > 500
    assert run(1) == whole
    assert run(41) == whole


@pytest.mark.parametrize(
    ("derived", "sentence"),
    [
        ([("c", "still")], "derived inputs must be of channels, but .'c'. are not"),
        ([("a", "still"), ("a", "still")], "inputs must be different from each other, but .'a~still'. are there twice"),
        ([("m", "low")], "m~low: of a counter the model reads the increase per bin"),
        ([("a", "median")], "Invalid enum value 'median'"),
    ],
)
def test_a_manifest_refuses_what_cannot_be_derived(derived: list[tuple[str, str]], sentence: str) -> None:
    """An unknown channel or statistic, the same twice, and readings of a counter."""
    plain = msgspec.to_builtins(MANIFEST) | {"derived": [{"channel": c, "statistic": s} for c, s in derived]}
    with pytest.raises(msgspec.ValidationError, match=sentence):
        Manifest.from_json(msgspec.json.encode(plain))


def test_the_manifest_names_the_inputs() -> None:
    """Channels, then what is derived; each channel knows its columns."""
    manifest = msgspec.structs.replace(
        MANIFEST, derived=(Derived("b", "age"), Derived("a", "low"), Derived("b", "low"))
    )
    assert manifest.inputs == ("a", "b", "m", "b~age", "a~low", "b~low")
    assert manifest.columns == ((0, 4), (1, 3, 5), (2,))
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_fleet_goes_on_from_the_parts_of_its_snapshot() -> None:
    """Derived inputs, carried state and belief of every device are in the parts, and in no other device's place."""
    spec = msgspec.structs.replace(
        MANIFEST.decision, filter=FilterSpec(weight=0.5, renewal=0.1, belief_power=0.7, window_power=0.4)
    )
    manifest = msgspec.structs.replace(MANIFEST, decision=spec)
    devices, rng = 2 * PART + 7, np.random.default_rng(2)

    def push(pipeline: Pipeline, start: int, bins: int) -> Float64:
        slots = np.array([pipeline.slot(f"d{d}") for d in range(devices)])
        found = []
        for at in range(start, start + bins):
            values = rng.choice(4, (devices, 3)) + np.array([0.0, 0.5, 10.0 * at])
            late = rng.integers(0, 9000, devices)
            found.append(pipeline.push(slots, 1_000_000 + at * 10_000 + late, values).posterior)
        return np.concatenate(found)

    whole = Pipeline(manifest, sum_of_inputs, "sum@0")
    push(whole, 0, 30)
    parts = list(whole.snapshot_parts())
    assert len(parts) == 3
    again = Pipeline(manifest, sum_of_inputs, "sum@0")
    again.restore(parts)
    rng = np.random.default_rng(3)
    expected = push(whole, 30, 12)
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(push(again, 30, 12), expected)
    assert len(expected) > 10 * devices
    fresh = Pipeline(manifest, sum_of_inputs, "sum@0")
    rng = np.random.default_rng(3)
    assert not np.array_equal(push(fresh, 30, 12), expected[-len(expected) :])
