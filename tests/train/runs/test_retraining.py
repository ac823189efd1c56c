"""Retraining: a run goes on with new data, keeps what it knew, and says so where it did not."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError, RarefaultError
from rarefault.runtime.journal.writer import Journal
from rarefault.train.config import load_train_config
from rarefault.train.dataset.split import Block, Split
from rarefault.train.fitting.network import Epoch
from rarefault.train.history import History, read_history
from rarefault.train.history.together import merge
from rarefault.train.report import write_report
from rarefault.train.runs.retraining import load_retrain_config
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.sources import load_sources, restrict, without
from rarefault.train.runs.training import Observer, Training, train

pytestmark = pytest.mark.training

DAY_MS = 86_400_000
QUICK = {"training.epochs": 3}
DATA = '[data]\nformat = "table"\nsamples = ["samples.csv"]\nevents = "events.csv"\n'


def move(folder: Path, days: int) -> Path:
    """Shift a written plant in time, and leave it a configuration with nothing but its data."""
    for name, columns in (("samples.csv", (1,)), ("events.csv", (1, 2))):
        header, *rows = (folder / name).read_text(encoding="utf-8").splitlines()
        cells = [row.split(",") for row in rows]
        for row in cells:
            for column in columns:
                row[column] = str(int(row[column]) + days * DAY_MS)
        text = "\n".join([header, *(",".join(row) for row in cells)])
        (folder / name).write_text(text + "\n", encoding="utf-8")
    config = folder / "plant.toml"
    config.write_text(DATA, encoding="utf-8")
    return config


@pytest.fixture(scope="module")
def first(plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A run that has learnt the small plant."""
    config = load_train_config(plant, {"training.epochs": 6})
    return train(config, plant.parent, tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture
def later(write_plant: Callable[..., Path], tmp_path: Path) -> Path:
    """The configuration of the same plant's next twelve days, its data alone."""
    (tmp_path / "later").mkdir()
    return move(write_plant(tmp_path / "later").parent, 12)


def retrain(later: Path, run: RunDirectory, out: Path, **changes: Any) -> Training:
    """Go on from a run for a few epochs."""
    keys = {**QUICK, **{key.replace("__", "."): value for key, value in changes.items()}}
    return train(load_retrain_config(later, keys, run), later.parent, out, start=run)


def spoken(history: History, split: Split, part: Any) -> set[tuple[str, int]]:
    """Device and time of each sample of a part."""
    chosen = split.select(history, part)
    return {(chosen.devices[d], int(t)) for d, t in zip(chosen.device, chosen.time_ms, strict=True)}


def test_it_keeps_what_it_knew_and_learns_from_both(first: Training, later: Path, tmp_path: Path) -> None:
    """Old blocks stay in their parts, new ones are added, both models are held against each other, all is accepted."""
    second = retrain(later, first.run, tmp_path / "second")
    for part in ("train", "validation", "test"):
        old = spoken(first.history, first.split, part)
        assert old < spoken(second.history, second.split, part)
    assert second.manifest.classes == first.manifest.classes
    networks = second.model.network, first.run.load_model().network
    assert networks[0] is not None
    assert networks[1] is not None
    before, after = (found.get_buffer("device.encoding.edges").numpy() for found in networks if found is not None)
    np.testing.assert_array_equal(before, after)
    compared = second.metrics["retraining"]
    assert compared["old_validation"]["before"]["macro_f1"] == first.metrics["validation"]["macro_f1"]
    assert compared["new_test"]["after"]["macro_f1"] > compared["new_test"]["after"]["always_normal_macro_f1"] + 0.1
    assert compared["accepted"]
    assert second.run.accepted
    assert first.run.accepted
    write_report(second)
    assert "Before and after" in second.run.report.read_text(encoding="utf-8")
    assert second.manifest.training["from"]["digest"] == first.manifest.training["digest"]


def test_trees_that_judge_alone_learn_from_both(plant: Path, later: Path, tmp_path: Path) -> None:
    """Without a network the trees are grown anew from all data; that there is none cannot change."""
    config = load_train_config(plant, {"model.network": False})
    alone = train(config, plant.parent, tmp_path / "first")
    second = retrain(later, alone.run, tmp_path / "second")
    assert second.metrics["retraining"]["accepted"]
    assert second.model.trees is not None
    assert alone.model.trees is not None
    assert second.model.trees.threshold.shape != alone.model.trees.threshold.shape
    with pytest.raises(ConfigError, match=r"model\.network: True is not the False of"):
        load_retrain_config(later, {"model.network": True}, alone.run)


def test_a_retrained_run_is_evaluated_and_retrained_on_all_that_it_saw(
    first: Training, later: Path, tmp_path: Path, write_plant: Callable[..., Path]
) -> None:
    """``evaluate`` gives the metrics of the training; a third run has the blocks of the first and the second."""
    second = retrain(later, first.run, tmp_path / "second")
    scored = tmp_path / "scored.json"
    assert main(["evaluate", str(second.run.path), "--json", str(scored)]) == 0
    assert json.loads(scored.read_text())["macro_f1"] == second.metrics["test"]["macro_f1"]
    (tmp_path / "third").mkdir()
    third_data = move(write_plant(tmp_path / "third", days=8).parent, 24)
    third = retrain(third_data, second.run, tmp_path / "run3", training__epochs=1)
    assert third.metrics["retraining"]["old_validation"]["before"]["macro_f1"] == pytest.approx(
        second.metrics["validation"]["macro_f1"]
    )
    assert len(load_sources(third.run).sources) == 3
    for part in ("train", "validation", "test"):
        assert spoken(second.history, second.split, part) < spoken(third.history, third.split, part)


def test_an_interrupted_retraining_goes_on(first: Training, later: Path, tmp_path: Path) -> None:
    """Stopped in its second epoch and resumed, it ends as the uninterrupted one, its start included."""

    def interrupt(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    config = load_retrain_config(later, {"training.epochs": 4}, first.run)
    whole = train(config, later.parent, tmp_path / "whole", start=first.run)
    with pytest.raises(KeyboardInterrupt):
        train(config, later.parent, tmp_path / "run", start=first.run, observer=Observer(epoch=interrupt))
    with pytest.raises(RarefaultError, match="another configuration or data"):
        train(config, later.parent, tmp_path / "run", resume=True)
    resumed = train(config, later.parent, tmp_path / "run", start=first.run, resume=True)
    assert resumed.metrics["retraining"] == whole.metrics["retraining"]
    assert resumed.metrics["test"] == whole.metrics["test"]


def test_new_samples_in_old_blocks_stay_in_their_part(
    first: Training, write_plant: Callable[..., Path], tmp_path: Path
) -> None:
    """Data that overlaps what the run was judged on is not trained on, and that is said."""
    config = move(write_plant(tmp_path, days=16).parent, 4)
    second = retrain(config, first.run, tmp_path / "run", training__epochs=1)
    held_out = spoken(first.history, first.split, "validation") | spoken(first.history, first.split, "test")
    assert not held_out & spoken(second.history, second.split, "train")
    assert any("stay what they were" in note for note in second.metrics["notes"])
    inside = move(write_plant(tmp_path, days=4).parent, 2)
    with pytest.raises(HistoryError, match="there is nothing new to learn"):
        retrain(inside, first.run, tmp_path / "other")


def test_a_model_that_forgets_is_not_accepted(
    first: Training, later: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained with wrong labels at a high rate it is worse on the old blocks: exit code 1, and the run says so."""
    events = later.parent / "events.csv"
    events.write_text(events.read_text().replace("stuck", "x").replace("hot", "stuck").replace("x", "hot"))
    out = tmp_path / "run"
    words = ["train", str(later), "--from", str(first.run.path), "--out", str(out), "--set", "training.epochs=3"]
    words += ["--set", "decision.objective='posterior'", "--set", "split.validation_fold=1"]
    code = main([*words, "--set", "training.retrain_tolerance=0.0", "--json", str(tmp_path / "result.json")])
    result = json.loads((tmp_path / "result.json").read_text())["retraining"]
    # Which of two overlapping events counts in old blocks does not depend on the new ones.
    assert result["old_validation"]["before"]["macro_f1"] == first.metrics["validation"]["macro_f1"]
    assert result["old_validation"]["after"]["macro_f1"] < result["old_validation"]["before"]["macro_f1"]
    assert (code, result["accepted"]) == (1, False)
    assert not RunDirectory(out).accepted
    assert "the retrained model is not accepted" in capsys.readouterr().err
    with pytest.raises(RarefaultError, match="was not accepted when it was retrained"):
        retrain(later, RunDirectory(out), tmp_path / "next")


def test_what_the_weights_depend_on_cannot_change(first: Training, later: Path, tmp_path: Path) -> None:
    """Grid, window, network and counters are the run's; all conflicts come at once; equal values are none."""
    text = later.read_text()
    later.write_text(text + 'counters = ["flow"]\n[grid]\nperiod_s = 300\n[model]\nkernel = 3\nouter = [6, 4]\n')
    with pytest.raises(ConfigError) as caught:
        load_retrain_config(later, {}, first.run)
    named = [problem.split(":")[0] for problem in caught.value.problems]
    assert named == ["grid.period_s", "model.outer", "data.counters"]
    assert "leave the key out" in caught.value.problems[0]
    later.write_text(text + 'counters = ["meter"]\n[grid]\nperiod_s = 600\n[window]\nlength = 10\n')
    config = load_retrain_config(later, QUICK, first.run)
    assert (config.grid, config.model, config.training.epochs) == (
        first.run.load_config().grid,
        first.run.load_config().model,
        3,
    )
    with pytest.raises(ConfigError, match="modell: unknown key"):
        load_retrain_config(later, {"modell.kernel": 3}, first.run)


def test_new_data_that_does_not_fit_is_refused(first: Training, later: Path, tmp_path: Path) -> None:
    """An unknown fault and a missing channel are named, with what to do."""
    samples, events = later.parent / "samples.csv", later.parent / "events.csv"
    kept = events.read_text()
    events.write_text(kept.replace("hot", "worn"))
    with pytest.raises(HistoryError, match=r"does not know: worn; it knows hot, stuck: train anew"):
        retrain(later, first.run, tmp_path / "a")
    events.write_text(kept)
    samples.write_text(samples.read_text().replace("flow", "flux", 1))
    with pytest.raises(HistoryError, match=r"lacks 1 channel\(s\) of .*: flow"):
        retrain(later, first.run, tmp_path / "b")


def test_old_data_that_is_gone_is_named(first: Training, plant: Path, later: Path, tmp_path: Path) -> None:
    """Without the earlier history there is nothing to hold the new model against."""
    copy = tmp_path / "copy"
    shutil.copytree(first.run.path, copy)
    config = copy / "config.toml"
    config.write_text(config.read_text().replace("samples.csv", "gone.csv"))
    with pytest.raises(HistoryError, match=r"cannot be read any more: data\.samples: no file matches .*gone\.csv"):
        retrain(later, RunDirectory(copy), tmp_path / "a")
    header, *rows = (plant.parent / "samples.csv").read_text().splitlines()
    (copy / "less.csv").write_text("\n".join([header, *rows[: len(rows) * 3 // 4]]) + "\n")
    config.write_text(config.read_text().replace("gone.csv", "less.csv").replace(str(plant.parent), str(copy)))
    shutil.copy(plant.parent / "events.csv", copy / "events.csv")
    changed = load_sources(RunDirectory(copy))
    assert any("samples of" in note and "are gone from" in note for note in changed.notes)
    # A run that is trained on what is left says so once; the next one starts from that.
    second = retrain(later, RunDirectory(copy), tmp_path / "second", training__epochs=1)
    assert any("are gone from" in note for note in second.metrics["notes"])
    assert not load_sources(second.run).notes


def test_new_data_without_labels_is_refused(first: Training, later: Path, tmp_path: Path) -> None:
    """Who forgets to label what the journal has received since does not get a model that has learnt nothing new."""
    events = "".join(f"{name},1600000000,1900000000,unlabelled\n" for name in ("d0", "d1"))
    (later.parent / "events.csv").write_text(f"device,start,end,fault\n{events}")
    with pytest.raises(HistoryError, match="all of the new data is unlabelled: label it first"):
        retrain(later, first.run, tmp_path / "run")


def test_labels_speak_of_their_own_time_alone(plant: Path) -> None:
    """Merged with later data, unlabelled time and events of the earlier one end where its blocks end."""
    config = load_train_config(plant)
    history = read_history(config.data, plant.parent)
    end = int(history.time_ms[-1]) + 1
    block = Block("d0", int(history.time_ms[0]), end, "train")
    open_ended = replace(
        history,
        unlabelled=replace(
            history.unlabelled,
            device=np.zeros(1, np.int32),
            start_ms=np.array([end - DAY_MS]),
            end_ms=np.array([4_000_000_000_000]),
        ),
    )
    cut = restrict(open_ended, Split((block,), ()))
    assert cut.unlabelled.end_ms.tolist() == [end - 1]
    assert set(cut.device.tolist()) == {0}
    assert set(cut.events.device.tolist()) == {0}
    other = replace(history, devices=("d9", "d0"), time_ms=history.time_ms + 30 * DAY_MS)
    both = merge([history, other])
    assert both.devices == ("d0", "d1", "d9")
    assert len(both) == 2 * len(history)
    assert both.events.device.max() == 2


def test_blocks_without_what_is_taken() -> None:
    """A hole in a block leaves its two ends, where they are longer than a gap."""
    block = Block("p", 0, 100, "train")
    taken = [Block("p", 20, 30, "test"), Block("p", 95, 200, "test"), Block("q", 0, 100, "test")]
    left = [(b.start_ms, b.end_ms) for b in without([block, Block("q", 10, 20, "train")], taken, 19)]
    assert left == [(0, 20), (30, 95)]


def test_from_journal_and_answers_to_a_retrained_model(
    first: Training, write_plant: Callable[..., Path], tmp_path: Path
) -> None:
    """What the daemon kept, labelled from a log, goes into the next model: the way that a gateway's data takes."""
    (tmp_path / "new").mkdir()
    folder = move(write_plant(tmp_path / "new", days=8).parent, 12).parent
    rows = [row.split(",") for row in (folder / "samples.csv").read_text().splitlines()[1:]]
    rows.sort(key=lambda row: int(row[1]))
    journal = Journal(folder / "edge.journal", first.manifest.channels, "normal")
    journal.begin()
    number = {name: journal.add_device(name)[0] for name in ("d0", "d1")}
    journal.append(
        np.array([number[row[0]] for row in rows], np.int32),
        np.array([int(row[1]) for row in rows]),
        np.array([[float(cell) for cell in row[2:]] for row in rows]),
        0,
    )
    journal.commit()
    journal.close()
    labels = folder / "labels.csv"
    assert main(["label", str(folder / "edge.journal"), "--log", str(folder / "events.csv"), "-o", str(labels)]) == 0
    config = folder / "edge.toml"
    config.write_text('[data]\nformat = "journal"\npath = "edge.journal"\nevents = "labels.csv"\n')
    words = ["train", str(config), "--from", str(first.run.path), "--out", str(tmp_path / "run")]
    assert main([*words, "--set", "training.epochs=2", "--set", "training.retrain_tolerance=1"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["retraining"]["new_test"]["after"]["windows"] > 100
    assert (RunDirectory(tmp_path / "run").load_manifest().counters) == ("meter",)


def test_a_budget_goes_with_the_objective_of_its_run(first: Training, later: Path, tmp_path: Path) -> None:
    """An earlier run's budget is kept with its objective, and forgotten where the new file names another one."""
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(first.run.path, run.path)
    text = run.config.read_text(encoding="utf-8")
    budget = 'objective = "false_alarm_budget"\nfalse_alarms_per_device_day = 0.25'
    run.config.write_text(text.replace('objective = "macro_f1"', budget), encoding="utf-8")
    assert load_retrain_config(later, {}, run).decision.budget == 0.25
    for objective, left in (("false_alarm_budget", 0.25), ("event_f1", None)):
        decision = load_retrain_config(later, {"decision.objective": objective}, run).decision
        assert decision.false_alarms_per_device_day == left


def test_a_run_that_left_parts_out_goes_on_without_them(plant: Path, later: Path, tmp_path: Path) -> None:
    """There is no network to go on from; what is compared and served are the parts of the earlier run."""
    config = load_train_config(plant, {"training.epochs": 2, "training.parts": "auto"})
    before = train(config, plant.parent, tmp_path / "before")
    assert "network_device" in before.metrics["parts"]["dropped"]
    after = retrain(later, before.run, tmp_path / "after")
    assert after.model.network is None
    assert set(after.metrics["parts"]["kept"]) <= set(before.metrics["parts"]["kept"])
    assert after.metrics["parts"]["dropped"] == ()
    assert not set(after.run.load_config().wanted) & set(before.metrics["parts"]["dropped"])
    assert after.manifest.state_size == 0
    assert after.metrics["retraining"]["old_validation"]["before"]["macro_f1"] == pytest.approx(
        before.metrics["validation"]["macro_f1"]
    )
