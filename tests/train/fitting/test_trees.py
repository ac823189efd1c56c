"""Trees beside the network."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rarefault.runtime.arrays import Float32
from rarefault.runtime.errors import HistoryError, RarefaultError
from rarefault.runtime.inference.decision.pool import UNSEEN, Pool
from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import UnitsSpec, WindowSpec
from rarefault.runtime.inference.window_buffer import WindowBuffer
from rarefault.train.config import TreesConfig
from rarefault.train.dataset.unit_labels import NO_UNITS, UnitLabels, units_spec
from rarefault.train.dataset.units import channels_of_units, swapped
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting import trees as growing
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import serve
from rarefault.train.fitting.sklearn_trees import ScikitLearn
from rarefault.train.fitting.tree_features import features_of
from rarefault.train.fitting.tree_library import Boosted
from rarefault.train.fitting.trees import grow_trees, judge
from rarefault.train.history import Phm2015Config
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import PRESETS
from rarefault.train.model.trees import extra_features, statistics, window_features

WINDOW = WindowSpec(length=12, stride=2)
TREES = TreesConfig(rounds=20, extra_trees=20)
AT_UNITS = UnitsSpec(
    names=("p1", "p2", "p3"), channels=((0, 1), (2, 3), (4, 5)), faults=(1, 2), rarest_first=(2, 1), prior=(0.03, 0.02)
)


def windows(n_classes: int, window: WindowSpec = WINDOW) -> LabelledWindows:
    """A device's windows with holes; the class is the level of the first channel, the third channel never speaks."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.integers(0, n_classes, 60), 20)
    values = rng.normal(size=(len(level), 3)).astype(np.float32)
    values[:, 0] += 10 * level
    values[rng.random(values.shape) < 0.05] = np.nan
    values[:, 2] = np.nan
    index = np.arange(len(level))
    cut = WindowBuffer(window, 3).push(Bins(np.zeros(len(level), np.int32), index, values, index == 0))
    return LabelledWindows(cut, level[cut.end_index], np.cumsum(cut.fresh), window.stride)


def features_of_devices(x: Float32, units: NDArray[np.int64] = NO_UNITS) -> Float32:
    """What the trees of whole devices are asked of windows [N, L, C]."""
    index = torch.from_numpy(units)
    return window_features(statistics(torch.from_numpy(x), index), index).numpy()


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


def units_plainly(window: Float32, units: NDArray[np.int64]) -> list[float]:
    """What the units of a window [L, C] add, one after the other."""
    levels = []
    for level in (lambda x: x[-1], lambda x: np.nanmean(x[-3:], dtype=np.float64), lambda x: x[-1] - x[-4]):
        rows = []
        for unit in units:
            own = [np.float32(level(window[:, c])) for c in unit]
            rows.append([*own, *(a - b for i, a in enumerate(own) for b in own[i + 1 :])])
        levels.append(np.array(rows))
    pairs = levels[0][:, units.shape[1] :].ravel().tolist()
    return pairs + [x for rows in levels for ends in (np.nanmax(rows, 0), np.nanmin(rows, 0)) for x in ends.tolist()]


