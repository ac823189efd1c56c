"""What the decision is fitted on: every block but the test's, judged by models that have not seen it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from rarefault.train.calibration.cross_fit import TREE_PARTS, HeldOut, Rotation, wants_cross_fit
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.config import TrainConfig, load_train_config
from rarefault.train.dataset.split import Split, rotations, split_history
from rarefault.train.dataset.windows import LabelledWindows, cut_windows
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import serve
from rarefault.train.fitting.new_model import new_network
from rarefault.train.fitting.trees import grow_trees, judge
from rarefault.train.history import History, read_history
from rarefault.train.runs.training import train

Prepared = tuple[TrainConfig, History, Split, LabelledWindows]
CHANGES = {"trees.rounds": 15, "trees.extra_trees": 10, "training.epochs": 3, "training.cross_fit": True}


@pytest.fixture(scope="module")
def prepared(plant: Path) -> Prepared:
    """The small plant's training windows, and what they are cut from."""
    config = load_train_config(plant, CHANGES)
    history = read_history(config.data, plant.parent)
    split = split_history(history, config.split, config.grid)
    return config, history, split, cut_windows(split.select(history, "train"), config.grid, config.window)


def keys(held: HeldOut) -> set[tuple[int, int]]:
    """Device and end of each window."""
    return set(zip(held.windows.device.tolist(), held.windows.end_ms.tolist(), strict=True))


def log_loss(log_prob: np.ndarray, label: np.ndarray) -> float:
    """Of the windows with a label."""
    assert log_prob.shape[1] == 3
    known = np.flatnonzero(label >= 0)
    return -float(log_prob[known, label[known]].mean())


@pytest.mark.training
def test_all_windows_but_those_of_the_test_are_judged_by_what_has_not_seen_them(prepared: Prepared) -> None:
    """Each in one part, none of the test blocks; what has seen them knows them better."""
    config, history, split, windows = prepared
    prior = class_frequencies(windows.label, 3)
    network = new_network(config, history, windows)
    told: dict[str, list[tuple[int, int]]] = {"networks": [], "trees": []}
    parts = Rotation(
        history,
        split,
        config,
        prior,
        on_part=lambda n, of: told["networks"].append((n, of)),
        on_trees=lambda n, of: told["trees"].append((n, of)),
    ).run(network)
    assert told["networks"] == [(1, 3), (2, 3), (3, 3)]
    assert told["trees"] == [(n, 4 * TREE_PARTS) for n in range(1, 4 * TREE_PARTS + 1)]
    assert len(parts) == 4 * TREE_PARTS
    assert sum(len(keys(part)) for part in parts) == len(set.union(*map(keys, parts)))
    whole = HeldOut.joined(parts)
    windows = cut_windows(split.select(history, "train", "validation"), config.grid, config.window)
    end_ms = config.grid.end_ms(windows.windows.end_index)
    ours = set(zip(windows.windows.device.tolist(), end_ms.tolist(), strict=True))
    assert len(keys(whole) & ours) > 0.8 * len(ours)  # a block that stands alone begins with a window's time unjudged
    order = np.lexsort((whole.windows.end_ms, whole.windows.device))
    np.testing.assert_array_equal(order, np.arange(len(order)))
    assert whole.names == ("network", "trees")
    seen = grow_trees(windows, prior, config.trees, 0)
    assert seen is not None
    place = {key: at for at, key in enumerate(zip(windows.windows.device.tolist(), end_ms.tolist(), strict=True))}
    keyed = list(zip(whole.windows.device.tolist(), whole.windows.end_ms.tolist(), strict=True))
    both = [(at, place[key]) for at, key in enumerate(keyed) if key in place]
    here, there = np.array(both).T
    np.testing.assert_array_equal(whole.windows.label[here], windows.label[there])

    assert log_loss(judge(seen, windows)[there], windows.label[there]) < log_loss(
        whole.opinions[here, 1], whole.windows.label[here]
    )


