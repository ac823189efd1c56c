"""What was said of the windows before weighs in."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from rarefault.runtime.arrays import Float32, Int64
from rarefault.train.model.forward_filter import ROW, ForwardFilter, fit_filter
from rarefault.train.model.network import PRESETS, LRConvLSTM
from rarefault.train.model.step import TorchStep

LEARNT, TRUE = (0.5, 0.3, 0.2), (0.9, 0.08, 0.02)


def filter_of(weight: float, renewal: float, belief_power: float = 1, window_power: float = 0) -> ForwardFilter:
    """In the precision that is served."""
    return ForwardFilter.of((weight, renewal, belief_power, window_power), LEARNT, TRUE).float()


def said(n: int, seed: int = 0) -> Float32:
    """Log-probabilities of windows, [n, K]."""
    return np.asarray(log_softmax(np.random.default_rng(seed).normal(0, 2, (n, 3)), axis=1), np.float32)


def device_that_keeps_its_class(n: int, stays: float, seed: int, bias: float = 0) -> tuple[Float32, Int64]:
    """Windows whose class is drawn anew now and then, and what is rightly said of each by itself.

    With ``bias``, what is said of 50 in a row errs alike, too.
    """
    rng = np.random.default_rng(seed)
    label = np.zeros(n, np.int64)
    for at in range(1, n):
        label[at] = label[at - 1] if rng.random() < stays else rng.choice(3, p=TRUE)
    evidence = rng.normal(0, 1, (n, 3)) + 1.5 * np.eye(3)[label]
    evidence += bias * np.repeat(rng.normal(0, 1, (-(-n // 50), 3)), 50, axis=0)[:n]
    return np.asarray(log_softmax(1.5 * evidence + np.log(LEARNT), axis=1), np.float32), label


def test_it_is_the_forward_algorithm() -> None:
    """The same as adding up all paths through the classes, for each window."""
    weight, renewal = 0.4, 0.3
    log_prob = said(5)
    likelihood = np.exp(log_prob.astype(np.float64)) / LEARNT
    likelihood = likelihood ** np.array([1.0, *[weight] * 4])[:, None]
    moves = (1 - renewal) * np.eye(3) + renewal * np.array(TRUE)
    filtered = filter_of(weight, renewal).along(log_prob, np.arange(5) == 0)
    for last in range(5):
        share = np.zeros(3)
        for path in itertools.product(range(3), repeat=last + 1):
            path_share = TRUE[path[0]] * likelihood[0, path[0]]
            for at in range(1, last + 1):
                path_share *= moves[path[at - 1], path[at]] * likelihood[at, path[at]]
            share[path[-1]] += path_share
        wanted = share / share.sum() / TRUE * LEARNT
        np.testing.assert_allclose(np.exp(filtered[last]), wanted / wanted.sum(), rtol=1e-5)


def test_belief_and_window_are_pooled() -> None:
    """Each to a power of its own, and the belief that is carried on is that of a filter without."""
    log_prob, fresh = said(6), np.arange(6) == 0
    belief = filter_of(0.4, 0.3).along(log_prob, fresh) - np.log(LEARNT)  # over the shares
    pooled = 0.7 * belief + 0.5 * (log_prob - np.log(LEARNT)) + np.log(LEARNT)
    wanted = np.concatenate((log_prob[:1], log_softmax(pooled[1:], axis=1)))
    np.testing.assert_allclose(filter_of(0.4, 0.3, 0.7, 0.5).along(log_prob, fresh), wanted, atol=1e-5)


def test_what_is_said_of_a_first_window_stays_as_it_is() -> None:
    """Whatever the weight of the others: a rare fault is not called because little is known of a device yet."""
    log_prob = said(20)
    np.testing.assert_allclose(filter_of(0.1, 0.2, 0.5, 0.1).along(log_prob, np.ones(20, bool)), log_prob, atol=1e-5)


def test_renewal_and_weight_of_one_leave_everything_as_it_is() -> None:
    """Whatever was before."""
    log_prob = said(50)
    np.testing.assert_allclose(filter_of(1, 1).along(log_prob, np.arange(50) % 10 == 0), log_prob, atol=1e-5)


def test_devices_and_segments_know_nothing_of_each_other() -> None:
    """A segment among others, of whatever length, is judged as by itself."""
    found = filter_of(0.3, 0.2, 0.7, 0.4)
    lengths = (7, 1, 12, 3)
    pieces = [said(n, seed) for seed, n in enumerate(lengths)]
    together = found.along(np.concatenate(pieces), np.concatenate([np.arange(n) == 0 for n in lengths]))
    for piece, got in zip(pieces, np.split(together, np.cumsum(lengths)[:-1]), strict=True):
        np.testing.assert_array_equal(found.along(piece, np.arange(len(piece)) == 0), got)


def test_the_model_carries_its_belief() -> None:
    """Window by window, with the state carried, it says what it says of a sequence; a zero state knows nothing."""
    torch.manual_seed(0)
    model = LRConvLSTM(PRESETS["tiny"], 2, 3, 12).eval()
    bins = torch.randn(3, 12 + 2 * 9, 2)
    with torch.inference_mode():
        plain = model(bins, 2).log_prob.numpy()
    outer = model.state_size
    model.filter = filter_of(0.3, 0.2, 0.7, 0.4)
    assert model.state_size == outer + 3
    with torch.inference_mode():
        log_prob, state = model(bins, 2)
    step, carried = TorchStep(model), np.zeros((3, model.state_size), np.float32)
    for at in range(10):
        got, carried = step(bins[:, 2 * at : 2 * at + 12].numpy(), carried)
        np.testing.assert_allclose(got, log_prob[:, at].numpy(), atol=1e-5)
    np.testing.assert_allclose(carried, state.numpy(), atol=1e-5)
    np.testing.assert_allclose(carried[:, outer:].sum(axis=1), 1, atol=1e-5)
    for row, wanted in zip(plain, log_prob.numpy(), strict=True):
        np.testing.assert_allclose(model.filter.along(row, np.arange(10) == 0), wanted, atol=1e-5)


def test_a_device_that_keeps_its_class_is_known_better() -> None:
    """The fit finds what made the windows, and what it finds on some devices holds for another."""
    log_prob, label = device_that_keeps_its_class(3000, 0.97, 0)
    label[::7] = -1
    fresh = np.arange(len(label)) % 500 == 0
    found = fit_filter(log_prob, label, fresh, LEARNT, TRUE)
    assert found is not None
    assert 0.015 < float(found.renewal) < 0.06
    assert 0.8 < float(found.weight) < 1.25
    other, wanted = device_that_keeps_its_class(3000, 0.97, 1)
    shift = np.log(TRUE) - np.log(LEARNT)
    alone, filtered = (
        np.argmax(p + shift, axis=1) == wanted for p in (other, found.along(other, np.arange(3000) == 0))
    )
    assert filtered.mean() > alone.mean() + 0.02
    assert filtered[wanted > 0].mean() > alone[wanted > 0].mean() + 0.2


def test_windows_that_say_the_same_count_less() -> None:
    """Where three in a row repeat each other, each has a third of the weight."""
    log_prob, label = device_that_keeps_its_class(2000, 0.95, 0)
    found = fit_filter(np.repeat(log_prob, 3, axis=0), np.repeat(label, 3), np.arange(6000) == 0, LEARNT, TRUE)
    assert found is not None
    assert float(found.weight) < 0.6


def test_a_settled_belief_is_not_too_sure() -> None:
    """Where windows in a row err alike: what is fitted on some says more of others than the belief alone."""
    log_prob, label = device_that_keeps_its_class(4000, 0.98, 0, bias=1)
    fresh = np.arange(4000) % 500 == 0
    found = fit_filter(log_prob, label, fresh, LEARNT, TRUE)
    assert found is not None
    other, wanted = device_that_keeps_its_class(4000, 0.98, 1, bias=1)
    shift = np.log(TRUE) - np.log(LEARNT)
    belief = filter_of(float(found.weight), float(found.renewal))
    losses = [
        -log_softmax(of.along(other, fresh) + shift, axis=1)[np.arange(4000), wanted].mean() for of in (found, belief)
    ]
    assert losses[0] < 0.95 * losses[1]


def test_where_windows_know_nothing_of_each_other_little_is_changed() -> None:
    """The class is drawn anew all the time, and the fit says so."""
    log_prob, label = device_that_keeps_its_class(3000, 0.0, 0)
    found = fit_filter(log_prob, label, np.arange(3000) == 0, LEARNT, TRUE)
    assert found is None or float(found.renewal) > 0.8


@pytest.mark.parametrize("n", [ROW - 1, 3 * ROW + 5])
def test_rows_of_any_length_can_be_fitted(n: int) -> None:
    """Also of one class: then nothing is there to be told."""
    log_prob, label = device_that_keeps_its_class(n, 1.0, 0)
    found = fit_filter(log_prob, label, np.arange(n) == 0, LEARNT, TRUE)
    assert found is not None
    assert np.isfinite(found.along(log_prob, np.arange(n) == 0)).all()


def test_its_parts_are_named() -> None:
    """As of a checkpoint of another release."""
    with pytest.raises(ValueError, match="a filter is weight, renewal"):
        ForwardFilter(weight=torch.tensor(1.0))
