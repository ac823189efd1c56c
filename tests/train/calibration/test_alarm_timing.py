"""Scores and delays of alarms from held-out events, and how many doubts in a row are an alarm."""

import numpy as np
import pytest
from tests.train.evaluation.test_alarms import GRID, PERIOD_MS, even, history

from rarefault.runtime.arrays import Float64
from rarefault.runtime.inference.manifest import DecisionSpec
from rarefault.train.calibration.alarm_timing import fit_timing, one_alarm_each, shortest_event
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.config import DecisionConfig

#: Windows of each of two devices.
N = 60


def two_devices(*events: tuple[int, int, int]) -> HeldOutWindows:
    """Held-out windows, one a bin, of two devices: an event is a device, its first window and one past its last."""
    label = np.zeros((2, N), np.int64)
    for device, first, stop in events:
        label[device, first:stop] = 1
    end_ms = np.tile(np.arange(1, N + 1) * PERIOD_MS, 2)
    told = history(*((d, a * PERIOD_MS, b * PERIOD_MS, 1) for d, a, b in events))
    fresh = np.tile(np.arange(N) == 0, 2)
    return HeldOutWindows(told, np.repeat([0, 1], N), end_ms, fresh, label.ravel(), GRID, PERIOD_MS)


def posterior(fault: Float64) -> Float64:
    """Two classes' share of the probability; the third has none."""
    return np.stack([1 - fault - 1e-9, fault, np.full(len(fault), 1e-9)], axis=1)


def timed(windows: HeldOutWindows, fault: Float64, **changes: object) -> DecisionSpec:
    return fit_timing(even(), posterior(fault), DecisionConfig(**changes), windows)  # type: ignore[arg-type]


def test_the_shortest_events_are_of_the_fault_that_has_them() -> None:
    """The tenth percentile of each fault's events; without an event there is none."""
    assert shortest_event(two_devices((0, 10, 18), (0, 30, 50), (1, 5, 9))) == 4
    assert shortest_event(two_devices()) == 0


def test_an_alarm_that_comes_and_goes_is_bridged() -> None:
    """During one event the score falls for a window now and then: one alarm, not six; and it ends soon after."""
    windows = two_devices((0, 10, 34), (1, 20, 44))
    fault = np.where(windows.label == 1, 0.95, 0.02)
    flicker = (windows.label == 1) & (np.arange(2 * N) % 4 == 1)
    fault[flicker] = 0.05
    spec = timed(windows, fault)
    assert spec.off_delay_s == PERIOD_MS / 1000
    (before,) = windows.trial(even(), posterior(fault)).count(np.ones((1, 3)))
    (after,) = windows.trial(spec, posterior(fault)).count(np.ones((1, 3)))
    assert before.true > 10
    assert after.true == after.seen == 2
    assert after.changes == 4
    assert one_alarm_each(after) == 1.0


def test_spikes_without_a_cause_are_waited_out() -> None:
    """Where each event lasts eight windows, a single window is no alarm; the delay is no longer than that needs."""
    windows = two_devices((0, 10, 18), (1, 20, 28), (1, 40, 48))
    fault = np.where(windows.label == 1, 0.95, 0.02)
    fault[[3, 30, 50, N + 5, N + 55]] = 0.95
    spec = timed(windows, fault)
    assert spec.on_delay_s == PERIOD_MS / 1000
    (after,) = windows.trial(spec, posterior(fault)).count(np.ones((1, 3)))
    assert (after.true, after.false, after.seen) == (3, 0, 3)


def test_no_fault_must_last_longer_than_half_of_the_shortest_events() -> None:
    """Spikes as long as the shortest events cannot be told by their length: those events stay alarms."""
    windows = two_devices((0, 10, 12), (1, 20, 40))
    fault = np.where(windows.label == 1, 0.95, 0.02)
    fault[[30, 31, N + 50, N + 51]] = 0.95
    assert timed(windows, fault).on_delay_s <= PERIOD_MS / 1000
    assert timed(two_devices((0, 10, 11)), np.full(2 * N, 0.9)).on_delay_s == 0


def test_weak_alarms_without_a_cause_ask_for_a_higher_score() -> None:
    """Where all that is false is weaker than what is true, the score to raise at lies between."""
    windows = two_devices((0, 10, 11), (1, 20, 21))
    fault = np.where(windows.label == 1, 0.95, 0.02)
    fault[[3, 30, 50, N + 5]] = 0.58
    spec = timed(windows, fault)
    assert spec.raise_threshold == 0.6
    assert spec.clear_threshold == pytest.approx(0.36)


def test_what_is_given_stays() -> None:
    """A configured value is taken as it is; a score to clear at lies below the one to raise at in any case."""
    windows = two_devices((0, 10, 34))
    fault = np.where(windows.label == 1, 0.95, 0.02)
    spec = timed(windows, fault, raise_threshold=0.9, clear_threshold=0.1, on_delay_s=5.0, off_delay_s=7.0)
    assert (spec.raise_threshold, spec.clear_threshold, spec.on_delay_s, spec.off_delay_s) == (0.9, 0.1, 5.0, 7.0)
    assert timed(windows, fault, clear_threshold=0.75).raise_threshold == 0.75


def test_doubts_in_a_row_are_as_many_as_held_out_time_hardly_has() -> None:
    """Runs of one, two and five doubtful windows: with none allowed six in a row, with one three; off by default."""
    windows = two_devices((0, 50, 58), (1, 50, 58))
    fault = np.where(windows.label == 1, 0.95, 0.02)
    fault[[3, 10, 11, N + 20, N + 21, N + 22, N + 23, N + 24]] = 0.4
    levelled = even(coverage=0.9, conformal_thresholds=(0.9, 0.9, 0.0))
    days = windows.device_days

    def doubts(allowed: float) -> int:
        config = DecisionConfig(unknown_per_device_day=(allowed + 0.5) / days)
        return fit_timing(levelled, posterior(fault), config, windows).unknown_windows

    assert [doubts(0), doubts(1), doubts(2), doubts(3)] == [6, 3, 2, 1]
    assert fit_timing(levelled, posterior(fault), DecisionConfig(), windows).unknown_windows == 0
    spec = fit_timing(levelled, posterior(fault), DecisionConfig(unknown_per_device_day=1.5 / days), windows)
    (counts,) = windows.trial(spec, posterior(fault)).count(np.ones((1, 3)))
    assert (counts.unknown, counts.false) == (1, 1)
