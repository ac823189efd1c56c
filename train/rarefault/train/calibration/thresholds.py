"""The search for thresholds, whatever is to be made large."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from rarefault.runtime.arrays import Float64, Int64
from rarefault.train.evaluation.alarms import AlarmTrial
from rarefault.train.fitting.imbalance import SMALLEST_PRIOR

#: Exponents tried for thresholds of the form ``prior ** beta``: 0 decides by the posterior, 1 ignores the prior.
EXPONENTS = np.linspace(0.0, 1.2, 25)
#: Factors tried around that for one class at a time.
FACTORS = np.geomspace(0.25, 4.0, 17)
#: Factors tried for all faults together, against normal, where alarms are counted.
FAULT_FACTORS = np.geomspace(1 / 32, 32, 21)
#: A class needs so many validation windows for a threshold of its own.
MIN_WINDOWS = 20
#: A class's own threshold must gain this much of what is made large, or it is not worth the risk of fitting noise.
MIN_GAIN = 0.002
#: The common rule must do no harm to others by a fault with few validation windows when its threshold is so much lower.
MARGIN = 0.5

#: Thresholds of some settings, [N, K], to the score of each, [N].
Score = Callable[[Float64], Float64]


def macro_f1(posterior: Float64, label: Int64) -> Score:
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


def event_f1(trial: AlarmTrial) -> Score:
    """F1 of the alarms: share of alarms that are true, and share of events with an alarm, over all faults together."""

    def score(thresholds: Float64) -> Float64:
        return np.array([counts.f1 or 0.0 for counts in trial.count(thresholds)])

    return score


def recall_within_budget(
    posterior: Float64, label: Int64, trial: AlarmTrial, device_days: float, budget: float
) -> Score:
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
    by_share: Score,
    counts: Int64,
    prior: NDArray[np.float64],
    of_alarms: Score | None = None,
) -> tuple[Float64, float]:
    """Thresholds [K] that make an objective large, the largest being 1, and the objective there.

    First one rule for all classes: thresholds ``prior ** beta``, so that a class with few validation windows gets
    its threshold from what holds for the others. Macro-F1 stops there: thresholds of each class overfit the
    validation blocks (decision 0008). A fault that hardly shows, such as one with a single training window, has a
    posterior near its prior everywhere. With a threshold near its prior it would take many windows of normal, and
    macro-F1 accepts that where another fault gains as much. So a fault with few validation windows keeps its posterior
    where the rule's threshold, or half of it, costs anything there. Where alarms are counted, one factor for all faults
    follows, then one class after the other, within a factor of four, where the class has windows enough and the gain is
    worth it.

    Args:
        by_share: what ``beta`` is to make large: macro-F1. Alarms would say little of classes that are seldom or never
            in the validation blocks.
        counts: validation windows of each class, [K].
        prior: [K].
        of_alarms: what all else is to make large. A fault with few validation windows goes along where others
            are changed, by the geometric mean of their changes: lowered alone, they would take its windows, and no
            validation window would say so.
    """
    # A class that training never saw has no share to go by: what little the net gives it must not be blown up.
    seen = prior > 2 * SMALLEST_PRIOR
    fault = np.arange(len(prior)) > 0
    own = counts >= MIN_WINDOWS
    few = np.flatnonzero(fault & seen & ~own)
    thresholds, score = _middle(*_harmless(by_share, np.where(seen, prior ** EXPONENTS[:, None], 1.0), few))
    if of_alarms is None:
        return np.asarray(thresholds / thresholds.max()), score
    along = np.isin(np.arange(len(own)), few) & (thresholds < 1)
    settings = thresholds * np.where(fault, FAULT_FACTORS[:, None], 1.0)
    thresholds, score = _middle(settings, of_alarms(settings))
    for _ in range(2):
        for c in np.flatnonzero(own):
            power = np.where(along & fault[c], 1 / max((own & fault).sum(), 1), np.arange(len(own)) == c)
            changed = thresholds * FACTORS[:, None] ** power
            tried = zip(of_alarms(changed).tolist(), (-np.abs(np.log(FACTORS))).tolist(), FACTORS.tolist(), strict=True)
            gained, _, by = max(tried)
            if gained >= score + MIN_GAIN:
                score = gained
                thresholds = thresholds * by**power
    return np.asarray(thresholds / thresholds.max()), score


def _harmless(objective: Score, settings: Float64, few: Int64) -> tuple[Float64, Float64]:
    """Settings [N, K] in which faults that do harm are left to their posterior, and their scores [N].

    Args:
        objective: what is to be made large.
        settings: thresholds by the common rule, [N, K].
        few: the faults that are looked at, each by itself.
    """
    scores = objective(settings)
    for c in few:
        column = np.arange(settings.shape[1]) == c
        left = np.where(column, 1.0, settings)
        without = objective(left)
        harm = (without > scores) | (objective(np.where(column, MARGIN, 1.0) * settings) < without - MIN_GAIN)
        settings, scores = np.where(harm[:, None], left, settings), np.where(harm, without, scores)
    return settings, scores


def _middle(settings: Float64, scores: Float64) -> tuple[Float64, float]:
    """The best of some settings [N, K] by their scores [N], and its score."""
    # The middle of the best stretch is steadier than its first point.
    best = np.flatnonzero(np.isclose(scores, scores.max()))
    return settings[best[len(best) // 2]], float(scores.max())
