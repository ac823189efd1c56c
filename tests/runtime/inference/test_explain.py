"""Explanation by occlusion, with a step whose result can be worked out by hand, and through the daemon."""

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rarefault.runtime.arrays import Float32
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.explain import LEAST, MOST_CHANNELS, Judged, contributions, explain
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec, FilterSpec, UnitsSpec

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

WEIGHTS = np.array([0.0, 2.0, 0.5, -1.0, 0.3, 0.2, 0.1, 0.004], np.float32)
COLUMNS = [(c,) for c in range(len(WEIGHTS))]


def step(window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
    """The fault's logit is the carried state and the weighted last bin; a missing value counts as 0."""
    logit = state[:, :1] + (np.nan_to_num(window[:, -1]) * WEIGHTS).sum(axis=1, keepdims=True)
    return np.concatenate((-np.logaddexp(0, logit), -np.logaddexp(0, -logit)), axis=1)[:, None], state


EACH = [(c,) for c in range(len(WEIGHTS))]


def judged(window: Float32, state: Float32, belief: np.ndarray | None = None) -> Judged:
    opinions, _ = step(window[None], state[None])
    return Judged(window, state, np.zeros(2) if belief is None else belief, opinions[0])


@pytest.fixture
def decision() -> Decision:
    """One that leaves probabilities as they are."""
    return Decision(DecisionSpec(prior=(0.5, 0.5), thresholds=(1.0, 1.0), experts=(ExpertSpec(name="network"),)))


def test_what_a_channel_gave_is_what_the_fault_loses_without_it(decision: Decision) -> None:
    """The difference of the log-posteriors, from the state that the window was judged from."""
    window = np.ones((4, len(WEIGHTS)), np.float32)
    window[:, 2] = np.nan  # missing already: it cannot have given anything
    state = np.array([0.7], np.float32)

    def log_posterior(logit: float) -> float:
        return -math.log1p(math.exp(-logit))

    total = 0.7 + float(np.delete(WEIGHTS, 2).sum())
    expected = [log_posterior(total) - log_posterior(total - (0 if c == 2 else w)) for c, w in enumerate(WEIGHTS)]
    found = contributions(judged(window, state), 1, step, decision, EACH)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[2] == 0
    assert found[3] < 0
    both = contributions(judged(window, state), 1, step, decision, [(1, 4)])
    np.testing.assert_allclose(both, log_posterior(total) - log_posterior(total - WEIGHTS[1] - WEIGHTS[4]), atol=1e-6)


def test_what_is_derived_from_a_channel_is_taken_with_it(decision: Decision) -> None:
    """A channel gives what its value and its derived inputs give together."""
    window, state = np.ones((4, len(WEIGHTS)), np.float32), np.zeros(1, np.float32)
    single = contributions(judged(window, state), 1, step, decision, EACH)
    found = contributions(judged(window, state), 1, step, decision, [(0,), (1, 3), (2,)])
    assert len(found) == 3
    without = window.copy()
    without[:, [1, 3]] = np.nan
    both = [step(part[None], state[None])[0][0, 0, 1] for part in (window, without)]
    assert found[1] == pytest.approx(both[0] - both[1], abs=1e-6)
    assert found[[0, 2]].tolist() == single[[0, 2]].tolist()


def test_only_the_channels_that_count_are_named(decision: Decision) -> None:
    """The largest first, no more than five, none that spoke against the fault or gave next to nothing."""
    window = np.ones((4, len(WEIGHTS)), np.float32)
    named, unit = explain(judged(window, np.zeros(1, np.float32)), 1, step, decision, EACH)
    assert unit is None
    assert [c for c, _ in named] == [1, 2, 4, 5, 6][:MOST_CHANNELS]
    assert all(given >= LEAST for _, given in named)
    assert [given for _, given in named] == sorted((given for _, given in named), reverse=True)


def test_the_belief_is_that_which_the_window_was_judged_from() -> None:
    """With a filter, the same occlusion moves the posterior less where the device was in the fault already."""
    weighed = Decision(
        DecisionSpec(
            prior=(0.5, 0.5),
            thresholds=(1.0, 1.0),
            experts=(ExpertSpec(name="network"),),
            filter=FilterSpec(weight=0.5, renewal=0.1, belief_power=1.0, window_power=0.0),
        )
    )
    window, state = np.ones((4, len(WEIGHTS)), np.float32), np.zeros(1, np.float32)
    calm, faulty = (
        contributions(judged(window, state, belief), 1, step, weighed, EACH)[1]
        for belief in (np.array([0.99, 0.01]), np.array([0.01, 0.99]))
    )
    before = 0.9 * 0.01 + 0.05
    logit = math.log(before / (1 - before)) + 0.5 * np.array([WEIGHTS.sum(), WEIGHTS.sum() - WEIGHTS[1]])
    assert calm == pytest.approx(float(np.diff(np.logaddexp(0, -logit))[0]), abs=1e-5)
    assert calm > 2 * faulty


def test_a_fault_at_a_unit_names_the_unit_and_its_channels_alone() -> None:
    """Two units of two channels: the one with the larger logit is named, and no channel of the other."""
    units = UnitsSpec(names=("c1", "c2"), channels=((0, 1), (2, 3)), faults=(1,), rarest_first=(1,), prior=(0.1,))
    decision = Decision(
        DecisionSpec(prior=(0.8, 0.2), thresholds=(1.0, 1.0), experts=(ExpertSpec(name="trees"),), units=units)
    )

    def at_units(window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
        last = np.nan_to_num(window[:, -1])
        device = np.tile(np.array([0.0, -20.0], np.float32), (len(window), 1))
        return np.concatenate((device, last[:, :2].sum(1)[:, None], last[:, 2:].sum(1)[:, None]), axis=1)[
            :, None
        ], state

    window = np.array([[3.0, 0.5, 4.0, 1.0]], np.float32)
    opinions, _ = at_units(window[None], np.zeros((1, 0), np.float32))
    alarm = explain(
        Judged(window, np.zeros(0, np.float32), np.zeros(2), opinions[0]),
        1,
        at_units,
        decision,
        [(c,) for c in range(4)],
    )
    assert alarm.unit == 1
    assert [c for c, _ in alarm.channels] == [2, 3]


def test_alarms_of_faults_name_channels(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Callable[..., Any],
    recording: "Recording",
    wait_until: Callable[..., None],
) -> None:
    """Live alarms carry the channels of the offline ones; states that are no fault carry none."""
    peer.subscribe("rarefault/#")
    with serving(mosquitto.url):
        recording.play(peer)
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
    peer.catch_up()
    alarms = [json.loads(p) for device in recording.devices for p in peer.payloads(f"rarefault/{device}/alarm")]
    faults = [alarm for alarm in alarms if alarm["state"].startswith("fault")]
    assert sum(bool(alarm["channels"]) for alarm in faults) > 5
    assert all(not alarm["channels"] for alarm in alarms if not alarm["state"].startswith("fault"))
    offline = {(a["device"], a["id"]): a for a in recording.alarms}
    for alarm in faults:
        expected = offline[alarm["device"], alarm["id"]]
        assert alarm["channels"] == pytest.approx(expected["channels"], abs=2e-4)
        assert alarm.get("unit") == expected.get("unit")
        assert ("unit" in alarm) == (alarm["state"] == "fault_2")
