"""Alarms held against events, the same alarms under other thresholds, and thresholds chosen by them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.inference.decision import AlarmChange, Decision
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec, GridSpec, Manifest, WindowSpec
from rarefault.runtime.inference.pipeline import Verdicts
from rarefault.train.calibration.decision_fit import fit_decision
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.calibration.thresholds import event_f1, fit_thresholds, macro_f1, recall_within_budget
from rarefault.train.config import DecisionConfig
from rarefault.train.evaluation.alarms import AlarmCounts, AlarmJudge, AlarmTrial, States
from rarefault.train.evaluation.cost_curve import cost_curve
from rarefault.train.evaluation.evaluate import Evaluation
from rarefault.train.evaluation.event_scores import JudgedEvents, score_events
from rarefault.train.evaluation.metrics import JudgedWindows, score_windows
from rarefault.train.history import Events, History, Stretches
from rarefault.train.history.notes import ReadNotes

CLASSES = ("normal", "a", "b")
PERIOD_MS = 100
GRID = GridSpec(period_s=PERIOD_MS / 1000)
EXPERTS = (ExpertSpec(name="trees"),)


def history(*events: tuple[int, int, int, int], silent: tuple[tuple[int, int, int], ...] = ()) -> History:
    """Two devices with events of (device, start, end, fault) and time without a label of (device, start, end)."""
    device, start, end, fault = np.array(events, np.int64).reshape(-1, 4).T
    quiet = np.array(silent, np.int64).reshape(-1, 3).T
    return History(
        devices=("x", "y"),
        channels=("c",),
        classes=CLASSES,
        counters=(),
        device=np.empty(0, np.int32),
        time_ms=np.empty(0, np.int64),
        values=np.empty((0, 1)),
        events=Events(device.astype(np.int32), start, end, fault.astype(np.int32)),
        overlap="rarest",
        notes=ReadNotes(),
        fingerprint="",
        unlabelled=Stretches(quiet[0].astype(np.int32), quiet[1], quiet[2]),
    )


def change(device: int, state: int, since_ms: int) -> AlarmChange:
    return AlarmChange(device, state, since_ms, since_ms, 1.0)


def windows(per_device: int = 20) -> tuple[Int64, Int64]:
    """Device and end of the windows of two devices, one a bin."""
    return np.repeat([0, 1], per_device), np.tile(np.arange(1, per_device + 1) * PERIOD_MS, 2)


def test_true_false_and_excused_alarms() -> None:
    """Of five alarms two are true, one has the wrong fault, one the wrong device, one meets time without a label."""
    told = history((0, 300, 500, 1), (0, 1500, 1600, 1), (1, 5000, 6000, 2), silent=((1, 1000, 1100),))
    alarms = [
        change(0, 1, 500), change(0, 0, 700), change(0, 2, 1500), change(0, 1, 1700), change(0, 0, 1800),
        change(1, 1, 300), change(1, 0, 500), change(1, 2, 1200), change(1, 0, 1300),
    ]  # fmt: skip
    judge = AlarmJudge(told, *windows(), GRID)
    counts = judge.count(States.of(alarms))
    assert judge.false_alarms(judge.raised(States.of(alarms))) == {0: 2, 1: 2}
    # The alarm since 1700 misses the event until 1600 by half a bin; the one since 1200 the silence until 1100 too.
    assert counts == AlarmCounts(true=1, false=4, unknown=0, changes=7, events=2, seen=1)
    later = [replace(c, since_ms=1650) if c.since_ms == 1700 else c for c in alarms]
    later = [replace(c, since_ms=1150) if c.since_ms == 1200 else c for c in later]
    counts = AlarmJudge(told, *windows(), GRID).count(States.of(later))
    assert counts == AlarmCounts(true=2, false=2, unknown=0, changes=7, events=2, seen=2)
    assert counts.f1 == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_unknown_is_an_alarm_like_others() -> None:
    """It is false where no fault is at all, not where one is; and no event is seen by it."""
    told = history((0, 300, 500, 1))
    alarms = [change(0, 0, 100), change(0, 3, 300), change(0, 0, 700), change(0, 3, 1700), change(1, 3, 300)]
    judge = AlarmJudge(told, *windows(), GRID)
    counts = judge.count(States.of(alarms))
    more = States.of([*alarms, change(1, 0, 500), change(1, 1, 900)])
    assert judge.false_alarms(judge.raised(more)) == {1: 2, 0: 1}
    assert counts == AlarmCounts(true=0, false=2, unknown=3, changes=3, events=1, seen=0)


def test_an_alarm_that_never_ends_lasts_to_the_last_window() -> None:
    """It is true for an event that begins while it stands; without events there is no F1, without alarms it is 0."""
    judge = AlarmJudge(history((0, 1900, 2500, 1)), *windows(), GRID)
    assert judge.count(States.of([change(0, 1, 300)])) == AlarmCounts(
        true=1, false=0, unknown=0, changes=0, events=1, seen=1
    )
    assert judge.count(States.of([])).f1 == 0.0
    assert AlarmJudge(history(), *windows(), GRID).count(States.of([])).f1 is None


@pytest.mark.parametrize("seed", range(6))
def test_a_trial_is_what_the_daemon_would_have_said(seed: int) -> None:
    """For any thresholds, delays and segments the same changes come out as from the decision itself."""
    rng = np.random.default_rng(seed)
    device = np.repeat([0, 2, 3], [60, 1, 45])
    fresh = (rng.random(len(device)) < 0.15) | np.r_[True, device[1:] != device[:-1]]
    end_ms = np.cumsum(np.where(fresh, 1000, PERIOD_MS))
    posterior = rng.dirichlet((1, 0.4, 0.4), len(device))
    spec = DecisionSpec(
        prior=(1 / 3,) * 3,
        thresholds=(1.0, 1.0, 1.0),
        experts=EXPERTS,
        coverage=0.9,
        conformal_thresholds=(0.9, 0.8, 0.7),
        unknown_windows=2 if seed % 2 else 0,
        on_delay_s=0.2 if seed % 3 else 0.0,
        off_delay_s=0.3 if seed % 3 == 2 else 0.0,
    )
    judge = AlarmJudge(history((0, 500, 900, 1), (1, 3000, 9000, 2)), device, end_ms, GRID)
    trial = AlarmTrial(judge, spec, device, end_ms, fresh, posterior, PERIOD_MS)
    settings = np.array([[1, 1, 1], [1, 0.2, 0.5], [0.1, 1, 1]])
    counts = []
    for thresholds, said in zip(settings, trial.states(settings), strict=True):
        own = DecisionSpec(
            **{name: getattr(spec, name) for name in spec.__struct_fields__ if name != "thresholds"},
            thresholds=tuple(thresholds),
        )
        wanted = States.of(
            Decision(own).judge(device.astype(np.int32), end_ms, fresh, np.log(posterior)[:, None]).alarms
        )
        for name in said.__struct_fields__:
            np.testing.assert_array_equal(getattr(said, name), getattr(wanted, name), err_msg=name)
        counts.append(judge.count(wanted))
    assert trial.count(settings) == counts


def test_scores_of_events() -> None:
    """Detected by a verdict, met by an alarm, near by affiliation, exact for the challenge: four views of two."""
    told = history((0, 300, 500, 1), (1, 1000, 1200, 2))
    device, end_ms = windows(12)
    label = np.zeros(24, np.int64)
    label[2:5], label[21:24] = 1, 2
    verdict = label.copy()
    verdict[21:24] = 0
    verdict[22] = 2
    alarms = [change(0, 1, 300), change(0, 0, 600)]
    events = JudgedEvents(told, device.astype(np.int32), end_ms, label, verdict, alarms, GRID, 1)
    scores = score_events(score_windows(JudgedWindows(label, verdict, np.eye(3)[verdict], CLASSES)), events)
    assert (scores.events_total, scores.events_detected, scores.events_alarmed) == (2, 2, 1)
    assert (scores.true_alarms, scores.false_alarms) == (1, 0)
    assert scores.event_f1 == pytest.approx(2 / 3)
    assert scores.affiliation["a"].recall == 1.0
    assert scores.affiliation_precision == 1.0
    assert 0.9 < (scores.affiliation["b"].recall or 0) < 1.0
    assert scores.phm2015 is not None
    assert scores.phm2015_of_labels is not None
    # A run of one window starts and ends within four samples of an event of three.
    assert (scores.phm2015.tp, scores.phm2015.fp, scores.phm2015.fn) == (2, 0, 0)
    assert scores.phm2015.rules == scores.phm2015_of_labels.rules == 4.0
    assert scores.lowest_recall == pytest.approx(1 / 3)
    assert scores.lowest_recall_class == "b"


#: Eight windows are a day.
LONG_MS = 10_800_000
#: Settings of the thresholds under which the day below has no alarm, the right one, and that and a false one.
SETTINGS = np.array([[1, 1, 1], [1, 0.5, 1], [1, 0.4, 1]])


def one_day() -> tuple[HeldOutWindows, Float64]:
    """A day of one device: an event of fault "a" in the third window at 40 %, and 30 % without cause in the sixth."""
    posterior = np.tile([1 - 2e-9, 1e-9, 1e-9], (8, 1))
    posterior[2, :2], posterior[5, :2] = (0.6, 0.4), (0.7, 0.3)
    label = np.array([0, 0, 1, 0, 0, 0, 0, 0])
    end_ms = np.arange(1, 9) * LONG_MS
    fresh = np.arange(8) == 0
    told = history((0, 3 * LONG_MS - 10, 3 * LONG_MS, 1))
    grid = GridSpec(period_s=LONG_MS / 1000, max_gap_s=LONG_MS / 1000)
    return HeldOutWindows(told, np.zeros(8, np.int64), end_ms, fresh, label, grid, LONG_MS), posterior


def even(**changes: Any) -> DecisionSpec:
    """A decision that leaves the posterior as it is."""
    return DecisionSpec(prior=(1 / 3,) * 3, thresholds=(1.0,) * 3, experts=EXPERTS, **changes)


def test_event_f1_of_settings() -> None:
    """No alarm is worth nothing, the right one all, and with a false one precision is a half: 2/3."""
    day, posterior = one_day()
    objective = event_f1(day.trial(even(), posterior))
    assert objective(SETTINGS).tolist() == pytest.approx([0, 1, 2 / 3])
    windows = macro_f1(posterior, day.label)
    thresholds, reached = fit_thresholds(windows, np.array([7, 1, 0]), np.array([0.5, 0.5, 1e-6]), objective)
    assert reached == 1.0
    assert 0.3 / 0.7 < thresholds[1] / thresholds[0] < 0.4 / 0.6


def test_a_rare_fault_goes_along_with_the_others() -> None:
    """Alarms ask to lower "a" by 4, and by 4 again: "b", too rare for a threshold of its own, keeps its distance."""
    prior = np.array([0.9, 0.09, 0.01])

    def lower(thresholds: Float64) -> Float64:
        return -thresholds[:, 1] / thresholds[:, 0]

    def flat(thresholds: Float64) -> Float64:
        return np.zeros(len(thresholds))

    counts = np.array([100, 50, 3])
    before, _ = fit_thresholds(flat, counts, prior, flat)
    after, _ = fit_thresholds(flat, counts, prior, lower)
    assert after[1] / after[0] < before[1] / before[0] / 16
    assert after[2] / after[1] == pytest.approx(before[2] / before[1])
    alone, _ = fit_thresholds(flat, counts, prior)
    assert alone[2] / alone[1] == pytest.approx(before[2] / before[1])


def test_recall_within_a_budget() -> None:
    """With a false alarm a day recall is (6/7 + 1) / 2; where none may be, that setting counts below all others."""
    day, posterior = one_day()
    assert day.device_days == 1.0
    trial = day.trial(even(), posterior)
    one = recall_within_budget(posterior, day.label, trial, 1.0, budget=1.0)
    assert one(SETTINGS).tolist() == pytest.approx([0.5, 1, 13 / 14])
    none = recall_within_budget(posterior, day.label, trial, 1.0, budget=0.5)
    assert none(SETTINGS).tolist() == pytest.approx([0.5, 1, -1])


def test_the_cost_curve() -> None:
    """The event is missed from a factor of 2/3 on, the false alarm is raised below 3/7."""
    day, posterior = one_day()
    manifest = Manifest(
        name="m",
        channels=("c",),
        classes=CLASSES,
        grid=GridSpec(period_s=LONG_MS / 1000, max_hold_s=LONG_MS / 1000, max_gap_s=LONG_MS / 1000),
        window=WindowSpec(length=1, stride=1),
        state_size=1,
        decision=even(),
    )
    device, opinions = day.device.astype(np.int32), np.log(posterior).astype(np.float32)[:, None]
    fault, strange = np.zeros(8, np.int64), np.zeros(8, bool)
    verdicts = Verdicts(device, day.end_ms, day.fresh, opinions, posterior, fault, posterior[:, 0], strange, [])
    scores = score_windows(JudgedWindows(day.label, verdicts.fault, posterior, CLASSES))
    curve = cost_curve(Evaluation(day.history, day.label, verdicts, scores), manifest)
    assert {point.factor for point in curve} >= {0.25, 0.5, 1.0, 2.0}
    for point in curve:
        assert point.events == 1
        assert point.missed == (point.factor >= 2 / 3)
        assert point.false_alarms == point.false_alarms_per_device_day == (point.factor < 3 / 7)


def fit(day: HeldOutWindows, log_prob: Float64, **changes: object) -> tuple[DecisionSpec, list[str]]:
    spec = DecisionSpec(prior=(0.9, 0.1, 1e-6), thresholds=(1.0,) * 3, experts=EXPERTS)
    config = DecisionConfig(**{"coverage": 0.0, **changes})  # type: ignore[arg-type]
    fitted = fit_decision(log_prob.astype(np.float32)[:, None], day, spec, config)
    return fitted.spec, fitted.notes


@pytest.mark.parametrize("objective", ["event_f1", "false_alarm_budget"])
def test_the_decision_is_fitted_to_alarms(objective: str) -> None:
    """Both objectives find the thresholds that raise the right alarm alone."""
    day, posterior = one_day()
    spec, notes = fit(day, np.log(posterior), objective=objective)
    decision = Decision(spec)
    said = decision.verdict(decision.score(decision.posterior(decision.window_evidence(np.log(posterior)[:, None]))))
    assert said.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert len(notes) == 1  # of the few windows


def test_a_budget_that_cannot_be_met_is_said() -> None:
    """A false alarm that no threshold prevents: the fewest are taken, with a note."""
    day, posterior = one_day()
    log_prob = np.log(posterior)
    log_prob[5] = (-300, 0, -300)
    _, notes = fit(day, log_prob, objective="false_alarm_budget", false_alarms_per_device_day=0.5)
    assert "within 0.5 a day and device: those with the fewest are taken, 1.00" in notes[0]
    _, notes = fit(day, log_prob, objective="false_alarm_budget", false_alarms_per_device_day=1)
    assert len(notes) == 1


def test_without_events_the_alarms_say_nothing() -> None:
    """Validation blocks without an event leave macro-F1 to go by, and a note."""
    day, posterior = one_day()
    empty = replace(day, history=history())
    _, notes = fit(empty, np.log(posterior), objective="event_f1")
    assert "hold no event" in notes[0]
