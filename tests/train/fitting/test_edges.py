"""Edges of the encodings: levels that tell the faults from the rest, and quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.examples import examples as tries
from tests.harness.windows import labelled_windows

from rarefault.runtime.arrays import Float64
from rarefault.runtime.inference.manifest import UnitsSpec, WindowSpec
from rarefault.train.fitting.edges import HUGE, _edges, fit_edges
from rarefault.train.fitting.examples import Examples
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.sizes import ModelSpec

WINDOW = WindowSpec(length=6, stride=1)
SPEC = ModelSpec(edges=9, planes=2, filters=2, kernel=2, inner=(3, 3), outer=(3, 3), recent=2, hidden=4, dropout=0.0)
UNITS = UnitsSpec(names=("a", "b"), channels=((0, 1), (2, 3)), faults=(1,), rarest_first=(1,), prior=(0.1,))


def examples(levels: bool = True) -> Examples:
    """Two units of two channels: the fault is where the first is more than 4.3 over the second."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 3, (2, 1500, 4)).astype(np.float32)
    values[rng.random(values.shape) < 0.02] = np.nan
    with np.errstate(invalid="ignore"):
        active = (values[:, :, [0, 2]] - values[:, :, [1, 3]] > (4.3 if levels else np.inf))[..., None]
    windows = labelled_windows(
        values, np.asarray(active.any(axis=(2, 3)), np.int64), WINDOW, faults=(1,), active_DRUJ=active
    )
    return Examples.at_units(windows, UNITS, 4)


def fitted(found: Examples, seed: int = 0) -> Float64:
    model = LRConvLSTM(SPEC, 2, 1, WINDOW.length, paired=True)
    fit_edges(model, found, seed)
    return model.encoding.edges.numpy().astype(np.float64)


def test_the_level_that_shows_the_fault_becomes_two_edges() -> None:
    """The nearest values on both sides: the encoding steps from one to the other between them."""
    found = examples()
    edges = fitted(found)
    assert edges.shape == (3, 9)
    values = found.windows.windows.rows.reshape(-1, 2, 2)
    difference = np.sort((values[..., 0] - values[..., 1]).ravel())
    difference = difference[~np.isnan(difference)]
    below, above = difference[difference <= 4.3].max(), difference[difference > 4.3].min()
    assert {float(below), float(above)} <= set(edges[2].tolist())
    assert (np.diff(edges, axis=1) > 0).all()
    np.testing.assert_array_equal(fitted(found), edges)


def test_without_a_fault_there_are_quantiles_alone() -> None:
    """Evenly over the values, from the least to the largest."""
    found = examples(levels=False)
    edges = fitted(found)
    own = found.windows.windows.rows.reshape(-1, 2, 2)[..., 0].ravel()
    np.testing.assert_allclose(edges[0], np.nanquantile(own, np.linspace(0, 1, 9)), atol=0.05)


def test_of_few_values_each_is_an_edge() -> None:
    """A state with three values; what is left goes on beyond them."""
    values = np.random.default_rng(0).choice(np.array([0, 1, 7], np.float32), 500)
    np.testing.assert_array_equal(_edges(values, {}, 5), [0, 1, 7, 14, 21])


@pytest.mark.parametrize("value", [0.0, -3.5, 1e9, -2.5e12, np.nan], ids=str)
def test_a_constant_or_absent_channel_has_edges_too(value: float) -> None:
    """They are around its value, and ascend in single precision however large it is."""
    edges = _edges(np.full(20, value, np.float32), {}, 17).astype(np.float32)
    assert (np.diff(edges) > 0).all()
    middle = 0.0 if np.isnan(value) else value
    assert edges[0] < np.float32(middle) < edges[1]


@tries(200)
@given(
    st.lists(st.floats(width=32, allow_infinity=True), max_size=60),
    st.lists(st.floats(-1e6, 1e6), max_size=8),
    st.integers(2, 40),
)
def test_edges_ascend_whatever_the_values(values: list[float], levels: list[float], count: int) -> None:
    """As many as are wanted, finite, each larger than the one before in single precision; nothing divides by zero."""
    array = np.array(values, np.float32)
    edges = _edges(array, dict.fromkeys(levels, 1.0), count).astype(np.float32)
    assert edges.shape == (count,)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    known = np.clip(array[~np.isnan(array)], -HUGE, HUGE)
    if len(np.unique(known)) > 1:
        assert set(edges.tolist()) & set(known.tolist()) or count < 3
