"""A small real model, made without torch."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rarefault.runtime.inference.manifest import (
    METADATA_KEY,
    DecisionSpec,
    DistanceSpec,
    ExpertSpec,
    FilterSpec,
    GridSpec,
    Manifest,
    UnitsSpec,
    WindowSpec,
)

MANIFEST = Manifest(
    name="tiny",
    channels=("c1.S1", "c1.S2", "z1.E1"),
    counters=("z1.E1",),
    classes=("normal", "fault_1", "fault_2"),
    grid=GridSpec(period_s=10, max_hold_s=30, allowed_lateness_s=10, max_gap_s=120),
    window=WindowSpec(length=4, stride=2),
    state_size=8,
    decision=DecisionSpec(
        prior=(0.8, 0.15, 0.05),
        thresholds=(0.6, 0.2, 0.1),
        coverage=0.9,
        conformal_thresholds=(0.9, 0.5, 0.4),
        thresholds_by_coverage={"90": (0.9, 0.5, 0.4), "95": (0.5, 0.3, 0.2)},
        distance=DistanceSpec(quantiles=(0.0, 0.5, 1.0, 1.5, 3.0), far=2.5),
        unknown_windows=2,
        experts=(ExpertSpec(name="network", weight=0.9, unit_weight=0.0), ExpertSpec(name="trees", weight=0.4)),
        units=UnitsSpec(names=("c1", "z1"), channels=((0,), (2,)), faults=(2,), rarest_first=(2, 1), prior=(0.03,)),
        filter=FilterSpec(weight=0.4, renewal=0.2, belief_power=0.6, window_power=0.3),
    ),
)
#: Added to the logits at units, or one of them would always show the fault.
RARE = -6.0


def save_tiny_model(path: Path, manifest: Manifest = MANIFEST) -> None:
    """A step with fixed random weights: state' = tanh(state A + window B), and opinions by state' C.

    Of each expert the log-probabilities of the classes, for each unit the logit of the last one, and a distance.
    """
    rng = np.random.default_rng(7)
    length, n_channels = MANIFEST.window.length, len(MANIFEST.channels)
    size, n_classes = MANIFEST.state_size, len(MANIFEST.classes)
    experts, values = len(MANIFEST.decision.experts), MANIFEST.decision.opinion_size
    weights = {
        "A": rng.normal(size=(size, size), scale=0.5),
        "B": rng.normal(size=(length * n_channels, size), scale=0.3),
        "C": rng.normal(size=(size, experts * (values - 1)), scale=2.0),
        "D": rng.normal(size=(size, experts)),
        "zero": np.zeros(()),
        "rare": np.full((), RARE),
    }
    shapes = {
        "shape": [-1, length * n_channels],
        "by_expert": [-1, experts, values - 1],
        "one_each": [-1, experts, 1],
        "sizes": [n_classes, values - 1 - n_classes],
    }
    nodes = [
        helper.make_node("IsNaN", ["window"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "window"], ["filled"]),
        helper.make_node("Reshape", ["filled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "B"], ["input"]),
        helper.make_node("MatMul", ["state", "A"], ["carried"]),
        helper.make_node("Add", ["input", "carried"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next_state"]),
        helper.make_node("MatMul", ["next_state", "C"], ["values"]),
        helper.make_node("Reshape", ["values", "by_expert"], ["of_experts"]),
        helper.make_node("Split", ["of_experts", "sizes"], ["logits", "at_units"], axis=2),
        helper.make_node("LogSoftmax", ["logits"], ["log_prob"], axis=-1),
        helper.make_node("Add", ["at_units", "rare"], ["unit_logits"]),
        helper.make_node("MatMul", ["next_state", "D"], ["turns"]),
        helper.make_node("Abs", ["turns"], ["distances"]),
        helper.make_node("Reshape", ["distances", "one_each"], ["distance"]),
        helper.make_node("Concat", ["log_prob", "unit_logits", "distance"], ["opinions"], axis=2),
    ]

    def tensor(name: str, *sizes: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sizes])

    graph = helper.make_graph(
        nodes,
        "tiny",
        [tensor("window", length, n_channels), tensor("state", size)],
        [tensor("opinions", experts, values), tensor("next_state", size)],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()]
        + [numpy_helper.from_array(np.asarray(shape, np.int64), name) for name, shape in shapes.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
    onnx.save(model, path)
