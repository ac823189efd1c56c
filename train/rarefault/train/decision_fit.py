"""Temperature and thresholds, from the validation blocks."""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import f1_score

from rarefault.runtime.decision import Decision
from rarefault.runtime.grid import Float32, Float64, Int64
from rarefault.runtime.manifest import DecisionSpec
from rarefault.train.config import DecisionConfig
from rarefault.train.recipe import SMALLEST_PRIOR

#: Range of the temperature.
TEMPERATURES = (0.2, 5.0)
#: Exponents tried for thresholds of the form ``true_prior ** beta``: 0 decides by the posterior, 1 ignores the prior.
EXPONENTS = np.linspace(0.0, 1.2, 25)
#: Factors tried around that for one class at a time.
FACTORS = np.geomspace(0.25, 4.0, 17)
#: A class needs so many validation windows for a threshold of its own.
MIN_WINDOWS = 20
#: A class's own threshold must gain this much macro-F1, or it is not worth the risk of fitting noise.
MIN_GAIN = 0.002


@dataclass(frozen=True)
class DecisionFit:
    """The fitted decision and what is to be said about it."""

    spec: DecisionSpec
    notes: list[str]


def fit_decision(
    log_prob: Float32,
    label: Int64,
    classes: tuple[str, ...],
    training_prior: tuple[float, ...],
    true_prior: tuple[float, ...],
    config: DecisionConfig,
) -> DecisionFit:
    """Fit temperature, then thresholds.

    Args:
        log_prob: of the validation windows, [W, K].
        label: their classes, [W].
        classes: names, [K].
        training_prior, true_prior: [K]; see :mod:`rarefault.runtime.decision`.
        config: objective and alarm settings.
    """
    spec = DecisionSpec(
        training_prior=training_prior,
        true_prior=true_prior,
        thresholds=(1.0,) * len(classes),
        unknown_below=config.unknown_below,
        raise_threshold=config.raise_threshold,
        clear_threshold=config.clear_threshold,
        on_delay_s=config.on_delay_s,
        off_delay_s=config.off_delay_s,
    )
    spec = msgspec.structs.replace(spec, temperature=fit_temperature(log_prob, label, spec))
    if config.objective == "posterior":
        return DecisionFit(spec, [])
    posterior = Decision(spec).posterior(log_prob)
    thresholds = fit_thresholds(posterior, label, np.asarray(true_prior))
    counts = np.bincount(label, minlength=len(classes))
    few = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < MIN_WINDOWS]
    notes = []
    if few:
        notes.append(
            f"fewer than {MIN_WINDOWS} validation windows of {', '.join(few)}: no threshold of their own was fitted, "
            "theirs follow from their share alone"
        )
    return DecisionFit(msgspec.structs.replace(spec, thresholds=tuple(float(t) for t in thresholds)), notes)


def fit_temperature(log_prob: Float32, label: Int64, spec: DecisionSpec) -> float:
    """The temperature at which the corrected posterior has the smallest negative log-likelihood.

    Guo et al., "On calibration of modern neural networks", 2017, section 4.2; here with the prior correction in place,
    since it is the corrected posterior that is to be calibrated.
    """
    row = np.arange(len(label))

    def nll(log_temperature: float) -> float:
        tempered = msgspec.structs.replace(spec, temperature=float(np.exp(log_temperature)))
        p = Decision(tempered).posterior(log_prob)[row, label]
        return float(-np.log(np.maximum(p, 1e-12)).mean())

    found = minimize_scalar(nll, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def fit_thresholds(posterior: Float64, label: Int64, true_prior: NDArray[np.float64]) -> Float64:
    """Thresholds that maximise macro-F1 of the verdicts over the classes present, [K], the largest being 1.

    First one number for all classes: thresholds ``true_prior ** beta``, so that a class with few validation windows
    gets its threshold from what holds for the others. Then one class after the other, within a factor of four, where
    the class has windows enough and the gain is worth it.
    """
    present = np.unique(label)
    counts = np.bincount(label, minlength=posterior.shape[1])

    def macro_f1(thresholds: Float64) -> float:
        verdict = (posterior / thresholds).argmax(axis=1)
        return float(f1_score(label, verdict, labels=present, average="macro", zero_division=0))

    # A class that training never saw has no share to go by: what little the net gives it must not be blown up.
    seen = true_prior > 2 * SMALLEST_PRIOR

    def by_share(beta: float) -> Float64:
        return np.where(seen, true_prior**beta, 1.0)

    scores = [macro_f1(by_share(beta)) for beta in EXPONENTS]
    # The middle of the best stretch is steadier than its first point.
    best = np.flatnonzero(np.isclose(scores, max(scores)))
    thresholds = by_share(EXPONENTS[best[len(best) // 2]])
    score = max(scores)
    for _ in range(2):
        for c in np.flatnonzero(counts >= MIN_WINDOWS):
            tried = []
            for factor in FACTORS:
                changed = thresholds.copy()
                changed[c] *= factor
                tried.append((macro_f1(changed), -abs(np.log(factor)), factor))
            gained, _, factor = max(tried)
            if gained >= score + MIN_GAIN:
                score = gained
                thresholds[c] *= factor
    return np.asarray(thresholds / thresholds.max())
