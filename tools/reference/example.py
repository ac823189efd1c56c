"""A small real model and what it makes of some telemetry: the examples of the reference.

The model is an ONNX file like any other, with a manifest, served by ONNX Runtime; only its graph is simple: each class
is a weighted sum of the channels' means, and has a place that windows are near to or far from. It was not trained.
"""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tools.reference import sources

DEVICE = "pump-7"
START_MS = sources.parse_time_ms("2026-03-01T08:00:00Z")
#: What a normal pump's channels are around, and by how much they vary.
CENTER, SCALE = np.array([40, 3.2, 11.5, 0.2], np.float32), np.array([2, 0.2, 0.5, 0.05], np.float32)
#: What each channel says for each class.
WEIGHTS = np.array([[0, -0.9, 0], [0, 0.7, 0], [0, 0.1, 1.2], [0, 0, 0.2]], np.float32)
BIAS = np.array([2.97, -1.9, -3], np.float32)

#: Where each class is, in terms of the scale.
MEANS = np.array([[0, 0, 0, 0], [-4, 4, 1, 0], [0, 0, 4, 0]], np.float32)

#: As JSON has it, so that it is the manifest's form that counts, not its attributes.
MANIFEST = msgspec.convert(
    {
        "name": "pumps",
        "channels": ["flow", "pressure", "current", "energy_kwh"],
        "counters": ["energy_kwh"],
        "classes": ["normal", "blocked_filter", "worn_bearing"],
        "grid": {"period_s": 60, "max_hold_s": 180, "max_gap_s": 1800},
        "window": {"length": 8, "stride": 4},
        "state_size": 1,
        "decision": {
            "prior": [0.96, 0.03, 0.01],
            "thresholds": [0.8, 0.2, 0.1],
            "experts": [{"name": "network"}],
            "coverage": 0.9,
            "conformal_thresholds": [0.7, 0.3, 0.2],
            "thresholds_by_coverage": {"90": [0.7, 0.3, 0.2], "95": [0.5, 0.15, 0.1]},
            "distance": {"quantiles": [0.1, 0.3, 0.6, 1.2, 2.4], "far": 2.0},
            "on_delay_s": 240,
            "off_delay_s": 600,
        },
        "training": {"created": "2026-02-20T10:15:00+00:00", "test": {"macro_f1": 0.91}},
    },
    sources.Manifest,
)


@dataclass(frozen=True)
class Served:
    """What the pipeline made of the telemetry."""

    pipeline: sources.Pipeline
    verdicts: sources.Verdicts


@cache
def model_bytes() -> bytes:
    """The model file."""
    weights = {"center": CENTER, "scale": SCALE, "weights": WEIGHTS, "bias": BIAS, "means": MEANS, "one": np.array([1])}
    nodes = [
        helper.make_node("IsNaN", ["window"], ["missing"]),
        helper.make_node("Where", ["missing", "center", "window"], ["filled"]),
        helper.make_node("ReduceMean", ["filled"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Sub", ["mean", "center"], ["shifted"]),
        helper.make_node("Div", ["shifted", "scale"], ["z"]),
        helper.make_node("MatMul", ["z", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_prob"], axis=-1),
        helper.make_node("Unsqueeze", ["z", "one"], ["place"]),
        helper.make_node("Sub", ["place", "means"], ["apart"]),
        helper.make_node("ReduceL2", ["apart"], ["distances"], axes=[2], keepdims=0),
        helper.make_node("ReduceMin", ["distances"], ["distance"], axes=[1]),
        helper.make_node("Concat", ["log_prob", "distance"], ["opinion"], axis=1),
        helper.make_node("Unsqueeze", ["opinion", "one"], ["opinions"]),
        helper.make_node("Identity", ["state"], ["next_state"]),
    ]

    def tensor(name: str, *sizes: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sizes])

    graph = helper.make_graph(
        nodes,
        MANIFEST.name,
        [tensor("window", MANIFEST.window.length, len(MANIFEST.inputs)), tensor("state", MANIFEST.state_size)],
        [tensor("opinions", 1, MANIFEST.decision.opinion_size), tensor("next_state", MANIFEST.state_size)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {sources.METADATA_KEY: MANIFEST.to_json()})
    data: bytes = model.SerializeToString()
    return data


@cache
def model() -> sources.LoadedModel:
    """The same, loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pumps.onnx")
        path.write_bytes(model_bytes())
        return sources.load_model(path)


@cache
def served() -> Served:
    """Half an hour of a pump whose filter then clogs, through grid, model and decision."""
    loaded = model()
    pipeline = sources.Pipeline(loaded.manifest, loaded.step, loaded.model_id)
    n = 60
    clogged = np.clip((np.arange(n) - 30) / 10, 0, 1)[:, None] * np.array([-4, 4, 1, 0])
    values = CENTER + SCALE * (np.random.default_rng(0).normal(size=(n, 4), scale=0.3) + clogged)
    values[:, 3] = 5000 + np.cumsum(values[:, 3])
    times = START_MS + np.arange(n) * 60_000 + 5000
    slots = np.full(n, pipeline.slot(DEVICE), np.int32)
    return Served(pipeline, pipeline.push(slots, times, values, explained=True))
