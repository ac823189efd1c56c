"""A bound on the windows that trees are grown on, and that it biases nothing."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from tests.train.calibration.test_cross_fit_units import AT_UNITS, CONFIG, UNITS, cut, station

from rarefault.runtime.arrays import Int64
from rarefault.runtime.inference.decision.pool import Pool
from rarefault.train.dataset.split import split_history
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.drawing import draw
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.trees import grow_trees, judge


def labels(n: int, shares: tuple[float, ...], seed: int = 0) -> Int64:
    """Labels of ``n`` windows, the last share that of no label."""
    rng = np.random.default_rng(seed)
    return rng.choice([*range(len(shares) - 1), -1], n, p=shares)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=5),
    st.integers(20, 600),
    st.integers(10, 600),
)
def test_the_bounds_hold_and_every_window_is_counted(counts: list[int], most: int, most_normal: int) -> None:
    """No class vanishes; what was drawn stands for all windows of its class."""
    label = np.random.default_rng(1).permutation(np.repeat(np.arange(-1, len(counts)), [7, *counts]))
    drawn = draw(label, most, most_normal, 0)
    chosen = label[drawn.select]
    assert (np.diff(drawn.select) > 0).all()
    assert (chosen >= 0).all()
    kept = np.bincount(chosen, minlength=len(counts))
    assert len(chosen) <= max(most, len(counts))
    assert kept[0] <= most_normal
    assert ((kept > 0) == (np.array(counts) > 0)).all()
    weight = np.ones(len(chosen)) if drawn.weight is None else drawn.weight
    np.testing.assert_allclose(np.bincount(chosen, weight, minlength=len(counts)), counts)


def test_rare_faults_are_all_there_and_normal_time_is_drawn_evenly() -> None:
    """What is left of each tenth of a long history is a tenth; a short history is left as it is."""
    label = labels(100_000, (0.9, 0.06, 0.001, 0.039))
    drawn = draw(label, 10_000, 10_000, 3)
    chosen = label[drawn.select]
    assert (chosen == 2).sum() == (label == 2).sum()
    assert (chosen == 1).sum() == 5000 - (label == 2).sum()
    normal = drawn.select[chosen == 0]
    assert len(normal) == 5000
    tenths = np.histogram(normal, 10, (0, len(label)))[0]
    assert np.abs(tenths - 500).max() <= 12
    assert (draw(label, 10_000, 10_000, 3).select == drawn.select).all()
    assert (draw(label, 10_000, 10_000, 4).select != drawn.select).any()
    short = draw(label, 100_000, 100_000, 0)
    assert short.weight is None
    assert len(short.select) == (label >= 0).sum()
    assert draw(label, 0, 0, 0).weight is None


@pytest.fixture(scope="module")
def pumps() -> LabelledWindows:
    """Windows of the made-up station, whose log names the units."""
    history = station(once=False)
    split = split_history(history, CONFIG.split, CONFIG.grid)
    return cut(history, split)[0]


@pytest.mark.parametrize("at_units", [True, False])
def test_class_shares_stay_right_where_windows_are_left_out(pumps: LabelledWindows, at_units: bool) -> None:
    """The mean probability of each class is its share of all windows, as it is by trees that saw all of them."""
    windows = pumps if at_units else replace(pumps, at_units=None)
    prior = class_frequencies(windows.label, 3)
    units = UNITS if at_units else UNITS[:0, :0]
    found = []
    for most in (0, 400):
        config = msgspec.structs.replace(CONFIG.trees, rounds=30, max_windows=most)
        trees = grow_trees(windows, prior, config, 0, units=units, at_units=AT_UNITS if at_units else None)
        assert trees is not None
        pool = Pool(prior, AT_UNITS if at_units else None)
        label = pool.label(pool.pool(judge(trees, windows)[:, None], [1.0], [1.0]))
        found.append(softmax(label, axis=1)[windows.labelled].mean(0))
    assert windows.labelled.sum() > 800
    assert prior[0] > 0.7
    np.testing.assert_allclose(found[0], prior, atol=0.03)
    np.testing.assert_allclose(found[1], prior, atol=0.03)
