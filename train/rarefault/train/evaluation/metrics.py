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
    """Scores of one class. Null if the class has no windows."""

    support: int
    """Windows with this label."""
    predicted: int
    """Windows with this verdict."""
    precision: float | None
    """Share of the verdicts that are right."""
    recall: float | None
    """Share of the windows that are recognised."""
    f1: float | None
    """Harmonic mean of precision and recall."""
    average_precision: float | None
    """Area under the precision-recall curve."""


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """The windows of one bin of predicted probability."""

    windows: int
    """Number of windows."""
    stated: float
    """Mean predicted probability."""
    share: float
    """Share of the windows in which the prediction was right."""


class EventScore(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the fault log with at least one judged window."""

    device: str
    """Name of the device."""
    fault: str
    """The fault."""
    start_ms: int
    """Start, milliseconds since the epoch."""
    end_ms: int
    """End, milliseconds since the epoch."""
    detected: bool
    """Whether any window of the event has the event's fault as its verdict."""
    delay_s: float | None
    """Time from the event's start (or the first judged window after it) to the end of the first right verdict, seconds.
    Null if it was not detected."""


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """All scores of one part."""

    windows: int
    """Number of judged windows with a label."""
    macro_f1: float
    """Mean F1 of the classes that occur."""
    balanced_accuracy: float
    """Mean recall of the classes that occur."""
    accuracy: float
    """Share of the verdicts that are right."""
    log_loss: float
    """Mean negative logarithm of the true class's probability."""
    calibration_error: float
    """Expected calibration error of the most probable class, in 15 bins."""
    always_normal_macro_f1: float
    """Macro-F1 of a model that always predicts normal, on the same windows."""
    classes: dict[str, ClassScores]
    """Scores of each class."""
    absent: list[str]
    """Classes without windows here. The macro figures leave them out."""
    confusion: list[list[int]]
    """Confusion matrix: labels in rows, verdicts in columns, in the order of ``classes``."""
    macro_average_precision: float
    """Mean average precision of the classes that occur."""
    lowest_recall: float
    """Lowest recall of the classes that occur."""
    lowest_recall_class: str | None
    """The class with the lowest recall."""
    reliability: list[ReliabilityBin]
    """Reliability of the most probable class's probability."""
    fault_reliability: list[ReliabilityBin]
    """Reliability of the probability that there is any fault."""
    coverage: dict[str, Coverage] = {}
    """How often the prediction set contained the true class, by class."""
    events_total: int = 0
    """Events with at least one judged window."""
    events_detected: int = 0
    """Events with at least one right verdict."""
    event_recall: dict[str, float | None] = {}
    """Share of the events that were detected, by fault."""
    median_delay_s: float | None = None
    """Median delay of the detected events, seconds."""
    false_alarms: int = 0
    """Alarms of a fault that was not active at any time of the alarm, and ``unknown`` alarms while no fault was
    active."""
    false_alarms_per_device_day: float | None = None
    """The same per device and day."""
    alarm_changes: int = 0
    """Changes of the alarm state, to ``normal`` included."""
    alarm_changes_per_device_day: float | None = None
    """The same per device and day."""
    unknown_alarms: int = 0
    """``unknown`` alarms, whatever was active."""
    device_days: float = 0.0
    """Judged time of all devices, days."""
    true_alarms: int = 0
    """Alarms of a fault that was active at some time of the alarm."""
    events_alarmed: int = 0
    """Events that met an alarm of their fault."""
    event_f1: float | None = None
    """F1 of the alarms, over all faults together: of the share of alarms that are true, and the share of events with an
    alarm."""
    affiliation: dict[str, Affiliation] = {}
    """Affiliation scores of the verdicts, by fault."""
    affiliation_precision: float | None = None
    """Mean affiliation precision of the faults that have one."""
    affiliation_recall: float | None = None
    """Mean affiliation recall of the faults that have one."""
    phm2015: Phm2015Score | None = None
    """Scores as in the PHM Society 2015 data challenge: verdicts against the fault log."""
    phm2015_of_labels: Phm2015Score | None = None
    """The challenge's scores of verdicts without any error, which report one fault at a time."""
    events: list[EventScore] = []
    """Each event."""


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
