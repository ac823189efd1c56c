"""The exporter: what it writes, and that it leaves nothing where something is wrong."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tests.train.conftest import write_plant
from torch import nn

from rarefault.export.exporter import STAGES, export_run
from rarefault.export.graph import step_graph
from rarefault.export.parity import Check
from rarefault.runtime.cli import main
from rarefault.runtime.errors import ParityError, RarefaultError, UsageError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.train.config import load_train_config
from rarefault.train.evaluation.evaluate import run_pipeline
from rarefault.train.model.experts import Experts
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.training import train


def test_the_file_is_what_the_daemon_loads(run: RunDirectory, tmp_path: Path, exported: LoadedModel) -> None:
    """One file, nothing beside it, the same bytes as ever; stages are told in order; all checks are kept."""
    output = tmp_path / "plant.onnx"
    stages: list[str] = []
    made = export_run(run, output, on_stage=stages.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plant.onnx", "run"]
    assert tuple(stages) == STAGES
    assert made.model.path == output
    assert made.model.model_id == load_model(output).model_id == exported.model_id
    assert made.model.size_bytes == made.float32_bytes == output.stat().st_size
    assert made.model.manifest.precision == "float32"
    assert len(made.checks) == 12
    assert all(check.holds for check in made.checks)


def net_of(model: Experts) -> nn.Module:
    assert model.network is not None
    assert model.network.device is not None
    return model.network.device


def weights(model: nn.Module) -> list[str]:
    """Everything in a checkpoint that the network computes with."""
    return [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]


def test_every_changed_weight_of_a_checkpoint_is_noticed(run: RunDirectory, tmp_path: Path) -> None:
    """One number changed after training, in whichever tensor: refused with the measured difference."""
    output = tmp_path / "plant.onnx"
    output.write_bytes(b"the file of before")
    original = net_of(run.load_model())
    names = weights(original)
    assert {"encoding.edges", "norm1.running_var", "inner1.weight_hh_l0", "head.weight"} <= set(names)
    for name in names:
        model = run.load_model()
        value = net_of(model).state_dict()[name].view(-1)
        value[0] += 0.2 * max(1.0, abs(float(value[0])))
        run.save_model(model)
        with pytest.raises(ParityError, match=r"checkpoint\.pt is not what was trained .* differs by") as caught:
            export_run(run, output)
        assert caught.value.measured > caught.value.allowed == 1e-5, name
    assert output.read_bytes() == b"the file of before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plant.onnx", "run"]


def test_a_broken_graph_is_not_written(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that computes something else than the checkpoint is refused with the difference, and no file is left."""

    def broken(model: Experts, manifest: Manifest) -> onnx.ModelProto:
        graph = step_graph(model, manifest)
        tensor = next(t for t in graph.graph.initializer if t.name == "device_outer1_R")
        value = numpy_helper.to_array(tensor).copy()
        value.flat[3] += 0.05
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return graph

    monkeypatch.setattr("rarefault.export.exporter.step_graph", broken)
    with pytest.raises(
        ParityError, match=r"plant\.onnx is not written, .* file vs checkpoint, .* differs by"
    ) as caught:
        export_run(run, tmp_path / "plant.onnx")
    assert caught.value.measured > caught.value.allowed
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_interrupted_export_leaves_nothing(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stops it half-way, no part of a file stays."""
    seen: list[str] = []

    def interrupt(*_: object) -> list[Check]:
        seen.extend(path.name for path in tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("rarefault.export.exporter.check_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_run(run, tmp_path / "plant.onnx")
    assert len(seen) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_parts_of_different_trainings_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    """A manifest with other classes than the network has is named before anything is computed."""
    manifest = run.load_manifest()
    decision = msgspec.structs.replace(manifest.decision, prior=(0.5, 0.5), thresholds=(0.5, 0.5))
    run.save_manifest(msgspec.structs.replace(manifest, classes=manifest.classes[:2], decision=decision))
    with pytest.raises(RarefaultError, match="have 3 and 4 values in an opinion; they are not of one training"):
        export_run(run, tmp_path / "plant.onnx")


@pytest.mark.parametrize("missing", ["checkpoint", "manifest", "reference"])
def test_an_unfinished_run_is_refused(run: RunDirectory, tmp_path: Path, missing: str) -> None:
    """What is missing of the run directory is named, with how to make one."""
    getattr(run, missing).unlink()
    with pytest.raises(
        RarefaultError, match=rf"{missing}\..* is missing; a run directory is made by 'rarefault train'"
    ):
        export_run(run, tmp_path / "plant.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_damaged_checkpoint_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    """A checkpoint that is cut short is named."""
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:1000])
    with pytest.raises(RarefaultError, match=r"checkpoint\.pt: damaged"):
        export_run(run, tmp_path / "plant.onnx")


@pytest.mark.training
def test_a_model_without_a_network_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, exported, and judging as the checkpoint does; there is nothing of it for int8."""
    config = write_plant(tmp_path)
    changes = {"model.network": False, "trees.rounds": 20, "trees.extra_trees": 10}
    done = train(load_train_config(config, changes), config.parent, tmp_path / "alone")
    written = export_run(done.run, tmp_path / "plant.onnx")
    assert written.model.manifest.state_size == 0
    part = done.split.select(done.history, "test")
    found = run_pipeline(part, written.model.manifest, written.model.step, written.model.model_id)
    np.testing.assert_array_equal(found.fault, done.test.verdicts.fault)
    np.testing.assert_allclose(found.posterior, done.test.verdicts.posterior, atol=1e-5)
    assert main(["inspect", str(written.model.path)]) == 0
    shown = capsys.readouterr().out
    assert "0 values (0.0 KiB) carried per device" in shown
    # What is derived is computed by the daemon as it was for the trainer.
    assert written.model.manifest.inputs == (*done.history.channels, "flow~still")
    assert "1: flow~still" in shown
    with pytest.raises(UsageError, match=r"has no network \('parts' in its metrics.json\).*export without it"):
        export_run(done.run, tmp_path / "int8.onnx", int8=True)
    assert not (tmp_path / "int8.onnx").exists()


def test_where_it_cannot_be_written(run: RunDirectory, tmp_path: Path) -> None:
    """A missing folder and a folder in the file's place are bad usage, said before any work is done."""
    with pytest.raises(UsageError, match=r"the folder .*nowhere does not exist; make it first"):
        export_run(run, tmp_path / "nowhere" / "plant.onnx")
    with pytest.raises(UsageError, match="is a folder; name the file to write in it"):
        export_run(run, run.path)


def test_the_number_of_torch_threads_is_put_back(run: RunDirectory, tmp_path: Path) -> None:
    """The caller's torch is as it was, after success and after failure."""
    torch.set_num_threads(2)
    try:
        export_run(run, tmp_path / "plant.onnx")
        run.checkpoint.unlink()
        with pytest.raises(RarefaultError):
            export_run(run, tmp_path / "plant.onnx")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
