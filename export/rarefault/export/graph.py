"""The streaming step as an ONNX graph, built layer by layer from the checkpoint's weights.

The graph is written out rather than traced: a trace leaves slices and concatenations of the LSTM weights in the graph,
which the quantiser cannot reach and which make a verdict slower (decision 0019).
What a trace would guarantee, that the graph computes what the module computes, is proved instead on the finished file
(:mod:`rarefault.export.parity`), so that a change of the network that is not followed here stops the export.

Shapes: N devices due, P planes, L bins, C channels, F filters, E = L - 2 (kernel - 1) bins after the convolutions,
H hidden size, K classes, E experts, V values of an opinion, S carried state.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from rarefault.export.building import GraphBuilder
from rarefault.export.tree_graph import tree_opinion
from rarefault.runtime import __version__
from rarefault.runtime.inference.decision.pool import UNSEEN
from rarefault.runtime.inference.manifest import METADATA_KEY, Manifest
from rarefault.train.model.experts import Experts
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.network_expert import NetworkExpert


def step_graph(model: Experts, manifest: Manifest) -> onnx.ModelProto:
    """The step of a model: ``window`` [N, L, I] and ``state`` [N, S] to ``opinions`` [N, E, V] and ``next_state``.

    N is free. Raw units go in, NaN where a value is missing; the same file carries no manifest yet.

    Args:
        model: the experts.
        manifest: gives the sizes.
    """
    graph, length = GraphBuilder(), manifest.window.length
    graph.add("IsNaN", ["window"], "missing")
    after = ""

    def of_network(network: NetworkExpert) -> str:
        nonlocal after
        opinion, after = _network_opinion(graph, network)
        return opinion

    opinions = model.each(of_network, lambda trees: tree_opinion(graph, trees, length))
    axis = graph.constant("expert_axis", np.array([1]))
    each = [graph.add("Unsqueeze", [opinion, axis], f"{opinion}_row") for opinion in opinions]
    graph.add("Concat", each, "opinions", axis=1)
    graph.add("Identity", [after or "state"], "next_state")
    decision, state = manifest.decision, (manifest.state_size,)
    return graph.finish(
        inputs={"window": (length, len(manifest.inputs)), "state": state},
        outputs={"opinions": (len(decision.experts), decision.opinion_size), "next_state": state},
    )


def _network_opinion(graph: GraphBuilder, network: NetworkExpert) -> tuple[str, str]:
    """Names of the network's opinion [N, V] and of what it carries on [N, S]."""
    logits, after = _network(graph, network.net, "missing", "state")
    if not network.unit_logits.numel():
        return graph.add("LogSoftmax", [logits], "network_opinion", axis=1), after
    elsewhere = graph.constant("elsewhere", network.elsewhere.numpy())
    unseen = graph.constant("unseen", np.float32(UNSEEN))
    log_prob = graph.add("LogSoftmax", [logits], "network_whole", axis=1)
    log_prob = graph.add("Where", [elsewhere, unseen, log_prob], "network_device")
    log_prob = graph.add("LogSoftmax", [log_prob], "network_log_prob", axis=1)
    # The prior of the units for each device: the log-probabilities' shape gives the number of rows.
    first = [graph.constant(f"first_{end}", np.array([at])) for end, at in (("class", 0), ("class_end", 1))]
    column = graph.add(
        "Slice", [log_prob, *first, graph.constant("network_class_axis", np.array([1]))], "network_column"
    )
    none = graph.add("Mul", [column, graph.constant("no_evidence", np.float32(0))], "network_nothing")
    prior = graph.constant("unit_prior", _array(network.unit_logits)[None])
    at_units = graph.add("Add", [none, prior], "network_units")
    return graph.add("Concat", [log_prob, at_units], "network_opinion", axis=1), after


