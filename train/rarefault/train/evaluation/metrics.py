"""Scores of verdicts against labels: per class, over all, and per event.

Macro figures are over the classes that occur in the labels; what a class has no windows for is null, never zero.

A metric is a field of :class:`Scores`, and a function in one of two tables: :data:`WINDOW_METRICS` here, or
:data:`rarefault.train.evaluation.event_scores.EVENT_METRICS` where it counts events or alarms. With an entry in
:data:`HEADLINES` it is also printed, and stands in reports, comparisons and trials.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

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
    alarmed: bool
    """Whether an alarm of the event's fault stood at some time of the event."""
    alarm_delay_s: float | None
    """Time from the same moment until that alarm was raised, seconds; 0 if it stood already. Null without an alarm."""


class AlarmTally(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms of one state."""

    true: int
    """Those during which an event of this fault was active; 0 for ``unknown``."""
    false: int
    """Those that were false."""


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
    far_share: float | None = None
    """Share of the windows of an event of a known class, ``normal`` included, that were far from all classes: mean over
    the events, to compare with ``decision.far_share``. Null if the model measures no distance."""
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
    false_alarms_by_device: dict[str, int] = {}
    """False alarms of each device that has some, those with most first."""
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
    alarms_by_state: dict[str, AlarmTally] = {}
    """True and false alarms of each fault, and of ``unknown``."""
    log_offset_s: float | None = None
    """Median time by which verdicts begin and end after the logged events, seconds; negative before them. Null where
    fewer than five events have clear borders, or where beginnings and ends do not agree."""
    phm2015: Phm2015Score | None = None
    """Scores as in the PHM Society 2015 data challenge: verdicts against the fault log."""
    phm2015_of_labels: Phm2015Score | None = None
    """The challenge's scores of verdicts without any error, which report one fault at a time."""
    events: list[EventScore] = []
    """Each event."""


class Headline(NamedTuple):
    """A score that is shown wherever scores are shown.

    Attributes:
        key: field of :class:`Scores`.
        title: for people.
        digits: after the point.
        always_normal: field with what a model that always says normal gets.
    """

    key: str
    title: str
    digits: int = 3
    always_normal: str = ""


HEADLINES = (
    Headline("macro_f1", "macro-F1", always_normal="always_normal_macro_f1"),
    Headline("balanced_accuracy", "balanced accuracy"),
    Headline("calibration_error", "calibration error"),
    Headline("false_alarms_per_device_day", "false alarms per device and day", 2),
    Headline("alarm_changes_per_device_day", "alarm changes per device and day", 2),
    Headline("event_f1", "F1 of the alarms"),
)


def headlines(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Title and value of each headline, from scores as plain values."""

    def text(key: str, digits: int) -> str:
        return "-" if scores[key] is None else f"{scores[key]:.{digits}f}"

    return [
        (
            line.title + (f" (always normal {text(line.always_normal, line.digits)})" if line.always_normal else ""),
            text(line.key, line.digits),
        )
        for line in HEADLINES
    ]


@dataclass(frozen=True)
class JudgedWindows:
    """Windows with a label, and what was predicted of them.

    Attributes:
        label: truth, [W].
        verdict: class decided on, [W].
        posterior: calibrated probabilities, [W, K].
        classes: names, [K].
    """

    label: Int64
    verdict: Int64
    posterior: Float64
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def present(self) -> Int64:
        """Classes that occur in the labels, in ascending order."""
        return np.unique(self.label)

    @cached_property
    def _by_class(self) -> tuple[Float64, Float64, Float64, Int64]:
        """Precision, recall, F1 and support, [K] each."""
        numbers = np.arange(len(self.classes))
        precision, recall, f1, support = precision_recall_fscore_support(
            self.label, self.verdict, labels=numbers, zero_division=0.0
        )
        return precision, recall, f1, support

    @cached_property
    def class_scores(self) -> dict[str, ClassScores]:
        """Scores of each class by its name."""
        found = {}
        for c, (name, precision, recall, f1, support) in enumerate(zip(self.classes, *self._by_class, strict=True)):
            here = bool(support)
            ap = float(average_precision_score(self.label == c, self.posterior[:, c])) if here else None
            found[name] = ClassScores(
                support=int(support),
                predicted=int((self.verdict == c).sum()),
                precision=float(precision) if here else None,
                recall=float(recall) if here else None,
                f1=float(f1) if here else None,
                average_precision=ap,
            )
        return found

    def macro(self, of: str) -> float:
        """Mean of ``"recall"`` or ``"f1"`` over the classes that occur; NaN without windows."""
        values = self._by_class[{"recall": 1, "f1": 2}[of]][self.present]
        return float(values.mean()) if len(values) else math.nan

    @cached_property
    def worst(self) -> int | None:
        """The class with the lowest recall of those that occur."""
        recall = self._by_class[1]
        return min(self.present.tolist(), key=lambda c: float(recall[c]), default=None)

    @property
    def correct(self) -> Bool:
        """Whether the most probable class is the true one, [W]."""
        return np.asarray(self.posterior.argmax(axis=1) == self.label)


def _log_loss(judged: JudgedWindows) -> float:
    picked = np.maximum(judged.posterior[np.arange(len(judged)), judged.label], 1e-12)
    return float(-np.log(picked).mean()) if len(judged) else math.nan


def _always_normal_macro_f1(judged: JudgedWindows) -> float:
    support = judged.class_scores[judged.classes[0]].support
    f1 = 2 * support / (support + len(judged)) if len(judged) else 0.0
    return float(f1 / len(judged.present)) if len(judged.present) else math.nan


def _macro_average_precision(judged: JudgedWindows) -> float:
    known = [row.average_precision for row in judged.class_scores.values() if row.average_precision is not None]
    return float(np.mean(known)) if known else math.nan


def _lowest_recall(judged: JudgedWindows) -> float:
    row = None if judged.worst is None else judged.class_scores[judged.classes[judged.worst]].recall
    return math.nan if row is None else row


def _confusion(judged: JudgedWindows) -> list[list[int]]:
    labels = np.arange(len(judged.classes))
    return confusion_matrix(judged.label, judged.verdict, labels=labels).tolist()  # type: ignore[no-any-return]


#: Fields of :class:`Scores` that windows alone give.
WINDOW_METRICS: dict[str, Callable[[JudgedWindows], Any]] = {
    "windows": len,
    "macro_f1": lambda judged: judged.macro("f1"),
    "balanced_accuracy": lambda judged: judged.macro("recall"),
    "accuracy": lambda judged: float((judged.label == judged.verdict).mean()) if len(judged) else math.nan,
    "log_loss": _log_loss,
    "calibration_error": lambda judged: calibration_error(judged.label, judged.posterior),
    "always_normal_macro_f1": _always_normal_macro_f1,
    "classes": lambda judged: judged.class_scores,
    "absent": lambda judged: [name for c, name in enumerate(judged.classes) if c not in judged.present],
    "confusion": _confusion,
    "macro_average_precision": _macro_average_precision,
    "lowest_recall": _lowest_recall,
    "lowest_recall_class": lambda judged: None if judged.worst is None else judged.classes[judged.worst],
    "reliability": lambda judged: reliability(judged.posterior.max(axis=1), judged.correct),
    "fault_reliability": lambda judged: reliability(1 - judged.posterior[:, 0], judged.label > 0),
}


def score_windows(judged: JudgedWindows) -> Scores:
    """Scores of windows; those of events are filled in by :mod:`rarefault.train.evaluation.event_scores`."""
    return Scores(**{name: metric(judged) for name, metric in WINDOW_METRICS.items()})


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
