"""Every fold and several settings, in one process and on a Ray cluster of two workers: the same results."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.tasks import square

from rarefault.runtime.cli import main
from rarefault.runtime.errors import HistoryError, UsageError
from rarefault.train.config import load_train_config
from rarefault.train.evaluation import evaluate
from rarefault.train.parallel import cluster
from rarefault.train.parallel.cluster import LOCAL, run_all
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.trials import variations

pytestmark = pytest.mark.training

SMALL = ("--set", "training.epochs=2", "--set", "trees.rounds=5", "--folds", "2", "--vary", "recipe.alpha=0.5,1")


def run_trials(plant: Path, out: Path, *more: str) -> dict[str, Any]:
    result = out.with_suffix(".json")
    assert main(["trials", str(plant), "--out", str(out), "--json", str(result), *SMALL, *more]) == 0
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def alone(plant: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Trials in this process."""
    out = tmp_path_factory.mktemp("trials") / "alone"
    return out, run_trials(plant, out)


def test_the_best_variation_is_chosen_by_its_validation_blocks(alone: tuple[Path, dict[str, Any]], plant: Path) -> None:
    """Every variation has a score for each fold, the best is first, and its configuration can be trained."""
    out, result = alone
    found = result["variations"]
    assert [v["validation_macro_f1"] for v in found] == sorted((v["validation_macro_f1"] for v in found), reverse=True)
    assert {v["changes"]["recipe.alpha"] for v in found} == {0.5, 1}
    assert result["best"] == found[0]["changes"]
    best = load_train_config(out / "best.toml")
    assert best.recipe.alpha == found[0]["changes"]["recipe.alpha"]
    assert best.split == load_train_config(plant).split
    assert best.data.samples == (str((plant.parent / "samples.csv").resolve()),)  # type: ignore[union-attr]
    number = 1 + [0.5, 1].index(found[0]["changes"]["recipe.alpha"])
    runs = [RunDirectory(out / f"variation-{number}" / f"fold-{fold}") for fold in range(2)]
    metrics = [run.load_json(run.metrics) for run in runs]
    assert [run.load_config().split.test_fold for run in runs] == [0, 1]
    assert result["test"]["macro_f1"]["mean"] == pytest.approx(np.mean([m["test"]["macro_f1"] for m in metrics]))
    assert result["test"]["macro_f1"]["folds"] == 2
    assert found[0]["by_fold"] == [m["validation"]["macro_f1"] for m in metrics]


def test_ray_gives_what_one_process_gives(alone: tuple[Path, dict[str, Any]], plant: Path, tmp_path: Path) -> None:
    """Two workers of a local cluster train the same models: all scores are equal to the last bit."""
    assert run_trials(plant, tmp_path / "ray", "--ray", "--ray-cpus", "2") == alone[1]


def test_what_is_there_is_not_trained_again(
    alone: tuple[Path, dict[str, Any]], plant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command again reads what it has left; another configuration in the same folder is refused."""
    from rarefault.train.runs import trials

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trials, "train", never)
    assert run_trials(plant, alone[0]) == alone[1]
    assert main(["trials", str(plant), "--out", str(alone[0]), *SMALL, "--set", "recipe.max_weight=5"]) == 2


def test_a_fleet_is_judged_side_by_side(
    alone: tuple[Path, dict[str, Any]],
    write_plant: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Back-scoring in groups of devices says the same as all at once, and on two workers as in one process."""
    fleet = write_plant(tmp_path, devices=5, days=4)
    model = str(alone[0] / "variation-1" / "fold-0")

    def scores(*more: str) -> dict[str, Any]:
        out = tmp_path / "scores.json"
        assert main(["evaluate", model, "--data", str(fleet), "--part", "all", "--json", str(out), *more]) == 0
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found

    whole = scores()
    monkeypatch.setattr(evaluate, "GROUP_SAMPLES", 1200)
    assert len(evaluate.device_groups(load_history(fleet), evaluate.GROUP_SAMPLES)) == 3
    grouped = scores()
    # Verdicts and events are the same; torch's sums depend in the last bits on how many windows share a batch.
    for key in ("macro_f1", "balanced_accuracy", "events", "event_f1", "false_alarms_per_device_day", "confusion"):
        assert grouped[key] == whole[key]
    assert grouped["calibration_error"] == pytest.approx(whole["calibration_error"], abs=1e-5)
    assert scores("--ray", "--ray-cpus", "2") == grouped


def load_history(config: Path) -> Any:
    from rarefault.train.history import read_history

    return read_history(load_train_config(config).data, config.parent)


def test_combinations_and_draws() -> None:
    """All combinations in order, or a draw of them that the seed decides."""
    vary: dict[str, list[Any]] = {"a": [1, 2, 3], "b": ["x", "y"]}
    assert variations({}, None, 0) == [{}]
    assert len(variations(vary, None, 0)) == 6
    drawn = variations(vary, 4, 7)
    assert drawn == variations(vary, 4, 7)
    assert len(drawn) == 4
    assert [each for each in variations(vary, None, 0) if each in drawn] == drawn


def test_what_fails_on_a_worker_fails_here() -> None:
    """An error of ours comes back as what it was."""
    assert sorted(run_all(square, [0, 1, 3], LOCAL, 2)) == [(0, 0), (1, 1), (2, 9)]
    with pytest.raises(HistoryError, match="number two"):
        list(run_all(square, [1, 2], LOCAL, 2))


def test_without_ray_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray is not installed, --ray says what to install."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="rarefault\\[cluster\\]"):
        list(run_all(square, [1], LOCAL))
    assert cluster.LOCAL == "local"


@pytest.mark.parametrize("words", [["--vary", "alpha"], ["--vary", "a.b=1", "--vary", "a.b=2"], ["--folds", "9"]])
def test_words_that_cannot_be_are_refused(plant: Path, tmp_path: Path, words: list[str]) -> None:
    """Bad usage is exit code 2."""
    assert main(["trials", str(plant), "--out", str(tmp_path / "out"), *words]) == 2
