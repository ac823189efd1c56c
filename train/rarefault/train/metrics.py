"""Scores of verdicts against labels: per class, over all, and per event.

Macro figures are over the classes that occur in the labels; what a class has no windows for is null, never zero.
"""

import math
from typing import Any

import msgspec
import numpy as np
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_fscore_support

from rarefault.runtime.grid import Float64, Int64

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
    """Truth in rows, verdict in columns; a last column counts ``unknown`` where it occurs."""
    events_total: int = 0
    events_detected: int = 0
    event_recall: dict[str, float | None] = {}
    median_delay_s: float | None = None
    false_alarms: int = 0
    """Raised alarms of a fault that is not active at any time in the alarm."""
    false_alarms_per_device_day: float | None = None
    device_days: float = 0.0
    events: list[EventScore] = []


def score_windows(label: Int64, verdict: Int64, posterior: Float64, classes: tuple[str, ...]) -> Scores:
    """Scores of windows; those of events are filled in by :mod:`rarefault.train.events`.

    Args:
        label: truth, [W].
        verdict: class decided on, K for ``unknown``, [W].
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
    named = k + 1 if (verdict == k).any() else k
    confusion = confusion_matrix(label, verdict, labels=np.arange(named))[:k]
    normal_f1 = 2 * support[0] / (support[0] + len(label)) if len(label) else 0.0
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
    )


def calibration_error(label: Int64, posterior: Float64) -> float:
    """Expected calibration error of the largest probability, over bins of equal width.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015.
    """
    top = posterior.max(axis=1)
    right = posterior.argmax(axis=1) == label
    number = np.minimum((top * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    n = np.bincount(number, minlength=CALIBRATION_BINS)
    gap = np.abs(np.bincount(number, right, CALIBRATION_BINS) - np.bincount(number, top, CALIBRATION_BINS))
    return float(gap.sum() / max(n.sum(), 1))


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
