"""The fewest parts that are as good as all of them."""

from dataclasses import replace

import numpy as np
import pytest
from tests.train.evaluation.test_alarms import GRID, PERIOD_MS, history

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.decision.pool import Pool
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.calibration.choice import LEAST_BLOCKS, Choice, block_of, choose_parts, interval, spare, with_parts
from rarefault.train.calibration.cross_fit import HeldOut
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.dataset.split import Block, Split
from rarefault.train.model.parts import ModelPart

CLASSES = ("normal", "common", "rare")
PRIOR = (0.9, 0.08, 0.02)
#: Windows in a block, and blocks.
BLOCK, BLOCKS = 100, 24
DEVICES = ("d0", "d1")
#: Two units of one column each, at which the first fault is looked for.
UNITS = UnitsSpec(names=("a", "b"), channels=((0,), (1,)), faults=(1,), rarest_first=(2, 1), prior=(0.05,))


def labels(blocks: int) -> Int64:
    """A common fault in every block, a rare one in every fourth."""
    label = np.zeros(blocks * BLOCK, np.int64)
    for block in range(blocks):
        at = block * BLOCK
        label[at + 20 : at + 28] = 1
        if block % 4 == 0:
            label[at + 60 : at + 68] = 2
    return label


def known(label: Int64, seed: int, sharpness: float = 2.0) -> Float32:
    """Opinions of somebody who sees each class with noise of his own."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(len(label), len(CLASSES)))
    seen[np.arange(len(label)), label] += sharpness
    return normalised(np.log(PRIOR) + sharpness * seen)


def normalised(score: np.ndarray) -> Float32:
    return np.asarray(score - np.logaddexp.reduce(score, axis=1, keepdims=True), np.float32)


def blind(opinion: Float32, fault: int) -> Float32:
    """The same, of which nothing speaks for or against a fault."""
    score = opinion.astype(np.float64)
    score[:, fault] = -np.inf
    score[:, fault] = np.logaddexp.reduce(score, axis=1) + np.log(PRIOR[fault] / (1 - PRIOR[fault]))
    return normalised(score)


def windows_of(label: Int64) -> tuple[HeldOutWindows, Split]:
    """Windows of two devices, in blocks that lie one after the other."""
    half = len(label) // 2
    device = np.repeat([0, 1], half)
    end_ms = np.tile(np.arange(1, half + 1), 2) * PERIOD_MS
    fresh = np.tile(np.arange(half) % BLOCK == 0, 2)
    told = replace(history(), classes=CLASSES, devices=DEVICES)
    blocks = tuple(
        Block(name, at * PERIOD_MS, (at + BLOCK) * PERIOD_MS, "validation")
        for name in DEVICES
        for at in range(0, half, BLOCK)
    )
    return HeldOutWindows(told, device, end_ms, fresh, label, GRID, PERIOD_MS), Split(blocks, ())


def chosen(network: Float32, trees: Float32, boosted: Float32 | None = None, blocks: int = BLOCKS) -> Choice:
    windows, split = windows_of(labels(blocks))
    held = HeldOut(windows, np.stack((network, trees), axis=1), ("network", "trees"), boosted)
    extra: tuple[ModelPart, ...] = () if boosted is None else ("extra_trees",)
    return choose_parts(held, ("network_device", "trees_device", *extra), split, PRIOR, None, filtered=False)


def test_a_network_that_repeats_the_trees_is_left_out() -> None:
    """The trees stay as the last that judge devices; the numbers of both sets are said."""
    trees = known(labels(BLOCKS), 1)
    found = chosen(trees, trees)
    assert found.parts.kept == ("trees_device",)
    assert found.parts.dropped == ("network_device",)
    assert found.held.names == ("trees",)
    assert [expert.name for expert in found.spec.experts] == ["trees"]
    trial = found.parts.tried["network_device"]
    assert trial.dropped
    assert trial.difference is not None
    assert trial.log_loss == pytest.approx(found.parts.all_log_loss + trial.difference)
    assert found.parts.log_loss == trial.log_loss == pytest.approx(found.held.log_loss(found.spec))
    assert trial.interval is not None
    assert trial.interval[0] <= 0
    assert found.parts.blocks == BLOCKS
    for said in ("Served: trees of whole devices.", "network of whole devices (as good without it", "24 blocks"):
        assert said in found.parts.text
    assert not found.parts.tried["trees_device"].dropped
    assert "no other part judges whole devices" in found.parts.tried["trees_device"].text


def test_what_knows_as_much_with_noise_of_its_own_stays() -> None:
    """Two that err apart are better together: the log loss without either is higher beyond noise."""
    label = labels(BLOCKS)
    found = chosen(known(label, 1), known(label, 2))
    assert found.parts.kept == ("network_device", "trees_device")
    assert found.parts.dropped == ()
    for trial in found.parts.tried.values():
        assert trial.interval is not None
        assert trial.interval[0] > 0
        assert "beyond noise" in trial.text
    assert "Nothing could be left out" in found.parts.text


def test_a_fault_that_the_network_alone_finds_keeps_it() -> None:
    """However little it counts among all windows; of trees that find it, too, the network is left out."""
    label = labels(BLOCKS)
    both = known(label, 1, sharpness=3.0)
    found = chosen(blind(both, 1), blind(both, 2))
    assert found.parts.kept == ("network_device", "trees_device")
    assert "common" in found.parts.tried["trees_device"].worse
    assert "rare" in found.parts.tried["network_device"].worse
    assert "worse without it" in found.parts.tried["network_device"].text
    assert "network_device" in chosen(both, both).parts.dropped


def test_a_single_event_of_a_fault_is_not_averaged_away() -> None:
    """One event in all blocks: the log loss of all windows hardly moves, that of the fault does."""
    label = labels(BLOCKS)
    label[label == 2] = 0
    label[60:62] = 2
    trees = known(label, 1, sharpness=4.0)
    windows, split = windows_of(label)
    blind = trees.copy()
    blind[label == 2] = np.log(PRIOR)
    held = HeldOut(windows, np.stack((trees, blind), axis=1), ("network", "trees"))
    found = choose_parts(held, ("network_device", "trees_device"), split, PRIOR, None, filtered=False)
    assert "rare" in found.parts.tried["network_device"].worse
    assert "network_device" in found.parts.kept


def test_extra_trees_that_say_the_same_are_left_out_alone() -> None:
    """What is decided on then are the opinions of the boosted trees; with noise of their own they stay."""
    label = labels(BLOCKS)
    network, boosted, extra = (known(label, seed) for seed in (1, 2, 3))
    found = chosen(network, boosted + np.float32(1e-6), boosted)
    assert found.parts.dropped == ("extra_trees",)
    np.testing.assert_array_equal(found.held.opinions[:, 1], boosted)
    assert found.held.boosted is None
    found = chosen(network, normalised((boosted + extra) / 2), boosted)
    assert found.parts.dropped == ()
    assert found.held.boosted is boosted


def test_what_a_part_made_up_for_is_tried_again_once_that_is_gone() -> None:
    """Extra trees that draw lots spoil the trees, so the network is needed, until they are left out."""
    label = labels(BLOCKS)
    boosted = known(label, 1, sharpness=3.0)
    lots = normalised(np.log(PRIOR) + 3 * np.random.default_rng(0).normal(size=boosted.shape))
    found = chosen(boosted, normalised((boosted + lots) / 2), boosted)
    assert found.parts.kept == ("trees_device",)
    assert set(found.parts.dropped) == {"network_device", "extra_trees"}
    assert found.parts.tried["network_device"].beside == ("trees_device",)


def test_trees_of_devices_take_their_extra_trees_with_them() -> None:
    """An expert without any part leaves."""
    rng = np.random.default_rng(0)
    network = known(labels(BLOCKS), 1)
    lots, more = (normalised(np.log(PRIOR) + 0.3 * rng.normal(size=network.shape)) for _ in range(2))
    found = chosen(network, lots, more)
    assert found.parts.kept == ("network_device",)
    assert set(found.parts.dropped) == {"trees_device", "extra_trees"}
    assert found.held.names == ("network",)
    np.testing.assert_array_equal(found.held.opinions[:, 0], network)


def test_few_blocks_leave_out_nothing() -> None:
    """Which is said; one block more is enough."""
    for blocks in (LEAST_BLOCKS - 2, LEAST_BLOCKS):
        trees = known(labels(blocks), 1)
        found = chosen(trees, trees, blocks=blocks)
        assert found.parts.blocks == blocks
        assert bool(found.parts.dropped) == (blocks >= LEAST_BLOCKS)
    few = chosen(known(labels(6), 1), known(labels(6), 1), blocks=6).parts
    assert few.kept == ("network_device", "trees_device")
    assert few.tried == {}
    assert "too little to tell (6 held-out blocks, 8 are needed)" in few.text


def test_the_same_windows_give_the_same_choice() -> None:
    """To the last digit of every interval."""
    label = labels(BLOCKS)
    first, second = (chosen(known(label, 1), known(label, 2), known(label, 3)) for _ in range(2))
    assert first.parts == second.parts
    assert first.spec == second.spec


def test_all_parts_are_kept_where_nothing_is_to_be_chosen() -> None:
    """As the configuration says."""
    trees = known(labels(BLOCKS), 1)
    windows, split = windows_of(labels(BLOCKS))
    held = HeldOut(windows, np.stack((trees, trees), axis=1), ("network", "trees"))
    found = choose_parts(held, ("network_device", "trees_device"), split, PRIOR, None, filtered=False, free=False)
    assert found.held is held
    assert found.parts.dropped == ()
    assert "training.parts" in found.parts.text


def test_a_filter_goes_where_the_past_says_nothing() -> None:
    """Windows whose classes are drawn anew each time have no past; those of long events have."""
    for lasts in (False, True):
        label = labels(BLOCKS) if lasts else np.random.default_rng(5).choice(3, BLOCKS * BLOCK, p=PRIOR)
        windows, split = windows_of(label)
        held = HeldOut(windows, known(label, 1, 1.2)[:, None], ("trees",))
        found = choose_parts(held, ("trees_device",), split, PRIOR, None, filtered=True)
        assert ("filter" in found.parts.kept) == (found.spec.filter is not None) == lasts


def test_parts_at_units_are_tried_by_themselves() -> None:
    """What repeats the other at units goes, and its opinion there is the prior; at devices it stays."""
    label = labels(BLOCKS)
    rng = np.random.default_rng(7)
    active = np.zeros((len(label), 2), bool)
    active[label == 1, rng.integers(0, 2, (label == 1).sum())] = True
    pool = Pool(PRIOR, UNITS)
    logits = (pool.unit_logit + 3 * (rng.normal(size=active.shape) + 3 * active) - 4.5).astype(np.float32)
    opinions = np.stack([np.concatenate((known(label, seed), logits), axis=1) for seed in (1, 2)], axis=1)
    windows, split = windows_of(label)
    held = HeldOut(windows, opinions, ("network", "trees"))
    parts: tuple[ModelPart, ...] = ("network_device", "network_units", "trees_device", "trees_units")
    found = choose_parts(held, parts, split, PRIOR, UNITS, filtered=False)
    assert found.parts.dropped == ("network_units",)
    np.testing.assert_allclose(found.held.opinions[:, 0, 3:], np.tile(pool.unit_logit, (len(label), 2)), rtol=1e-6)
    network, trees = found.spec.experts
    assert network.unit_weight == 0 < trees.unit_weight
    assert network.weight > 0
    assert "no other part judges units" in found.parts.tried["trees_units"].text
    only = with_parts(held, ("trees_device", "network_units"), PRIOR, UNITS)
    np.testing.assert_allclose(only.opinions[:, 0, :3], np.tile(pool.log_prior, (len(label), 1)), rtol=1e-6)
    np.testing.assert_array_equal(only.opinions[:, 0, 3:], opinions[:, 0, 3:])
    np.testing.assert_array_equal(only.opinions[:, 1, :3], opinions[:, 1, :3])


def test_where_all_faults_are_of_units_nobody_need_judge_devices() -> None:
    """Then the parts of devices have nothing to tell apart."""
    label = np.minimum(labels(BLOCKS), 1)
    units = UnitsSpec(names=("a", "b"), channels=((0,), (1,)), faults=(1, 2), rarest_first=(2, 1), prior=(0.05, 1e-4))
    rng = np.random.default_rng(7)
    pool = Pool(PRIOR, units)
    logits = np.tile(pool.unit_logit, (len(label), 2))
    logits[:, 0] += 3 * (rng.normal(size=len(label)) + 3 * (label == 1)) - 4.5
    device = np.tile(np.log((1 - 2e-9, 1e-9, 1e-9)), (len(label), 1))
    windows, split = windows_of(label)
    held = HeldOut(windows, np.concatenate((device, logits), axis=1)[:, None].astype(np.float32), ("trees",))
    found = choose_parts(held, ("trees_device", "trees_units"), split, PRIOR, units, filtered=False)
    assert found.parts.kept == ("trees_units",)
    assert found.held.names == ("trees",)


def test_a_window_belongs_to_the_block_in_which_it_ends() -> None:
    """One that ends with a block's last bin is of that block, not of the next."""
    windows, split = windows_of(labels(BLOCKS))
    assert block_of(windows, split).tolist() == np.repeat(np.arange(BLOCKS), BLOCK).tolist()


