"""The gain in log loss over another method, and its interval over blocks."""

import numpy as np
import pytest
from benchmarks.quality.prediction import Judged, log_loss_gain


def judged(posterior: np.ndarray, label: np.ndarray, block: np.ndarray) -> Judged:
    n = len(label)
    none, no = np.zeros(n, np.int64), np.zeros(n, bool)
    return Judged(label, none, none, posterior, none, block, no, no, 0, 0, 0, 0, none, 0, 1.0)


def test_the_gain_is_that_of_the_mean_and_blocks_err_together() -> None:
    """Two folds whose blocks have the same numbers are different blocks; windows without a label do not count."""
    rng = np.random.default_rng(0)
    label = np.tile([0, 1, -1, 0], 100)
    block = np.repeat(np.arange(20), 20)
    right = np.where(label == 1, 1, 0)
    mine, other = (np.full((400, 2), 1 - p) for p in (0.9, 0.8))
    shift = np.repeat(rng.normal(0, 0.05, 20), 20)
    mine[np.arange(400), right], other[np.arange(400), right] = 0.9 + shift, 0.8
    folds = [judged(mine, label, block)] * 2
    found = log_loss_gain(folds, [judged(other, label, block)] * 2)
    known = label >= 0
    expected = 1 - np.log(0.9 + shift)[known].mean() / np.log(0.8)
    assert found["log_loss"] == pytest.approx(expected, abs=1e-9)
    assert found["blocks"] == 40
    assert found["interval"][0] < found["log_loss"] < found["interval"][1]
    few = log_loss_gain([judged(mine, label, block // 10)] * 2, [judged(other, label, block // 10)] * 2)
    assert few["blocks"] == 4


def test_the_same_is_no_gain() -> None:
    posterior, label = np.full((8, 2), 0.5), np.zeros(8, np.int64)
    one = [judged(posterior, label, np.arange(8))]
    assert log_loss_gain(one, one) == {"log_loss": 0.0, "interval": [0.0, 0.0], "blocks": 8}
