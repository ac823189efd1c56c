"""What one network learns from: sequences of devices, and of each unit by itself."""

import tracemalloc

import numpy as np
import pytest
from tests.harness.windows import labelled_windows

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import UnitsSpec, WindowSpec
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.examples import Examples

WINDOW = WindowSpec(length=4, stride=2)
UNITS = UnitsSpec(names=("a", "b"), channels=((0, 1), (2, 3)), faults=(1, 2), rarest_first=(3, 2, 1), prior=(0.1, 0.1))
T = 3


def windows(bins: int = 60, *, missing: bool = False) -> LabelledWindows:
    """Two devices: 1 at units, often; 2 at units, once; 3 of the device; some time without a label.

    With ``missing``, the second device has no second unit, and the first unit of the first begins late.
    """
    values = np.arange(2 * bins * 4, dtype=np.float32).reshape(2, bins, 4)
    if missing:
        values[1, :, 2:] = values[0, :15, :2] = np.nan
    active = np.zeros((2, bins, 2, 2), bool)
    active[0, 10:20, 0, 0] = active[1, 5:15, 1, 0] = True
    active[0, 16:18, 1, 1] = True
    label = np.where(active[..., 1].any(2), 2, np.where(active[..., 0].any(2), 1, 0))
    label[1, 30:36] = 3
    label[1, 50:] = -1
    return labelled_windows(values, label, WINDOW, faults=(1, 2), active_DRUJ=active)


def test_of_devices_each_window_has_its_class() -> None:
    """One active output where the class is known; what is looked for at units is not known here."""
    found = windows()
    examples = Examples.of_devices(found, 4, (1, 2), T)
    assert examples.exclusive
    assert examples.columns.tolist() == [[0, 1, 2, 3]]
    known = np.isin(found.label, [0, 3])
    np.testing.assert_array_equal(examples.known[:, 0], np.repeat(known[:, None], 4, axis=1))
    np.testing.assert_array_equal(examples.active[:, 0].argmax(1)[known], found.label[known])
    assert not examples.active[~known].any()
    batch = examples.at(np.arange(len(examples)))
    assert batch.bins.shape == (len(examples), 4 + 2 * (T - 1), 4)
    for q in range(len(examples)):
        own = found.label[examples.start[q] : examples.start[q] + T]
        np.testing.assert_array_equal(batch.target[q].numpy(), np.eye(4)[own] * np.isin(own, [0, 3])[:, None])
        assert examples.kind[q] == (1 + 3 if (own == 3).any() else 0)
    assert np.isin(found.label[examples.start[:, None] + np.arange(T)], [0, 3]).any(axis=1).all()


def test_at_units_each_has_sequences_of_its_own() -> None:
    """Columns of the unit alone; a sequence is of the kind of its rarest fault there."""
    found = windows()
    examples = Examples.at_units(found, UNITS, T)
    assert not examples.exclusive
    assert set(examples.unit.tolist()) == {0, 1}
    batch = examples.at(np.arange(len(examples)))
    rows = found.windows.rows[found.sequence_rows(examples.start, T)]
    for q, unit in enumerate(examples.unit):
        np.testing.assert_array_equal(batch.bins[q].numpy(), rows[q][:, UNITS.channels[unit]])
    assert found.at_units is not None
    active = found.at_units.active
    assert active[:, 1, 1].any()
    for q, (first, unit) in enumerate(zip(examples.start, examples.unit, strict=True)):
        own = active[first : first + T, unit]
        np.testing.assert_array_equal(batch.target[q].numpy(), own & found.labelled[first : first + T, None])
        assert examples.kind[q] == (2 if own[:, 1].any() else 1 if own[:, 0].any() else 0)
    # Time without a label is not known at any unit.
    assert not examples.known[~found.labelled].any()


def test_a_unit_that_a_device_does_not_have_teaches_nothing() -> None:
    """Its columns are always missing there; where it fell silent for some windows only, the others still teach."""
    found = windows(missing=True)
    examples = Examples.at_units(found, UNITS, T)
    of_device = found.windows.device[examples.start]
    assert not ((of_device == 1) & (examples.unit == 1)).any()
    assert ((of_device == 1) & (examples.unit == 0)).any()
    first = examples.start[(of_device == 0) & (examples.unit == 0)].min()
    assert 0 < first < 6
    active, _ = examples.totals(np.ones(3))
    alone = Examples.at_units(windows(), UNITS, T).totals(np.ones(3))[0]
    assert active[0] < alone[0]


def test_what_is_not_known_of_a_unit_is_left_out() -> None:
    """Where the log does not name the unit of an active fault."""
    found = windows()
    assert found.at_units is not None
    found.at_units.known[:20, 1] = False
    examples = Examples.at_units(found, UNITS, T)
    assert not examples.known[:20, :, 1].any()
    assert examples.known[:20, :, 0].all()
    batch = examples.at(np.flatnonzero(examples.start < 10))
    assert not batch.known[..., 1].any()


def test_totals_are_those_of_the_drawn_sequences() -> None:
    """How many windows of each output there are on average, by how often each kind is drawn."""
    examples = Examples.at_units(windows(), UNITS, T)
    rate = np.array([0.5, 2.0, 1.0])
    batch = examples.at(np.arange(len(examples)))
    drawn = rate[examples.kind][:, None, None]
    active, known = examples.totals(rate)
    np.testing.assert_allclose(active, (batch.target.numpy() * drawn).sum(axis=(0, 1)))
    np.testing.assert_allclose(known, (batch.known.numpy() * drawn).sum(axis=(0, 1)))


def test_a_history_without_a_long_stretch_is_refused() -> None:
    """The sentence says how long the longest is."""
    with pytest.raises(HistoryError, match="sequence_length = 100 windows; the longest has 29"):
        Examples.of_devices(windows(), 4, (), 100)


def test_a_long_history_needs_little_memory() -> None:
    """Sequences are cut when they are needed: what is kept is a fraction of the bins that they are cut from."""
    bins, channels = 100_000, 16
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, bins, channels)).astype(np.float32)
    label = (rng.random((1, bins)) < 0.01).astype(np.int64)
    units = UnitsSpec(
        names=("a", "b"),
        channels=(tuple(range(8)), tuple(range(8, 16))),
        faults=(1,),
        rarest_first=(1,),
        prior=(0.01,),
    )
    active = np.stack((label == 1, label == 2), axis=2)[..., None]
    found = labelled_windows(values, label, WindowSpec(length=30, stride=1), faults=(1,), active_DRUJ=active)
    tracemalloc.start()
    kept = [Examples.of_devices(found, 2, (), 16), Examples.at_units(found, units, 16)]
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, kept)) == 3 * (bins - 29 - 15)
    of_bins = values.nbytes
    assert held < 2 * of_bins
    assert most < 6 * of_bins
