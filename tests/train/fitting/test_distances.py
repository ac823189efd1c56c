"""Distances of a trained network: scaled by the training windows, at the foremost unit."""

import numpy as np
import pytest
import torch

from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import UnitsSpec, WindowSpec
from rarefault.runtime.inference.window_buffer import WindowBuffer
from rarefault.train.dataset.unit_labels import UnitLabels
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.distances import drawn_evenly, fit_distances
from rarefault.train.fitting.network import serve
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import ModelSpec

SPEC = ModelSpec(edges=5, planes=2, filters=2, kernel=2, inner=(4, 3), outer=(5, 4), recent=2, hidden=8, dropout=0.0)
UNITS = UnitsSpec(
    names=("c1", "c2", "c3"), channels=((0, 1), (2, 3), (4, 5)), faults=(1,), rarest_first=(1, 2), prior=(0.1,)
)


def windows_with(units: UnitsSpec | None) -> LabelledWindows:
    """Six columns; class 1 where the first column of some unit is high, class 2 where the last column is low."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=(1500, 6)).astype(np.float32)
    values[300:330, 2:4] = np.nan
    index = np.arange(len(values))
    cut = WindowBuffer(WindowSpec(length=5, stride=1), 6).push(
        Bins(np.zeros(len(values), np.int32), index, values, index == 0)
    )
    last = cut.rows[cut.end_row]
    high = last[:, [0, 2, 4]] > 1.5
    label = np.where(high.any(axis=1), 1, np.where(last[:, 5] < -1.5, 2, 0))
    label[:20] = -1
    known = np.ones((len(label), 1), bool)
    at_units = None if units is None else UnitLabels((1,), high[..., None], known, (1, 2))
    return LabelledWindows(cut, label, np.cumsum(cut.fresh), 1, at_units)


def network_with(units: UnitsSpec | None) -> NetworkExpert:
    """A network whose encodings suit the values."""
    torch.manual_seed(5)
    network = NetworkExpert(SPEC, 6, 3, 5, units)
    for _, part in network.parts():
        part.encoding.edges.copy_(torch.linspace(-2, 2, 5).repeat(len(part.encoding.edges), 1))
    return network


@pytest.mark.parametrize("units", [None, UNITS], ids=["no units", "units"])
def test_one_in_a_hundred_training_windows_is_beyond_one(units: UnitsSpec | None) -> None:
    """By device and by units each, so that between one and two in a hundred are beyond it by one of both."""
    windows, network = windows_with(units), network_with(units)
    assert not serve(network, windows)[:, -1].any()  # none was fitted
    fit_distances(network, windows, seed=0)
    far = serve(network, windows)[windows.labelled, -1] > 1.0
    assert 0.009 < far.mean() < (0.011 if units is None else 0.021)


def test_a_silent_unit_is_at_no_distance() -> None:
    """Windows in which a unit has no value are as far as their device and the other units are."""
    windows, network = windows_with(UNITS), network_with(UNITS)
    fit_distances(network, windows, seed=0)
    assert network.unit_distance is not None
    assert network.device_distance is not None
    network.device_distance.scale(1e9)
    silent = np.flatnonzero(np.isnan(windows.windows.gather(np.arange(len(windows)))[:, :, 2]).all(axis=1))
    assert len(silent) > 5
    before = serve(network, windows)
    rows = windows.windows.rows.copy()
    # Whatever the third unit shows, a silent second one adds nothing; a second one that is there does.
    windows.windows.rows[:, 4:6] = np.nan
    windows.windows.rows[:, 0:2] = np.nan
    alone = serve(network, windows)[:, -1]
    windows.windows.rows[:] = rows
    assert alone[silent].max() < 1e-6 < alone[np.setdiff1d(np.arange(len(alone)), silent)].min()
    assert (before[:, -1] >= alone - 1e-6).all()


def test_a_fit_is_the_same_again_and_bounded() -> None:
    """Drawn by the seed; of rare classes all windows are taken, and none without a label."""
    windows = windows_with(None)
    first, second = network_with(None), network_with(None)
    for network in (first, second):
        fit_distances(network, windows, seed=3)
    assert first.device_distance is not None
    assert second.device_distance is not None
    assert torch.equal(first.device_distance.axes, second.device_distance.axes)
    label = np.r_[np.zeros(1000, np.int64), np.full(50, -1), np.ones(30, np.int64), np.full(400, 2)]
    chosen = drawn_evenly(label, 300, np.random.default_rng(0))
    assert np.bincount(label[chosen]).tolist() == [135, 30, 135]
    assert (np.diff(chosen) > 0).all()
