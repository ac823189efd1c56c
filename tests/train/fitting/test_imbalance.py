"""The imbalance recipe: weights, their cap, the loss, the subsets."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rarefault.train.config import RecipeConfig
from rarefault.train.fitting.epochs import SAMPLERS
from rarefault.train.fitting.imbalance import (
    WeightedNll,
    class_frequencies,
    draw_subsets,
    loss_of,
    one_hot,
    smote_sequences,
)

LOSS = WeightedNll(alpha=1.0, max_weight=20.0)
COUNTS = np.array([6806, 483, 375, 6])


def test_every_sampler_of_the_configuration_has_an_entry() -> None:
    """What ``recipe.sampler`` may be, and what there is; what stands for a slow one is one of them."""
    assert set(get_args(RecipeConfig.__annotations__["sampler"])) == set(SAMPLERS)
    assert {sampler.timed_as for sampler in SAMPLERS.values()} <= {"", *SAMPLERS}


def test_the_recipe_chooses_the_loss() -> None:
    """Its settings are those of the loss."""
    assert loss_of(RecipeConfig(alpha=0.5, max_weight=7)) == WeightedNll(alpha=0.5, max_weight=7)


def test_alpha_one_is_the_classic_weight() -> None:
    """With alpha = 1 every class carries the same weight in sum, and the mean weight of a sample is 1."""
    weights = WeightedNll(alpha=1.0, max_weight=1e9).class_weights(COUNTS)
    np.testing.assert_allclose(weights * COUNTS, COUNTS.sum() / 4)
    assert (weights * COUNTS).sum() == pytest.approx(COUNTS.sum())


def test_alpha_zero_is_no_weight() -> None:
    """With alpha = 0 all weigh 1."""
    np.testing.assert_allclose(WeightedNll(alpha=0.0, max_weight=20).class_weights(COUNTS), 1.0)


@given(
    st.lists(st.integers(0, 10_000), min_size=2, max_size=8).filter(lambda n: sum(n) > 0),
    st.floats(0, 2),
    st.floats(1, 100),
)
def test_the_cap_holds_and_the_mean_stays_one(counts: list[int], alpha: float, cap: float) -> None:
    """No weight exceeds the cap, rarer classes never weigh less, absent ones nothing, and the mean weight is 1."""
    n = np.array(counts)
    weights = WeightedNll(alpha, cap).class_weights(n)
    assert weights.max() <= cap * (1 + 1e-9)
    assert (weights[n == 0] == 0).all()
    assert (weights * n).sum() == pytest.approx(n.sum())
    order = np.argsort(n[n > 0])
    assert (np.diff(weights[n > 0][order]) <= 1e-9).all()


def test_the_loss_of_a_one_class_batch_scales_with_its_weight() -> None:
    """Dividing by the sum of the weights would cancel the weight; dividing by the count does not."""
    log_prob = torch.log_softmax(torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)), -1)
    target = one_hot(np.full((3, 5), 2), 4)
    light = LOSS(log_prob, target, torch.tensor([1.0, 1.0, 1.0, 1.0]))
    heavy = LOSS(log_prob, target, torch.tensor([1.0, 1.0, 7.0, 1.0]))
    assert float(heavy) == pytest.approx(7 * float(light), rel=1e-6)


def test_windows_without_a_label_say_nothing() -> None:
    """They are in no sum and no count: the loss of a batch is that of its labelled windows alone."""
    log_prob = torch.log_softmax(torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0)), -1)
    label = np.tile([0, 1, -1, 2, -1, 1], (4, 1))
    weights = torch.tensor([0.5, 2.0, 3.0])
    known = label[0] >= 0
    alone = LOSS(log_prob[:, known], one_hot(label[:, known], 3), weights)
    assert float(LOSS(log_prob, one_hot(label, 3), weights)) == pytest.approx(float(alone), rel=1e-6)
    assert float(LOSS(log_prob, one_hot(np.full((4, 6), -1), 3), weights)) == 0.0
    assert class_frequencies(label.ravel(), 3) == pytest.approx((0.25, 0.5, 0.25))
    subsets = draw_subsets(np.arange(20), label.ravel(), 4, 3, LOSS.class_weights, normal_share=1.0, subsets=1, seed=0)
    assert subsets[0].counts.sum() == (label.ravel()[np.arange(20)[:, None] + np.arange(4)] >= 0).sum()


def test_subsets_keep_every_fault_and_draw_different_normals() -> None:
    """Each Q_i holds all faulty sequences and a third of the normal ones; together they see nearly all."""
    label = np.zeros(400, np.int64)
    label[100:110] = 1
    starts = np.arange(390)
    subsets = draw_subsets(starts, label, 10, 2, LOSS.class_weights, normal_share=1 / 3, subsets=6, seed=0)
    faulty = {s for s in starts if label[s : s + 10].any()}
    normal = set(starts) - faulty
    for subset in subsets:
        assert faulty <= set(subset.starts)
        assert len(subset.starts) == len(faulty) + round(len(normal) / 3)
        np.testing.assert_array_equal(
            subset.counts, np.bincount(label[subset.starts[:, None] + np.arange(10)].ravel(), minlength=2)
        )
    assert len({tuple(s.starts) for s in subsets}) == 6
    assert len(set().union(*(s.starts for s in subsets)) & normal) > 0.8 * len(normal)


def test_the_learned_prior_is_what_the_loss_sees() -> None:
    """With full weights the model learns equal shares; without, those of the subset."""
    label = np.zeros(400, np.int64)
    label[100:110] = 1
    full, none = WeightedNll(alpha=1.0, max_weight=1e9), WeightedNll(alpha=0.0, max_weight=1e9)
    drawn = {
        loss: draw_subsets(np.arange(390), label, 10, 2, loss.class_weights, normal_share=0.5, subsets=2, seed=0)
        for loss in (full, none)
    }
    assert full.learned_prior(drawn[full]) == pytest.approx((0.5, 0.5))
    counts = drawn[none][0].counts
    assert none.learned_prior(drawn[none]) == pytest.approx(tuple(counts / counts.sum()))
    assert class_frequencies(np.array([0, 0, 0, 1]), 3) == pytest.approx((0.75, 0.25, 1e-6), rel=1e-3)


def test_smote_grows_the_rare_kinds_between_their_own() -> None:
    """New sequences lie between two of a kind, their targets too; kinds with too few sequences stay as they are."""
    rng = np.random.default_rng(0)
    label = np.zeros((60, 4), np.int64)
    label[:8, 2:] = 1
    label[8:10, 3] = 2
    x = rng.normal(size=(60, 4, 5, 2)).astype(np.float32) + label[..., None, None]
    x[3, 0, 0, 0] = np.nan
    grown, target = smote_sequences(x, label, 3, np.zeros(2, np.float32), np.ones(2, np.float32), seed=0)
    assert np.isfinite(grown).all()
    np.testing.assert_allclose(target.sum(-1), 1.0, atol=1e-5)
    kinds = np.array([2 if t[:, 2].any() else 1 if t[:, 1].any() else 0 for t in target])
    assert np.bincount(kinds).tolist() == [50, 50, 2]
