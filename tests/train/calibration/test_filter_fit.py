"""What was predicted for the windows before weighs in; and the fit of how much."""

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.runtime.inference.decision.belief import ForwardFilter
from rarefault.runtime.inference.engine import rounds
from rarefault.runtime.inference.manifest import FilterSpec
from rarefault.train.calibration.filter_fit import ROW, fit_filter

PRIOR = (0.9, 0.08, 0.02)


def spec(weight: float, renewal: float, belief_power: float = 1, window_power: float = 0) -> FilterSpec:
    return FilterSpec(weight=weight, renewal=renewal, belief_power=belief_power, window_power=window_power)


def along(found: FilterSpec, evidence: Float64, fresh: Bool) -> Float64:
    """Evidence of windows in a row, weighed against the windows before, every segment a device, [n, K]."""
    device = np.cumsum(fresh) - 1
    beliefs = np.zeros((int(device[-1]) + 1, 3))
    return ForwardFilter(found, PRIOR).carry(evidence, device, fresh, rounds(device), beliefs)


def posterior(evidence: Float64) -> Float64:
    return np.asarray(np.exp(log_softmax(evidence + np.log(PRIOR), axis=1)))


def random_evidence(n: int, seed: int = 0) -> Float64:
    return np.random.default_rng(seed).normal(0, 2, (n, 3))


def device_that_keeps_its_class(n: int, stays: float, seed: int, bias: float = 0) -> tuple[Float64, Int64]:
    """Windows whose class is drawn anew now and then, and the evidence that each gives by itself.

    With ``bias``, that of 50 in a row errs alike, too.
    """
    rng = np.random.default_rng(seed)
    label = np.zeros(n, np.int64)
    for at in range(1, n):
        label[at] = label[at - 1] if rng.random() < stays else rng.choice(3, p=PRIOR)
    evidence = rng.normal(0, 1, (n, 3)) + 1.5 * np.eye(3)[label]
    evidence += bias * np.repeat(rng.normal(0, 1, (-(-n // 50), 3)), 50, axis=0)[:n]
    return 1.5 * evidence, label


def test_it_is_the_forward_algorithm() -> None:
    """The same as adding up all paths through the classes, for each window."""
    weight, renewal = 0.4, 0.3
    evidence = random_evidence(5)
    likelihood = np.exp(evidence) ** np.array([1.0, *[weight] * 4])[:, None]
    moves = (1 - renewal) * np.eye(3) + renewal * np.array(PRIOR)
    filtered = posterior(along(spec(weight, renewal), evidence, np.arange(5) == 0))
    for last in range(5):
        share = np.zeros(3)
        for path in itertools.product(range(3), repeat=last + 1):
            path_share = PRIOR[path[0]] * likelihood[0, path[0]]
            for at in range(1, last + 1):
                path_share *= moves[path[at - 1], path[at]] * likelihood[at, path[at]]
            share[path[-1]] += path_share
        np.testing.assert_allclose(filtered[last], share / share.sum(), rtol=1e-9)


def test_belief_and_window_are_pooled() -> None:
    """Each to a power of its own, and the belief that is carried on is that of a filter without."""
    evidence, fresh = random_evidence(6), np.arange(6) == 0
    belief = along(spec(0.4, 0.3), evidence, fresh)
    wanted = np.concatenate((evidence[:1], 0.7 * belief[1:] + 0.5 * evidence[1:]))
    np.testing.assert_allclose(posterior(along(spec(0.4, 0.3, 0.7, 0.5), evidence, fresh)), posterior(wanted))


def test_a_first_window_stays_as_it_is() -> None:
    """Whatever the weight of the others: a rare fault is not called because little is known of a device yet."""
    evidence = random_evidence(20)
    np.testing.assert_array_equal(along(spec(0.1, 0.2, 0.5, 0.1), evidence, np.ones(20, bool)), evidence)


def test_renewal_and_weight_of_one_leave_everything_as_it_is() -> None:
    """Whatever was before."""
    evidence = random_evidence(50)
    filtered = along(spec(1, 1), evidence, np.arange(50) % 10 == 0)
    np.testing.assert_allclose(posterior(filtered), posterior(evidence))


def test_devices_and_segments_know_nothing_of_each_other() -> None:
    """A segment among others, of whatever length, is judged as by itself."""
    found = spec(0.3, 0.2, 0.7, 0.4)
    lengths = (7, 1, 12, 3)
    pieces = [random_evidence(n, seed) for seed, n in enumerate(lengths)]
    together = along(found, np.concatenate(pieces), np.concatenate([np.arange(n) == 0 for n in lengths]))
    for piece, got in zip(pieces, np.split(together, np.cumsum(lengths)[:-1]), strict=True):
        np.testing.assert_array_equal(along(found, piece, np.arange(len(piece)) == 0), got)


def test_a_device_that_keeps_its_class_is_known_better() -> None:
    """The fit finds what made the windows, and what it finds on some devices holds for another."""
    evidence, label = device_that_keeps_its_class(3000, 0.97, 0)
    label[::7] = -1
    fresh = np.arange(len(label)) % 500 == 0
    found = fit_filter(evidence, label, fresh, PRIOR)
    assert found is not None
    assert 0.015 < found.renewal < 0.06
    assert 0.8 < found.weight < 1.25
    other, wanted = device_that_keeps_its_class(3000, 0.97, 1)
    alone, filtered = (
        posterior(p).argmax(axis=1) == wanted for p in (other, along(found, other, np.arange(3000) == 0))
    )
    assert filtered.mean() > alone.mean() + 0.02
    assert filtered[wanted > 0].mean() > alone[wanted > 0].mean() + 0.2


def test_windows_that_say_the_same_count_less() -> None:
    """Where three in a row repeat each other, each has a third of the weight."""
    evidence, label = device_that_keeps_its_class(2000, 0.95, 0)
    found = fit_filter(np.repeat(evidence, 3, axis=0), np.repeat(label, 3), np.arange(6000) == 0, PRIOR)
    assert found is not None
    assert found.weight < 0.6


def test_a_settled_belief_is_not_too_sure() -> None:
    """Where windows in a row err alike: what is fitted on some says more of others than the belief alone."""
    evidence, label = device_that_keeps_its_class(4000, 0.98, 0, bias=1)
    fresh = np.arange(4000) % 500 == 0
    found = fit_filter(evidence, label, fresh, PRIOR)
    assert found is not None
    other, wanted = device_that_keeps_its_class(4000, 0.98, 1, bias=1)
    belief = spec(found.weight, found.renewal)
    losses = [-np.log(posterior(along(of, other, fresh)))[np.arange(4000), wanted].mean() for of in (found, belief)]
    assert losses[0] < 0.95 * losses[1]


def test_where_windows_know_nothing_of_each_other_little_is_changed() -> None:
    """The class is drawn anew all the time, and the fit says so."""
    evidence, label = device_that_keeps_its_class(3000, 0.0, 0)
    found = fit_filter(evidence, label, np.arange(3000) == 0, PRIOR)
    assert found is None or found.renewal > 0.8


@pytest.mark.parametrize("n", [ROW - 1, 3 * ROW + 5])
def test_rows_of_any_length_can_be_fitted(n: int) -> None:
    """Also of one class: then nothing is there to be told."""
    evidence, label = device_that_keeps_its_class(n, 1.0, 0)
    found = fit_filter(evidence, label, np.arange(n) == 0, PRIOR)
    assert found is not None
    assert np.isfinite(along(found, evidence, np.arange(n) == 0)).all()
