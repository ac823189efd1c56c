"""The step graph: what is in it, and that it computes what the network computes."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from rarefault.export.graph import step_graph, with_manifest
from rarefault.export.parity import Outputs, check_file, precise_step, random_sequence, run_sequence
from rarefault.runtime.arrays import Float32
from rarefault.runtime.inference.decision.pool import Pool
from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import (
    METADATA_KEY,
    DecisionSpec,
    DistanceSpec,
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
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.parts import ModelPart, NetworkName
from rarefault.train.model.sizes import PRESETS, ModelSpec
from rarefault.train.model.step import TorchStep
from rarefault.train.runs.run_directory import Reference, RunDirectory

SPECS = {
    "plain": ModelSpec(
        edges=5, planes=4, filters=3, kernel=3, inner=(6, 5), outer=(8, 4), recent=2, hidden=6, dropout=0.5
    ),
    "more recent bins than a window has": ModelSpec(
        edges=9, planes=2, filters=2, kernel=2, inner=(3, 7), outer=(4, 9), recent=40, hidden=5, dropout=0.0
    ),
    "one of each": ModelSpec(
        edges=2, planes=1, filters=1, kernel=1, inner=(1, 1), outer=(1, 1), recent=1, hidden=1, dropout=0.0
    ),
}
#: Two units of two columns, with one fault that is looked for there; the fifth column is the device's.
AT_UNITS = UnitsSpec(
    names=("x01", "x23"), channels=((0, 1), (3, 2)), faults=(2,), rarest_first=(3, 2, 1), prior=(0.05,)
)


#: Trees of which some are left out.
ALL_BUT_SOME: tuple[tuple[ModelPart, ...], ...] = (
    ("trees_device", "extra_trees"),
    ("trees_device", "trees_units"),
    ("trees_device",),
    ("trees_units",),
)


def scales(n_columns: int) -> tuple[Float32, Float32]:
    """Centre and scale of the telemetry, [I] each."""
    rng = np.random.default_rng(3)
    return rng.uniform(-100, 100, n_columns).astype(np.float32), rng.uniform(0.1, 10, n_columns).astype(np.float32)


def network(
    spec: ModelSpec, columns: int = 3, classes: int = 4, length: int = 7, units: UnitsSpec | None = None
) -> NetworkExpert:
    """A network that has learnt something: its edges and normalisations are not the initial ones."""
    torch.manual_seed(1)
    found = NetworkExpert(spec, columns, classes, length, units)
    center, scale = (torch.from_numpy(x) for x in scales(columns))
    x = center + scale * torch.randn(8, length + 3, columns)
    for name, part in found.parts():
        own = x[..., list(units.channels[0])] if units is not None and name == "at_units" else x
        values = part.inputs_of(own).flatten(0, 1)
        part.encoding.edges.copy_(torch.quantile(values, torch.linspace(0, 1, spec.edges), dim=0).T)
        part.train()
        for _ in range(3):
            part(own, stride=1)
    with torch.no_grad():
        for measure in (found.device_distance, found.unit_distance):
            if measure is not None:
                measure.axes.normal_()
                measure.means.normal_()
    return found.eval()


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
            distance=None if model.network is None else DistanceSpec(quantiles=(0.0, 1.0)),
        ),
    )


def assert_equal(model: Experts, path: Path, n_columns: int, length: int, units: UnitsSpec | None = None) -> Outputs:
    """The file of a model computes what the model does, for random windows and dead ones; its outputs."""
    manifest = manifest_of(model, n_columns, length, units)
    path.write_bytes(with_manifest(step_graph(model, manifest), manifest))
    step = TorchStep(model)
    center, scale = scales(n_columns)
    windows = random_sequence(np.random.default_rng(5), 4, length, center, scale)
    windows[3, 1] = np.nan
    windows[2, :, :, -1] = np.nan
    outputs = run_sequence(step, windows, np.zeros((4, model.state_size), np.float32))
    checks = check_file(load_model(path).step, step, precise_step(model), center, scale, Reference(windows, *outputs))
    assert len(checks) == 10
    assert all(check.holds for check in checks), checks
    return outputs


def assert_neutral(
    opinions: Float32, of_device: bool, of_units: bool, prior: tuple[float, ...], units: UnitsSpec
) -> None:
    """Opinions [T, N, V] without a part are those of the prior, others are not."""
    pool = Pool(prior, units)
    log_prior, logits = pool.log_prior, np.tile(pool.unit_logit, len(units.names))
    for part, expected, there in (
        (opinions[..., :4], log_prior, of_device),
        (opinions[..., 4 : pool.width], logits, of_units),
    ):
        assert (np.abs(part - expected).max() < 1e-5) == (not there)


def assert_all_needed(graph: onnx.GraphProto) -> None:
    """No node and no constant of the graph is there for nothing."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    assert all(read & set(node.output) for node in graph.node)
    assert {constant.name for constant in graph.initializer} <= read


@pytest.mark.parametrize("left", ["device", "at_units"])
def test_a_network_expert_without_one_of_its_networks(left: NetworkName, tmp_path: Path) -> None:
    """File and model agree; the other part of the opinion is the prior, and the state is that of what is left."""
    whole, prior = network(SPECS["plain"], 5, units=AT_UNITS), (0.7, 0.1, 0.15, 0.05)
    found = whole.only([left], prior)
    assert found is not None
    assert 0 < found.state_size < whole.state_size
    outputs, state = assert_equal(Experts(found, None), tmp_path / "net.onnx", 5, 7, AT_UNITS)
    assert state.shape[2] == found.state_size
    assert_neutral(outputs[:, :, 0], left == "device", left == "at_units", prior, AT_UNITS)
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert sum(node.op_type == "LSTM" for node in graph.node) == 4
    assert_all_needed(graph)


