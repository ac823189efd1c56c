"""Model files that cannot be used: each is refused with the sentence that helps."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from rarefault.runtime.errors import ModelFileError
from rarefault.runtime.inference.manifest import METADATA_KEY
from rarefault.runtime.inference.model_file import LoadedModel, load_model


def test_a_whole_file_is_loaded(exported: LoadedModel) -> None:
    """The manifest comes out as it went in, and the id is of the name and the bytes."""
    assert exported.manifest.channels == ("c1.S1", "c1.S2", "c1.R1", "z1.E1")
    assert exported.model_id.startswith("tiny@")
    assert exported.size_bytes == exported.path.stat().st_size
    opinions, state = exported.step(np.zeros((3, 6, 4), np.float32), np.zeros((3, 24), np.float32))
    assert (opinions.shape, state.shape) == ((3, 1, 4), (3, 24))


@pytest.fixture
def spoilt(exported: LoadedModel, tmp_path: Path) -> Callable[[Callable[[onnx.ModelProto], None]], Path]:
    """Writes the tiny model with a change."""

    def write(change: Callable[[onnx.ModelProto], None]) -> Path:
        model = onnx.load(exported.path)
        change(model)
        path = tmp_path / "spoilt.onnx"
        onnx.save(model, path)
        return path

    return write


def with_manifest(**changes: object) -> Callable[[onnx.ModelProto], None]:
    """A change of entries of the manifest; None removes one."""

    def change(model: onnx.ModelProto) -> None:
        entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
        manifest = json.loads(entry.value) | changes
        entry.value = json.dumps({key: value for key, value in manifest.items() if value is not None})

    return change


def test_a_missing_file(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ModelFileError, match=r"nothing\.onnx: the model file cannot be read: No such file"):
        load_model(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short(exported: LoadedModel, tmp_path: Path, share: float) -> None:
    """A download that stopped anywhere is refused: no graph, no manifest, or not whole."""
    data = exported.path.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelFileError, match=r"cut\.onnx: "):
        load_model(path)


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    """Text, zeros and noise are no models."""
    path = tmp_path / "text.onnx"
    for data in (b"model = plant", bytes(1000), np.random.default_rng(0).bytes(5000)):
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match=r"text\.onnx: not an ONNX model, or damaged .*; export it again"):
            load_model(path)


def test_a_foreign_model(tmp_path: Path) -> None:
    """A sound ONNX model of somebody else's has no manifest."""
    tensors = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "foreign", tensors[:1], tensors[1:])
    path = tmp_path / "foreign.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(ModelFileError, match="without a rarefault manifest; only files written by 'rarefault export'"):
        load_model(path)


def test_another_version_of_the_manifest(spoilt: Callable[[Callable[[onnx.ModelProto], None]], Path]) -> None:
    """Both versions are named, with what to do, before any other entry is looked at."""
    path = spoilt(with_manifest(version=1, unheard_of=1))
    with pytest.raises(
        ModelFileError, match="its manifest has version 1, this rarefault reads version 2; export the model again"
    ):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": None}, "missing required field `classes`"),
        ({"unheard_of": 1}, "unknown field `unheard_of`"),
        ({"state_size": "24"}, "Expected `int`, got `str`"),
        ({"classes": ["fault_1", "normal", "fault_2"]}, "classes must be 'normal' and at least one fault"),
        ({"channels": ["a", "b", "c"], "counters": []}, r"window has shape .*, the manifest says \[N, 6, 3\]"),
        ({"state_size": 23}, r"state has shape .*, the manifest says \[N, 23\]"),
    ],
)
def test_a_manifest_that_does_not_fit(
    spoilt: Callable[[Callable[[onnx.ModelProto], None]], Path], changes: dict[str, object], sentence: str
) -> None:
    """Entries that are missing, unknown, of a wrong type, impossible, or not those of the graph are named."""
    with pytest.raises(ModelFileError, match=sentence):
        load_model(spoilt(with_manifest(**changes)))


def test_a_manifest_that_is_no_json(spoilt: Callable[[Callable[[onnx.ModelProto], None]], Path]) -> None:
    """Damage inside the metadata is called so."""

    def change(model: onnx.ModelProto) -> None:
        model.metadata_props[0].value = model.metadata_props[0].value[:-20]

    with pytest.raises(ModelFileError, match="its manifest is not a JSON object; the file is damaged"):
        load_model(spoilt(change))


def test_a_graph_that_does_not_give_probabilities(
    spoilt: Callable[[Callable[[onnx.ModelProto], None]], Path],
) -> None:
    """Weights that became NaN or a graph without its last layer are found by running one step."""

    def poison(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "device_head_bias")
        tensor.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), tensor.name))

    def unfinished(model: onnx.ModelProto) -> None:
        node = next(n for n in model.graph.node if n.name == "device_log_prob")
        node.op_type = "Tanh"
        del node.attribute[:]

    for change in (poison, unfinished):
        with pytest.raises(ModelFileError, match="does not give log-probabilities"):
            load_model(spoilt(change))


def test_a_graph_with_other_inputs(spoilt: Callable[[Callable[[onnx.ModelProto], None]], Path]) -> None:
    """Inputs by other names are listed beside those expected."""

    def rename(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = "telemetry"
        for node in model.graph.node:
            node.input[:] = ["telemetry" if name == "window" else name for name in node.input]

    with pytest.raises(ModelFileError, match=r"inputs are \['telemetry', 'state'\], expected \['window', 'state'\]"):
        load_model(spoilt(rename))


def test_a_model_that_points_to_other_files(
    spoilt: Callable[[Callable[[onnx.ModelProto], None]], Path], tmp_path: Path
) -> None:
    """A model is one file: weights kept elsewhere are refused, so that it can read no other file."""
    (tmp_path / "elsewhere").write_bytes(b"\0" * 4096)

    def point(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and t.dims)
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", str(tmp_path / "elsewhere")), ("offset", "0"), ("length", "4096")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    with pytest.raises(ModelFileError, match="not an ONNX model, or damaged"):
        load_model(spoilt(point))


def test_a_model_with_an_operator_of_somebody(
    spoilt: Callable[[Callable[[onnx.ModelProto], None]], Path],
) -> None:
    """Operators that ONNX Runtime does not have itself would be code; there is no way to bring them."""

    def invent(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "somebody"
        model.opset_import.append(onnx.helper.make_opsetid("somebody", 1))

    with pytest.raises(ModelFileError, match="not an ONNX model, or damaged"):
        load_model(spoilt(invent))
