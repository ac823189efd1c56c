"""The step graph: what is in it, and that it computes what the network computes."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch

from rarefault.export.graph import step_graph, with_manifest
from rarefault.export.parity import check_file, precise_step, random_sequence, run_sequence
from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import METADATA_KEY, DecisionSpec, GridSpec, Manifest, WindowSpec
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.inference.window_buffer import WindowBuffer
from rarefault.train.config import TreesConfig
from rarefault.train.dataset.unit_labels import NO_UNITS, UnitLabels
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.model.forward_filter import ForwardFilter
from rarefault.train.model.network import PRESETS, LRConvLSTM, ModelSpec
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


FILTER = ForwardFilter.of((0.3, 0.1, 0.7, 0.4), (0.4, 0.3, 0.3, 1e-6), (0.9, 0.07, 0.03, 1e-6)).float()


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


def manifest_of(model: LRConvLSTM) -> Manifest:
    """A manifest that fits a network."""
    k = model.n_classes
    return Manifest(
        name="net",
        channels=tuple(f"x{i}" for i in range(model.n_channels)),
        classes=("normal", *(f"fault_{i}" for i in range(1, k))),
        grid=GridSpec(),
        window=WindowSpec(length=model.window_length, stride=1),
        state_size=model.state_size,
        decision=DecisionSpec(training_prior=(1 / k,) * k, true_prior=(1 / k,) * k, thresholds=(1 / k,) * k),
    )


@pytest.mark.parametrize("filtered", [False, True], ids=["plain", "filtered"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_graph_computes_what_the_network_computes(spec: ModelSpec, filtered: bool, tmp_path: Path) -> None:
    """Whatever the sizes, with and without the plane of missing values, file and network agree on every output."""
    model = network(spec)
    model.filter = FILTER if filtered else None
    path = tmp_path / "net.onnx"
    path.write_bytes(with_manifest(step_graph(model), manifest_of(model)))
    step = TorchStep(model)
    center, scale = model.center.numpy(), model.scale.numpy()
    windows = random_sequence(np.random.default_rng(5), 4, model.window_length, center, scale)
    reference = Reference(windows, *run_sequence(step, windows, np.zeros((4, model.state_size), np.float32)))
    checks = check_file(load_model(path).step, step, precise_step(model), center, scale, reference)
    assert len(checks) == 10
    assert all(check.holds for check in checks), checks


@pytest.mark.training
@pytest.mark.parametrize("units", [[], [[0], [2]], [[0, 1], [4, 3]]], ids=["no units", "of one", "of two channels"])
def test_the_trees_come_to_the_same_leaves(tmp_path: Path, units: list[list[int]]) -> None:
    """Beside the network or alone, with holes and dead channels, for a class that has no tree, filtered or not."""
    model = network(PRESETS["small"], n_channels=5, n_classes=4, length=12)
    rng = np.random.default_rng(1)
    center, scale = model.center.numpy(), model.scale.numpy()
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
    model.trees = grow_trees(windows, 4, (0.4, 0.3, 0.3, 1e-6), TreesConfig(rounds=30, extra_trees=20), 0, units=known)
    assert model.trees is not None
    filters = (None, FILTER, None, FILTER)
    for share, model.filter in zip(([0.0] * 4, [0.4] * 4, [0.4, 0.4, 1.0, 0.0], [1.0] * 4), filters, strict=True):
        model.trees.share.copy_(torch.tensor(share))
        path = tmp_path / "both.onnx"
        path.write_bytes(with_manifest(step_graph(model), manifest_of(model)))
        step = TorchStep(model)
        sequence = random_sequence(np.random.default_rng(5), 4, 12, center, scale)
        sequence[3, 1] = np.nan
        sequence[2, :, :, 4] = np.nan
        reference = Reference(sequence, *run_sequence(step, sequence, np.zeros((4, model.state_size), np.float32)))
        checks = check_file(load_model(path).step, step, precise_step(model), center, scale, reference)
        assert all(check.holds for check in checks), checks
    # The last of them heard the trees alone: so does a model that has no network, whose file has nothing of one either.
    alone = LRConvLSTM(msgspec.structs.replace(model.spec, network=False), 5, 4, 12).eval()
    alone.center.copy_(model.center)
    alone.scale.copy_(model.scale)
    alone.trees, alone.filter = model.trees, FILTER
    path = tmp_path / "trees.onnx"
    path.write_bytes(with_manifest(step_graph(alone), manifest_of(alone)))
    assert not {"LSTM", "Conv"} & {node.op_type for node in step_graph(alone).graph.node}
    step = TorchStep(alone)
    got = run_sequence(step, sequence, np.zeros((4, 4), np.float32))
    checks = check_file(load_model(path).step, step, precise_step(alone), center, scale, Reference(sequence, *got))
    assert all(check.holds for check in checks), checks
    outer = model.outer_size
    np.testing.assert_allclose(got[0], reference.log_prob, atol=1e-6)
    np.testing.assert_allclose(got[1], reference.state[..., outer:], atol=1e-6)


@pytest.mark.training
@pytest.mark.parametrize("everything", [False, True], ids=["some faults", "all faults"])
@pytest.mark.parametrize("length", [12, 40])
def test_faults_are_looked_for_at_each_unit(tmp_path: Path, length: int, everything: bool) -> None:
    """File and checkpoint agree where faults are of units, in windows shorter and longer than what units are asked."""
    units = np.array([[0, 1], [2, 3], [4, 5]])
    model = network(PRESETS["small"], n_channels=6, n_classes=4, length=length)
    rng = np.random.default_rng(1)
    center, scale = model.center.numpy(), model.scale.numpy()
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
    model.trees = grow_trees(windows, 4, prior, TreesConfig(rounds=30, extra_trees=20), 0, units=units)
    assert model.trees is not None
    assert model.trees.at_units is not None
    assert (len(model.trees.root) == 0) == everything
    model.trees.share.copy_(torch.tensor([0.5, 1.0, 0.7, 0.2]))
    path = tmp_path / "units.onnx"
    path.write_bytes(with_manifest(step_graph(model), manifest_of(model)))
    step = TorchStep(model)
    sequence = random_sequence(np.random.default_rng(5), 4, length, center, scale)
    sequence[3, 1] = np.nan
    reference = Reference(sequence, *run_sequence(step, sequence, np.zeros((4, model.state_size), np.float32)))
    checks = check_file(load_model(path).step, step, precise_step(model), center, scale, reference)
    assert all(check.holds for check in checks), checks


def test_the_lstm_weights_are_constants_of_the_graph() -> None:
    """Four LSTM nodes, each with its weights and biases as initializers and nothing computed before them."""
    graph = step_graph(network(PRESETS["small"], length=16)).graph
    constants = {tensor.name for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type == "LSTM"]
    assert len(layers) == 4
    assert all(set(node.input[1:4]) <= constants for node in layers)
    assert sum(Counter(node.op_type for node in graph.node).values()) < 45


def test_a_batch_of_any_size(run: RunDirectory) -> None:
    """The number of devices is free in every input and output."""
    model = run.load_model()
    graph = step_graph(model)
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
    network = run.load_model()
    assert manifest.training.pop("parameters") == sum(p.numel() for p in network.parameters())
    assert manifest == run.load_manifest()


def test_the_same_checkpoint_gives_the_same_bytes(run: RunDirectory) -> None:
    """The model's id is a digest of the file, so a second export must not make another model of it."""
    first = with_manifest(step_graph(run.load_model()), run.load_manifest())
    assert with_manifest(step_graph(run.load_model()), run.load_manifest()) == first
