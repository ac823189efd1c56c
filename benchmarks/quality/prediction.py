"""What a method gives, and what it is worth."""

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from benchmarks.quality.protocol import Fold
from numpy.typing import NDArray
from scipy.special import log_softmax

from rarefault.runtime.arrays import Bool, Float32, Float64, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.decision.belief import ForwardFilter
from rarefault.runtime.inference.engine import rounds
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec
from rarefault.train.calibration.choice import block_of, interval
from rarefault.train.calibration.decision_fit import fit_decision
from rarefault.train.calibration.filter_fit import fit_filter
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.evaluation.metrics import JudgedWindows, score_windows, to_plain
from rarefault.train.fitting.imbalance import class_frequencies

#: What a decision needs to know of held-out windows; see :class:`rarefault.train.calibration.decision_fit.Validation`.
HELD_OUT = ("device", "end_ms", "fresh", "label")


@dataclass(frozen=True)
class Prediction:
    """Log-probabilities of the held-out windows.

    Attributes:
        validation, test: [W, K].
        learned_prior: class shares that the method has learned, [K]; None for those of the training windows.
        notes: what else should be known, such as the parameters' number.
        parts: the opinions of network and trees, so that ways to pool them can be compared without training.
        windows: ``HELD_OUT`` of the windows that ``validation`` is of, where these are not those of the validation
            blocks alone, [W] each.
    """

    validation: Float32
    test: Float32
    learned_prior: tuple[float, ...] | None = None
    notes: dict[str, Any] | None = None
    parts: dict[str, Float32] = field(default_factory=dict)
    windows: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """A fold's verdicts.

    Attributes:
        label: -1 where nobody knows it, [W].
        plain: class with the largest log-probability, [W].
        verdict: of the decision that was fitted on the validation windows, [W].
        posterior: calibrated, [W, K].
        event: number of the run of windows with one label, [W].
        block: number of the tested block, or run, that each window lies in, [W].
        covered: whether the label was plausible, [W].
        levelled: whether a coverage is stated of the label, which needs events enough to validate on, [W].
        false_alarms, alarm_changes: of the decision's alarms, ``unknown`` included.
        events, events_alarmed: of the fault log, and those that an alarm of their fault meets.
        budget_verdict: of a decision for a budget of one false alarm per device and day, [W].
        budget_alarms: false alarms that it raised.
        device_days: that the windows stand for.
    """

    label: Int64
    plain: Int64
    verdict: Int64
    posterior: np.ndarray[Any, np.dtype[np.float64]]
    event: Int64
    block: Int64
    covered: Bool
    levelled: Bool
    false_alarms: int
    alarm_changes: int
    events: int
    events_alarmed: int
    budget_verdict: Int64
    budget_alarms: int
    device_days: float


def judge(fold: Fold, prediction: Prediction) -> Judged:
    """The same decision for every method: temperature, prior correction and thresholds from the validation windows."""
    test = fold.validation("test")
    spec = fitted(fold, prediction, "macro_f1")
    decision = Decision(spec)
    posterior = decision.posterior(evidence(fold, prediction, prediction.test))
    budget = fitted(fold, prediction, "false_alarm_budget")
    (alarms,) = test.trial(spec, posterior).count(np.asarray([spec.thresholds]))
    (of_budget,) = test.trial(budget, posterior).count(np.asarray([budget.thresholds]))
    careful = Decision(budget)
    level = np.asarray(spec.conformal_thresholds)[
        test.label
    ]  # of the last class where the label is unknown; not asked there
    row = np.arange(len(level))
    return Judged(
        label=test.label,
        plain=prediction.test.argmax(axis=1),
        verdict=decision.verdict(decision.score(posterior)),
        posterior=posterior,
        event=event_of(test.device, test.fresh, test.label),
        block=block_of(test, fold.split),
        covered=decision.prediction_set(posterior)[row, test.label],
        levelled=level > 0,
        false_alarms=alarms.false,
        alarm_changes=alarms.changes,
        events=alarms.events,
        events_alarmed=alarms.seen,
        budget_verdict=careful.verdict(careful.score(posterior)),
        budget_alarms=of_budget.false,
        device_days=test.device_days,
    )


def fitted(fold: Fold, prediction: Prediction, objective: str) -> DecisionSpec:
    """The decision for an objective, from the validation windows."""
    shares = class_frequencies(fold.parts["train"].label, fold.n_classes)
    config = msgspec.convert(
        msgspec.to_builtins(fold.config.decision) | {"objective": objective}, type(fold.config.decision)
    )
    held = fold.validation()
    if prediction.windows:
        device, end_ms, fresh, label = (prediction.windows[name] for name in HELD_OUT)
        held = replace(held, device=device, end_ms=end_ms, fresh=fresh, label=label)
    opinions = evidence(fold, prediction, prediction.validation) + np.log(shares)
    spec = DecisionSpec(prior=shares, thresholds=(1.0,) * fold.n_classes, experts=(ExpertSpec(name="network"),))
    return fit_decision(np.asarray(opinions[:, None], np.float32), held, spec, config).spec


def evidence(fold: Fold, prediction: Prediction, log_prob: Float32) -> Float64:
    """What log-probabilities of a method add to the class shares that it has learned, [W, K]."""
    prior = prediction.learned_prior or class_frequencies(fold.parts["train"].label, fold.n_classes)
    return np.asarray(log_prob - np.log(np.asarray(prior)), np.float64)


