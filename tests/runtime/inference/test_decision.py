"""The decision rule: prior correction, thresholds, unknown, hysteresis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec

MINUTE_MS = 60_000


def spec(**changes: object) -> DecisionSpec:
    base: dict[str, object] = {
        "prior": (0.5, 0.5),
        "thresholds": (1.0, 1.0),
        "experts": (ExpertSpec(name="network"),),
    }
    return DecisionSpec(**{**base, **changes})  # type: ignore[arg-type]


def opinion(p: float) -> np.ndarray:
    """One expert's opinion on one window: the fault has this probability."""
    return np.log(np.array([[[1 - p, p]]], np.float32))


def posterior_of(decision: Decision, p: float) -> np.ndarray:
    return decision.posterior(decision.window_evidence(opinion(p)))


def states(decision: Decision, probabilities: list[float]) -> list[tuple[int, int, int]]:
    """(minute, state, since minute) of every alarm change when the fault's probability runs through the list."""
    changes = []
    for minute, p in enumerate(probabilities):
        found = decision.judge(
            np.array([0], np.int32),
            np.array([minute * MINUTE_MS]),
            np.array([minute == 0]),
            opinion(p),
        ).alarms
        changes += [(c.end_ms // MINUTE_MS, c.state, c.since_ms // MINUTE_MS) for c in found]
    return changes


def test_an_opinion_under_the_prior_is_the_posterior() -> None:
    """What experts say holds for the class shares already: nothing is to be corrected."""
    posterior = posterior_of(Decision(spec(prior=(0.99, 0.01))), 0.2)
    np.testing.assert_allclose(posterior, [[0.8, 0.2]], rtol=1e-6)


def test_temperature_softens_what_a_window_adds_to_the_prior() -> None:
    """A temperature of 2 takes the square root of the odds over those of the prior."""
    posterior = posterior_of(Decision(spec(temperature=2.0, prior=(0.9, 0.1))), 0.64)
    odds, prior = 0.64 / 0.36, 0.1 / 0.9
    assert posterior[0, 1] / posterior[0, 0] == pytest.approx(prior * (odds / prior) ** 0.5, rel=1e-5)


def test_a_low_threshold_lets_a_rare_class_win() -> None:
    """With threshold 0.1 a fault is the verdict from a ninth of the odds on."""
    decision = Decision(spec(thresholds=(1.0, 0.1)))
    posterior = decision.posterior(decision.window_evidence(np.concatenate([opinion(0.08), opinion(0.12)])))
    assert decision.verdict(decision.score(posterior)).tolist() == [0, 1]


def doubts(decision: Decision, probabilities: list[float]) -> list[tuple[int, int]]:
    """(minute, state) of every alarm change."""
    return [(minute, state) for minute, state, _ in states(decision, probabilities)]


def unsure(**changes: object) -> DecisionSpec:
    """Normal is plausible from 0.8 on, the fault from 0.7 on."""
    return spec(coverage=0.9, conformal_thresholds=(0.8, 0.7), **changes)


def test_a_window_short_of_its_level_is_no_alarm() -> None:
    """By the coverage a tenth of all windows is short of its level: that alone never changes the alarm."""
    assert doubts(Decision(unsure()), [0.1, 0.4, 0.4, 0.4, 0.4, 0.4, 0.1]) == [(0, 0)]
    assert Decision(unsure()).verdict(np.array([[0.6, 0.4]])).tolist() == [0]


def test_unknown_after_windows_in_a_row_without_a_plausible_class() -> None:
    """Three in a row are an alarm, two are not; the first plausible one ends it; a gap begins anew."""
    found = doubts(Decision(unsure(unknown_windows=3)), [0.1, 0.4, 0.4, 0.1, 0.4, 0.4, 0.4, 0.4, 0.1])
    assert found == [(0, 0), (6, 2), (8, 0)]
    decision = Decision(unsure(unknown_windows=2))
    said = [
        decision.judge(np.array([0], np.int32), np.array([minute]), np.array([fresh]), opinion(0.4)).alarms
        for minute, fresh in enumerate([True, True, True, False])
    ]
    assert [[c.state for c in found] for found in said] == [[0], [], [], [2]]


def test_a_fault_that_stands_is_not_in_doubt() -> None:
    """Who is in alarm already is not told in between that something unknown is there."""
    decision = Decision(unsure(unknown_windows=2, raise_threshold=0.6, clear_threshold=0.3))
    assert doubts(decision, [0.9, 0.5, 0.5, 0.5, 0.1]) == [(0, 1), (4, 0)]


def test_a_class_without_a_level_raises_no_doubt() -> None:
    """A class with too few events for a level is plausible always, and neither makes nor ends a doubt of others."""
    decision = Decision(spec(coverage=0.9, conformal_thresholds=(0.8, 0.0), unknown_windows=1, thresholds=(1.0, 1.0)))
    posterior = np.array([[0.7, 0.3], [0.3, 0.7], [0.9, 0.1]])
    assert decision.strange(posterior, decision.verdict(posterior)).tolist() == [True, False, False]


def test_a_muted_fault_raises_no_alarm() -> None:
    """Its verdicts stay; and one that stands when it is muted is cleared."""
    decision = Decision(spec(muted=(1,)))
    assert doubts(decision, [0.9, 0.9]) == [(0, 0)]
    decision = Decision(spec())
    said = doubts(decision, [0.9])
    decision.use(spec(muted=(1,)))
    found = decision.judge(np.array([0], np.int32), np.array([MINUTE_MS]), np.array([False]), opinion(0.9))
    assert (said, [c.state for c in found.alarms], found.fault.tolist()) == ([(0, 1)], [0], [1])


def test_an_alarm_says_the_score_that_decided() -> None:
    """A rare fault wins with a small probability: the score says why."""
    decision = Decision(spec(thresholds=(1.0, 0.1)))
    found = decision.judge(np.array([0], np.int32), np.array([0]), np.array([True]), opinion(0.2))
    (alarm,) = found.alarms
    assert alarm.state == 1
    assert alarm.probability == pytest.approx(0.2)
    assert alarm.score == found.score[0] == pytest.approx(2 / 2.8)


def test_alarm_waits_for_the_on_delay() -> None:
    """A flicker shorter than ``on_delay_s`` raises nothing; a lasting fault does, and says since when."""
    decision = Decision(spec(on_delay_s=120, raise_threshold=0.5, clear_threshold=0.5))
    found = states(decision, [0.1, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9])
    assert found == [(0, 0, 0), (5, 1, 3)]


def test_alarm_stands_between_the_two_thresholds() -> None:
    """Between clear and raise threshold a standing alarm stays and a new one does not come."""
    decision = Decision(spec(raise_threshold=0.7, clear_threshold=0.3))
    found = states(decision, [0.6, 0.8, 0.4, 0.35, 0.2, 0.6])
    assert found == [(0, 0, 0), (1, 1, 1), (4, 0, 4)]


def test_alarm_clears_after_the_off_delay() -> None:
    """Clearing takes ``off_delay_s`` of low scores in a row."""
    decision = Decision(spec(off_delay_s=120, raise_threshold=0.5, clear_threshold=0.5))
    found = states(decision, [0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1])
    assert found == [(0, 1, 0), (5, 0, 3)]


def after_a_gap(rule: DecisionSpec, before: float, after: float) -> list[int]:
    """States said by the first window after a gap, when an alarm for ``before`` stands."""
    decision = Decision(rule)
    arguments = (np.array([0], np.int32), np.array([0]), np.array([True]))
    decision.judge(*arguments, opinion(before))
    return [c.state for c in decision.judge(*arguments, opinion(after)).alarms]


def test_a_device_back_from_a_gap_starts_without_an_alarm() -> None:
    """The first window of a segment speaks for itself; what stood before and is no longer true is taken back."""
    rule = spec(raise_threshold=0.7, clear_threshold=0.3)
    assert after_a_gap(rule, 0.9, 0.5) == [0]
    assert after_a_gap(rule, 0.9, 0.9) == []
    assert after_a_gap(rule, 0.1, 0.1) == []


def test_a_device_back_in_doubt_has_no_data() -> None:
    """While the on-delay runs nothing is known: neither the fault nor normal is claimed."""
    rule = spec(raise_threshold=0.7, clear_threshold=0.3, on_delay_s=60)
    assert after_a_gap(rule, 0.1, 0.9) == [-1]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 29),
)
def test_bulk_and_incremental_alarms_are_the_same(windows: list[tuple[int, float, bool]], at: int) -> None:
    """Alarm changes do not depend on how the windows are cut into calls."""
    windows.sort(key=lambda w: w[0])
    device = np.array([w[0] for w in windows], np.int32)
    end_ms = np.arange(len(windows)) * MINUTE_MS
    fresh = np.array([w[2] for w in windows])
    opinions = np.concatenate([opinion(w[1]) for w in windows])
    rule = spec(on_delay_s=60, off_delay_s=60, raise_threshold=0.6, clear_threshold=0.4)
    whole = Decision(rule).judge(device, end_ms, fresh, opinions).alarms
    pieces = Decision(rule)
    cut = []
    for part in (slice(0, at), slice(at, None)):
        cut += pieces.judge(device[part], end_ms[part], fresh[part], opinions[part]).alarms
    by_device = [sorted(found, key=lambda c: (c.device, c.end_ms)) for found in (whole, cut)]
    assert by_device[0] == by_device[1]
