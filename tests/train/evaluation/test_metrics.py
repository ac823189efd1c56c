"""Scores, worked out by hand."""

import numpy as np
import pytest

from rarefault.train.evaluation.event_scores import EVENT_METRICS
from rarefault.train.evaluation.metrics import (
    HEADLINES,
    WINDOW_METRICS,
    JudgedWindows,
    Scores,
    calibration_error,
    headlines,
    reliability,
    score_windows,
    to_plain,
)

CLASSES = ("normal", "a", "b")


def test_scores_of_a_small_case() -> None:
    """Per class precision, recall and F1; the absent class is null and left out of the macro figures."""
    label = np.array([0, 0, 0, 0, 1, 1])
    verdict = np.array([0, 0, 0, 1, 1, 0])
    posterior = np.array([[0.8, 0.1, 0.1]] * 3 + [[0.3, 0.6, 0.1]] * 2 + [[0.5, 0.4, 0.1]])
    scores = score_windows(JudgedWindows(label, verdict, posterior, CLASSES))
    assert scores.classes["a"].precision == 0.5
    assert scores.classes["a"].recall == 0.5
    assert scores.classes["normal"].recall == 0.75
    assert scores.classes["b"].f1 is None
    assert scores.absent == ["b"]
    assert scores.macro_f1 == pytest.approx((0.75 + 0.5) / 2)
    assert scores.balanced_accuracy == pytest.approx((0.75 + 0.5) / 2)
    assert scores.always_normal_macro_f1 == pytest.approx(0.8 / 2)
    assert scores.confusion == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    # Ranked by the probability of "a": a right, a wrong (equal), then a right again; "normal" likewise.
    assert scores.lowest_recall_class == "a"
    assert scores.lowest_recall == 0.5
    ap = [scores.classes[name].average_precision for name in ("normal", "a")]
    assert ap == [pytest.approx(0.75 + 0.25 * 4 / 6), pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)]
    assert scores.macro_average_precision == pytest.approx((0.9166667 + 0.5833333) / 2)


def test_every_score_is_computed_once_and_headlines_are_scores() -> None:
    """Fields and the tables agree; what needs windows without a label, or their opinions, has no entry."""
    assert [*WINDOW_METRICS, "coverage", "far_share", *EVENT_METRICS] == list(Scores.__struct_fields__)
    assert {line.key for line in HEADLINES} < set(Scores.__struct_fields__)


def test_headlines() -> None:
    """The model beside one that always says normal; what is not known is a dash."""
    posterior = np.eye(3)[[0, 0, 0, 1]]
    scores = to_plain(score_windows(JudgedWindows(np.array([0, 0, 1, 1]), posterior.argmax(1), posterior, CLASSES)))
    assert headlines(scores)[0] == ("macro-F1 (always normal 0.333)", "0.733")
    assert headlines(scores)[3] == ("false alarms per device and day", "-")


def test_calibration_error() -> None:
    """Eight of ten right at 80 % is calibrated; at 60 % it is off by 0.2."""
    label = np.array([0] * 8 + [1] * 2)
    assert calibration_error(label, np.tile([0.8, 0.2], (10, 1))) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(label, np.tile([0.6, 0.4], (10, 1))) == pytest.approx(0.2)


def test_reliability() -> None:
    """Each bin has its windows, their mean probability and the share that came true; empty ones are left out."""
    low, high = reliability(np.array([0.0, 0.02, 1.0, 0.98]), np.array([False, True, True, True]))
    assert [low.windows, low.stated, low.share] == pytest.approx([2, 0.01, 0.5])
    assert [high.windows, high.stated, high.share] == pytest.approx([2, 0.99, 1.0])


def test_what_is_no_number_is_null() -> None:
    """JSON has no NaN."""
    assert to_plain({"a": [float("nan"), 1.0], "b": float("inf")}) == {"a": [None, 1.0], "b": None}
