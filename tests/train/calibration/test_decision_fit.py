"""Temperature and thresholds from held-out windows."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from tests.train.evaluation.test_alarms import GRID, PERIOD_MS, history

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.train.calibration.decision_fit import DecisionFit, fit_decision
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.calibration.objectives import OBJECTIVES
from rarefault.train.config import DecisionConfig
from rarefault.train.fitting.imbalance import SMALLEST_PRIOR


def draw(n: int, prior: tuple[float, ...], sharpness: float, seed: int = 0) -> tuple[Float32, Int64]:
    """Labels by the prior, and the log-probabilities that a net trained on equal shares would give, over-confident."""
    rng = np.random.default_rng(seed)
    label = rng.choice(len(prior), n, p=prior)
    evidence = rng.normal(size=(n, len(prior)))
    evidence[np.arange(n), label] += 2.0
    # Unit normals a distance 2 apart: the log-likelihood ratio is 2 times the evidence.
    logits = sharpness * 2.0 * evidence
    log_prob = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_prob.astype(np.float32), label


def fitted(log_prob: Float32, label: Int64, training_prior: Any, prior: Any, **changes: Any) -> DecisionFit:
    """The decision, by windows of one device of which nothing but the labels matters."""
    n, classes = len(label), ("normal", "a", "b", "c")[: len(prior)]
    end_ms, fresh = np.arange(1, n + 1) * PERIOD_MS, np.arange(n) == 0
    windows = HeldOutWindows(
        replace(history(), classes=classes), np.zeros(n, np.int64), end_ms, fresh, label, GRID, PERIOD_MS
    )
    return fit_decision(log_prob, windows, training_prior, prior, DecisionConfig(coverage=0, **changes))


def test_every_objective_of_the_configuration_has_an_entry() -> None:
    """What ``decision.objective`` may be, and what there is."""
    assert set(get_args(DecisionConfig.__annotations__["objective"])) == set(OBJECTIVES)


def test_the_temperature_undoes_over_confidence() -> None:
    """Log-probabilities three times too sharp come back with a temperature of three."""
    prior = (0.9, 0.07, 0.03)
    log_prob, label = draw(6_000, prior, sharpness=3.0)
    spec = fitted(log_prob, label, (1 / 3,) * 3, prior).spec
    assert spec.temperature == pytest.approx(3.0, rel=0.1)
    top = Decision(spec).posterior(log_prob)
    right = (top.argmax(axis=1) == label).mean()
    assert top.max(axis=1).mean() == pytest.approx(right, abs=0.02)


def test_thresholds_raise_macro_f1_on_other_data() -> None:
    """Fitted on one draw, they help on another: rare classes are seen that the posterior alone would miss."""
    prior = (0.95, 0.04, 0.01)
    spec = fitted(*draw(4000, prior, 1.0), (1 / 3,) * 3, prior).spec
    log_prob, label = draw(20_000, prior, 1.0, seed=1)

    def recall(thresholds: bool) -> float:
        decision = Decision(spec)
        posterior = decision.posterior(log_prob)
        verdict = decision.verdict(decision.score(posterior) if thresholds else posterior)
        return float((verdict[label == 2] == 2).mean())

    assert recall(thresholds=True) > recall(thresholds=False)
    assert max(spec.thresholds) == 1.0


def test_the_posterior_alone_can_be_asked_for() -> None:
    """With ``objective = "posterior"`` all thresholds are equal."""
    prior = (0.9, 0.07, 0.03)
    spec = fitted(*draw(500, prior, 1.0), (1 / 3,) * 3, prior, objective="posterior").spec
    assert spec.thresholds == (1.0, 1.0, 1.0)


def unsure(label: Int64, prior: tuple[float, ...], told: tuple[int, ...]) -> Float32:
    """What is said of four classes: all but sure of the label, but that 1 is never above a tenth where it is true.

    Of 3, which has one window, nothing is known but its share, a little more or less of it; where it is ``told``, it is
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
        posterior[:, 3] = prior[3] * rng.uniform(0.7, 1.3, n)
    return np.asarray(np.log(posterior / posterior.sum(axis=1, keepdims=True)), np.float32)


@pytest.mark.parametrize("told", [(), (3,)], ids=["unknown", "known"])
def test_a_fault_that_hardly_shows_does_not_take_the_windows_of_normal(told: tuple[int, ...]) -> None:
    """The rule must go low for another fault's sake; one with a single window goes along only where that costs nothing.

    Without that, windows of normal would be called by the name of a fault that nobody has ever known.
    """
    label = np.repeat([0, 1, 2, 3], [3000, 40, 300, 1])
    prior = tuple(np.bincount(label) / len(label))
    spec = fitted(unsure(label, prior, told), label, prior, prior).spec
    decision = Decision(spec)
    posterior = decision.posterior(unsure(label, prior, told))
    verdict = decision.verdict(decision.score(posterior))
    assert (verdict[label == 1] == 1).all()
    assert (verdict[label == 0] == 0).all()
    assert (spec.thresholds[3] < spec.thresholds[1]) == bool(told)


def test_a_class_that_training_never_saw_gets_no_low_threshold() -> None:
    """What little probability the net leaves it must not be blown up into verdicts; and the few windows are said."""
    log_prob, label = draw(3000, (0.97, 0.03, 0.0), 1.0)
    log_prob[:, 2] = np.log(1e-4)
    prior = (0.97, 0.03, SMALLEST_PRIOR)
    found = fitted(log_prob, label, (0.5, 0.5, SMALLEST_PRIOR), prior)
    decision = Decision(found.spec)
    posterior = decision.posterior(log_prob)
    assert not (decision.verdict(decision.score(posterior)) == 2).any()
    assert any("b (0)" in note for note in found.notes)