def test_the_interval_is_that_of_the_mean_over_groups() -> None:
    """Groups of many equal windows are no more certain than those of one; it covers the mean about 90 times in 100."""
    rng = np.random.default_rng(0)
    total = rng.normal(size=30)
    low, high = interval(total, np.ones(30))
    assert (low, high) == pytest.approx(interval(50 * total, np.full(30, 50.0)))
    assert high - low == pytest.approx(2 * 1.645 * total.std() / 30**0.5, rel=0.15)
    covered = [low <= 0 <= high for low, high in (interval(rng.normal(size=40), np.ones(40)) for _ in range(200))]
    assert 0.83 <= np.mean(covered) <= 0.95


@pytest.mark.parametrize("heard", [False, True])
def test_cross_fitting_spares_a_network_of_devices_that_nobody_hears(heard: bool) -> None:
    """By its factor in the pool; where it is needed, or there are no units, it is not asked."""
    label = np.where(labels(BLOCKS) == 1, 0, labels(BLOCKS))
    windows, split = windows_of(label)
    logits = np.broadcast_to(Pool(PRIOR, UNITS).unit_logit, (len(label), 2)).astype(np.float32)
    rng = np.random.default_rng(5)
    deaf = normalised(np.log(PRIOR) + rng.normal(size=(len(label), len(CLASSES))) * 4)
    network = np.concatenate((known(label, 1) if heard else deaf, logits), axis=1)
    trees = np.concatenate((known(label, 2), logits), axis=1)
    held = HeldOut(windows, np.stack((network, trees), axis=1), ("network", "trees"))
    present: tuple[ModelPart, ...] = ("network_device", "network_units", "trees_device", "trees_units")
    found = spare(held, present, PRIOR, UNITS)
    assert (found is None) == heard
    assert spare(held, ("network_device", "trees_device"), PRIOR, UNITS) is None
    assert spare(held, ("network_device", "network_units", "trees_units"), PRIOR, UNITS) is None
    if found is None:
        return
    assert found.dropped
    assert found.beside == present[1:]
    left = with_parts(held, found.beside, PRIOR, UNITS)
    choice = choose_parts(left, found.beside, split, PRIOR, UNITS, filtered=False, spared=found)
    assert "network_device" in choice.parts.dropped
    assert "on the validation blocks" in choice.parts.text
