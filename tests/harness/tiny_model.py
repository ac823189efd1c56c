"""A small real model, made without torch."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rarefault.runtime.inference.manifest import METADATA_KEY, DecisionSpec, GridSpec, Manifest, WindowSpec

MANIFEST = Manifest(
    name="tiny",
    channels=("c1.S1", "c1.S2", "z1.E1"),
    counters=("z1.E1",),
    classes=("normal", "fault_1", "fault_2"),
    grid=GridSpec(period_s=10, max_hold_s=30, allowed_lateness_s=10, max_gap_s=120),
    window=WindowSpec(length=4, stride=2),
    state_size=8,
    decision=DecisionSpec(
        training_prior=(0.4, 0.3, 0.3),
        true_prior=(0.8, 0.15, 0.05),
        thresholds=(0.6, 0.2, 0.1),
        coverage=0.9,
        conformal_thresholds=(0.9, 0.5, 0.4),
        thresholds_by_coverage={"90": (0.9, 0.5, 0.4), "95": (0.5, 0.3, 0.2)},
        unknown_windows=2,
    ),
)


def save_tiny_model(path: Path) -> None:
    """A step with fixed random weights: state' = tanh(state A + window B), log_prob = log_softmax(state' C)."""
    rng = np.random.default_rng(7)
    length, n_channels = MANIFEST.window.length, len(MANIFEST.channels)
    size, n_classes = MANIFEST.state_size, len(MANIFEST.classes)
    weights = {
        "A": rng.normal(size=(size, size), scale=0.5),
        "B": rng.normal(size=(length * n_channels, size), scale=0.3),
        "C": rng.normal(size=(size, n_classes), scale=2.0),
        "zero": np.zeros(()),
    }
    shape = np.asarray([-1, length * n_channels], np.int64)
    nodes = [
        helper.make_node("IsNaN", ["window"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "window"], ["filled"]),
        helper.make_node("Reshape", ["filled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "B"], ["input"]),
        helper.make_node("MatMul", ["state", "A"], ["carried"]),
        helper.make_node("Add", ["input", "carried"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next_state"]),
        helper.make_node("MatMul", ["next_state", "C"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_prob"], axis=-1),
    ]

    def tensor(name: str, *sizes: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sizes])

    graph = helper.make_graph(
        nodes,
        "tiny",
        [tensor("window", length, n_channels), tensor("state", size)],
        [tensor("log_prob", n_classes), tensor("next_state", size)],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()]
        + [numpy_helper.from_array(shape, "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: MANIFEST.to_json()})
    onnx.save(model, path)
