"""Without a network: trees and filter are trained, decided on and read back by themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.train.config import load_train_config
from rarefault.train.report import write_report
from rarefault.train.runs.training import Observer, train


@pytest.mark.training
def test_the_trees_can_judge_alone(plant: Path, tmp_path: Path) -> None:
    """Without a network both faults are seen, the model carries nothing, and the run directory reads back."""
    told: list[str] = []
    config = load_train_config(plant, {"model.network": False})
    done = train(config, plant.parent, tmp_path / "run", observer=Observer(stage=told.append))
    assert "fitting" not in told
    assert done.model.network is None
    assert done.manifest.state_size == done.model.state_size == 0
    assert done.manifest.decision.filter is not None
    assert all(row["recall"] > 0.3 for row in done.metrics["test"]["classes"].values())
    assert done.metrics["pooling"]["experts"] == {"trees": {"weight": 1.0, "unit_weight": 0.0}}
    assert done.metrics["pooling"]["held_out_log_loss"]["trees_alone"] is None
    assert (done.metrics["epochs"], done.metrics["weights"]) == (0, {})
    write_report(done)
    report = done.run.report.read_text(encoding="utf-8")
    assert "epochs; the weights" not in report
    assert "What the network is worth" not in report
    reference, model = done.run.load_reference(), done.run.load_model()
    with torch.inference_mode():
        opinions, _ = model.step(torch.from_numpy(reference.window[0]), torch.zeros(len(reference.window[0]), 0))
    np.testing.assert_allclose(opinions.numpy(), reference.opinions[0], atol=1e-6)
    again = train(config, plant.parent, tmp_path / "again")
    assert all(again.metrics[part] == done.metrics[part] for part in ("test", "validation"))


def test_trees_alone_need_two_classes(write_plant: Callable[..., Path], tmp_path: Path) -> None:
    """Machines that are always in the same fault teach them nothing, which is said."""
    config = write_plant(tmp_path, days=6)
    start, end = 1_700_000_000_000, 1_800_000_000_000
    rows = "".join(f"{device},{start},{end},stuck\n" for device in ("d0", "d1"))
    (tmp_path / "events.csv").write_text(f"device,start,end,fault\n{rows}", encoding="utf-8")
    with pytest.raises(HistoryError, match="of one class, so there is nothing for the trees to tell apart"):
        train(
            load_train_config(config, {"model.network": False, "data.mostly_faulty": True}), tmp_path, tmp_path / "run"
        )


def test_one_of_network_and_trees_must_judge(plant: Path) -> None:
    """Neither of them is refused; without a network, windows may be shorter than its convolutions need."""
    with pytest.raises(ConfigError, match=r"model\.network is false and trees\.rounds is 0: one of both must judge"):
        load_train_config(plant, {"model.network": False, "trees.rounds": 0})
    short = {"window.length": 4, "window.stride": 2}
    with pytest.raises(ConfigError, match="nothing is left of the window after the two convolutions"):
        load_train_config(plant, short)
    assert not load_train_config(plant, short | {"model.network": False}).model.network
