"""The imbalance recipe: weights, their cap, the losses, and that all of it is undone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.examples import examples
from torch import nn

from rarefault.runtime.arrays import Float64
from rarefault.train.config import RecipeConfig
from rarefault.train.fitting.imbalance import (
    Loss,
    WeightedBce,
    WeightedNll,
    class_frequencies,
    loss_of,
    smote_sequences,
)

LOSS = WeightedNll(alpha=1.0, max_weight=20.0)
COUNTS = np.array([6806.0, 483.0, 375.0, 6.0])


def one_hot(label: list[list[int]], n_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets of labels, and what is known, [B, T, K] each; of label -1 nothing is."""
    found = torch.tensor(label)
    target = nn.functional.one_hot(found.clamp(min=0), n_classes).float()
    known = (found >= 0).float()[..., None].expand(-1, -1, n_classes)
    return target * known, known


def test_the_recipe_chooses_the_loss() -> None:
    """Its settings are those of the loss; classes exclude each other, faults at a unit do not."""
    recipe = RecipeConfig(alpha=0.5, max_weight=7)
    assert loss_of(recipe, exclusive=True) == WeightedNll(alpha=0.5, max_weight=7)
    assert loss_of(recipe, exclusive=False) == WeightedBce(alpha=0.5, max_weight=7)


def test_alpha_one_is_the_classic_weight() -> None:
    """With alpha = 1 every class carries the same weight in sum, and the mean weight of a sample is 1."""
    weights = WeightedNll(alpha=1.0, max_weight=1e9).weights(COUNTS, COUNTS)
    np.testing.assert_allclose(weights * COUNTS, COUNTS.sum() / 4)
    n = np.full(4, 10_000.0)
    np.testing.assert_allclose(WeightedBce(alpha=1.0, max_weight=1e9).weights(COUNTS, n), n / COUNTS)


def test_alpha_zero_is_no_weight() -> None:
    """With alpha = 0 all weigh 1."""
    np.testing.assert_allclose(WeightedNll(alpha=0.0, max_weight=20).weights(COUNTS, COUNTS), 1.0)
    np.testing.assert_allclose(WeightedBce(alpha=0.0, max_weight=20).weights(COUNTS, 2 * COUNTS), 1.0)


@examples(200)
@given(
    st.lists(st.integers(0, 10_000), min_size=2, max_size=8).filter(lambda n: sum(n) > 0),
    st.floats(0, 2),
    st.floats(1, 100),
)
def test_the_cap_holds_and_the_mean_stays_one(counts: list[int], alpha: float, cap: float) -> None:
    """No weight exceeds the cap, rarer classes never weigh less, absent ones nothing, and the mean weight is 1."""
    n = np.array(counts, np.float64)
    weights = WeightedNll(alpha, cap).weights(n, n)
    assert weights.max() <= cap * (1 + 1e-9)
    assert (weights[n == 0] == 0).all()
    assert (weights * n).sum() == pytest.approx(n.sum())
    order = np.argsort(n[n > 0])
    assert (np.diff(weights[n > 0][order]) <= 1e-9).all()
    positive = WeightedBce(alpha, cap).weights(n, np.full(len(n), n.sum()))
    assert positive.max() <= cap
    assert (positive[n == 0] == 1).all()


def test_the_loss_of_a_one_class_batch_scales_with_its_weight() -> None:
    """Dividing by the sum of the weights would cancel the weight; dividing by the count does not."""
    output = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    target, known = one_hot([[2] * 5] * 3, 4)
    light = LOSS(output, target, known, torch.tensor([1.0, 1.0, 1.0, 1.0]))
    heavy = LOSS(output, target, known, torch.tensor([1.0, 1.0, 7.0, 1.0]))
    assert float(heavy) == pytest.approx(7 * float(light), rel=1e-6)


@pytest.mark.parametrize("loss", [LOSS, WeightedBce(alpha=1.0, max_weight=20.0)], ids=["classes", "units"])
def test_windows_without_a_label_say_nothing(loss: Loss) -> None:
    """They are in no sum and no count: the loss of a batch is that of its labelled windows alone."""
    output = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
    label = [0, 1, -1, 2, -1, 1]
    weights = torch.tensor([0.5, 2.0, 3.0])
    target, known = one_hot([label] * 4, 3)
    there = torch.tensor(label) >= 0
    alone = loss(output[:, there], target[:, there], known[:, there], weights)
    assert float(loss(output, target, known, weights)) == pytest.approx(float(alone), rel=1e-6)
    assert float(loss(output, *one_hot([[-1] * 6] * 4, 3), weights)) == 0.0
    assert class_frequencies(np.tile(label, 4), 3) == pytest.approx((0.25, 0.5, 0.25))


