"""The parts of a model in a whole training: chosen, listed, served, and gone on from."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rarefault.export.exporter import export_run
from rarefault.runtime.commands.inspection import inspect_model
from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.config import TrainConfig, load_train_config, to_toml
from rarefault.train.report import write_report
from rarefault.train.runs.checks import check_judges
from rarefault.train.runs.retraining import load_retrain_config
from rarefault.train.runs.training import Training, train

QUICK = {"training.epochs": 2}


def trained(plant: Path, out: Path, parts: Any, **changes: Any) -> Training:
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    return train(load_train_config(plant, {**QUICK, **keys, "training.parts": parts}), plant.parent, out)


@pytest.fixture(scope="module")
def chosen(plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Two epochs teach the network nothing that the trees do not know."""
    return trained(plant, tmp_path_factory.mktemp("chosen") / "run", "auto")


@pytest.mark.training
def test_what_is_left_out_is_neither_trained_again_nor_served(chosen: Training) -> None:
    """Refit, checkpoint and manifest have the chosen parts alone; nothing is carried without a network."""
    parts = chosen.metrics["parts"]
    assert "network_device" in parts["dropped"]
    assert "trees_device" in parts["kept"]
    assert not set(parts["kept"]) & set(parts["dropped"])
    assert parts["tried"]["network_device"]["dropped"]
    assert parts["log_loss"] <= max(1.01 * parts["all_log_loss"], parts["all_log_loss"] + 2e-4)
    assert parts["blocks"] >= 8
    assert chosen.manifest.training["parts"] == list(parts["kept"])
    assert [expert.name for expert in chosen.manifest.decision.experts] == ["trees"]
    assert (chosen.manifest.decision.filter is not None) == ("filter" in parts["kept"])
    for held_out in (False, True):
        model = chosen.run.load_model(held_out=held_out)
        assert (model.network, model.state_size) == (None, 0)
        assert set(model.parts) == set(parts["kept"]) - {"filter"}
    assert chosen.manifest.state_size == 0


@pytest.mark.training
def test_report_and_inspection_say_which_parts_there_are(
    chosen: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report in a sentence with the numbers and in a table, ``inspect`` in a line."""
    write_report(chosen)
    report = chosen.run.report.read_text(encoding="utf-8")
    assert "Served: trees of whole devices" in report
    assert "network of whole devices (as good without it: held-out log loss" in report
    assert "<code>network_device</code></td><td>left out</td>" in report
    export_run(chosen.run, tmp_path / "plant.onnx")
    inspect_model(tmp_path / "plant.onnx", 1, None)
    assert f"parts      {', '.join(chosen.metrics['parts']['kept'])}\n" in capsys.readouterr().out


@pytest.mark.training
def test_without_a_refit_the_parts_are_taken_out(plant: Path, chosen: Training, tmp_path: Path) -> None:
    """The same choice, and the trees of the training blocks as they were."""
    found = trained(plant, tmp_path / "run", "auto", training__refit=False)
    assert found.metrics["parts"] == chosen.metrics["parts"]
    assert found.model.network is None
    before = chosen.run.load_model(held_out=True).trees
    assert before is not None
    assert found.model.trees is not None
    assert found.model.trees.threshold.equal(before.threshold)
    assert found.metrics["validation"]["log_loss"] == pytest.approx(chosen.metrics["validation"]["log_loss"])


@pytest.mark.training
def test_a_retraining_has_the_parts_of_the_earlier_run(plant: Path, chosen: Training) -> None:
    """There is no network to go on from; a list that names one is a contradiction."""
    config = load_retrain_config(plant, {"training.parts": "auto"}, chosen.run)
    kept = [part for part in config.wanted if part not in chosen.metrics["parts"]["dropped"]]
    assert load_retrain_config(plant, {"training.parts": kept}, chosen.run).training.parts == tuple(kept)
    with pytest.raises(ConfigError, match=r"training\.parts: .*network_device.* is not the .*trees_device"):
        load_retrain_config(plant, {"training.parts": ["network_device", "trees_device"]}, chosen.run)


@pytest.mark.training
def test_only_listed_parts_are_trained(plant: Path, tmp_path: Path) -> None:
    """No choice, no trees, no filter; the configuration of the run says so, and reads back."""
    found = trained(plant, tmp_path / "run", ["network_device"])
    assert found.model.parts == ("network_device",)
    assert found.model.trees is None
    assert found.metrics["parts"]["kept"] == ("network_device",)
    assert found.metrics["parts"]["dropped"] == ()
    assert found.metrics["estimated_seconds"]["trees"] == 0
    assert "trees" not in found.metrics["seconds"]
    resolved = found.run.load_config()
    assert resolved.wanted == resolved.training.parts == ("network_device",)
    assert (resolved.trees.rounds, resolved.decision.filter) == (0, False)


def test_parts_that_contradict_other_keys_are_refused(plant: Path) -> None:
    """With both keys in the sentence; and so are parts of which none judges."""
    for parts, changes, message in (
        (
            ["network_device", "trees_device"],
            {"model.network": False},
            r"has network_device, but model\.network = false",
        ),
        (["trees_device", "filter"], {"decision.filter": False}, r"has filter, but decision\.filter = false"),
        (["trees_device", "extra_trees"], {"trees.extra_trees": 0}, r"has extra_trees, but trees\.extra_trees = 0"),
        (["filter"], {}, "must have one of network_device, trees_device, network_units, trees_units"),
        (["extra_trees", "network_device"], {}, "extra_trees without trees_device"),
        (["network"], {}, r"parts\[0\]: invalid enum value 'network'; must be 'network_device', 'network_units', 't"),
        ("some", {}, "parts: invalid enum value 'some'; must be 'auto', 'all' or a list"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_train_config(plant, {**changes, "training.parts": parts})


def test_faults_that_nothing_would_find_are_refused(plant: Path) -> None:
    """The history decides whether there are any of whole devices, and of units."""
    units = UnitsSpec(names=("a",), channels=((0,),), faults=(1,), rarest_first=(1, 2), prior=(0.1,))
    classes = ("normal", "leak", "power")
    with pytest.raises(HistoryError, match=r"neither network_device nor trees_device.*whole devices.*: power; name"):
        check_judges(("trees_units", "filter"), units, classes)
    with pytest.raises(HistoryError, match=r"neither network_units nor trees_units.*faults of units.*: leak; name"):
        check_judges(("trees_device",), units, classes)
    check_judges(("trees_device",), None, classes)
    check_judges(("trees_units",), units, classes[:2])
    check_judges(load_train_config(plant).wanted, units, classes)


def test_a_configuration_of_some_parts_is_as_good_as_the_keys_that_turn_the_others_off(plant: Path) -> None:
    """Each part can be taken away by itself, and the result is written and read as it is."""
    whole = load_train_config(plant)
    for part in whole.wanted:
        others = [other for other in whole.wanted if other != part and (part, other) != ("trees_device", "extra_trees")]
        found = whole.with_parts(others)
        assert found.wanted == tuple(others)
        text = msgspec.toml.decode(to_toml(found), type=TrainConfig)
        assert text.wanted == found.wanted
