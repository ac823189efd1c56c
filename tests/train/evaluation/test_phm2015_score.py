"""The scores of the PHM 2015 challenge, worked out by hand."""

import numpy as np
import pytest

from rarefault.train.evaluation.phm2015_score import Intervals, runs, score_phm2015, scored_faults

PHM = ("normal", "fault_1", "fault_2", "fault_6")


def made(*rows: tuple[int, int, int, int]) -> Intervals:
    """Intervals from (stretch, fault, start, end)."""
    return Intervals(*np.array(rows, np.int64).reshape(-1, 4).T)


def test_found_false_missed_and_mistaken() -> None:
    """One of each kind with a sample of 10 ms: rules (4 - 10 - 10 - 1 - 1) / 5, literature 10 - 0.1 - 0.1 - 0.01."""
    events = made((0, 1, 100, 200), (0, 1, 500, 600), (0, 2, 900, 1000))
    predicted = made((0, 1, 60, 240), (0, 1, 541, 600), (0, 1, 900, 1000))
    score = score_phm2015(predicted, events, 10, PHM)
    assert (score.tp, score.fp, score.fn, score.ms) == (1, 1, 1, 1)
    assert score.rules == pytest.approx((4 - 20 - 2) / 5)
    assert score.literature == pytest.approx(10 - 0.2 - 0.01)


def test_each_counts_once_and_code_6_not_at_all() -> None:
    """Of two runs that fit one event the nearer has found it; nothing of code 6 is scored; stretches are apart."""
    events = made((0, 1, 100, 200), (0, 3, 0, 1000), (1, 2, 100, 200))
    predicted = made((0, 1, 90, 210), (0, 1, 101, 199), (0, 3, 500, 510), (2, 2, 100, 200))
    score = score_phm2015(predicted, events, 10, PHM)
    assert (score.tp, score.fp, score.fn, score.ms) == (1, 2, 1, 0)


def test_other_histories_score_all_faults() -> None:
    """The divisor is 5 for the challenge's own codes, however many occur, and the number of faults elsewhere."""
    assert scored_faults(PHM) == ([1, 2], 5)
    assert scored_faults(("normal", "leak", "stuck")) == ([1, 2], 2)


def test_runs_of_verdicts() -> None:
    """A run ends with its stretch, its fault, or a verdict that is no fault, normal as well as ``unknown``."""
    stretch = np.array([0, 0, 0, 0, 1, 1, 1])
    value = np.array([1, 1, 2, 3, 1, 0, 1])
    found = runs(stretch, np.arange(10, 80, 10), value, 3)
    assert found.stretch.tolist() == [0, 0, 1, 1]
    assert found.fault.tolist() == [1, 2, 1, 1]
    assert found.start_ms.tolist() == [10, 30, 50, 70]
    assert found.end_ms.tolist() == [20, 30, 50, 70]
    assert len(runs(stretch[:0], stretch[:0], stretch[:0], 3).fault) == 0
