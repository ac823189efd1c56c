"""What ``evaluate`` says of data: whether the model has seen it, by devices, times and fingerprint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rarefault.export.exporter import export_run
from rarefault.runtime.cli import main
from rarefault.train.config import load_train_config
from rarefault.train.history import read_history
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.seen import seen_by_file, seen_by_run
from rarefault.train.runs.training import Training, train

pytestmark = pytest.mark.training

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def first(plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A run that has seen the small plant for an epoch."""
    config = load_train_config(plant, {"training.epochs": 1, "trees.rounds": 3, "trees.extra_trees": 2})
    return train(config, plant.parent, tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture
def moved(write_plant: Callable[..., Path], tmp_path: Path) -> Callable[[int], Path]:
    """The configuration of the same plant, so many days later."""

    def write(days: int) -> Path:
        folder = tmp_path / f"later-{days}"
        folder.mkdir()
        config = write_plant(folder)
        for name, columns in (("samples.csv", (1,)), ("events.csv", (1, 2))):
            header, *rows = (folder / name).read_text(encoding="utf-8").splitlines()
            cells = [row.split(",") for row in rows]
            for row in cells:
                for column in columns:
                    row[column] = str(int(row[column]) + days * DAY_MS)
            (folder / name).write_text("\n".join([header, *(",".join(row) for row in cells)]) + "\n", encoding="utf-8")
        return config

    return write


@pytest.fixture
def judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """Runs ``evaluate``; what it says of what was seen as JSON, and what it prints."""

    def run(*words: str) -> tuple[dict[str, Any], str]:
        assert main(["evaluate", *words, "--json", str(tmp_path / "scores.json")]) == 0
        found = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
        return found["seen"], " ".join(capsys.readouterr().out.split())

    return run


def test_new_data_is_not_said_to_be_seen(
    first: Training, moved: Callable[[int], Path], judged: Callable[..., tuple[dict[str, Any], str]], tmp_path: Path
) -> None:
    """Of later days of the same devices the model has seen nothing: run directory and model file both know it."""
    later = str(moved(30))
    for model in (first.run.path, export_run(first.run, tmp_path / "plant.onnx").model.path):
        seen, printed = judged(str(model), "--data", later, "--part", "all")
        assert seen == {"share": 0.0, "said": "new to the model"}
        assert "the whole history - new to the model" in printed
        assert "SEEN" not in printed


def test_the_share_that_was_seen_is_told(
    first: Training, moved: Callable[[int], Path], judged: Callable[..., tuple[dict[str, Any], str]]
) -> None:
    """Half of the time again: so much of it as lies in the run's blocks of training and validation."""
    config = moved(6)
    seen, printed = judged(str(first.run.path), "--data", str(config), "--part", "all")
    history = read_history(load_train_config(config).data, config.parent)
    learnt = first.split.mask(history, "train") | first.split.mask(history, "validation")
    assert 0.2 < learnt.mean() < 0.5
    assert seen["share"] == pytest.approx(learnt.mean())
    assert f"the model has SEEN {learnt.mean():.0%}".replace("%", " %") in printed


def test_the_runs_own_blocks(first: Training, judged: Callable[..., tuple[dict[str, Any], str]]) -> None:
    """Training blocks are seen; those of validation by what is served, but not by what judges them; test is new."""
    run = str(first.run.path)
    assert judged(run)[0] == {"share": 0.0, "said": "new to the model"}
    assert judged(run, "--part", "train")[0] == {"share": 1.0, "said": "the model has SEEN all of this"}
    said = "new to the model; its decision was fitted on all"
    assert judged(run, "--part", "validation")[0] == {"share": 0.0, "said": said}
    whole = judged(run, "--part", "all")[0]["share"]
    assert 0.7 < whole < 0.9


def test_other_blocks_of_the_same_data_are_seen(
    first: Training, plant: Path, judged: Callable[..., tuple[dict[str, Any], str]], tmp_path: Path
) -> None:
    """The test blocks of another split were mostly trained on: a configuration's word for it is not enough."""
    other = plant.with_name("other.toml")
    other.write_text(plant.read_text().replace("[split]", "[split]\ntest_fold = 3"), encoding="utf-8")
    seen, printed = judged(str(first.run.path), "--data", str(other))
    assert seen["share"] > 0.9
    assert "test blocks - the model has SEEN" in printed


def test_what_a_file_can_tell(first: Training, plant: Path, moved: Callable[[int], Path], tmp_path: Path) -> None:
    """The same fingerprint, an overlap in time, or a file of an earlier release: nothing is claimed that it cannot."""
    manifest = first.manifest
    same = read_history(load_train_config(plant).data, plant.parent)
    assert seen_by_file(manifest, same).share is None
    assert "parts of this very data" in seen_by_file(manifest, same).phrase
    overlap = read_history(load_train_config(moved(8)).data, tmp_path / "later-8")
    assert (
        "% of this is of the time that the model has learnt from, 2024-01-01T" in seen_by_file(manifest, overlap).phrase
    )
    del manifest.training["learnt"]
    assert seen_by_file(manifest, overlap).phrase == "the file does not tell whether the model has seen this"


def test_without_learning_again_validation_blocks_are_new(first: Training, tmp_path: Path) -> None:
    """With training.refit = false nothing has learnt from them, but the decision was fitted there."""
    run = RunDirectory(Path(shutil.copytree(first.run.path, tmp_path / "run")))
    text = run.config.read_text(encoding="utf-8")
    run.config.write_text(text.replace("refit = true", "refit = false"), encoding="utf-8")
    part = first.split.select(first.history, "validation")
    assert seen_by_run(run, part).phrase == "new to the model; its decision was fitted on all"
    assert seen_by_run(first.run, part).phrase == "the model has SEEN all of this"
