"""Affiliation precision and recall, worked out by hand."""

import math

import numpy as np
import pytest

from rarefault.train.evaluation.affiliation import affiliation_of_fault, spans, zone_scores


def intervals(*pairs: tuple[float, float]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array(pairs, np.float64).reshape(-1, 2)


def test_a_perfect_prediction() -> None:
    """What is predicted exactly scores 1 and 1 in every zone."""
    events = intervals((2, 4), (10, 11))
    assert zone_scores(events, events, (0, 20)) == [(1.0, 1.0), (1.0, 1.0)]


def test_a_prediction_beside_the_event() -> None:
    """Event [4, 6] of [0, 10], predicted [7, 8]: distances 1 to 2 are beaten by 0.6 to 0.4 and 0.6 to 0.2 of the zone.

    Precision: at distance d the nearer part is 2 + 2 d of 10, so P = 0.8 - 0.2 d, 0.5 in the mean of d in [1, 2].
    Recall: y in [4, 6] is d = 7 - y away; [y - d, y + d] = [2 y - 7, 7] has 14 - 2 y, cut to 7 below y = 3.5, so
    P = 1 - (14 - 2 y) / 10 = 0.2 y - 0.4, and 0.6 in the mean.
    """
    [(precision, recall)] = zone_scores(intervals((7, 8)), intervals((4, 6)), (0, 10))
    assert precision == pytest.approx(0.5)
    assert recall == pytest.approx(0.6)


def test_the_border_of_the_zone_cuts_what_is_nearer() -> None:
    """Event [0, 2] of [0, 10], predicted [8, 10]: only one side is there to be nearer.

    Precision: P = 1 - (2 + d) / 10 with d in [6, 8], 0.1 in the mean. Recall: d = 8 - y in [6, 8], [0, 8] is nearer for
    every y, so P = 0.2.
    """
    [(precision, recall)] = zone_scores(intervals((8, 10)), intervals((0, 2)), (0, 10))
    assert precision == pytest.approx(0.1)
    assert recall == pytest.approx(0.2)


def test_half_right() -> None:
    """Event [2, 4] of [0, 8], predicted [3, 5]: a half of both is exact, the rest one side off.

    Precision: [3, 4] gives 1; beyond, P = 1 - (2 + 2 d) / 8 with d in [0, 1], 0.625: 0.8125 in the mean. Recall: [3, 4]
    gives 1; before, P = 1 - 2 d / 8 with d in [0, 1], 0.875: 0.9375 in the mean.
    """
    [(precision, recall)] = zone_scores(intervals((3, 5)), intervals((2, 4)), (0, 8))
    assert precision == pytest.approx(0.8125)
    assert recall == pytest.approx(0.9375)


def test_two_zones() -> None:
    """The border lies in the middle between the events, and a zone without a prediction has recall 0, no precision."""
    first, second = zone_scores(intervals((0, 1)), intervals((0, 1), (9, 10)), (0, 10))
    assert first == (1.0, 1.0)
    assert math.isnan(second[0])
    assert second[1] == 0.0
    across = zone_scores(intervals((4, 6)), intervals((0, 1), (9, 10)), (0, 10))
    assert across[0] == pytest.approx(across[1])


def test_windows_of_devices() -> None:
    """Runs of windows are the intervals; a device without the fault does not count, and a missed one halves recall."""
    assert spans(np.array([True, False, True, True])).tolist() == [[0, 1], [2, 4]]
    device = np.repeat([0, 1, 2], 4)
    label = np.array([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    verdict = np.array([0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    score = affiliation_of_fault(device, label, verdict, 1)
    assert (score.precision, score.recall) == (1.0, 0.5)
    absent = affiliation_of_fault(device, label, verdict, 2)
    assert (absent.precision, absent.recall) == (None, None)