def filtered(fold: Fold, prediction: Prediction) -> Prediction:
    """With the forward filter that makes the labels of the held-out windows likeliest, as it is shipped."""
    shares = class_frequencies(fold.parts["train"].label, fold.n_classes)
    held = prediction.windows or {name: getattr(fold.validation(), name) for name in HELD_OUT}
    own = evidence(fold, prediction, prediction.validation)
    found = fit_filter(own, held["label"], held["fresh"], shares)
    if found is None:
        return prediction
    prior = np.log(np.asarray(prediction.learned_prior or shares))

    def weighed(log_prob: Float32, fresh: Bool) -> Float32:
        segment = np.cumsum(fresh) - 1
        beliefs = np.zeros((int(segment[-1]) + 1, len(shares)))
        forward = ForwardFilter(found, shares)
        after = forward.carry(evidence(fold, prediction, log_prob), segment, fresh, rounds(segment), beliefs)
        return np.asarray(log_softmax(after + prior, axis=1), np.float32)

    return replace(
        prediction,
        validation=weighed(prediction.validation, held["fresh"]),
        test=weighed(prediction.test, fold.parts["test"].windows.fresh),
    )


def log_loss_gain(judged: list[Judged], over: list[Judged]) -> dict[str, Any]:
    """How far the log loss of the tested windows is below that of another method on the same windows.

    Args:
        judged: of each fold.
        over: the other method's.

    Returns:
        ``log_loss``, the difference as a share of the other's; ``interval``, 90 % of it by a bootstrap over blocks, as
        windows of a block err together; and the number of ``blocks``.
    """
    gains, losses, blocks = [], [], []
    for fold, (mine, other) in enumerate(zip(judged, over, strict=True)):
        known = mine.label >= 0
        loss, before = (-np.log(np.maximum(one.posterior[known, mine.label[known]], 1e-15)) for one in (mine, other))
        gains.append(before - loss)
        losses.append(before)
        blocks.append(mine.block[known] + (fold << 32))
    _, block = np.unique(np.concatenate(blocks), return_inverse=True)
    gain, whole = np.concatenate(gains), float(np.concatenate(losses).mean())
    low, high = interval(np.bincount(block, gain).astype(np.float64), np.bincount(block).astype(np.float64))
    return {
        "log_loss": float(gain.mean()) / whole,
        "interval": [low / whole, high / whole],
        "blocks": int(block.max()) + 1,
    }


def _coverage(judged: list[Judged], classes: tuple[str, ...]) -> dict[str, dict[str, float | int]]:
    """Of the classes of which one is stated: mean over the events of all folds, and its standard error."""
    found: dict[str, dict[str, float | int]] = {}
    for c, name in enumerate(classes):
        shares: list[float] = []
        windows = 0
        for j in judged:
            mine = (j.label == c) & j.levelled
            windows += int(mine.sum())
            shares += [float(j.covered[mine & (j.event == event)].mean()) for event in np.unique(j.event[mine])]
        if shares:
            found[name] = {
                "windows": windows,
                "events": len(shares),
                "by_event": float(np.mean(shares)),
                "standard_error": float(np.std(shares) / np.sqrt(len(shares))),
            }
    return found


def score(judged: list[Judged], classes: tuple[str, ...]) -> dict[str, Any]:
    """Scores of all folds' verdicts together, as one would have got them had each window been judged once."""
    label = np.concatenate([j.label for j in judged])
    known = label >= 0
    posterior = np.concatenate([j.posterior for j in judged])[known]

    def scores(of: str) -> dict[str, Any]:
        verdict = np.concatenate([getattr(j, of) for j in judged])[known]
        return to_plain(score_windows(JudgedWindows(label[known], verdict, posterior, classes)))  # type: ignore[no-any-return]

    decided, plain, careful = scores("verdict"), scores("plain"), scores("budget_verdict")
    days = sum(j.device_days for j in judged)
    one_fold = [
        float(
            JudgedWindows(j.label[j.label >= 0], j.verdict[j.label >= 0], j.posterior[j.label >= 0], classes).macro(
                "f1"
            )
        )
        for j in judged
    ]
    return {
        "macro_f1": decided["macro_f1"],
        "macro_recall": decided["balanced_accuracy"],
        "f1_per_class": {name: row["f1"] for name, row in decided["classes"].items()},
        "recall_per_class": {name: row["recall"] for name, row in decided["classes"].items()},
        "macro_average_precision": decided["macro_average_precision"],
        "lowest_recall": decided["lowest_recall"],
        "calibration_error": decided["calibration_error"],
        "log_loss": decided["log_loss"],
        "macro_f1_plain": plain["macro_f1"],
        "macro_recall_plain": plain["balanced_accuracy"],
        "macro_f1_mean_of_folds": float(np.mean(one_fold)),
        "alarms": {
            "false_alarms_per_device_day": sum(j.false_alarms for j in judged) / days,
            "alarm_changes_per_device_day": sum(j.alarm_changes for j in judged) / days,
            "events": sum(j.events for j in judged),
            "events_alarmed": sum(j.events_alarmed for j in judged),
        },
        "coverage": _coverage(judged, classes),
        "budget": {
            "false_alarms_per_device_day": sum(j.budget_alarms for j in judged) / days,
            "macro_f1": careful["macro_f1"],
            "recall_per_class": {name: row["recall"] for name, row in careful["classes"].items()},
        },
        "windows": int(known.sum()),
    }