@pytest.mark.parametrize("units", [None, AT_UNITS], ids=["no units", "units"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_graph_computes_what_the_network_computes(spec: ModelSpec, units: UnitsSpec | None, tmp_path: Path) -> None:
    """Whatever the sizes, for 1, 7 and 64 devices, with states and with dead units, file and network agree."""
    found = network(spec, 5, units=units)
    found.absent[1] = True
    outputs, state = assert_equal(Experts(found, None), tmp_path / "net.onnx", 5, 7, units)
    assert outputs.shape[2:] == (1, 4 + (2 if units else 0) + 1)
    assert np.abs(np.diff(outputs[..., -1], axis=0)).max() > 1e-3
    assert state.shape[2] == found.state_size
    assert np.abs(np.diff(outputs[..., 0], axis=0)).max() > 1e-4


def test_a_unit_without_a_value_gives_its_prior_in_the_file(tmp_path: Path) -> None:
    """As the checkpoint does; the other unit goes on."""
    model = Experts(network(SPECS["plain"], 5, units=AT_UNITS), None)
    manifest = manifest_of(model, 5, 7, AT_UNITS)
    (tmp_path / "net.onnx").write_bytes(with_manifest(step_graph(model, manifest), manifest))
    center, scale = scales(5)
    window = (center + scale * np.random.default_rng(0).normal(size=(3, 7, 5))).astype(np.float32)
    window[1, :, [0, 1]] = np.nan
    window[2, :-1, [0, 1]] = np.nan
    logits = load_model(tmp_path / "net.onnx").step(window, np.zeros((3, model.state_size), np.float32))[0][:, 0, 4:6]
    prior = np.log(0.05 / 0.95)
    assert logits[1, 0] == pytest.approx(prior, abs=1e-5)
    assert np.abs(logits[[0, 2], 0] - prior).min() > 1e-4
    assert np.abs(logits[:, 1] - prior).min() > 1e-4


@pytest.mark.training
@pytest.mark.parametrize("units", [[], [[0], [2]], [[0, 1], [4, 3]]], ids=["no units", "of one", "of two channels"])
def test_the_trees_come_to_the_same_leaves(tmp_path: Path, units: list[list[int]]) -> None:
    """Beside the network or alone, with holes and dead channels, for a class that has no tree."""
    net = network(PRESETS["small"], 5, length=12)
    rng = np.random.default_rng(1)
    center, scale = scales(5)
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
    both = assert_equal(Experts(net, trees), tmp_path / "both.onnx", 5, 12)
    alone = assert_equal(Experts(None, trees), tmp_path / "trees.onnx", 5, 12)
    np.testing.assert_allclose(both[0][:, :, 1:, :4], alone[0], atol=1e-6)
    assert not both[0][:, :, 1:, 4:].any()  # trees measure no distance
    assert alone[1].shape[2] == 0  # nothing is carried
    assert not {"LSTM", "Conv"} & {node.op_type for node in onnx.load(tmp_path / "trees.onnx").graph.node}


@pytest.mark.training
@pytest.mark.parametrize("everything", [False, True], ids=["some faults", "all faults"])
@pytest.mark.parametrize("length", [12, 40])
def test_faults_are_looked_for_at_each_unit(tmp_path: Path, length: int, everything: bool) -> None:
    """File and checkpoint agree where faults are of units, in windows shorter and longer than what units are asked."""
    units = np.array([[0, 1], [2, 3], [4, 5]])
    rng = np.random.default_rng(1)
    center, scale = scales(6)
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
    net = network(PRESETS["small"], 6, length=length, units=wanted)
    outputs = assert_equal(Experts(net, trees), tmp_path / "units.onnx", 6, length, wanted)
    assert outputs[0].shape[2:] == (2, 4 + 3 * 2 + 1)
    for parts in ALL_BUT_SOME if not everything else ():
        left = trees.only(parts, prior, wanted)
        assert left is not None
        assert left.parts == parts
        found, _ = assert_equal(Experts(None, left), tmp_path / "left.onnx", 6, length, wanted)
        assert_neutral(found[:, :, 0], "trees_device" in parts, "trees_units" in parts, prior, wanted)
        graph = onnx.load(tmp_path / "left.onnx").graph
        assert sum(node.op_type == "TreeEnsembleRegressor" for node in graph.node) == len(parts)
        assert_all_needed(graph)


@pytest.mark.parametrize(("units", "layers"), [(None, 4), (AT_UNITS, 8)], ids=["no units", "units"])
def test_the_lstm_weights_are_constants_of_the_graph(units: UnitsSpec | None, layers: int) -> None:
    """Four LSTM nodes of each network, with their weights and biases as initializers and nothing computed before."""
    model = Experts(network(PRESETS["small"], 5, length=16, units=units), None)
    graph = step_graph(model, manifest_of(model, 5, 16, units)).graph
    constants = {tensor.name for tensor in graph.initializer}
    found = [node for node in graph.node if node.op_type == "LSTM"]
    assert len(found) == layers
    assert all(set(node.input[1:4]) <= constants for node in found)
    assert sum(Counter(node.op_type for node in graph.node).values()) < 34 * layers


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
