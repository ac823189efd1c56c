"""How much each expert counts."""

from typing import Literal

import numpy as np
import pytest

from rarefault.runtime.arrays import Float32
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.calibration.pooling import fit_pool_weights

BOTH: tuple[Literal["network", "trees"], ...] = ("network", "trees")
PRIOR = (1 / 3,) * 3


def three_classes() -> tuple[np.ndarray, Float32, Float32]:
    """Labels, and opinions on them: of one that is right but for a tenth, and of one that draws lots."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 600)
    right = np.log(np.where(np.eye(3)[label] > 0, 0.9, 0.05)).astype(np.float32)
    right[rng.random(600) < 0.1] = np.log(1 / 3)
    return label, right, np.log(rng.dirichlet((1, 1, 1), 600)).astype(np.float32)


def weights(first: Float32, second: Float32, label: np.ndarray, events: int = 100) -> tuple[float, float]:
    found = fit_pool_weights(np.stack((first, second), axis=1), label, events, BOTH, PRIOR, None)
    assert [expert.name for expert in found] == list(BOTH)
    return found[0].weight, found[1].weight


def test_the_expert_that_knows_is_heard() -> None:
    """One that draws lots has hardly any weight; where each knows a half, both have the same."""
    label, right, lots = three_classes()
    assert weights(lots, right, label)[1] > 20 * weights(lots, right, label)[0]
    assert weights(right, lots, label)[0] > 20 * weights(right, lots, label)[1]
    half = np.random.default_rng(1).random(600) < 0.5
    first, second = right.copy(), right.copy()
    first[half] = second[~half] = np.log(1 / 3)
    one, other = weights(first, second, label)
    assert one == pytest.approx(other, rel=0.1)
    assert one > 1  # what both know adds up


def test_few_events_say_little() -> None:
    """The factors of an expert that knows and one that does not are nearer to each other by one event than by many."""
    label, right, lots = three_classes()
    few, many = (np.ptp(weights(lots, right, label, events)) for events in (1, 1000))
    assert few < many


def test_an_expert_without_evidence_at_units_has_no_say_there() -> None:
    """The other's factor is fitted alone: about 1 where its logits are right, 1/2 where they are too sure."""
    rng = np.random.default_rng(2)
    units = UnitsSpec(names=("a", "b"), channels=((0,), (1,)), faults=(1,), rarest_first=(1,), prior=(0.1,))
    active = rng.random((4000, 2)) < 0.1
    logit = np.log(0.1 / 0.9)
    evidence = 2 * (rng.normal(size=active.shape) + 2 * active) - 2
    label = np.asarray(active.any(axis=1), np.int64)
    device = np.broadcast_to(np.log([1 - 1e-9, 1e-9]), (4000, 2))
    for sharpness in (1.0, 2.0):
        network = np.concatenate((device, np.full((4000, 2), logit)), axis=1)
        trees = np.concatenate((device, logit + sharpness * evidence), axis=1)
        opinions = np.stack((network, trees), axis=1).astype(np.float32)
        found = fit_pool_weights(opinions, label, 500, BOTH, (0.8, 0.2), units)
        assert found[0].unit_weight == 0
        assert found[1].unit_weight == pytest.approx(1 / sharpness, rel=0.15)


def test_one_expert_is_taken_as_it_is() -> None:
    """How sure it may be is the temperature's business."""
    label, right, _ = three_classes()
    (only,) = fit_pool_weights(right[:, None], label, 10, ("trees",), PRIOR, None)
    assert only.weight == 1