def _network(graph: GraphBuilder, model: LRConvLSTM, missing: str, state: str) -> tuple[str, str]:
    """Names of the network's logits [N, K] and of what its outer layers carry on; ``state`` is what they carried."""
    zero_axis, one_axis = graph.constant("axis_0", np.array([0])), graph.constant("axis_1", np.array([1]))

    x = _preprocess(graph, model, missing, one_axis)  # [N, P, L, C]
    x = _convolution(graph, "conv1", x, model.conv1, model.norm1)
    x = _convolution(graph, "conv2", x, model.conv2, model.norm2)  # [N, F, E, C]

    x = graph.add("Transpose", [x], "bins_first", perm=[2, 0, 1, 3])
    x = graph.add("Reshape", [x, graph.constant("keep_two", np.array([0, 0, -1]))], "bins")  # [E, N, F C]
    for name, layer in (("inner1", model.inner1), ("inner2", model.inner2)):
        x = graph.add("Squeeze", [_lstm(graph, name, x, layer), one_axis], f"{name}_hidden")  # [E, N, H]

    x = graph.add("Transpose", [x], "devices_first", perm=[1, 0, 2])
    x = graph.add("Reshape", [x, graph.constant("keep_one", np.array([0, -1]))], "encoded")  # [N, E H]
    x = graph.add("Unsqueeze", [x, zero_axis], "encoded_step")  # one step of the outer sequence

    a, b = model.spec.outer
    parts = ["h1", "c1", "h2", "c2"]
    graph.add_many("Split", [state, graph.constant("outer_sizes", np.array([a, a, b, b]))], parts, axis=1)
    carried = [graph.add("Unsqueeze", [part, zero_axis], f"{part}_before") for part in parts]
    after: list[str] = []
    for name, layer, before in (("outer1", model.outer1, carried[:2]), ("outer2", model.outer2, carried[2:])):
        hidden_and_cell = [f"{part.removesuffix('_before')}_after" for part in before]
        y = _lstm(graph, name, x, layer, before, hidden_and_cell)
        x = graph.add("Squeeze", [y, one_axis], f"{name}_hidden")  # [1, N, H]
        after += hidden_and_cell
    outer = graph.add("Concat", after, "outer_after", axis=2)
    outer = graph.add("Squeeze", [outer, zero_axis], "next_outer")

    x = graph.add("Squeeze", [x, zero_axis], "last_hidden")
    head = [graph.constant(f"head.{name}", _array(model.head.get_parameter(name))) for name in ("weight", "bias")]
    return graph.add("Gemm", [x, *head], "logits", transB=1), outer


def with_manifest(model: onnx.ModelProto, manifest: Manifest) -> bytes:
    """The bytes of the model file: the graph, and the manifest in its metadata."""
    described = onnx.ModelProto()
    described.CopyFrom(model)
    del described.metadata_props[:]
    helper.set_model_props(described, {METADATA_KEY: manifest.to_json()})
    described.producer_name = "rarefault"
    described.producer_version = __version__
    described.doc_string = (
        f"Streaming step of {manifest.name}: {len(manifest.channels)} channels, {len(manifest.classes)} classes. "
        f"The metadata entry '{METADATA_KEY}' holds the manifest."
    )
    data: bytes = described.SerializeToString(deterministic=True)
    return data


def _preprocess(graph: GraphBuilder, model: LRConvLSTM, missing: str, one_axis: str) -> str:
    """Normalise, fill what is missing with the mean, clip; with ``missing_indicator`` also what was missing."""
    clip = np.float32(model.spec.clip)
    x = graph.add("Sub", ["window", graph.constant("center", _array(model.center))], "centered")
    x = graph.add("Div", [x, graph.constant("scale", _array(model.scale))], "normalised")
    # Filled before it is clipped: what Clip makes of NaN differs between runtimes.
    x = graph.add("Where", [missing, graph.constant("zero", np.float32(0)), x], "filled")
    x = graph.add("Clip", [x, graph.constant("low", -clip), graph.constant("high", clip)], "clipped")
    x = graph.add("Unsqueeze", [x, one_axis], "plane")
    if not model.spec.missing_indicator:
        return x
    indicator = graph.add("Cast", [missing], "indicator", to=TensorProto.FLOAT)
    indicator = graph.add("Unsqueeze", [indicator, one_axis], "indicator_plane")
    return graph.add("Concat", [x, indicator], "planes", axis=1)


def _convolution(graph: GraphBuilder, name: str, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
    """Convolution, normalisation and ReLU; the normalisation is folded into the convolution's weights."""
    assert conv.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = conv.weight.double() * factor[:, None, None, None]
    bias = (conv.bias.double() - norm.running_mean.double()) * factor + norm.bias.double()
    inputs = [x, graph.constant(f"{name}.weight", _array(weight)), graph.constant(f"{name}.bias", _array(bias))]
    return graph.add("Relu", [graph.add("Conv", inputs, f"{name}_sum")], f"{name}_out")


def _lstm(
    graph: GraphBuilder, name: str, x: str, layer: nn.LSTM, before: Sequence[str] = ("", ""), after: Sequence[str] = ()
) -> str:
    """One LSTM layer over [T, N, I]: all hidden values [T, 1, N, H]; from a zero state unless one is given."""
    weights = [
        graph.constant(f"{name}.W", _gates(layer, "weight_ih_l0")[None]),
        graph.constant(f"{name}.R", _gates(layer, "weight_hh_l0")[None]),
        graph.constant(f"{name}.B", np.concatenate([_gates(layer, "bias_ih_l0"), _gates(layer, "bias_hh_l0")])[None]),
    ]
    inputs = [x, *weights, "", *before]
    while not inputs[-1]:
        inputs.pop()
    graph.add_many("LSTM", inputs, [f"{name}_all", *after], hidden_size=layer.hidden_size)
    return f"{name}_all"


def _gates(layer: nn.LSTM, name: str) -> NDArray[np.float32]:
    """A parameter in ONNX's order of the gates (input, output, forget, cell); torch has input, forget, cell, output."""
    i, f, c, o = np.split(_array(layer.get_parameter(name)), 4)
    return np.concatenate([i, o, f, c])


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return array
