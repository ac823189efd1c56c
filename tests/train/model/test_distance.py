"""The distance from the classes: what it is, and what it does not depend on."""

import numpy as np
import pytest
import torch

from rarefault.runtime.arrays import Float64, Int64
from rarefault.train.model.distance import ClassDistance


def drawn(seed: int = 0) -> tuple[Float64, Int64]:
    """Three classes in five directions, of which the third and fourth depend on each other; they differ in three."""
    rng = np.random.default_rng(seed)
    of = rng.choice(3, 3000, p=[0.8, 0.15, 0.05])
    means = np.array([[0, 0, 0, 0, 0], [4, 0, 0, 1, 0], [0, 5, 0, 0, 0]])
    spread = np.diag([1.0, 2.0, 0.5, 3.0, 1.0])
    spread[2, 3] = 2.0
    return means[of] + rng.normal(size=(3000, 5)) @ spread, of


def test_it_is_the_mahalanobis_distance_where_the_classes_differ() -> None:
    """In the plane through the three means, with one covariance for all classes; nothing counts that is across it."""
    recent, of = drawn()
    measure = ClassDistance(5, 3)
    measure.fit(recent, of)
    means = np.stack([recent[of == g].mean(axis=0) for g in range(3)])
    covariance = np.cov((recent - means[of]).T, bias=True)
    inverse = np.linalg.inv(covariance)
    for at in np.array([[0.3, 0.2], [2.0, -1.0], [-1.0, 3.0]]):
        point = means[0] + at @ (means[1:] - means[0])
        expected = np.sqrt([(point - mean) @ inverse @ (point - mean) for mean in means]).min()
        found = float(measure(torch.from_numpy(point).float()))
        assert found == pytest.approx(expected, rel=0.01)
    # What differs between no two classes, in terms of the covariance, is not looked at.
    across = np.linalg.svd((means[1:] - means[0]) @ inverse)[2][-1]
    moved = measure(torch.from_numpy(np.stack((means[0], means[0] + 9 * across))).float())
    assert float(moved.max()) < 0.2


def test_means_are_near_and_what_is_between_or_beyond_is_far() -> None:
    """A class mean is at 0; halfway to another one, and twice as far, are not."""
    recent, of = drawn()
    measure = ClassDistance(5, 3)
    measure.fit(recent, of)
    normal, fault = (torch.from_numpy(recent[of == g].mean(axis=0)).float() for g in (0, 1))
    at = torch.stack((normal, fault, (normal + fault) / 2, 2 * fault - normal))
    near, there, between, beyond = measure(at).tolist()
    assert max(near, there) < 1e-3
    assert 1.0 < between < beyond
    measure.scale(beyond)
    assert float(measure(at)[3]) == pytest.approx(1.0)


def test_a_class_without_windows_and_one_without_spread() -> None:
    """An absent class is no place to be near to; of one class, or of windows that are all alike, there is none."""
    recent, of = drawn()
    measure, full = ClassDistance(5, 4), ClassDistance(5, 3)
    measure.fit(recent, np.where(of == 2, 3, of))
    full.fit(recent, of)
    some = torch.from_numpy(recent[:50]).float()
    torch.testing.assert_close(measure(some), full(some), rtol=1e-4, atol=1e-4)
    for x, classes in ((recent, np.zeros(3000, np.int64)), (np.ones((6, 5)), np.array([0, 0, 0, 1, 1, 1]))):
        measure.fit(x, classes)
        assert not measure(some).any()
    with torch.no_grad():
        assert not ClassDistance(5, 3)(some).any()