def test_the_loss_of_logits_is_binary_cross_entropy() -> None:
    """Each output by itself, the part of the active ones weighted."""
    output = torch.tensor([[[0.3, -2.0], [1.0, 0.5]]])
    target, known = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])
    p = torch.sigmoid(output)
    expected = -(4 * p[0, 0, 0].log() + (1 - p[0, 0, 1]).log() + 9 * p[0, 1, 1].log()) / 3
    found = WeightedBce(alpha=1.0, max_weight=20.0)(output, target, known, torch.tensor([4.0, 9.0]))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_class_frequencies_are_never_zero() -> None:
    """So that their logarithm is finite."""
    assert class_frequencies(np.array([0, 0, 0, 1]), 3) == pytest.approx((0.75, 0.25, 1e-6), rel=1e-3)


def learn(loss: Loss, x: Float64, target: Float64, drawn: Float64) -> tuple[nn.Linear, Float64]:
    """A linear model, fitted to what is drawn, with what the loss teaches it of the frequencies."""
    known = np.full(target.shape[1], drawn.sum())
    active = (target * drawn[:, None]).sum(0)
    weights = torch.from_numpy(loss.weights(active, known))
    model = nn.Linear(1, target.shape[1]).double()
    some = np.flatnonzero(drawn)
    inputs, wanted = torch.from_numpy(x[some])[None, :, None], torch.from_numpy(target[some])[None]
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        value = loss(model(inputs), wanted, torch.ones_like(wanted), weights)
        value.backward()
        return float(value.detach())

    optimiser.step(closure)
    return model, loss.learned(active, known)


@pytest.mark.training
@pytest.mark.parametrize(("alpha", "cap"), [(1.0, 1e9), (0.5, 1e9), (1.0, 5.0), (0.0, 20.0)])
@pytest.mark.parametrize("exclusive", [True, False])
def test_weights_and_drawing_are_undone_at_the_bias(exclusive: bool, alpha: float, cap: float) -> None:
    """What is left is calibrated for the shares of the history: where it gives p, the fault is there p of the time."""
    rng = np.random.default_rng(0)
    n = 60_000
    x = rng.normal(size=n)
    rare, rarer = 1 / (1 + np.exp(-(1.5 * x - 3.5))), 1 / (1 + np.exp(-(2.0 * x - 6)))
    if exclusive:
        scores = np.exp(np.stack((np.zeros(n), 1.5 * x - 3, 2 * x - 6), axis=1))
        p = scores / scores.sum(1, keepdims=True)
        target = np.eye(3)[(rng.random(n)[:, None] > p.cumsum(1)).sum(1)]
    else:
        p = np.stack((rare, rarer), axis=1)
        target = (rng.random((n, 2)) < p).astype(np.float64)
    faulty = target[:, 1:].any(1) if exclusive else target.any(1)
    drawn = (faulty | (rng.random(n) < 0.33)).astype(np.float64)
    if not exclusive:
        drawn[:] = 1.0  # sequences without a fault at a unit are drawn with their neighbours; here weights alone
    loss = loss_of(RecipeConfig(alpha=alpha, max_weight=cap), exclusive=exclusive)
    model, learned = learn(loss, x, target, drawn)
    with torch.no_grad():
        scores = model(torch.from_numpy(x)[:, None]).numpy() + loss.true(target.mean(0)) - learned
    found = np.exp(scores) / np.exp(scores).sum(1, keepdims=True) if exclusive else 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(found.mean(0), target.mean(0), rtol=0.12, atol=0.002)
    for output in range(found.shape[1]):
        for part in np.array_split(np.argsort(found[:, output]), 5):
            assert found[part, output].mean() == pytest.approx(p[part, output].mean(), rel=0.25, abs=0.01)


def test_smote_grows_the_rare_kinds_between_their_own() -> None:
    """New sequences lie between two of a kind, their targets too; kinds with too few sequences stay as they are."""
    rng = np.random.default_rng(0)
    label = np.zeros((60, 4), np.int64)
    label[:8, 2:] = 1
    label[8:10, 3] = 2
    kind = np.array([2 if row.max() == 2 else 1 if row.max() else 0 for row in label])
    x = rng.normal(size=(60, 7, 2)).astype(np.float32) + kind[:, None, None]
    x[3, 0, 0] = np.nan
    target = np.eye(3, dtype=np.float32)[label]
    grown, mixed = smote_sequences(x, target, kind, np.zeros(2, np.float32), np.ones(2, np.float32), seed=0)
    assert np.isfinite(grown).all()
    assert grown.shape[1:] == (7, 2)
    np.testing.assert_allclose(mixed.sum(-1), 1.0, atol=1e-5)
    kinds = np.array([2 if t[:, 2].any() else 1 if t[:, 1].any() else 0 for t in mixed])
    assert np.bincount(kinds).tolist() == [50, 50, 2]
