"""What training says before it starts: how long it will take here, and what matters most first."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rarefault.runtime.cli import main
from rarefault.train.config import TrainConfig, load_train_config
from rarefault.train.dataset.findings import leaks
from rarefault.train.dataset.split import PARTS, Part, split_history
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.windows import LabelledWindows, cut_windows
from rarefault.train.fitting.new_model import new_network
from rarefault.train.history import History, label_bins, read_history
from rarefault.train.report import write_report
from rarefault.train.runs.duration import STAGES, Estimate, Work, duration, measure
from rarefault.train.runs.training import Observer, train

LITTLE = {"training.epochs": 1, "trees.rounds": 3, "trees.extra_trees": 2}


def cut(config: TrainConfig, history: History) -> dict[Part, LabelledWindows]:
    split = split_history(history, config.split, config.grid)
    return {part: cut_windows(split.select(history, part), config.grid, config.window, NO_UNITS) for part in PARTS}


@pytest.mark.training
@pytest.mark.parametrize("cross_fit", [False, True])
def test_more_work_is_foreseen_to_take_longer(plant: Path, cross_fit: bool) -> None:
    """Every stage to come has seconds, more with more epochs and rounds; draws and weights stay what they were."""
    config = load_train_config(plant, {"training.epochs": 10})
    history = read_history(config.data, plant.parent)
    parts = cut(config, history)
    torch.manual_seed(4)
    model = new_network(config, history, parts["train"])
    assert model is not None
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.random.get_rng_state()

    measured = measure(config, model, parts, history, NO_UNITS, None)

    def foreseen(**changes: int) -> dict[str, float]:
        keys = {key.replace("__", "."): value for key, value in changes.items()}
        asked = load_train_config(plant, {"training.epochs": 10, **keys})
        return measured.estimate(asked, cross_fit=cross_fit).seconds()

    found = foreseen()
    assert list(found) == [name for name in STAGES if cross_fit or name != "cross fit"]
    assert all(seconds > 0 for seconds in found.values())
    more = foreseen(training__epochs=1000, trees__rounds=2000)
    assert all(more[stage] > found[stage] for stage in found)
    assert foreseen(trees__rounds=0)["trees"] == 0
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert model.training


@pytest.mark.training
def test_it_is_said_before_anything_is_fitted(plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence with the parts, before the first epoch; what was foreseen is kept beside what it was."""
    words = [word for key, value in LITTLE.items() for word in ("--set", f"{key}={value}")]
    assert main(["train", str(plant), "--out", str(tmp_path / "run"), *words]) == 0
    printed = capsys.readouterr().out
    places = [printed.index(text) for text in ("reading history", "this will take about ", "\nfitting")]
    assert places == sorted(places)
    assert "here (network " in printed[places[1] : places[2]]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert all(seconds > 0 for seconds in metrics["estimated_seconds"].values())
    assert set(metrics["estimated_seconds"]) < set(metrics["seconds"])


def test_what_runs_side_by_side_takes_no_longer_than_the_longest() -> None:
    """Trees grow beside a network where there are cores; what is left is that of the stages that are not done."""
    assert Work(network=8.0).wall() == 8
    assert Work(network=8.0, trees=1.0).wall() <= 9
    assert Work(trees=9.0, jobs=1).wall() == 9
    busy = Work(network=8.0, trees=8.0, others=100.0).wall()
    assert Work(network=8.0, trees=8.0).wall() <= busy <= 16
    foreseen = Estimate({"fit": Work(network=8.0), "trees": Work(trees=3.0), "learn again": Work(network=4.0)})
    assert foreseen.left(()) == 15
    assert foreseen.left({"fit", "trees"}) == 4
    assert str(foreseen).startswith("this will take about 15 s here (network 8 s, trees 3 s, learning again 4 s)")
    assert [duration(s) for s in (0.2, 7, 44, 99, 130, 5000, 9000)] == [
        "1 s", "7 s", "40 s", "100 s", "2 min", "83 min", "2.5 h",
    ]  # fmt: skip


@pytest.mark.training
def test_what_matters_most_stands_first(write_plant: Callable[..., Path], tmp_path: Path) -> None:
    """A class that cannot be learnt, labels that look wrong and a leak come before duplicates and dead channels."""
    config = write_plant(tmp_path)
    samples, events = tmp_path / "samples.csv", tmp_path / "events.csv"
    header, *rows = samples.read_text(encoding="utf-8").splitlines()
    read = load_train_config(config)
    history = read_history(read.data, tmp_path)
    label = label_bins(history, history.device, read.grid.bin_of(history.time_ms), read.grid)
    names = [history.devices[slot] for slot in history.device]
    state = {f"{name},{t}": 7 * (c == 1) for name, t, c in zip(names, history.time_ms, label, strict=True)}
    lines = [header + ",lamp,state", *(f"{row},7,{state[','.join(row.split(',')[:2])]}" for row in rows)]
    samples.write_text("\n".join([*lines, lines[-1]]) + "\n", encoding="utf-8")
    with events.open("a", encoding="utf-8") as log:
        log.write("d7,1704070800000,1704074400000,hot\nd0,1704070800000,1704070860000,leak\n")
    notes: list[str] = []
    observer = Observer(note=notes.append)
    result = train(load_train_config(config, LITTLE), tmp_path, tmp_path / "run", observer=observer)
    kept = json.loads(result.run.metrics.read_text(encoding="utf-8"))["notes"]
    assert kept == notes

    def place(text: str) -> int:
        [at] = [number for number, note in enumerate(notes) if text in note]
        return at

    first = [place("events of devices without samples"), place("channel state gives fault hot away: its value 7")]
    if not result.metrics["windows"]["train"]["leak"]:
        first.insert(0, place("class leak has no window in the train"))
    assert first == list(range(len(first)))
    assert min(place("duplicate rows"), place("never change in the training blocks: lamp")) >= len(first)
    write_report(result)
    page = result.run.report.read_text(encoding="utf-8")
    assert page.index("channel state gives fault") < page.index("duplicate rows")


def test_a_measurement_that_tells_a_fault_is_no_leak(plant: Path) -> None:
    """The temperature tells ``hot`` without error, as it should; a gap that comes with it is a leak."""
    config = load_train_config(plant)
    history = read_history(config.data, plant.parent)
    train_windows = cut(config, history)["train"]
    assert not leaks(history, train_windows)
    hot = history.classes.index("hot")
    rows = train_windows.windows.rows
    rows[train_windows.windows.end_row[train_windows.label == hot], 1] = np.nan
    [said] = leaks(history, train_windows)
    assert said.startswith("channel temperature gives fault hot away: that it is missing comes with 100%")
