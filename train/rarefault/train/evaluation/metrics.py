"""Scores of verdicts against labels: per class, over all, and per event.

Macro figures are over the classes that occur in the labels; what a class has no windows for is null, never zero.
"""

import math
from typing import Any

import msgspec
import numpy as np
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_fscore_support

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.train.evaluation.affiliation import Affiliation
from rarefault.train.evaluation.coverage import Coverage
from rarefault.train.evaluation.phm2015_score import Phm2015Score

#: Bins of the calibration error.
CALIBRATION_BINS = 15


class ClassScores(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of one class; null where it has no windows."""

    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """The windows of one bin of stated probability."""

    windows: int
    stated: float
    """Mean probability."""
    share: float
    """Share of the windows in which it came true."""


class EventScore(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the log that has at least one judged window."""

    device: str
    fault: str
    start_ms: int
    end_ms: int
    detected: bool
    delay_s: float | None
    """From the event's start (or the first judged window after it) to the end of the first right verdict."""


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """All scores of one part."""

    windows: int
    macro_f1: float
    balanced_accuracy: float
    accuracy: float
    log_loss: float
    calibration_error: float
    always_normal_macro_f1: float
    """What a model that always says normal gets on the same windows."""
    classes: dict[str, ClassScores]
    absent: list[str]
    """Classes without windows here; left out of the macro figures."""
    confusion: list[list[int]]
    """Truth in rows, verdict in columns."""
    macro_average_precision: float
    """Mean average precision, the area under the precision-recall curve, of the classes that occur."""
    lowest_recall: float
    lowest_recall_class: str | None
    """The class that is seen worst, and its recall."""
    reliability: list[ReliabilityBin]
    """Of the most probable class."""
    fault_reliability: list[ReliabilityBin]
    """Of the probability that there is any fault at all."""
    coverage: dict[str, Coverage] = {}
    """How often the true class was plausible, by class; see :mod:`rarefault.train.calibration.conformal`."""
    events_total: int = 0
    events_detected: int = 0
    event_recall: dict[str, float | None] = {}
    median_delay_s: float | None = None
    false_alarms: int = 0
    """Raised alarms of a fault that is not active at any time in the alarm, and ``unknown`` while no fault is."""
    false_alarms_per_device_day: float | None = None
    alarm_changes: int = 0
    """Changes of the alarm state, those to ``normal`` included: what a person is told."""
    alarm_changes_per_device_day: float | None = None
    unknown_alarms: int = 0
    """Raised ``unknown``, whatever was there."""
    device_days: float = 0.0
    true_alarms: int = 0
    """Raised alarms of a fault that is active at some time in the alarm."""
    events_alarmed: int = 0
    """Events that an alarm of their fault meets."""
    event_f1: float | None = None
    """Of the share of alarms that are true and the share of events with an alarm, over all faults together."""
    affiliation: dict[str, Affiliation] = {}
    """Of the verdicts against the labels, by fault; see :mod:`rarefault.train.evaluation.affiliation`."""
    affiliation_precision: float | None = None
    affiliation_recall: float | None = None
    """Means over the faults that have one."""
    phm2015: Phm2015Score | None = None
    """Of the verdicts against the fault log; see :mod:`rarefault.train.evaluation.phm2015_score`."""
    phm2015_of_labels: Phm2015Score | None = None
    """What verdicts without any error would get, one fault at a time as they are."""
    events: list[EventScore] = []


def score_windows(label: Int64, verdict: Int64, posterior: Float64, classes: tuple[str, ...]) -> Scores:
    """Scores of windows; those of events are filled in by :mod:`rarefault.train.evaluation.event_scores`.

    Args:
        label: truth, [W].
        verdict: class decided on, [W].
        posterior: calibrated probabilities, [W, K].
        classes: names, [K].
    """
    k = len(classes)
    all_labels = np.arange(k)
    present = np.unique(label)
    precision, recall, f1, support = precision_recall_fscore_support(
        label, verdict, labels=all_labels, zero_division=0.0
    )
    scores = {}
    for c, name in enumerate(classes):
        here = bool(support[c])
        ap = float(average_precision_score(label == c, posterior[:, c])) if here else None
        scores[name] = ClassScores(
            support=int(support[c]),
            predicted=int((verdict == c).sum()),
            precision=float(precision[c]) if here else None,
            recall=float(recall[c]) if here else None,
            f1=float(f1[c]) if here else None,
            average_precision=ap,
        )
    confusion = confusion_matrix(label, verdict, labels=all_labels)
    normal_f1 = 2 * support[0] / (support[0] + len(label)) if len(label) else 0.0
    worst = min(present.tolist(), key=lambda c: recall[c], default=None)
    precisions = [row.average_precision for row in scores.values() if row.average_precision is not None]
    picked = np.maximum(posterior[np.arange(len(label)), label], 1e-12)
    return Scores(
        windows=len(label),
        macro_f1=float(f1[present].mean()) if len(present) else math.nan,
        balanced_accuracy=float(recall[present].mean()) if len(present) else math.nan,
        accuracy=float((label == verdict).mean()) if len(label) else math.nan,
        log_loss=float(-np.log(picked).mean()) if len(label) else math.nan,
        calibration_error=calibration_error(label, posterior),
        always_normal_macro_f1=float(normal_f1 / len(present)) if len(present) else math.nan,
        classes=scores,
        absent=[name for c, name in enumerate(classes) if c not in present],
        confusion=confusion.tolist(),
        macro_average_precision=float(np.mean(precisions)) if precisions else math.nan,
        lowest_recall=math.nan if worst is None else float(recall[worst]),
        lowest_recall_class=None if worst is None else classes[worst],
        reliability=reliability(posterior.max(axis=1), posterior.argmax(axis=1) == label),
        fault_reliability=reliability(1 - posterior[:, 0], label > 0),
    )


def calibration_error(label: Int64, posterior: Float64) -> float:
    """Expected calibration error of the largest probability, over bins of equal width.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015.
    """
    bins = reliability(posterior.max(axis=1), posterior.argmax(axis=1) == label)
    return sum(b.windows * abs(b.share - b.stated) for b in bins) / max(len(label), 1)


def reliability(stated: Float64, true: Bool) -> list[ReliabilityBin]:
    """How often what was stated with a probability came true, in bins of equal width; empty bins are left out.

    DeGroot and Fienberg, "The comparison and evaluation of forecasters", 1983.

    Args:
        stated: probabilities, [W].
        true: what happened, [W].
    """
    number = np.minimum((stated * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    n = np.bincount(number, minlength=CALIBRATION_BINS)
    total = np.bincount(number, stated, CALIBRATION_BINS)
    came = np.bincount(number, true, CALIBRATION_BINS)
    return [
        ReliabilityBin(windows=int(n[i]), stated=float(total[i] / n[i]), share=float(came[i] / n[i]))
        for i in np.flatnonzero(n)
    ]


def to_plain(value: Any) -> Any:
    """Plain values for JSON, with null for what is no number."""
    plain = msgspec.to_builtins(value)

    def clean(item: Any) -> Any:
        if isinstance(item, dict):
            return {k: clean(v) for k, v in item.items()}
        if isinstance(item, list):
            return [clean(v) for v in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return clean(plain)
