"""The step graph: what is in it, and that it computes what the network computes."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from rarefault.export.graph import step_graph, with_manifest
from rarefault.export.parity import Outputs, check_file, precise_step, random_sequence, run_sequence
from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import (
    METADATA_KEY,
    DecisionSpec,
    ExpertSpec,
    GridSpec,
    Manifest,
    UnitsSpec,
    WindowSpec,
)
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.inference.window_buffer import WindowBuffer
from rarefault.train.config import TreesConfig
from rarefault.train.dataset.unit_labels import NO_UNITS, UnitLabels, units_spec
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.model.experts import Experts
from rarefault.train.model.network import PRESETS, LRConvLSTM, ModelSpec
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.step import TorchStep
from rarefault.train.runs.run_directory import Reference, RunDirectory

SPECS = {
    "with indicator": ModelSpec(
        filters=3, kernel=3, inner=(6, 5), outer=(8, 4), dropout=0.5, clip=2.0, missing_indicator=True
    ),
    "without indicator": ModelSpec(
        filters=2, kernel=2, inner=(3, 7), outer=(4, 9), dropout=0.0, clip=5.0, missing_indicator=False
    ),
    "one filter, kernel of one": ModelSpec(
        filters=1, kernel=1, inner=(1, 1), outer=(1, 1), dropout=0.0, clip=1.0, missing_indicator=False
    ),
}


def network(spec: ModelSpec, n_channels: int = 3, n_classes: int = 4, length: int = 7) -> LRConvLSTM:
    """A network that has learnt something: its normalisations are not the initial ones."""
    torch.manual_seed(1)
    model = LRConvLSTM(spec, n_channels, n_classes, length)
    model.center.uniform_(-100, 100)
    model.scale.uniform_(0.1, 10)
    model.train()
    for _ in range(3):
        model(model.center + model.scale * torch.randn(8, length + 3, n_channels), stride=1)
    return model.eval()


def manifest_of(model: Experts, n_channels: int, length: int, units: UnitsSpec | None = None) -> Manifest:
    """A manifest that fits a model of four classes."""
    return Manifest(
        name="net",
        channels=tuple(f"x{i}" for i in range(n_channels)),
        classes=("normal", "fault_1", "fault_2", "fault_3"),
        grid=GridSpec(),
        window=WindowSpec(length=length, stride=1),
        state_size=model.state_size,
        decision=DecisionSpec(
            prior=(0.25,) * 4,
            thresholds=(0.25,) * 4,
            experts=tuple(ExpertSpec(name=name) for name in model.names),
            units=units,
        ),
    )


def assert_equal(model: Experts, path: Path, net: LRConvLSTM, units: UnitsSpec | None = None) -> Outputs:
    """The file of a model computes what the model does, for random windows and dead ones; its outputs."""
    manifest = manifest_of(model, net.n_channels, net.window_length, units)
    path.write_bytes(with_manifest(step_graph(model, manifest), manifest))
    step = TorchStep(model)
    center, scale = net.center.numpy(), net.scale.numpy()
    windows = random_sequence(np.random.default_rng(5), 4, net.window_length, center, scale)
    windows[3, 1] = np.nan
    windows[2, :, :, -1] = np.nan
    outputs = run_sequence(step, windows, np.zeros((4, model.state_size), np.float32))
    checks = check_file(load_model(path).step, step, precise_step(model), center, scale, Reference(windows, *outputs))
    assert len(checks) == 10
    assert all(check.holds for check in checks), checks
    return outputs


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_graph_computes_what_the_network_computes(spec: ModelSpec, tmp_path: Path) -> None:
    """Whatever the sizes, with and without the plane of missing values, file and network agree on every output."""
    net = network(spec)
    assert_equal(Experts(NetworkExpert(net, None), None), tmp_path / "net.onnx", net)


@pytest.mark.training
@pytest.mark.parametrize("units", [[], [[0], [2]], [[0, 1], [4, 3]]], ids=["no units", "of one", "of two channels"])
def test_the_trees_come_to_the_same_leaves(tmp_path: Path, units: list[list[int]]) -> None:
    """Beside the network or alone, with holes and dead channels, for a class that has no tree."""
    net = network(PRESETS["small"], n_channels=5, n_classes=4, length=12)
    rng = np.random.default_rng(1)
    center, scale = net.center.numpy(), net.scale.numpy()
    values = (center + scale * rng.normal(size=(2000, 5))).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    index = np.arange(len(values))
    spec = WindowSpec(length=12, stride=1)
    cut = WindowBuffer(spec, 5).push(Bins(np.zeros(len(values), np.int32), index, values, index == 0))
    label = np.digitize(
        np.nan_to_num(cut.rows[cut.end_row, 0], nan=center[0]), center[0] + scale[0] * np.array([-1, 1])
    )
    windows = LabelledWindows(cut, label, np.cumsum(cut.fresh), spec.stride)
    known = np.array(units, np.int64) if units else NO_UNITS
    trees = grow_trees(windows, (0.4, 0.3, 0.3, 1e-6), TreesConfig(rounds=30, extra_trees=20), 0, units=known)
    both = assert_equal(Experts(NetworkExpert(net, None), trees), tmp_path / "both.onnx", net)
    alone = assert_equal(Experts(None, trees), tmp_path / "trees.onnx", net)
    np.testing.assert_allclose(both[0][:, :, 1:], alone[0], atol=1e-6)
    assert alone[1].shape[2] == 0  # nothing is carried
    assert not {"LSTM", "Conv"} & {node.op_type for node in onnx.load(tmp_path / "trees.onnx").graph.node}


@pytest.mark.training
@pytest.mark.parametrize("everything", [False, True], ids=["some faults", "all faults"])
@pytest.mark.parametrize("length", [12, 40])
def test_faults_are_looked_for_at_each_unit(tmp_path: Path, length: int, everything: bool) -> None:
    """File and checkpoint agree where faults are of units, in windows shorter and longer than what units are asked."""
    units = np.array([[0, 1], [2, 3], [4, 5]])
    net = network(PRESETS["small"], n_channels=6, n_classes=4, length=length)
    rng = np.random.default_rng(1)
    center, scale = net.center.numpy(), net.scale.numpy()
    values = (center + scale * rng.normal(size=(1500, 6))).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    index = np.arange(len(values))
    spec = WindowSpec(length=length, stride=1)
    cut = WindowBuffer(spec, 6).push(Bins(np.zeros(len(values), np.int32), index, values, index == 0))
    last = cut.rows[cut.end_row]
    high = (last[:, units[:, 0]] - center[units[:, 0]]) / scale[units[:, 0]] > 1.2  # [W, U]
    low = (last[:, units[:, 1]] - center[units[:, 1]]) / scale[units[:, 1]] < -1.2
    third = np.zeros(len(cut.end_row), bool) if everything else np.nan_to_num(last[:, 0] - center[0]) > 0
    label = np.where(high.any(axis=1), 2, np.where(low.any(axis=1), 1, np.where(third, 3, 0)))
    known = np.ones((len(label), 2), bool)
    at_units = UnitLabels((1, 2), np.stack((low, high), axis=2), known, (2, 1, 3))
    windows = LabelledWindows(cut, label, np.cumsum(cut.fresh), spec.stride, at_units)
    prior = (0.4, 0.3, 0.2, 1e-6 if everything else 0.1)
    wanted = units_spec(at_units, windows.labelled, units, [f"p{c // 2}.{c % 2}" for c in range(6)])
    assert wanted is not None
    trees = grow_trees(windows, prior, TreesConfig(rounds=30, extra_trees=20), 0, units=units, at_units=wanted)
    assert trees is not None
    assert (len(trees.root) == 0) == everything
    outputs = assert_equal(Experts(NetworkExpert(net, wanted), trees), tmp_path / "units.onnx", net, wanted)
    assert outputs[0].shape[2:] == (2, 4 + 3 * 2)


def test_the_lstm_weights_are_constants_of_the_graph() -> None:
    """Four LSTM nodes, each with its weights and biases as initializers and nothing computed before them."""
    model = Experts(NetworkExpert(network(PRESETS["small"], length=16), None), None)
    graph = step_graph(model, manifest_of(model, 3, 16)).graph
    constants = {tensor.name for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type == "LSTM"]
    assert len(layers) == 4
    assert all(set(node.input[1:4]) <= constants for node in layers)
    assert sum(Counter(node.op_type for node in graph.node).values()) < 45


def test_a_batch_of_any_size(run: RunDirectory) -> None:
    """The number of devices is free in every input and output."""
    model = run.load_model()
    graph = step_graph(model, run.load_manifest())
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.graph.input, *graph.graph.output)] == [
        "N"
    ] * 4


def test_the_file_describes_itself(tiny_export: Path) -> None:
    """Manifest, producer and a sentence for people are in the file; the number of parameters is in the manifest."""
    model = onnx.load(tiny_export / "tiny.onnx")
    assert model.producer_name == "rarefault"
    assert "4 channels, 3 classes" in model.doc_string
    texts = {entry.key: entry.value for entry in model.metadata_props}
    manifest = Manifest.from_json(texts[METADATA_KEY])
    run = RunDirectory(tiny_export / "run")
    assert manifest.training.pop("parameters") == run.load_model().parameters > 1000
    assert manifest == run.load_manifest()


def test_the_same_checkpoint_gives_the_same_bytes(run: RunDirectory) -> None:
    """The model's id is a digest of the file, so a second export must not make another model of it."""
    manifest = run.load_manifest()
    first = with_manifest(step_graph(run.load_model(), manifest), manifest)
    assert with_manifest(step_graph(run.load_model(), manifest), manifest) == first
