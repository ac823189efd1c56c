"""Training from a TOML file to a run directory, on a small plant; and histories that cannot be learnt from."""

import dataclasses
import json
import operator
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError, RarefaultError, UsageError
from rarefault.runtime.inference.manifest import Derived
from rarefault.train.config import TrainConfig, load_train_config, to_toml
from rarefault.train.evaluation.evaluate import evaluate
from rarefault.train.fitting.network import Epoch, check_mixed
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.step import TorchStep
from rarefault.train.report import write_report
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.training import Observer, Training, train

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def trained(plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A finished training of the small plant."""
    made = train(load_train_config(plant), plant.parent, tmp_path_factory.mktemp("runs") / "a")
    write_report(made)
    return made


def network_of(model: Experts) -> NetworkExpert:
    assert model.network is not None
    return model.network


def scores(training: Training) -> dict[str, object]:
    return {part: training.metrics[part] for part in ("test", "validation")}


def test_it_learns_both_faults(trained: Training) -> None:
    """On held-out blocks the net sees both faults, the rare one too, and beats saying normal."""
    test = trained.metrics["test"]
    assert test["macro_f1"] > test["always_normal_macro_f1"] + 0.2
    assert all(row["recall"] > 0.3 for row in test["classes"].values())
    assert test["events_detected"] > 0


def test_it_derives_what_a_frozen_flow_shows_in(trained: Training) -> None:
    """Chosen from the training blocks, said, kept in the configuration, read by network and trees."""
    assert trained.manifest.derived == (Derived("flow", "still"),)
    assert "derived inputs beside the channels (grid.derived): still of flow" in trained.metrics["notes"]
    assert trained.run.load_config().grid.derived == ("flow~still",)
    assert trained.run.load_reference().window.shape[3] == len(trained.manifest.inputs) == 4
    stuck = [alarm for alarm in trained.test.verdicts.alarms if alarm.state == trained.manifest.classes.index("stuck")]
    named = {channel for alarm in stuck for channel, _ in alarm.channels}
    assert named
    assert named <= {0, 1, 2}  # channels, not inputs


def test_mixed_precision_learns_the_same(trained: Training, plant: Path, tmp_path: Path) -> None:
    """With products in bfloat16, the weights stay float32 and the result is about as good; or it is said what lacks."""
    config = load_train_config(plant, {"training.precision": "mixed"})
    try:
        check_mixed(torch.device("cpu"))
    except RarefaultError:
        with pytest.raises(RarefaultError, match="precision is 'mixed', but the device that trains"):
            train(config, plant.parent, tmp_path / "mixed")
        return
    mixed = train(config, plant.parent, tmp_path / "mixed")
    assert {p.dtype for p in network_of(mixed.model).parameters()} == {torch.float32}
    assert mixed.metrics["test"]["macro_f1"] > trained.metrics["test"]["macro_f1"] - 0.1
    losses = [[epoch["train_loss"] for epoch in run.load_json(run.curves)] for run in (mixed.run, trained.run)]
    assert losses[0][0] != losses[1][0]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.05)


def test_the_run_directory_is_complete_and_reads_back(trained: Training) -> None:
    """Every file is there; checkpoint and manifest come back as they were; the reference outputs are reproduced."""
    run = trained.run
    names = {file.name for file in run.path.iterdir()}
    assert names == {
        "checkpoint.pt", "manifest.json", "config.toml", "data.json", "split.json", "metrics.json", "curves.json",
        "reference.npz", "report.html",
    }  # fmt: skip
    assert run.load_manifest() == trained.manifest
    assert run.load_config() == load_train_config(run.config)
    reference = run.load_reference()
    model = run.load_model()
    with torch.inference_mode():
        state = torch.zeros(reference.window.shape[1], model.state_size)
        for window, opinions in zip(reference.window, reference.opinions, strict=True):
            out, state = model.step(torch.from_numpy(window), state)
            np.testing.assert_allclose(out.numpy(), opinions, atol=1e-6)


def test_the_validation_blocks_are_judged_by_a_model_that_has_not_seen_them(trained: Training, tmp_path: Path) -> None:
    """What is served has learnt from them, too, and knows them better; what is said of them is of what has not."""
    run, part = trained.run, trained.split.select(trained.history, "validation")
    unseen, served = (
        evaluate(part, trained.manifest, TorchStep(run.load_model(held_out=held_out)), "m").scores
        for held_out in (True, False)
    )
    assert served.log_loss < unseen.log_loss
    assert trained.metrics["validation"]["log_loss"] == pytest.approx(unseen.log_loss, abs=1e-6)
    target = tmp_path / "scores.json"
    assert main(["evaluate", str(run.path), "--part", "validation", "--json", str(target)]) == 0
    assert json.loads(target.read_text())["log_loss"] == pytest.approx(unseen.log_loss, abs=1e-6)


def test_learning_again_takes_new_weights(trained: Training) -> None:
    """Weights and trees are others than before they saw the validation blocks."""
    served, held_out = (trained.run.load_model(held_out=held_out) for held_out in (False, True))
    heads = [network_of(model).get_parameter("device.head.weight") for model in (served, held_out)]
    assert not torch.equal(*heads)
    assert served.trees is not None
    assert held_out.trees is not None
    assert not torch.equal(served.trees.threshold, held_out.trees.threshold)
    assert served.trees.extra is not None


def test_the_filter_can_be_left_out(trained: Training, plant: Path, tmp_path: Path) -> None:
    """With decision.filter = false, each window is judged by itself."""
    assert trained.manifest.decision.filter is not None
    assert trained.manifest.state_size == trained.model.state_size > 0
    changes = {"decision.filter": False, "trees.rounds": 0, "training.epochs": 1, "training.refit": False}
    done = train(load_train_config(plant, changes), plant.parent, tmp_path / "run")
    assert done.manifest.decision.filter is None
    pooling = dict(done.metrics["pooling"])
    assert pooling.pop("held_out_log_loss")["trees_alone"] is None
    assert pooling == {"experts": {"network": {"weight": 1.0, "unit_weight": 0.0}}, "filter": None}
    write_report(done)
    assert "The windows before a window do not count" in done.run.report.read_text(encoding="utf-8")


def test_how_trees_network_and_windows_are_pooled_is_told(trained: Training) -> None:
    """In metrics.json and in the report: the weight of each expert, and what the filter was fitted to."""
    pooling = json.loads(trained.run.metrics.read_text(encoding="utf-8"))["pooling"]
    decision = trained.manifest.decision
    weights = {expert.name: expert.weight for expert in decision.experts}
    assert list(weights) == ["network", "trees"]
    assert pooling == {
        "experts": {name: {"weight": weight, "unit_weight": 0.0} for name, weight in weights.items()},
        "filter": msgspec.to_builtins(decision.filter),
        "held_out_log_loss": trained.metrics["pooling"]["held_out_log_loss"],
    }
    report = trained.run.report.read_text(encoding="utf-8")
    for value in (*weights.values(), *pooling["filter"].values(), *pooling["held_out_log_loss"].values()):
        assert f"{value:.3f}" in report


def test_a_model_that_does_not_learn_again_is_the_same_everywhere(plant: Path, tmp_path: Path) -> None:
    """With training.refit = false, what is served is what the validation blocks were judged by."""
    config = load_train_config(plant, {"training.refit": False, "trees.rounds": 5, "training.epochs": 1})
    run = train(config, plant.parent, tmp_path / "run").run
    served, held_out = (run.load_model(held_out=held_out).saved() for held_out in (False, True))
    torch.testing.assert_close(served["trees"], held_out["trees"], rtol=0, atol=0)
    torch.testing.assert_close(served["network"]["weights"], held_out["network"]["weights"], rtol=0, atol=0)


def test_the_report_needs_nothing_from_outside(trained: Training) -> None:
    """One file, with its plots inside, that loads no script, style, font or picture from anywhere."""
    page = trained.run.report.read_text(encoding="utf-8")
    assert page.count("<svg") >= 6
    for outside in ('src="http', 'href="http', "@import", "<script", "url(http"):
        assert outside not in page.replace('xlink:href="#', "")


def test_the_report_begins_with_the_answer(trained: Training) -> None:
    """Verdict, a line for each fault and the advice stand before all figures; a contest's score has no place here."""
    page = trained.run.report.read_text(encoding="utf-8")
    answer = trained.metrics["answer"]
    assert page.index(answer["text"]) < page.index(answer["faults"]["hot"]["text"]) < page.index("Per class")
    assert all(page.index(re.split("[`<>&']", sentence)[0]) < page.index("Per class") for sentence in answer["next"])
    assert "PHM 2015" not in page
    assert sum(fault["events"] for fault in answer["faults"].values()) == trained.metrics["test"]["events_total"]


def test_a_log_whose_clock_is_off_is_noticed(trained: Training) -> None:
    """The same history with a log that is an hour late: verdicts come before the events."""
    events = trained.history.events
    hour_ms = 3_600_000
    late = dataclasses.replace(events, start_ms=events.start_ms + hour_ms, end_ms=events.end_ms + hour_ms)
    history = dataclasses.replace(trained.history, events=late)
    step = TorchStep(trained.model)
    offsets = [evaluate(part, trained.manifest, step, "m").scores.log_offset_s for part in (trained.history, history)]
    assert offsets[0] is None or abs(offsets[0]) < 2400
    assert offsets[1] is not None
    assert -4800 <= offsets[1] <= -2400


def test_the_cost_curve_passes_through_the_chosen_point(trained: Training) -> None:
    """At factor 1 it has the scores of the test blocks; higher thresholds miss more."""
    test, points = trained.metrics["test"], trained.metrics["cost_curve"]
    [chosen] = [point for point in points if point["factor"] == 1]
    assert chosen["false_alarms"] == test["false_alarms"]
    assert chosen["true_alarms"] == test["true_alarms"]
    assert chosen["events"] - chosen["missed"] == test["events_alarmed"]
    assert [point["factor"] for point in points] == sorted(point["factor"] for point in points)
    assert points[-1]["missed"] >= chosen["missed"] >= points[0]["missed"]
    page = trained.run.report.read_text(encoding="utf-8")
    assert "Alarms and events" in page
    assert "missed events, of" in page


def test_the_report_says_what_moved_the_alarms(trained: Training) -> None:
    """Every alarm of a fault on the test blocks stands there, with channels of the model."""
    raised = [alarm for alarm in trained.test.verdicts.alarms if 0 < alarm.state < len(trained.manifest.classes)]
    assert any(alarm.channels for alarm in raised)
    page = trained.run.report.read_text(encoding="utf-8")
    assert "What moved the alarms" in page
    assert f"{len(raised)} alarms, each with its channels" in page
    strongest = max((alarm for alarm in raised if alarm.channels), key=lambda alarm: alarm.channels[0][1])
    channel, given = strongest.channels[0]
    assert f"{trained.manifest.channels[channel]} {given:.2f}" in page


def test_a_history_in_slices_gives_the_same_verdicts(trained: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """Explained in slices, to bound the memory: the same verdicts and alarms as in one piece."""
    part = trained.split.select(trained.history, "test")
    whole = trained.test.verdicts
    monkeypatch.setattr("rarefault.train.evaluation.evaluate.EXPLAINED_AT_ONCE", 997)
    sliced = evaluate(part, trained.manifest, TorchStep(trained.model), "m", explained=True).verdicts
    for name in ("device", "end_ms", "fresh", "fault"):
        np.testing.assert_array_equal(getattr(sliced, name), getattr(whole, name))
    np.testing.assert_allclose(sliced.opinions, whole.opinions, atol=1e-5)
    key = operator.attrgetter("device", "end_ms", "state")
    assert sorted(map(key, sliced.alarms)) == sorted(map(key, whole.alarms))


def test_same_seed_same_metrics(plant: Path, trained: Training, tmp_path: Path) -> None:
    """Data, configuration and seed decide every figure."""
    again = train(load_train_config(plant), plant.parent, tmp_path / "b")
    assert scores(again) == scores(trained)
    other = train(load_train_config(plant, {"training.seed": 1}), plant.parent, tmp_path / "c")
    assert scores(other) != scores(trained)


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(plant: Path, trained: Training, tmp_path: Path) -> None:
    """Stopped in the sixth epoch and resumed, with fewer threads, it gives the metrics of the uninterrupted one."""
    out = tmp_path / "run"

    def interrupt(epoch: Epoch) -> None:
        if epoch.epoch == 6:
            raise KeyboardInterrupt

    config = load_train_config(plant)
    with pytest.raises(KeyboardInterrupt):
        train(config, plant.parent, out, observer=Observer(epoch=interrupt))
    with pytest.raises(UsageError, match="--resume goes on with it"):
        train(config, plant.parent, out)
    changed = load_train_config(plant, {"recipe.alpha": 0.5})
    with pytest.raises(RarefaultError, match="another configuration"):
        train(changed, plant.parent, out, resume=True)
    with pytest.raises(RarefaultError, match="training there is unfinished"):
        RunDirectory(out).load_model()
    resumed = train(load_train_config(plant, {"training.jobs": 1}), plant.parent, out, resume=True)
    assert scores(resumed) == scores(trained)
    assert not resumed.run.resume.exists()


@pytest.mark.parametrize("sampler", ["smote", "none"])
def test_other_samplers_train(plant: Path, tmp_path: Path, sampler: str) -> None:
    """SMOTE and no sampling at all are options of the same recipe."""
    config = load_train_config(plant, {"recipe.sampler": sampler, "training.epochs": 3})
    result = train(config, plant.parent, tmp_path / "run")
    assert result.metrics["epochs"] == 3


def test_a_history_without_any_fault_is_refused(write_plant: Callable[..., Path], tmp_path: Path) -> None:
    """There is nothing to learn from it, and the sentence says what to look at."""
    config = write_plant(tmp_path, faults=())
    with pytest.raises(HistoryError, match="no fault event, so there is nothing to learn"):
        train(load_train_config(config), tmp_path, tmp_path / "run")


def test_channels_that_say_nothing_are_kept_and_said(write_plant: Callable[..., Path], tmp_path: Path) -> None:
    """A constant channel and one without any value stay inputs; the notes say so; the model trains."""
    config = write_plant(tmp_path, days=6)
    samples = tmp_path / "samples.csv"
    header, *rows = samples.read_text(encoding="utf-8").splitlines()
    text = "\n".join([header + ",lamp,broken", *(f"{row},7,{'1' if i == 0 else ''}" for i, row in enumerate(rows))])
    samples.write_text(text + "\n", encoding="utf-8")
    notes: list[str] = []
    changes = {"training.epochs": 1, "split.seed": 2}
    result = train(load_train_config(config, changes), tmp_path, tmp_path / "run", observer=Observer(note=notes.append))
    assert any("never change in the training blocks: lamp" in note for note in notes)
    assert any("broken" in note for note in notes)
    assert "lamp" in result.manifest.channels
    assert result.metrics["notes"] == notes


def test_a_class_with_fewer_events_than_folds_is_said(write_plant: Callable[..., Path], tmp_path: Path) -> None:
    """It is trained on where it can be; where it has no window its scores are null."""
    config = write_plant(tmp_path, days=6)
    with (tmp_path / "events.csv").open("a", encoding="utf-8") as log:
        log.write("d0,1704070800000,1704074400000,leak\n")
    result = train(load_train_config(config, {"training.epochs": 1}), tmp_path, tmp_path / "run")
    assert any("fewer events than the 5 folds: leak (1);" in note for note in result.metrics["notes"])
    leak = [result.metrics[part]["classes"]["leak"] for part in ("test", "validation")]
    assert any(row["support"] == 0 and row["recall"] is None for row in leak)


@pytest.mark.parametrize("sampler", ["under", "smote"])
def test_unlabelled_time_is_neither_learnt_nor_scored(
    write_plant: Callable[..., Path], tmp_path: Path, sampler: str
) -> None:
    """Windows of days that nobody labelled are in no count of any part, and false alarms there are none."""
    config = write_plant(tmp_path)
    with (tmp_path / "events.csv").open("a", encoding="utf-8") as log:
        log.writelines(f"d{d},1704412800000,1704672000000,unlabelled\n" for d in (0, 1))
    changes = {"training.epochs": 2, "recipe.sampler": sampler}
    result = train(load_train_config(config, changes), tmp_path, tmp_path / "run")
    metrics = result.metrics
    assert sum(metrics["unlabelled_windows"].values()) > 200
    assert metrics["test"]["windows"] == sum(metrics["windows"]["test"].values())
    assert metrics["test"]["windows"] + metrics["unlabelled_windows"]["test"] == len(result.test.verdicts)
    assert "unlabelled" not in result.manifest.classes
    with (tmp_path / "events.csv").open("a", encoding="utf-8") as log:
        log.writelines(f"d{d},1600000000,1900000000,unlabelled\n" for d in (0, 1))
    (tmp_path / "events.csv").write_text((tmp_path / "events.csv").read_text().replace("stuck", "normal"))
    log_only = [line for line in (tmp_path / "events.csv").read_text().splitlines() if "hot" not in line]
    (tmp_path / "events.csv").write_text("\n".join(log_only) + "\nd0,1704067200,1704067201,hot\n")
    with pytest.raises(HistoryError, match="blocks has a label: their time is 'unlabelled'"):
        train(load_train_config(config), tmp_path, tmp_path / "other")


def test_the_resolved_configuration_reads_back(plant: Path) -> None:
    """Written with all defaults and read again, it is the same configuration."""
    config = load_train_config(plant)
    copy = plant.parent / "copy.toml"
    copy.write_text(to_toml(config), encoding="utf-8")
    assert load_train_config(copy) == config
    assert isinstance(config, TrainConfig)
    assert msgspec.structs.fields(config)


def test_all_problems_of_a_configuration_at_once(tmp_path: Path) -> None:
    """Unknown keys and impossible values come together, with their full paths."""
    file = tmp_path / "bad.toml"
    file.write_text(
        '[data]\nformat = "phm2015"\npath = "x"\nplant = [1]\n[recipe]\nalpha = -1\n[training]\nlr = 1\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load_train_config(file)
    text = "\n".join(caught.value.problems)
    assert "data.plant: unknown key; did you mean 'plants'?" in text
    assert "recipe.alpha" in text
    assert "training.lr: unknown key" in text


def test_the_budget_goes_with_its_objective(plant: Path, tmp_path: Path) -> None:
    """A budget beside another objective is refused; with its own it is kept, 1 where it is not given."""
    with pytest.raises(ConfigError, match="false_alarms_per_device_day needs"):
        load_train_config(plant, {"decision.false_alarms_per_device_day": 2.0})
    with pytest.raises(ConfigError, match="objective"):
        load_train_config(plant, {"decision.objective": "recall"})
    with pytest.raises(ConfigError, match="false_alarms_per_device_day"):
        load_train_config(
            plant, {"decision.objective": "false_alarm_budget", "decision.false_alarms_per_device_day": -1}
        )
    changes = {"decision.objective": "false_alarm_budget"}
    assert load_train_config(plant, changes).decision.budget == 1.0
    config = load_train_config(plant, changes | {"decision.false_alarms_per_device_day": 0.25})
    copy = tmp_path / "copy.toml"
    copy.write_text(to_toml(config), encoding="utf-8")
    assert load_train_config(copy).decision.budget == 0.25


def test_thresholds_within_a_budget(plant: Path, tmp_path: Path) -> None:
    """On the validation blocks, served as in service, the false alarms stay within the budget that was asked for."""
    budget = 0.4
    changes = {
        "training.epochs": 8,
        "decision.objective": "false_alarm_budget",
        "decision.false_alarms_per_device_day": budget,
    }
    metrics = train(load_train_config(plant, changes), plant.parent, tmp_path / "run").metrics
    met = metrics["validation"]["false_alarms_per_device_day"] <= budget
    assert met != any("a day and device: those with the fewest" in note for note in metrics["notes"])


def test_the_commands(plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``train`` and ``evaluate`` print scores, write JSON, and agree with each other."""
    out, result, scored = tmp_path / "run", tmp_path / "train.json", tmp_path / "evaluate.json"
    words = ["train", str(plant), "--out", str(out), "--set", "training.epochs=4", "--json", str(result)]
    assert main(words) == 0
    assert main(["evaluate", str(out), "--json", str(scored), "--report", str(tmp_path / "r.html")]) == 0
    assert json.loads(scored.read_text())["macro_f1"] == json.loads(result.read_text())["test"]["macro_f1"]
    printed = capsys.readouterr().out
    trained, evaluated = json.loads(result.read_text()), json.loads(scored.read_text())
    answer = trained["answer"]
    assert printed.index(answer["text"]) < printed.index("held-out test blocks of") < printed.index("macro-F1 (always")
    for name, fault in answer["faults"].items():
        assert re.search(rf"^  {name} +{fault['finding']} +{re.escape(fault['text'])}", printed, re.MULTILINE)
    assert f"notes          {len(trained['notes'])}: " in printed
    # Of a run, the command judges the same blocks by the same limits; only training knows the validation blocks beside.
    assert {**evaluated["answer"], "next": 0} == {**answer, "next": 0}
    worth = json.loads(result.read_text())["pooling"]["held_out_log_loss"]
    assert (
        f"held-out log loss {worth['as_served']:.3f}, {worth['trees_alone']:.3f} without it (model.network)" in printed
    )
    assert (tmp_path / "r.html").stat().st_size > 10_000
    assert main(["train", str(plant), "--out", str(out)]) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_evaluation_refuses_a_history_with_other_channels(
    trained: Training, write_plant: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The missing channel is named, and the one that is there instead."""
    config = write_plant(tmp_path, days=6)
    samples = tmp_path / "samples.csv"
    samples.write_text(samples.read_text(encoding="utf-8").replace("flow", "flux", 1), encoding="utf-8")
    assert main(["evaluate", str(trained.run.path), "--data", str(config), "--part", "all"]) == 1
    error = capsys.readouterr().err
    assert "lacks 1 channel(s)" in error
    assert "flow" in error
    assert "flux" in error
    shutil.rmtree(tmp_path)