def test_what_the_network_is_worth_is_measured(prepared: Prepared) -> None:
    """Log loss at the best temperature, as served and by the trees alone: a network that knows the labels gains all."""
    config, history, _, windows = prepared
    shares = class_frequencies(windows.label, 3)
    validation = HeldOutWindows.of(history, windows, config.grid, config.window)
    known = validation.label >= 0
    ignorant = np.log(np.full((len(windows), 3), np.asarray(shares), np.float32))
    knowing = np.where(np.arange(3) == np.where(known, validation.label, 0)[:, None], 0.0, -20.0).astype(np.float32)

    def losses(**opinions: np.ndarray) -> dict[str, float | None]:
        held = HeldOut(validation, np.stack(list(opinions.values()), axis=1), tuple(opinions))  # type: ignore[arg-type]
        return held.log_losses(held.weighed(shares, None, filtered=False))

    found = losses(network=knowing, trees=ignorant)
    entropy = log_loss(ignorant, validation.label)
    assert found["trees_alone"] == pytest.approx(entropy, rel=1e-3)
    assert found["as_served"] == pytest.approx(0, abs=1e-3)
    assert losses(network=ignorant, trees=ignorant)["as_served"] == pytest.approx(entropy, rel=1e-3)
    assert losses(network=knowing)["trees_alone"] is None


@pytest.mark.training
def test_any_number_of_threads_says_the_same(prepared: Prepared) -> None:
    """To the last digit, by networks that learn beside them, too."""
    config, history, split, windows = prepared
    torch.manual_seed(0)
    network = new_network(config, history, windows)
    said = []
    for jobs in (1, 3):
        with_jobs = msgspec.structs.replace(config, training=msgspec.structs.replace(config.training, jobs=jobs))
        parts = Rotation(history, split, with_jobs, class_frequencies(windows.label, 3)).run(network)
        said.append(HeldOut.joined(parts))
    np.testing.assert_array_equal(said[0].opinions, said[1].opinions)


def test_a_block_in_which_nothing_is_known_is_left_out(prepared: Prepared) -> None:
    """A part whose windows have no label is not judged, and two classes are needed to learn."""
    config, history, split, windows = prepared
    network = new_network(config, history, windows)
    blind = replace(history, events=history.events.none())
    assert Rotation(blind, split, config, (0.9, 0.05, 0.05)).run(network) == []


@pytest.mark.training
def test_the_decision_is_fitted_on_more_events(plant: Path, tmp_path: Path) -> None:
    """Of the rarer fault the validation blocks hold too few for a level of its own; all blocks together do not."""
    levels = {}
    for cross_fit in (False, True):
        config = load_train_config(plant, {**CHANGES, "training.cross_fit": cross_fit, "training.refit": False})
        done = train(config, plant.parent, tmp_path / str(cross_fit))
        levels[cross_fit] = dict(zip(done.manifest.classes, done.manifest.decision.conformal_thresholds, strict=True))
        assert ("cross fit" in done.metrics["seconds"]) == cross_fit
        assert not done.run.resume.exists()
    assert levels[False]["hot"] == 0
    assert levels[True]["stuck"] > 0
    assert levels[True] != levels[False]


@pytest.mark.parametrize(
    ("days", "faults", "expected"),
    [(12, ("stuck", "hot"), True), (160, ("stuck",), False)],
    ids=["few", "enough"],
)
def test_blocks_are_held_out_in_turn_where_events_are_few(
    write_plant: Callable[..., Path], tmp_path: Path, days: int, faults: tuple[str, ...], expected: bool
) -> None:
    """By default; what the configuration says goes first."""
    file = write_plant(tmp_path, days=days, faults=faults)
    for wanted in ("auto", False, True):
        config = load_train_config(file, {"training.cross_fit": wanted})
        history = read_history(config.data, tmp_path)
        split = split_history(history, config.split, config.grid)
        train_windows, validation = (
            cut_windows(split.select(history, part), config.grid, config.window) for part in ("train", "validation")
        )
        found = wants_cross_fit(config, train_windows, validation, len(history.classes))
        assert found == (expected if wanted == "auto" else wanted)


@pytest.mark.training
def test_trees_learn_from_more_of_the_blocks_than_the_network(prepared: Prepared) -> None:
    """What judges some blocks is grown on the others of their part, too, and on nothing of those blocks themselves."""
    config, history, split, windows = prepared
    prior = class_frequencies(windows.label, 3)
    network = new_network(config, history, windows)
    assert network is not None
    first = Rotation(history, split, config, prior).run(network)[0]
    (held_out, *_) = rotations(history, split, "validation", TREE_PARTS, config.split.seed, config.grid)
    rest, own = (
        cut_windows(held_out.select(history, part), config.grid, config.window) for part in ("train", "validation")
    )
    trees = grow_trees(rest, prior, config.trees, config.training.seed)
    assert trees is not None
    np.testing.assert_array_equal(first.opinions[:, 1], judge(trees, own))
    np.testing.assert_array_equal(first.opinions[:, 0], serve(network, own))
