"""The search for thresholds, whatever is to be made large."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from rarefault.runtime.grid import Float64, Int64
from rarefault.train.alarms import AlarmTrial
from rarefault.train.recipe import SMALLEST_PRIOR

#: Exponents tried for thresholds of the form ``true_prior ** beta``: 0 decides by the posterior, 1 ignores the prior.
EXPONENTS = np.linspace(0.0, 1.2, 25)
#: Factors tried around that for one class at a time.
FACTORS = np.geomspace(0.25, 4.0, 17)
#: Factors tried for all faults together, against normal, where alarms are counted.
FAULT_FACTORS = np.geomspace(1 / 32, 32, 21)
#: A class needs so many validation windows for a threshold of its own.
MIN_WINDOWS = 20
#: A class's own threshold must gain this much of what is made large, or it is not worth the risk of fitting noise.
MIN_GAIN = 0.002

#: Thresholds of some settings, [N, K], to the score of each, [N].
Objective = Callable[[Float64], Float64]


def macro_f1(posterior: Float64, label: Int64) -> Objective:
    """Macro-F1 of the verdicts over the classes present.

    Args:
        posterior: of the windows, [W, K].
        label: their classes, [W].
    """
    present = np.unique(label)

    def score(thresholds: Float64) -> Float64:
        verdicts = [(posterior / row).argmax(axis=1) for row in thresholds]
        return np.array([f1_score(label, v, labels=present, average="macro", zero_division=0) for v in verdicts])

    return score


def event_f1(trial: AlarmTrial) -> Objective:
    """F1 of the alarms: share of alarms that are true, and share of events with an alarm, over all faults together."""

    def score(thresholds: Float64) -> Float64:
        return np.array([counts.f1 or 0.0 for counts in trial.count(thresholds)])

    return score


def recall_within_budget(
    posterior: Float64, label: Int64, trial: AlarmTrial, device_days: float, budget: float
) -> Objective:
    """Macro recall of the verdicts; below zero, by the false alarms per device and day, where these exceed the budget.

    Args:
        posterior, label: of the windows with a label, [W, K] and [W].
        trial: counts the alarms of the same windows and those between.
        device_days: that the windows stand for.
        budget: false alarms per device and day.
    """
    present = np.unique(label)

    def score(thresholds: Float64) -> Float64:
        false = np.array([counts.false for counts in trial.count(thresholds)]) / device_days
        verdicts = [(posterior / row).argmax(axis=1) for row in thresholds]
        recall = np.array([np.mean([(v[label == c] == c).mean() for c in present]) for v in verdicts])
        return np.where(false <= budget, recall, -false)

    return score


def fit_thresholds(
    objective: Objective, counts: Int64, true_prior: NDArray[np.float64], fault_factors: NDArray[np.float64]
) -> tuple[Float64, float]:
    """Thresholds [K] that make the objective large, the largest being 1, and the objective there.

    First one rule for all classes: thresholds ``true_prior ** beta``, those of the faults times a common factor, so
    that a class with few validation windows gets its threshold from what holds for the others. Then one class after
    the other, within a factor of four, where the class has windows enough and the gain is worth it.

    Args:
        objective: what is to be large.
        counts: validation windows of each class, [K].
        true_prior: [K].
        fault_factors: common factors of the faults' thresholds that are tried, ascending.
    """
    # A class that training never saw has no share to go by: what little the net gives it must not be blown up.
    seen = true_prior > 2 * SMALLEST_PRIOR
    fault = np.arange(len(true_prior)) > 0
    beta, factor = (grid.ravel() for grid in np.meshgrid(EXPONENTS, fault_factors, indexing="ij"))
    by_share = np.where(seen, true_prior ** beta[:, None], 1.0) * np.where(fault, factor[:, None], 1.0)
    scores = objective(by_share)
    # The middle of the best stretch is steadier than its first point.
    best = np.flatnonzero(np.isclose(scores, scores.max()))
    exponents = np.unique(beta[best])
    best = best[beta[best] == exponents[len(exponents) // 2]]
    chosen = best[len(best) // 2]
    thresholds, score = by_share[chosen], float(scores.max())
    for _ in range(2):
        for c in np.flatnonzero(counts >= MIN_WINDOWS):
            changed = np.tile(thresholds, (len(FACTORS), 1))
            changed[:, c] *= FACTORS
            tried = zip(objective(changed).tolist(), (-np.abs(np.log(FACTORS))).tolist(), FACTORS.tolist(), strict=True)
            gained, _, by = max(tried)
            if gained >= score + MIN_GAIN:
                score = gained
                thresholds[c] *= by
    return np.asarray(thresholds / thresholds.max()), score
