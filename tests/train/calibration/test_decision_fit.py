"""Temperature and thresholds from validation windows."""

import numpy as np
import pytest

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.train.calibration.decision_fit import fit_decision
from rarefault.train.config import DecisionConfig
from rarefault.train.fitting.imbalance import SMALLEST_PRIOR

CLASSES = ("normal", "a", "b")


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


def test_the_temperature_undoes_over_confidence() -> None:
    """Log-probabilities three times too sharp come back with a temperature of three."""
    prior = (0.9, 0.07, 0.03)
    log_prob, label = draw(20_000, prior, sharpness=3.0)
    fitted = fit_decision(log_prob, label, CLASSES, (1 / 3,) * 3, prior, DecisionConfig(coverage=0))
    assert fitted.spec.temperature == pytest.approx(3.0, rel=0.05)
    top = Decision(fitted.spec).posterior(log_prob)
    right = (top.argmax(axis=1) == label).mean()
    assert top.max(axis=1).mean() == pytest.approx(right, abs=0.01)


def test_thresholds_raise_macro_f1_on_other_data() -> None:
    """Fitted on one draw, they help on another: rare classes are seen that the posterior alone would miss."""
    prior = (0.95, 0.04, 0.01)
    spec = fit_decision(*draw(4000, prior, 1.0), CLASSES, (1 / 3,) * 3, prior, DecisionConfig(coverage=0)).spec
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
    fitted = fit_decision(
        *draw(500, prior, 1.0), CLASSES, (1 / 3,) * 3, prior, DecisionConfig(objective="posterior", coverage=0)
    )
    assert fitted.spec.thresholds == (1.0, 1.0, 1.0)


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
    config = DecisionConfig(coverage=0)
    spec = fit_decision(unsure(label, prior, told), label, ("normal", "a", "b", "c"), prior, prior, config).spec
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
    fitted = fit_decision(log_prob, label, CLASSES, (0.5, 0.5, SMALLEST_PRIOR), prior, DecisionConfig(coverage=0))
    decision = Decision(fitted.spec)
    posterior = decision.posterior(log_prob)
    assert not (decision.verdict(decision.score(posterior)) == 2).any()
    assert any("b (0)" in note for note in fitted.notes)