@pytest.mark.filterwarnings("ignore:All-NaN|Mean of empty:RuntimeWarning")
def test_units_are_compared_within_and_over() -> None:
    """Differences of each unit's channels, and the extremes over all units of what is known of them."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 12, 7)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[:5, :, 1] = x[:5, :, 4] = np.nan  # of no unit is it known
    units = np.array([[0, 1, 5], [3, 4, 2]])
    got, alone = features_of_devices(x, units), features_of_devices(x)
    np.testing.assert_array_equal(got[:, : alone.shape[1]], alone)
    wanted = np.array([units_plainly(w, units) for w in x])
    np.testing.assert_allclose(got[:, alone.shape[1] :], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Mean of empty:RuntimeWarning")
def test_how_unsteady_channels_are_is_for_the_extremely_randomised() -> None:
    """Mean absolute change between bins of which both are known, over each span; the other statistics come first."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 12, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[:5, :, 1] = np.nan
    got = extra_features(
        statistics(torch.from_numpy(x), torch.from_numpy(NO_UNITS)), torch.from_numpy(NO_UNITS)
    ).numpy()
    plain = features_of_devices(x)
    np.testing.assert_array_equal(got[:, : plain.shape[1]], plain)
    change = np.abs(np.diff(x, axis=1))
    wanted = np.stack([np.nanmean(change[:, -span:], axis=1, dtype=np.float64) for span in (3, 9, 12)], axis=1)
    np.testing.assert_allclose(got[:, plain.shape[1] :], wanted.reshape(40, -1), rtol=1e-6)


def test_a_fault_that_is_only_unsteady_is_known_by_the_extremely_randomised() -> None:
    """A channel that goes through the same values in any order: on further windows they know it, boosted ones less."""
    rng = np.random.default_rng(4)
    label = np.repeat(rng.integers(0, 2, 200), 24)
    slow = np.cumsum(rng.normal(0, 1, (200, 24)), axis=1)
    mixed = rng.permuted(slow, axis=1)
    values = np.where(label == 1, mixed.ravel(), slow.ravel()).astype(np.float32)[:, None]
    index = np.arange(len(label))
    cut = WindowBuffer(WINDOW, 1).push(Bins(np.zeros(len(label), np.int32), index, values, index == 0))
    right = {}
    for extra in (0, 30):
        learnt = np.where(cut.end_index < 2400, label[cut.end_index], -1)
        found = LabelledWindows(cut, learnt, np.cumsum(cut.fresh), WINDOW.stride)
        trees = grow_trees(found, (0.5, 0.5), TreesConfig(rounds=20, extra_trees=extra), 0)
        assert trees is not None
        right[extra] = (judge(trees, found).argmax(axis=1) == label[cut.end_index])[cut.end_index >= 2400].mean()
    assert right[30] > right[0] + 0.02


def test_half_of_the_say_of_whole_devices_is_theirs() -> None:
    """Log-probabilities are the mean of both, made to have learnt the same shares; without them the others speak."""
    found = windows(3)
    prior = (0.8, 0.15, 0.05)
    both = grow_trees(found, prior, TREES, 0)
    boosted = grow_trees(found, prior, TreesConfig(rounds=20, extra_trees=0), 0)
    assert both is not None
    assert boosted is not None
    assert both.extra is not None
    assert boosted.extra is None
    assert len(both.extra.root) == 20
    asked = torch.from_numpy(features_of(found, np.arange(len(found))))
    extra = torch.log_softmax(both.extra.scores(asked), dim=1).numpy()
    share = both.extra.value[both.extra.leaves(asked)].sum(1).numpy()
    np.testing.assert_allclose(share.sum(axis=1), 1)
    known = share.max(axis=1) > 0.999
    assert known.any()
    mean = (judge(boosted, found) + extra) / 2
    np.testing.assert_allclose(judge(both, found), mean - np.logaddexp.reduce(mean, axis=1)[:, None], atol=1e-4)
    assert (extra.argmax(axis=1) == found.label).mean() > 0.95


def test_of_one_bin_nothing_is_said_of_changes() -> None:
    """Boosted trees on its values are all that there are."""
    found = windows(3, WindowSpec(length=1, stride=1))
    trees = grow_trees(found, (0.4, 0.3, 0.3), TREES, 0)
    assert trees is not None
    assert trees.extra is None
    assert (judge(trees, found).argmax(axis=1) == found.label)[~np.isnan(found.windows.rows[:, 0])].mean() > 0.99


