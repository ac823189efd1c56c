"""The networks that the quality table compares with, and the benchmark that hides a fault from ours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.novelty import without_fault
from benchmarks.quality.__main__ import make_tasks
from benchmarks.quality.methods import ONCE
from benchmarks.quality.methods.nets import train_net
from benchmarks.quality.methods.rivals import deep_conv_lstm, inception_time, lrcn
from benchmarks.quality.prediction import Prediction, evidence, filtered, judge
from benchmarks.quality.protocol import Fold, Problem, cut
from scipy.special import log_softmax

from rarefault.train.config import load_train_config
from rarefault.train.dataset.split import PARTS, Part, split_history
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.history import read_history

pytestmark = pytest.mark.training


@pytest.mark.parametrize("method", [inception_time, deep_conv_lstm, lrcn, train_net])
def test_a_network_is_trained_and_judged(
    method: Callable[[Fold, int], Prediction], write_plant: Callable[..., Path], tmp_path: Path
) -> None:
    """Its log-probabilities are of every held-out window, and the common decision can be fitted on them."""
    fold = _small_fold(write_plant(tmp_path, days=5, devices=1), {})
    prediction = method(fold, 0)
    held_out: tuple[Part, ...] = ("validation", "test")
    for part in held_out:
        said = getattr(prediction, part)
        assert said.shape == (len(fold.parts[part]), 3)
        np.testing.assert_allclose(np.exp(said).sum(axis=1), 1, rtol=1e-4)
    judged = judge(fold, prediction)
    assert judged.verdict.shape == judged.label.shape == (len(fold.parts["test"]),)


def test_a_fault_that_is_hidden_has_no_part_in_the_decision(write_plant: Callable[..., Path], tmp_path: Path) -> None:
    """What the decision is fitted on are the validation windows alone, in which nobody knows of the fault."""
    default = {"training.cross_fit": "auto"}
    changes = default | {f"training.{key}": value for key, value in ONCE["training"].items()}
    fold = _small_fold(write_plant(tmp_path, days=5, devices=1), changes)
    stuck = fold.history.classes.index("stuck")
    assert (fold.parts["validation"].label == stuck).any()
    hidden = without_fault(fold, stuck)
    assert (hidden.parts["test"].label == stuck).any()
    prediction = train_net(hidden, 0)
    np.testing.assert_array_equal(prediction.windows["label"], hidden.parts["validation"].label)
    assert not (prediction.windows["label"] == stuck).any()


def test_a_method_is_judged_with_the_filter_that_is_shipped(write_plant: Callable[..., Path], tmp_path: Path) -> None:
    """It is fitted on the held-out windows, whose labels it makes likelier, and changes nothing of what is untold."""
    fold = _small_fold(write_plant(tmp_path, days=5, devices=1), {"decision.filter": False})
    prediction = train_net(fold, 0)
    with_filter = filtered(fold, prediction)
    shift = np.log(class_frequencies(fold.parts["train"].label, 3))

    def loss(of: Prediction) -> float:
        label = of.windows["label"]
        known = np.flatnonzero(label >= 0)
        return -float(log_softmax(evidence(fold, of, of.validation) + shift, axis=1)[known, label[known]].mean())

    assert loss(with_filter) < loss(prediction)
    assert with_filter.test.shape == prediction.test.shape
    assert with_filter.learned_prior == prediction.learned_prior
    assert (prediction.test != with_filter.test).any()


def test_some_folds_alone_can_be_trained() -> None:
    """As for a quick table; of a problem that has fewer, all of them."""
    tasks = make_tasks(["plant31-day", "tep-runs"], ["rarefault"], 2, folds=2)
    assert [(task.problem, task.seed, task.fold) for task in tasks] == [
        ("plant31-day", 0, 0), ("plant31-day", 0, 1), ("plant31-day", 1, 0), ("plant31-day", 1, 1),
        ("tep-runs", 0, 0), ("tep-runs", 1, 0),
    ]  # fmt: skip
    assert len(make_tasks(["plant31-day"], ["rarefault"], 1)) == 5


def _small_fold(config_file: Path, changes: dict[str, Any]) -> Fold:
    config = load_train_config(config_file, {"trees.rounds": 0, "training.epochs": 1} | changes)
    history = read_history(config.data, config_file.parent)
    split = split_history(history, config.split, config.grid)
    parts = {part: cut(split.select(history, part), config) for part in PARTS}
    return Fold(Problem("small plant", "blocks", 5), 0, config, history, split, parts)
