"""The engine and the whole way from samples to verdicts, with a step whose result can be worked out by hand."""

import msgspec
import numpy as np
import pytest

from rarefault.runtime.arrays import Float32
from rarefault.runtime.inference.engine import Engine, rounds
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec, FilterSpec, GridSpec, Manifest, WindowSpec
from rarefault.runtime.inference.pipeline import Pipeline, verdict_id
from rarefault.runtime.inference.window_buffer import Windows

FILTER = FilterSpec(weight=0.4, renewal=0.1, belief_power=0.8, window_power=0.3)
MANIFEST = Manifest(
    name="sum",
    channels=("a", "b"),
    classes=("normal", "high"),
    grid=GridSpec(period_s=10, max_hold_s=20, max_gap_s=60),
    window=WindowSpec(length=3, stride=1),
    state_size=1,
    decision=DecisionSpec(
        prior=(0.5, 0.5), thresholds=(1.0, 1.0), experts=(ExpertSpec(name="network"),), filter=FILTER
    ),
)


class RunningSum:
    """A real, if small, recurrent step: the state adds up the window; the fault's logit is the state."""

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def __call__(self, window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
        self.batch_sizes.append(len(window))
        # Whole quarters add up exactly, so that the order of the additions cannot show in the result.
        total = state + np.nansum(np.round(window * 4) / 4, axis=(1, 2))[:, None]
        return np.concatenate((-np.logaddexp(0, total), -np.logaddexp(0, -total)), axis=1)[:, None], total


def test_rounds_take_one_window_of_each_device_at_a_time() -> None:
    """Windows of one device come in turns, so that its state is carried; different devices share a turn."""
    assert [r.tolist() for r in rounds(np.array([0, 0, 0, 4, 7, 7], np.int32))] == [[0, 3, 4], [1, 5], [2]]
    assert rounds(np.empty(0, np.int32)) == []


def test_state_is_carried_and_zeroed_where_a_segment_begins() -> None:
    """The state runs from window to window of a device, across calls, and starts at zero where fresh."""
    step = RunningSum()
    engine = Engine(step, state_size=1, opinions=(1, 2))
    rows = np.array([[[1.0]], [[2.0]], [[4.0]]], np.float32).reshape(3, 1)
    windows = Windows(
        device=np.array([0, 0, 1], np.int32),
        end_index=np.array([5, 6, 5]),
        fresh=np.array([True, False, True]),
        rows=rows,
        end_row=np.array([0, 1, 2]),
        length=1,
    )
    first = engine.run(windows)
    odds = first[:, 0, 1] - first[:, 0, 0]
    assert odds.tolist() == pytest.approx([1.0, 3.0, 4.0])
    assert step.batch_sizes == [2, 1]
    again = Windows(np.array([0, 1], np.int32), np.array([7, 6]), np.array([False, True]), rows, np.array([2, 0]), 1)
    second = engine.run(again)
    assert (second[:, 0, 1] - second[:, 0, 0]).tolist() == pytest.approx([7.0, 1.0])


def test_segments_of_one_device_go_through_the_step_side_by_side() -> None:
    """Each from a zero state but the one that goes on; the device carries the state of its last one."""
    step = RunningSum()
    engine = Engine(step, state_size=1, opinions=(1, 2))
    rows = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], np.float32).reshape(6, 1)
    end = np.arange(6)

    def odds(fresh: list[bool]) -> list[float]:
        found = engine.run(Windows(np.zeros(6, np.int32), end + 5, np.array(fresh), rows, end, 1))
        return [float(x) for x in found[:, 0, 1] - found[:, 0, 0]]

    assert odds([True, False, True, False, False, True]) == pytest.approx([1, 3, 4, 12, 28, 32])
    assert step.batch_sizes == [3, 2, 1]
    assert odds([False, False, True, False, False, False]) == pytest.approx([33, 35, 4, 12, 28, 60], abs=1e-3)
    assert engine.state()[0].tolist() == [60]