def test_swapping_moves_whole_units_and_leaves_silent_ones() -> None:
    """Each window keeps its values, every unit's together; one of which nothing is known stays where it is."""
    rng = np.random.default_rng(2)
    units = np.array([[0, 1], [2, 3], [4, 5]])
    x = np.arange(50 * 4 * 7, dtype=np.float32).reshape(50, 4, 7)
    x[:20, :, 2:4] = np.nan
    got = swapped(x, units, rng)
    np.testing.assert_array_equal(got[:, :, 6], x[:, :, 6])
    places = set()
    for before, after in zip(x, got, strict=True):
        place = tuple(
            next(u for u in range(3) if np.array_equal(after[:, units[v]], before[:, units[u]], equal_nan=True))
            for v in range(3)
        )
        assert sorted(place) == [0, 1, 2]
        assert place[1] == 1 or not np.isnan(before[0, 2])
        places.add(place)
    assert len(places) == 6


def test_a_rare_fault_of_one_unit_is_found_at_another() -> None:
    """Taught by events of the first pump alone, the trees know it at the third, too; without units they do not."""
    rng = np.random.default_rng(3)

    def pumps(faulty: int) -> LabelledWindows:
        """Levels of three pumps; in some stretches the pressure of one is 5 above its setpoint."""
        label = (np.arange(2400) % 400 >= 340).astype(np.int64)
        setpoint = np.repeat(rng.normal(0, 10, (120, 3)), 20, axis=0)
        pressure = setpoint + rng.normal(0, 0.5, setpoint.shape)
        pressure[:, faulty] += 5 * label
        values = np.stack((pressure, setpoint), axis=2).reshape(len(label), 6).astype(np.float32)
        index = np.arange(len(label))
        cut = WindowBuffer(WINDOW, 6).push(Bins(np.zeros(len(label), np.int32), index, values, index == 0))
        return LabelledWindows(cut, label[cut.end_index], np.cumsum(cut.fresh), WINDOW.stride)

    taught, asked = pumps(0), pumps(2)
    recalls = []
    for units in (np.array([[0, 1], [2, 3], [4, 5]]), NO_UNITS):
        trees = grow_trees(taught, (0.8, 0.2), TREES, 0, units=units)
        assert trees is not None
        verdict = judge(trees, asked).argmax(axis=1)
        recalls.append((verdict == 1)[asked.label == 1].mean())
        assert (verdict == 0)[asked.label == 0].mean() > 0.9
    assert recalls[0] > 0.8
    assert recalls[1] < 0.3


