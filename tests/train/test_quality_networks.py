"""The networks that the quality table compares with: each trains, judges, and learns again from longer windows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmarks.quality.methods.nets import train_net
from benchmarks.quality.methods.rivals import deep_conv_lstm, inception_time, lrcn
from benchmarks.quality.prediction import Prediction, judge
from benchmarks.quality.protocol import Fold, Problem, cut

from rarefault.train.config import load_train_config
from rarefault.train.history import read_history
from rarefault.train.split import PARTS, Part, split_history


@pytest.mark.parametrize("method", [inception_time, deep_conv_lstm, lrcn, train_net])
def test_a_network_is_trained_and_judged(
    method: Callable[[Fold, int], Prediction], write_plant: Callable[..., Path], tmp_path: Path
) -> None:
    """Its log-probabilities are of every held-out window, and the common decision can be fitted on them."""
    config = load_train_config(write_plant(tmp_path, days=5, devices=1), {"trees.rounds": 0, "training.epochs": 1})
    history = read_history(config.data, tmp_path)
    split = split_history(history, config.split, config.grid)
    parts = {part: cut(split.select(history, part), config) for part in PARTS}
    fold = Fold(Problem("small plant", "blocks", 5), 0, config, history, split, parts)
    prediction = method(fold, 0)
    held_out: tuple[Part, ...] = ("validation", "test")
    for part in held_out:
        said = getattr(prediction, part)
        assert said.shape == (len(parts[part]), 3)
        np.testing.assert_allclose(np.exp(said).sum(axis=1), 1, rtol=1e-4)
    judged = judge(fold, prediction)
    assert judged.verdict.shape == judged.label.shape == (len(parts["test"]),)
