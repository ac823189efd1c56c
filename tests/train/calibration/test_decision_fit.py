"""Temperature and thresholds from held-out windows."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from tests.train.evaluation.test_alarms import GRID, PERIOD_MS, history

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec
from rarefault.train.calibration.decision_fit import DecisionFit, fit_decision
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.calibration.objectives import OBJECTIVES
from rarefault.train.config import DecisionConfig
from rarefault.train.evaluation.coverage import mean_by_event
from rarefault.train.fitting.imbalance import SMALLEST_PRIOR


def draw(n: int, prior: tuple[float, ...], sharpness: float, seed: int = 0) -> tuple[Float32, Int64]:
    """Labels by the prior, and the opinions of one expert that is over-confident by a factor, [n, 1, K]."""
    rng = np.random.default_rng(seed)
    label = rng.choice(len(prior), n, p=prior)
    evidence = rng.normal(size=(n, len(prior)))
    evidence[np.arange(n), label] += 2.0
    # Unit normals a distance 2 apart: the log-likelihood ratio is 2 times the evidence.
    return opinions_of(sharpness * 2.0 * evidence + np.log(np.maximum(prior, SMALLEST_PRIOR))), label


def opinions_of(logits: np.ndarray) -> Float32:
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), np.float32)[:, None]


def posterior_of(spec: DecisionSpec, opinions: Float32) -> np.ndarray:
    decision = Decision(spec)
    return decision.posterior(decision.window_evidence(opinions))


def fitted(opinions: Float32, label: Int64, prior: Any, **changes: Any) -> DecisionFit:
    """The decision, by windows of one device of which nothing but the labels matters."""
    n, classes = len(label), ("normal", "a", "b", "c")[: len(prior)]
    end_ms, fresh = np.arange(1, n + 1) * PERIOD_MS, np.arange(n) == 0
    windows = HeldOutWindows(
        replace(history(), classes=classes), np.zeros(n, np.int64), end_ms, fresh, label, GRID, PERIOD_MS
    )
    spec = DecisionSpec(prior=prior, thresholds=(1.0,) * len(prior), experts=(ExpertSpec(name="trees"),))
    return fit_decision(opinions, windows, spec, DecisionConfig(coverage=0, **changes))


def test_every_objective_of_the_configuration_has_an_entry() -> None:
    """What ``decision.objective`` may be, and what there is."""
    assert set(get_args(DecisionConfig.__annotations__["objective"])) == set(OBJECTIVES)


def test_the_temperature_undoes_over_confidence() -> None:
    """Log-probabilities three times too sharp come back with a temperature of three."""
    prior = (0.9, 0.07, 0.03)
    opinions, label = draw(6_000, prior, sharpness=3.0)
    spec = fitted(opinions, label, prior).spec
    assert spec.temperature == pytest.approx(3.0, rel=0.1)
    top = posterior_of(spec, opinions)
    right = (top.argmax(axis=1) == label).mean()
    assert top.max(axis=1).mean() == pytest.approx(right, abs=0.02)


def test_thresholds_raise_macro_f1_on_other_data() -> None:
    """Fitted on one draw, they help on another: rare classes are seen that the posterior alone would miss."""
    prior = (0.95, 0.04, 0.01)
    spec = fitted(*draw(4000, prior, 1.0), prior).spec
    opinions, label = draw(20_000, prior, 1.0, seed=1)

    def recall(thresholds: bool) -> float:
        decision = Decision(spec)
        posterior = posterior_of(spec, opinions)
        verdict = decision.verdict(decision.score(posterior) if thresholds else posterior)
        return float((verdict[label == 2] == 2).mean())

    assert recall(thresholds=True) > recall(thresholds=False)
    assert max(spec.thresholds) == 1.0


def test_the_posterior_alone_can_be_asked_for() -> None:
    """With ``objective = "posterior"`` all thresholds are equal."""
    prior = (0.9, 0.07, 0.03)
    spec = fitted(*draw(500, prior, 1.0), prior, objective="posterior").spec
    assert spec.thresholds == (1.0, 1.0, 1.0)


def unsure(label: Int64, prior: tuple[float, ...], told: tuple[int, ...]) -> Float32:
    """What is said of four classes: all but sure of the label, but that 1 is never above a tenth where it is true.

    Of 3, which has one window, nothing is known but its share, more or less of it; where it is ``told``, it is
    known like 2.
    """
    n, rng = len(label), np.random.default_rng(5)
    posterior = np.full((n, 4), 1e-6)
    posterior[np.arange(n), label] = 1.0
    rare = label == 1
    posterior[rare, 0], posterior[rare, 1] = 0.93, 0.06
    if not told:
        one = label == 3
        posterior[one, 0], posterior[one, 3] = 1.0, 1e-6
        posterior[:, 3] = prior[3] * rng.uniform(0.5, 2.0, n)
    return opinions_of(np.log(posterior))


@pytest.mark.parametrize("told", [(), (3,)], ids=["unknown", "known"])
def test_a_fault_that_hardly_shows_does_not_take_the_windows_of_normal(told: tuple[int, ...]) -> None:
    """The rule must go low for another fault's sake; one with a single window goes along only where that costs nothing.

    Without that, windows of normal would be called by the name of a fault that nobody has ever known.
    """
    label = np.repeat([0, 1, 2, 3], [3000, 40, 300, 1])
    prior = tuple(np.bincount(label) / len(label))
    spec = fitted(unsure(label, prior, told), label, prior).spec
    decision = Decision(spec)
    posterior = posterior_of(spec, unsure(label, prior, told))
    verdict = decision.verdict(decision.score(posterior))
    assert (verdict[label == 1] == 1).all()
    assert (verdict[label == 0] == 0).all()
    assert (spec.thresholds[3] < spec.thresholds[1]) == bool(told)


def test_a_class_that_training_never_saw_gets_no_low_threshold() -> None:
    """What little probability the net leaves it must not be blown up into verdicts; and the few windows are said."""
    opinions, label = draw(3000, (0.97, 0.03, 0.0), 1.0)
    opinions[:, 0, 2] = np.log(2e-6)
    prior = (0.97, 0.03, SMALLEST_PRIOR)
    found = fitted(opinions, label, prior)
    decision = Decision(found.spec)
    posterior = posterior_of(found.spec, opinions)
    assert not (decision.verdict(decision.score(posterior)) == 2).any()
    assert any("b (0)" in note for note in found.notes)


def measured(events: int, seed: int, **changes: Any) -> tuple[DecisionFit, Float32, Int64]:
    """A decision of a network that measures distances, its opinions, and the event of each window.

    Events of normal and of a fault in turn, of 1 to 60 windows; the distances of each are around a level of its own.
    """
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 61, events)
    event = np.repeat(np.arange(events), size)
    opinions = np.zeros((len(event), 2, 3), np.float32)
    opinions[:, :, :2] = np.log(0.5)
    opinions[:, 0, 2] = np.abs(rng.gamma(4.0, size=events)[event] + rng.normal(scale=0.3, size=len(event)))
    n, none = len(event), np.zeros(len(event), np.int64)
    windows = HeldOutWindows(
        replace(history(), classes=("normal", "a")),
        none,
        np.arange(1, n + 1) * PERIOD_MS,
        np.arange(n) == 0,
        event % 2,
        GRID,
        PERIOD_MS,
    )
    experts = (ExpertSpec(name="network"), ExpertSpec(name="trees"))
    spec = DecisionSpec(prior=(0.5, 0.5), thresholds=(1.0, 1.0), experts=experts)
    return fit_decision(opinions, windows, spec, DecisionConfig(coverage=0, **changes)), opinions, event


def test_few_windows_of_a_new_event_are_far() -> None:
    """As many as ``far_share`` says, each event counting as one; and the familiarity is a p-value."""
    _, opinions, event = measured(2000, seed=1)
    for share in (0.05, 0.2):
        decision = Decision(measured(1000, seed=0, far_share=share)[0].spec)
        assert mean_by_event(decision.far(opinions), event) == pytest.approx(share, abs=0.02)
        familiarity = decision.familiarity(opinions)
        assert familiarity is not None
        assert mean_by_event(familiarity <= share, event) == pytest.approx(share, abs=0.02)


def test_no_window_is_far_where_it_cannot_be_said() -> None:
    """Of too few events, which a note says, or where it is not wanted; the familiarity is there. Trees measure none."""
    few, opinions, _ = measured(12, seed=0)
    assert few.spec.distance is not None
    assert few.spec.distance.far is None
    assert few.notes[0] == "fewer than 19 held-out events (12): no window is too far from all classes"
    assert not Decision(few.spec).far(opinions).any()
    unwanted = measured(100, seed=0, far_share=0.0)[0].spec
    assert unwanted.distance is not None
    assert (unwanted.distance.far, unwanted.tells_unknown) == (None, False)
    assert fitted(*draw(500, (0.9, 0.1), 1.0), (0.9, 0.1)).spec.distance is None
