"""Boosted trees beside the network."""

import numpy as np
import pytest
import torch

from rarefault.runtime.grid import Bins, Float32
from rarefault.runtime.manifest import WindowSpec
from rarefault.runtime.streams import Streams
from rarefault.train.config import TreesConfig
from rarefault.train.fit import serve
from rarefault.train.model import PRESETS, LRConvLSTM
from rarefault.train.tree_fit import fit_share, grow_trees, judge
from rarefault.train.trees import UNSEEN, window_features
from rarefault.train.windows import LabelledWindows

WINDOW = WindowSpec(length=12, stride=2)
TREES = TreesConfig(rounds=20)


def windows(n_classes: int) -> LabelledWindows:
    """A device's windows with holes; the class is the level of the first channel, the third channel never speaks."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.integers(0, n_classes, 60), 20)
    values = rng.normal(size=(len(level), 3)).astype(np.float32)
    values[:, 0] += 10 * level
    values[rng.random(values.shape) < 0.05] = np.nan
    values[:, 2] = np.nan
    index = np.arange(len(level))
    cut = Streams(WINDOW, 3).push(Bins(np.zeros(len(level), np.int32), index, values, index == 0))
    return LabelledWindows(cut, level[cut.end_index], np.cumsum(cut.fresh), WINDOW.stride)


def plainly(window: Float32) -> list[float]:
    """The features of a window [L, C], one after the other."""
    groups: list[list[float]] = [[] for _ in range(10)]
    for channel in window.T:
        numbers = [channel[-1], *(channel[-1] - channel[-1 - lag] for lag in (1, 3, 9))]
        for span in (3, 9, 12):
            known = channel[-span:][~np.isnan(channel[-span:])]
            numbers.append(known.mean(dtype=np.float64) if len(known) else np.nan)
        for span in (3, 9, 12):
            known = channel[-span:][~np.isnan(channel[-span:])]
            numbers.append(np.ptp(known) if len(known) else np.nan)
        for group, number in zip(groups, numbers, strict=True):
            group.append(float(number))
    return [number for group in groups for number in group]


def test_the_features_are_last_value_changes_means_and_ranges() -> None:
    """Over a quarter, three quarters and all of the window, missing values left out."""
    found = windows(3)
    x = found.windows.gather(np.arange(0, len(found), 7))
    np.testing.assert_allclose(window_features(torch.from_numpy(x)), [plainly(w) for w in x], rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_trees_learn_levels_and_the_prior_that_they_are_given(n_classes: int) -> None:
    """Classes are found through holes; one that was never seen stays improbable; a rarer prior makes a class rarer."""
    found = windows(n_classes)
    even = grow_trees(found, n_classes + 1, (1 / n_classes,) * n_classes + (1e-6,), TREES, 0)
    assert even is not None
    assert float(even.base[n_classes]) == UNSEEN
    log_prob = judge(even, found)
    assert (log_prob.argmax(axis=1) == found.label).mean() > 0.95
    assert log_prob[:, n_classes].max() < -10
    prior = (0.9,) + (0.1 / (n_classes - 1),) * (n_classes - 1) + (1e-6,)
    rarer = grow_trees(found, n_classes + 1, prior, TREES, 0)
    assert rarer is not None
    odds = judge(rarer, found)[:, 0] - judge(rarer, found)[:, 1] - (log_prob[:, 0] - log_prob[:, 1])
    np.testing.assert_allclose(odds, np.log(0.9 / (0.1 / (n_classes - 1))), atol=1e-4)


def test_one_class_grows_no_trees() -> None:
    """There is nothing to tell apart."""
    assert grow_trees(windows(1), 2, (1.0, 1e-6), TREES, 0) is None


def test_the_share_goes_to_the_part_that_knows() -> None:
    """Half-way from 0.75 to 1 for a part that is right, to 0 for one that draws lots, to 0.5 where both know a half."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 600)
    right = np.log(np.where(np.eye(3)[label] > 0, 0.9, 0.05)).astype(np.float32)
    right[rng.random(600) < 0.1] = np.log(1 / 3)
    lots = np.log(rng.dirichlet((1, 1, 1), 600)).astype(np.float32)
    assert fit_share(lots, right, label, np.zeros(3)) > 0.83
    assert fit_share(right, lots, label, np.zeros(3)) < 0.42
    half = rng.random(600) < 0.5
    first, second = right.copy(), right.copy()
    first[half] = second[~half] = np.log(1 / 3)
    assert 0.58 < fit_share(first, second, label, np.zeros(3)) < 0.67


def test_served_is_the_pool_of_both() -> None:
    """Whole sequences and single steps give the pooled log-probabilities, and the state is the network's."""
    torch.manual_seed(0)
    found = windows(3)
    model = LRConvLSTM(PRESETS["small"], 3, 3, WINDOW.length).eval()
    network = serve(model, found)
    trees = grow_trees(found, 3, (0.5, 0.3, 0.2), TREES, 0)
    assert trees is not None
    trees.share.fill_(0.3)
    model.trees = trees
    mixed = 0.7 * network + 0.3 * judge(trees, found)
    pooled = mixed - np.logaddexp.reduce(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(serve(model, found), pooled, atol=1e-5)
    first = torch.from_numpy(found.windows.gather(np.array([0])))
    log_prob, state = model.step(first, torch.zeros(1, model.state_size))
    np.testing.assert_allclose(log_prob.detach().numpy()[0], pooled[0], atol=1e-5)
    model.trees = None
    torch.testing.assert_close(model.step(first, torch.zeros(1, model.state_size)).state, state)