def pumps(at: NDArray[np.int64], fault: NDArray[np.int64], *, told: bool) -> LabelledWindows:
    """Three pumps; while a fault is active at one, its pressure is 5 above (1) or below (2) its setpoint.

    Args:
        at: the pump that each bin's fault is at, [bins].
        fault: 0 for none, [bins].
        told: whether the log names the pump.
    """
    rng = np.random.default_rng(int(at.sum()))
    setpoint = np.repeat(rng.normal(0, 10, (len(at) // 20, 3)), 20, axis=0)
    pressure = setpoint + rng.normal(0, 0.5, setpoint.shape)
    here = at[:, None] == np.arange(3)
    pressure += 5 * (here & (fault == 1)[:, None]) - 5 * (here & (fault == 2)[:, None])
    values = np.stack((pressure, setpoint), axis=2).reshape(len(at), 6).astype(np.float32)
    index = np.arange(len(at))
    cut = WindowBuffer(WINDOW, 6).push(Bins(np.zeros(len(at), np.int32), index, values, index == 0))
    active = np.stack([here & (fault == c)[:, None] for c in (1, 2)], axis=2)[cut.end_index]
    labels = UnitLabels((1, 2), active, np.ones((len(active), 2), bool), (2, 1)) if told else None
    return LabelledWindows(cut, fault[cut.end_index], np.cumsum(cut.fresh), WINDOW.stride, labels)


def test_a_fault_whose_unit_the_log_names_is_known_at_every_unit() -> None:
    """Taught by a few events at two pumps, it is known at the third; normal stays normal, and the prior is learnt."""
    bins = np.arange(6000)
    fault = np.where(bins % 400 >= 340, 1 + bins // 400 % 2, 0)
    taught = pumps(bins // 400 % 2, fault, told=True)
    asked = pumps(np.full(6000, 2), fault, told=True)
    units = np.array([[0, 1], [2, 3], [4, 5]])
    prior = class_frequencies(taught.label, 3)
    wanted = units_spec(taught.at_units, taught.labelled, units, [f"p{c // 2 + 1}.{c % 2}" for c in range(6)])
    assert wanted is not None
    assert (wanted.names, wanted.faults, wanted.rarest_first) == (("p1", "p2", "p3"), (1, 2), (2, 1))
    np.testing.assert_allclose(wanted.prior, [(taught.label == c).mean() / 3 for c in (1, 2)])
    trees = grow_trees(taught, prior, TreesConfig(rounds=60), 0, units=units, at_units=wanted)
    assert trees is not None
    assert trees.at_units is not None
    assert trees.at_units.faults.tolist() == [1, 2]
    assert len(trees.root) == 0  # nothing is left for trees of the whole station
    opinion = judge(trees, asked)
    assert opinion.shape == (len(asked), 3 + 3 * 2)
    pool = Pool(prior, wanted)
    verdict = pool.label(pool.pool(opinion[:, None], [1.0], [1.0])).argmax(axis=1)
    for c in range(3):
        assert (verdict == c)[asked.label == c].mean() > 0.9
    where = opinion[asked.label == 1, 3:].reshape(-1, 3, 2)[:, :, 0].argmax(axis=1)
    assert (where == 2).mean() > 0.95
    rarer = msgspec.structs.replace(wanted, prior=(0.001, 0.5))
    shifted = grow_trees(taught, prior, TreesConfig(rounds=60), 0, units=units, at_units=rarer)
    assert shifted is not None
    odds = [np.log(np.array(of.prior)) - np.log1p(-np.array(of.prior)) for of in (rarer, wanted)]
    moved = judge(shifted, asked) - opinion
    np.testing.assert_allclose(
        moved[:, 3:], np.broadcast_to(np.tile(odds[0] - odds[1], 3), moved[:, 3:].shape), atol=1e-4
    )


def test_of_a_fault_that_the_windows_do_not_have_there_is_no_evidence() -> None:
    """Its logits are those of the prior, whatever the window: some of the blocks may lack it."""
    bins = np.arange(3000)
    found = pumps(bins // 400 % 2, np.where(bins % 400 >= 340, 1, 0), told=True)
    trees = grow_trees(found, (0.85, 0.1, 0.05), TREES, 0, units=np.array(AT_UNITS.channels), at_units=AT_UNITS)
    assert trees is not None
    opinion = judge(trees, found)[:, 3:].reshape(-1, 3, 2)
    np.testing.assert_allclose(opinion[:, :, 1], np.log(0.02 / 0.98), atol=1e-6)
    assert np.ptp(opinion[:, :, 0]) > 1


@pytest.mark.parametrize(
    ("units", "channels", "found"),
    [
        (("a.", "b."), ("a.x", "b.y", "b.x", "a.z", "t"), [[0], [2]]),
        (("a.",), ("a.x", "b.x"), None),
        ((), ("c1.x", "c2.x"), None),
        (None, ("c10.S1", "c2.S1", "z1.E1", "c2.R1", "c10.R1"), [[1, 3], [0, 4]]),
        (("a.", "p"), ("a.x", "b.x"), "no channel begins with 'p'"),
        (("a.", "b."), ("a.x", "b.y"), "no channel is named alike after 'a.', 'b.'"),
    ],
)
def test_units_are_named_by_how_their_channels_begin(
    units: tuple[str, ...] | None, channels: tuple[str, ...], found: list[list[int]] | str | None
) -> None:
    """Channels of one name are one column; PHM 2015's components are units by default; what does not fit is named."""
    data = Phm2015Config(path=".")
    if isinstance(found, str):
        with pytest.raises(HistoryError, match=found):
            channels_of_units(units, data, channels)
    else:
        assert channels_of_units(units, data, channels).tolist() == (found or [])


def test_the_features_are_last_value_changes_means_and_ranges() -> None:
    """Over a quarter, three quarters and all of the window, missing values left out."""
    found = windows(3)
    x = found.windows.gather(np.arange(0, len(found), 7))
    np.testing.assert_allclose(features_of_devices(x), [plainly(w) for w in x], rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_trees_learn_levels_and_the_prior_that_they_are_given(n_classes: int) -> None:
    """Classes are found through holes; one that was never seen stays improbable; a rarer prior makes a class rarer."""
    found = windows(n_classes)
    even = grow_trees(found, (1 / n_classes,) * n_classes + (1e-6,), TREES, 0)
    assert even is not None
    assert float(even.base[n_classes]) == UNSEEN
    log_prob = judge(even, found)
    assert (log_prob.argmax(axis=1) == found.label).mean() > 0.95
    assert log_prob[:, n_classes].max() < -10
    prior = (0.9,) + (0.1 / (n_classes - 1),) * (n_classes - 1) + (1e-6,)
    rarer = grow_trees(found, prior, TREES, 0)
    assert rarer is not None
    odds = judge(rarer, found)[:, 0] - judge(rarer, found)[:, 1] - (log_prob[:, 0] - log_prob[:, 1])
    np.testing.assert_allclose(odds, np.log(0.9 / (0.1 / (n_classes - 1))), atol=1e-4)


def test_one_class_grows_no_trees() -> None:
    """There is nothing to tell apart."""
    assert grow_trees(windows(1), (1.0, 1e-6), TREES, 0) is None


def test_a_model_gives_the_opinion_of_each_expert() -> None:
    """The network's before the trees', each as by itself; the state is the network's."""
    torch.manual_seed(0)
    found = windows(3)
    network = NetworkExpert(PRESETS["small"], 3, 3, WINDOW.length)
    trees = grow_trees(found, (0.5, 0.3, 0.2), TREES, 0)
    model = Experts(network, trees).eval()
    assert trees is not None
    assert model.names == ("network", "trees")
    first = torch.from_numpy(found.windows.gather(np.array([0])))
    opinions, state = model.step(first, torch.zeros(1, model.state_size))
    wanted = [serve(network, found)[0], [*judge(trees, found)[0], 0.0]]  # trees measure no distance
    np.testing.assert_allclose(opinions.detach().numpy()[0], wanted, atol=1e-5)
    alone = Experts(network, None).step(first, torch.zeros(1, model.state_size))
    torch.testing.assert_close(alone.state, state)
    assert Experts(None, trees).state_size == 0
    with pytest.raises(ValueError, match="needs a network or trees"):
        Experts(None, None)


class Garbled(ScikitLearn):
    """A release of the library that keeps its thresholds otherwise."""

    def boost(self, *arguments: Any, **options: Any) -> Boosted:
        """As in the base, all thresholds moved."""
        grown = super().boost(*arguments, **options)
        return replace(grown, trees=[replace(tree, threshold=tree.threshold + 1.0) for tree in grown.trees])


def test_trees_that_do_not_compute_what_their_library_does_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays that were read wrongly are no model, and the sentence says what to do."""
    taught, config = windows(2), TreesConfig(rounds=2, extra_trees=0)
    assert grow_trees(taught, (0.5, 0.5), config, 0) is not None
    monkeypatch.setattr(growing, "LIBRARY", Garbled())
    with pytest.raises(RarefaultError, match=r"differ from those that scikit-learn grew by .*constraints\.txt"):
        grow_trees(taught, (0.5, 0.5), config, 0)
