"""The decision by distance: familiarity, what fits no class, and the alarm that follows."""

import numpy as np
import pytest

from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, DistanceSpec, ExpertSpec

QUANTILES = (0.0, 1.0, 2.0, 2.0, 4.0)
TREES, NETWORK = ExpertSpec(name="trees"), ExpertSpec(name="network")


def rule(**changes: object) -> DecisionSpec:
    """Two classes; the network is the second expert."""
    settings: dict[str, object] = {
        "prior": (0.5, 0.5),
        "thresholds": (1.0, 1.0),
        "experts": (TREES, NETWORK),
        "distance": DistanceSpec(quantiles=QUANTILES, far=3.0),
    }
    return DecisionSpec(**(settings | changes))  # type: ignore[arg-type]


def opinions(*distances: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Both experts are sure of normal; the network measures the distances, [W, E, V]."""
    found = np.zeros((len(distances), 2, 3), np.float32)
    found[:, :, :2] = np.log([0.99, 0.01])
    found[:, 1, 2] = distances
    return found


def test_familiarity_is_the_share_that_was_as_far() -> None:
    """By the quantiles, between them in proportion; of equal ones the largest share, and beyond all of them 0."""
    found = Decision(rule()).familiarity(opinions(0, 0.5, 1, 2, 3, 4, 5))
    assert found is not None
    np.testing.assert_allclose(found, [1, 0.875, 0.75, 0.5, 0.25, 0, 0], atol=1e-6)
    assert Decision(rule(distance=None)).familiarity(opinions(1)) is None


def test_a_window_that_is_far_fits_no_class() -> None:
    """However sure the experts are; without a distance, or a bound for it, it does."""
    device, fresh = np.zeros(3, np.int32), np.array([True, False, False])
    end_ms = np.arange(3) * 60_000

    def strange(spec: DecisionSpec) -> list[bool]:
        return Decision(spec).judge(device, end_ms, fresh, opinions(1, 3, 3.1)).strange.tolist()  # type: ignore[no-any-return]

    assert strange(rule()) == [False, False, True]
    assert strange(rule(distance=None)) == [False] * 3
    assert strange(rule(distance=DistanceSpec(quantiles=QUANTILES))) == [False] * 3
    # Beside prediction sets: what is in none is strange, whatever its distance.
    assert strange(rule(coverage=0.9, conformal_thresholds=(1.0, 0.5))) == [True] * 3


def test_the_distance_moves_no_probability() -> None:
    """It is no part of the pool."""
    decision = Decision(rule())
    near, far = (decision.posterior(decision.window_evidence(opinions(x))) for x in (0.0, 9.0))
    np.testing.assert_array_equal(near, far)
    np.testing.assert_array_equal(near, Decision(rule(distance=None)).posterior(decision.window_evidence(opinions(1))))


def test_many_in_a_row_raise_unknown() -> None:
    """So many as the manifest wants, and one that is near ends it."""
    decision = Decision(rule(unknown_windows=2))
    distances = [1.0, 5.0, 1.0, 5.0, 5.0, 5.0, 1.0]
    n = len(distances)
    found = decision.judge(np.zeros(n, np.int32), np.arange(n) * 60_000, np.arange(n) == 0, opinions(*distances)).alarms
    assert [(change.state, change.end_ms // 60_000) for change in found] == [(0, 0), (2, 4), (0, 6)]


def test_what_cannot_be_is_refused() -> None:
    """A distance without a network, and quantiles that are none."""
    with pytest.raises(ValueError, match="a distance is measured by the network, but the experts are"):
        rule(experts=(TREES,))
    for quantiles in ((2.0, 1.0), (1.0,)):
        with pytest.raises(ValueError, match=r"distance\.quantiles must be two at least, in ascending order"):
            DistanceSpec(quantiles=quantiles)
    assert rule().opinion_size == rule(distance=None).opinion_size + 1 == 3
