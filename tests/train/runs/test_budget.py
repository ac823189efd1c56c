"""What is left out of a training so that it keeps to a time."""

import json
from pathlib import Path
from typing import Any

import pytest

from rarefault.runtime.cli import main
from rarefault.train.config import TrainConfig, load_train_config
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.timing.budget import SAVINGS, make_plan

#: Seconds that a made-up training takes for what can be left out.
COSTS = {"cross_fit": 100.0, "extra_trees": 10.0, "refit": 40.0, "network": 60.0}


def expected(config: TrainConfig) -> float:
    """Seconds of a training whose network takes most."""
    training, network = config.training, config.model.network
    epochs = training.epochs / 25 if network else 0.0
    seconds = 5.0 + COSTS["network"] * epochs + (COSTS["extra_trees"] if config.trees.extra_trees else 0.0)
    seconds += (COSTS["refit"] if training.refit else 0.0) * (epochs + 0.1)
    return seconds + (COSTS["cross_fit"] if training.cross_fit is not False else 0.0)


def plan(
    plant: Path, budget: str, changes: dict[str, Any] | None = None, *, warm: bool = False
) -> tuple[TrainConfig, list[str]]:
    config = load_train_config(
        plant, {"training.budget": budget, "training.cross_fit": "auto", "training.epochs": 25, **(changes or {})}
    )
    planned, found = make_plan(config, expected, warm=warm)
    return planned, [saving.name for saving in found.savings]


def test_no_more_is_left_out_than_needed_and_the_cheapest_first(plant: Path) -> None:
    """Cross-fitting first, the network last; what has no effect on the time is never left out."""
    assert plan(plant, "none")[1] == []
    assert plan(plant, "1h")[1] == []
    planned, names = plan(plant, "150s")
    assert names == ["cross_fit"]
    assert planned.training.cross_fit is False
    assert planned.training.refit
    for budget, last in (("90s", "less_epochs"), ("1m", "less_epochs"), ("20s", "refit")):
        planned, names = plan(plant, budget)
        assert planned.training.budget_s is not None
        assert expected(planned) <= planned.training.budget_s, (budget, names)
        assert "windows" not in names
        assert names[-1] in {last, "extra_trees", "few_epochs", "network"}
    planned, names = plan(plant, "6s")
    assert names[-1] == "network"
    assert expected(planned) <= 6
    assert not planned.model.network


def test_what_a_later_saving_makes_unnecessary_comes_back(plant: Path) -> None:
    """Without its network the training has time for a refit, and none for extremely randomised trees."""
    planned, names = plan(plant, "15s")
    assert names == ["cross_fit", "extra_trees", "network"]
    assert planned.training.refit
    assert planned.training.epochs == 25
    assert expected(planned) <= 15


def test_a_training_that_goes_on_from_another_keeps_its_network(plant: Path) -> None:
    """However short the budget."""
    for budget in ("fast", "1s"):
        planned, names = plan(plant, budget, warm=True)
        assert planned.model.network
        assert "network" not in names


def test_numbers_are_only_made_smaller(plant: Path) -> None:
    """A configuration that is small already stays so."""
    planned, names = plan(plant, "fast", {"trees.rounds": 7, "trees.max_windows": 30, "trees.extra_trees": 0})
    assert (planned.trees.rounds, planned.trees.max_windows) == (7, 30)
    assert not {"rounds", "windows", "extra_trees", "less_epochs", "few_epochs"} & set(names)
    without, _ = plan(plant, "fast", {"trees.rounds": 0})
    assert without.trees.rounds == 0
    assert without.model.network  # one of both must judge


def test_it_is_said_what_is_left_out_and_when_a_budget_cannot_be_kept(plant: Path) -> None:
    """Every saving has its words."""
    config = load_train_config(plant, {"training.budget": "3s"})
    _, found = make_plan(config, expected)
    left_out, late = found.notes
    assert left_out.startswith("budget of 3 s: left out to save time: ")
    assert all(saving.text in left_out for saving in found.savings)
    assert late == "budget of 3 s: this will take about 5 s all the same: nothing more can be left out"
    assert len({saving.name for saving in SAVINGS}) == len(SAVINGS)


@pytest.mark.parametrize("text", ["10", "ten", "-3m", "1d", "m"])
def test_a_time_without_a_unit_is_refused(plant: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the key is named."""
    assert main(["train", str(plant), f"--budget={text}"]) == 2
    assert "training.budget" in capsys.readouterr().err


def test_fast_is_said_and_kept(plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trees alone; console, notes, ``metrics.json`` and the kept configuration say so."""
    out = tmp_path / "run"
    assert main(["train", str(plant), "--fast", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    run = RunDirectory(out)
    metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
    [note] = [note for note in metrics["notes"] if note.startswith("fast: left out to save time: ")]
    assert "no network, trees alone" in note
    assert f"note {note}" in printed
    assert {"extra_trees", "refit", "network"} <= set(metrics["budget"]["left_out"])
    assert metrics["epochs"] == 0
    assert not run.load_config().model.network
    assert run.load_model().names == ("trees",)


def test_an_interrupted_training_goes_on_with_what_was_decided(plant: Path) -> None:
    """Though the machine has become faster."""
    config = load_train_config(plant, {"training.budget": "50s", "training.cross_fit": "auto", "training.epochs": 25})
    planned, found = make_plan(config, expected)
    assert found.savings
    again, same = make_plan(config, lambda _: 1.0, before=planned)
    assert again == planned
    assert same.savings == found.savings
