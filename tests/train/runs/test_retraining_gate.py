"""A retrained model is accepted only where it is no worse, on old blocks and on new ones, by macro-F1 and by alarms."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rarefault.runtime.cli import main
from rarefault.train.config import TrainingConfig, load_train_config
from rarefault.train.runs.retraining import reasons_against
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.training import Training, train

DAY_MS = 86_400_000
START_MS = 1_704_067_200_000
DATA = '[data]\nformat = "table"\nsamples = ["samples.csv"]\nevents = "events.csv"\n'


def scored(macro_f1: float, false_alarms: float | None, days: float = 100.0) -> dict[str, Any]:
    return {"macro_f1": macro_f1, "false_alarms_per_device_day": false_alarms, "device_days": days}


@pytest.mark.parametrize(
    ("before", "after", "clauses"),
    [
        (scored(0.8, 0.062), scored(0.79, 0.1), []),
        (scored(0.8, 0.062), scored(0.79, 0.311), ["false alarms per device and day rose from 0.062 to 0.311"]),
        (scored(0.8, 0.0), scored(0.77, 0.0), ["macro-F1 fell from 0.800 to 0.770"]),
        (scored(0.8, 0.0), scored(0.7, 0.2), ["macro-F1 fell", "false alarms per device and day rose"]),
        (scored(0.8, 0.0, 5), scored(0.8, 0.2, 5), []),
        (scored(0.8, 0.0, 5), scored(0.8, 0.4, 5), ["false alarms per device and day rose"]),
        (scored(0.8, 0.3), scored(0.9, 0.0), []),
        (scored(0.8, None, 0), scored(0.8, None, 0), []),
    ],
)
def test_each_figure_refuses(before: dict[str, Any], after: dict[str, Any], clauses: list[str]) -> None:
    """Macro-F1 and false alarms are each refused beyond their limit, on any blocks; one more in few days is not."""
    parts = {"some blocks": {"before": before, "after": after}, "others": None}
    reasons = reasons_against(parts, TrainingConfig())
    assert len(reasons) == len(clauses)
    for reason, clause in zip(reasons, clauses, strict=True):
        assert reason.startswith("on some blocks ")
        assert clause in reason
    assert not reasons_against(parts, TrainingConfig(retrain_tolerance=1.0, retrain_false_alarms=1.0))
    twice = {"old": {"before": before, "after": after}, "new": {"before": before, "after": after}}
    assert len(reasons_against(twice, TrainingConfig())) == 2 * len(clauses)


@pytest.fixture(scope="module")
def first(plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A run that has learnt the small plant by trees alone."""
    config = load_train_config(plant, {"model.network": False})
    return train(config, plant.parent, tmp_path_factory.mktemp("runs") / "first")


@pytest.mark.training
def test_labels_that_cry_wolf_are_not_learnt_in_silence(
    first: Training, write_plant: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """New data in which much of the normal time is called a fault: refused for its alarms, whatever macro-F1 may do."""
    write_plant(tmp_path)
    for name, columns in (("samples.csv", (1,)), ("events.csv", (1, 2))):
        header, *rows = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        cells = [row.split(",") for row in rows]
        for row in cells:
            for column in columns:
                row[column] = str(int(row[column]) + 12 * DAY_MS)
        (tmp_path / name).write_text("\n".join([header, *(",".join(row) for row in cells)]) + "\n", encoding="utf-8")
    with (tmp_path / "events.csv").open("a", encoding="utf-8") as log:
        for device in ("d0", "d1"):
            for hour in range(0, 12 * 24, 4):
                start = START_MS + 12 * DAY_MS + hour * 3_600_000
                log.write(f"{device},{start},{start + 7_200_000},hot\n")
    config = tmp_path / "later.toml"
    config.write_text(DATA, encoding="utf-8")
    out, result = tmp_path / "run", tmp_path / "result.json"
    words = ["train", str(config), "--from", str(first.run.path), "--out", str(out), "--json", str(result)]
    assert main([*words, "--set", "training.retrain_tolerance=1"]) == 1
    found = json.loads(result.read_text(encoding="utf-8"))["retraining"]
    before, after = (found["old_validation"][when] for when in ("before", "after"))
    assert after["false_alarms_per_device_day"] > before["false_alarms_per_device_day"] + 0.1
    assert after["alarm_changes_per_device_day"] > before["alarm_changes_per_device_day"]
    assert not found["accepted"]
    assert f"on the validation blocks of {first.run.path} false alarms per device and day rose" in found["reasons"][0]
    said = capsys.readouterr()
    for reason in found["reasons"]:
        assert reason in said.err
        assert reason in RunDirectory(out).report.read_text(encoding="utf-8")
    assert "before and after" in said.out