def recording(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    time_ms = np.sort(rng.integers(0, 20_000_000, n))
    values = rng.normal(size=(n, 2))
    values[rng.random((n, 2)) < 0.3] = np.nan
    return rng.integers(0, 5, n), time_ms, values


def test_pushes_of_any_size_give_the_same_verdicts() -> None:
    """A recording pushed whole and message by message gives the same verdicts, ids and alarms."""
    device, time_ms, values = recording(3000)

    def run(sizes: int) -> tuple[dict[str, tuple[int, float]], list[tuple[int, int, int]]]:
        pipeline = Pipeline(MANIFEST, RunningSum(), "sum@0")
        slots = np.array([pipeline.slot(f"d{d}") for d in range(5)])
        found: dict[str, tuple[int, float]] = {}
        alarms = []
        for at in range(0, len(device), sizes):
            part = slice(at, at + sizes)
            verdicts = pipeline.push(slots[device[part]], time_ms[part], values[part])
            for i in range(len(verdicts)):
                name = pipeline.devices[verdicts.device[i]]
                key = verdict_id(name, int(verdicts.end_ms[i]), "sum@0")
                assert key not in found
                found[key] = (int(verdicts.fault[i]), float(verdicts.posterior[i, 1]))
            alarms += [(a.device, a.end_ms, a.state) for a in verdicts.alarms]
        return found, sorted(alarms)

    whole = run(len(device))
    assert len(whole[0]) > 100
    assert run(1) == whole
    assert run(37) == whole


def test_a_fleet_takes_turns() -> None:
    """Where windows are spread, devices fall due in different bins; a snapshot and another order do not change that."""
    manifest = msgspec.structs.replace(MANIFEST, window=WindowSpec(length=3, stride=4, spread=True))
    names = [f"machine {i}" for i in range(40)]

    def ends(order: list[str], cut: int | None) -> dict[str, list[int]]:
        pipeline = Pipeline(manifest, RunningSum(), "sum@0")
        slots = {name: pipeline.slot(name) for name in order}
        found: dict[str, list[int]] = {name: [] for name in names}
        for number in range(30):
            if number == cut:
                snapshot = pipeline.snapshot()
                pipeline = Pipeline(manifest, RunningSum(), "sum@0")
                pipeline.restore(snapshot)
            verdicts = pipeline.push([slots[n] for n in names], np.full(40, number * 10_000), np.ones((40, 2)))
            for slot, end_ms in zip(verdicts.device.tolist(), verdicts.end_ms.tolist(), strict=True):
                found[pipeline.devices[slot]].append(end_ms)
        return found

    whole = ends(names, cut=None)
    phases = [manifest.window.phase(name) for name in names]
    assert set(phases) == {0, 1, 2, 3}
    for name, phase in zip(names, phases, strict=True):
        assert whole[name]
        assert all((end // 10_000 + phase) % 4 == 0 for end in whole[name])
    assert ends(names[::-1], cut=17) == whole

    pipeline = Pipeline(manifest, RunningSum(), "sum@0")
    first = next(name for name in names if manifest.window.phase(name) == 1)
    other = next(name for name in names if manifest.window.phase(name) == 2)
    slot = pipeline.slot(first)
    pipeline.push([slot], [0], np.ones((1, 2)))
    pipeline.forget([slot])
    assert pipeline.slot(other) == slot
    late = [pipeline.push([slot], [n * 10_000], np.ones((1, 2))).end_ms.tolist() for n in range(20)]
    assert [end for found in late for end in found] == whole[other][: len([e for f in late for e in f])]


def test_verdict_ids_differ_by_device_time_and_model() -> None:
    """The id is the same for the same verdict and for no other."""
    ids = {verdict_id(d, t, m) for d in ("a", "b") for t in (0, 1000) for m in ("x@1", "x@2")}
    assert len(ids) == 8
    assert verdict_id("a", 0, "x@1") in ids
