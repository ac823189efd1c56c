"""The networks of :mod:`rarefault.train.model.network_expert` as ONNX nodes.

Batch normalisation is folded into the layer before it. The encoding's components go from 0 to 1 here and from -1 to 1
there, and are 0 where a value is missing; the layers after it make up for both, so that a missing value costs no node.

Shapes: N devices due, U units, Z rows (devices, or units of all devices), L bins, M channels of a unit, P inputs of the
layers beside, D edges of an encoding, Q planes, F filters, E bins after the convolutions, H hidden size, J faults at a
unit, K classes, S carried state.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from rarefault.export.building import GraphBuilder
from rarefault.runtime.inference.decision.pool import UNSEEN
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.network_expert import NetworkExpert

#: Stands for a missing value: smaller than all edges.
LOWEST = np.float32(np.finfo(np.float32).min)


class Carried(NamedTuple):
    """Names of a network's outputs and of what it carries on."""

    output: str
    state: str


def network_opinion(graph: GraphBuilder, network: NetworkExpert) -> tuple[str, str]:
    """Names of the network's opinion [N, V] and of what it carries on [N, S]; see :meth:`NetworkExpert.forward`."""
    if network.at_units is None:
        found = _Network(graph, "device", network.device).outputs("window", "state")
        return _log_prob(graph, network, found.output, "network_opinion"), found.state
    units, of_unit = len(network.columns_of_units), network.at_units.state_size
    sizes = graph.constant("state_sizes", np.array([network.device.state_size, units * of_unit]))
    graph.add_many("Split", ["state", sizes], ["device_state", "units_state"], axis=1)
    found = _Network(graph, "device", network.device).outputs("window", "device_state")
    log_prob = _log_prob(graph, network, found.output, "device_log_prob")

    columns = graph.constant("columns_of_units", network.columns_of_units.numpy())
    x = graph.add("Gather", ["window", columns], "units_by_bin", axis=2)  # [N, L, U, M]
    x = graph.add("Transpose", [x], "bins_by_unit", perm=[0, 2, 1, 3])
    length, size = network.at_units.window_length, network.columns_of_units.shape[1]
    x = _reshaped(graph, x, "units", (-1, length, size))
    state = _reshaped(graph, "units_state", "unit_states", (-1, of_unit))
    own = _Network(graph, "unit", network.at_units).outputs(x, state)
    # Of a unit without a single value in the window nothing is known: no evidence.
    missing = graph.add("Cast", [graph.add("IsNaN", [x], "units_missing")], "units_gaps", to=TensorProto.FLOAT)
    share = graph.add("ReduceMean", [missing], "units_gap", axes=[1, 2], keepdims=0)
    gone = graph.add("Equal", [share, graph.constant("whole", np.float32(1))], "units_gone")
    gone = graph.add("Unsqueeze", [gone, graph.constant("output_axis", np.array([1]))], "units_gone_column")
    logits = graph.add("Where", [gone, graph.constant("unit_logit", _array(network.unit_logit)), own.output], "by_unit")
    logits = _reshaped(graph, logits, "unit_logits", (-1, units * network.at_units.outputs))
    after = _reshaped(graph, own.state, "units_after", (-1, units * of_unit))
    opinion = graph.add("Concat", [log_prob, logits], "network_opinion", axis=1)
    return opinion, graph.add("Concat", [found.state, after], "network_after", axis=1)


def _log_prob(graph: GraphBuilder, network: NetworkExpert, scores: str, name: str) -> str:
    """Log-probabilities of the classes [N, K]; those that the network has no part in are as good as impossible."""
    absent, none = graph.constant("absent", network.absent.numpy()), graph.constant("none", np.float32(-np.inf))
    every = graph.add("LogSoftmax", [graph.add("Where", [absent, none, scores], "seen")], "device_every", axis=1)
    left = graph.add("Where", [absent, graph.constant("unseen", np.float32(UNSEEN)), every], "device_left")
    return graph.add("LogSoftmax", [left], name, axis=1)


class _Network:
    """The nodes of one network.

    Args:
        graph: gets them.
        name: what their names begin with.
        model: the network.
    """

    def __init__(self, graph: GraphBuilder, name: str, model: LRConvLSTM) -> None:
        self._graph, self._name, self._model = graph, name, model

    def outputs(self, x: str, state: str) -> Carried:
        """Names of the outputs [Z, O] and of the state after them [Z, S].

        Args:
            x: window of each row, [Z, L, M].
            state: before it, [Z, S].
        """
        recent = self._beside(x)
        encoded = self._add("Concat", [self._inner(x), recent], "encoded", axis=1)
        seen, after = self._outer(encoded, state)
        both = self._add("Concat", [seen, recent], "seen", axis=1)
        head = [self._constant(f"head_{part}", _array(self._model.head.get_parameter(part))) for part in _PARTS]
        return Carried(self._add("Gemm", [both, *head], "outputs", transB=1), after)

    def _add(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        return self._graph.add(operator, inputs, f"{self._name}_{output}", **attributes)

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        return self._graph.constant(f"{self._name}_{name}", value)

    def _components(self, x: str, edges: Tensor, name: str) -> tuple[str, str]:
        """Names of the components from 0 to 1 [..., D - 1] of values [..., 1], and of whether they are missing.

        Args:
            x: values, [..., 1].
            edges: that fit them, [..., D].
            name: of the nodes.
        """
        low = self._constant(f"{name}_low", _array(edges[..., :-1]))
        width = self._constant(f"{name}_width", _array(edges[..., 1:] - edges[..., :-1]))
        missing = self._add("IsNaN", [x], f"{name}_missing")
        filled = self._add("Where", [missing, self._constant(f"{name}_lowest", LOWEST), x], f"{name}_filled")
        above = self._add("Div", [self._add("Sub", [filled, low], f"{name}_above"), width], f"{name}_part")
        ends = [self._constant(f"{name}_{end}", np.float32(value)) for end, value in (("none", 0), ("all", 1))]
        return self._add("Clip", [above, *ends], f"{name}_code"), missing

    def _inner(self, x: str) -> str:
        """What the inner LSTM makes of the windows, [Z, E H]; see :meth:`LRConvLSTM._inner`."""
        model, length = self._model, self._model.window_length
        channels, _, planes = model.planes.shape
        weight, bias = model.planes.double(), model.planes_bias.double()
        parts, missing_part = weight[:, :-1], weight[:, -1]
        x = self._add("Transpose", [x], "channels_first", perm=[2, 0, 1])  # [M, Z, L]
        x = self._reshaped(x, "values", (channels, -1, 1))
        code, missing = self._components(x, model.encoding.edges[:channels, None], "bins")  # [M, Z L, D - 1]
        x = self._add("MatMul", [code, self._constant("planes", _array(2 * parts))], "planes_sum")
        of_known = self._constant("planes_bias", _array((bias - parts.sum(1))[:, None]))
        x = self._add("Add", [x, of_known], "known_planes")
        of_missing = self._constant("planes_missing", _array((bias + missing_part)[:, None]))
        x = self._add("Relu", [self._add("Where", [missing, of_missing, x], "all_planes")], "planes_out")
        x = self._reshaped(x, "planes_by_bin", (channels, -1, length, planes))
        x = self._add("Transpose", [x], "images", perm=[1, 3, 2, 0])  # [Z, Q, L, M]
        x = self._convolution("conv1", x, model.conv1, model.norm1)
        x = self._convolution("conv2", x, model.conv2, model.norm2)  # [Z, F, E, M]
        x = self._add("Transpose", [x], "bins_first", perm=[2, 0, 1, 3])
        x = self._reshaped(x, "bins", (0, 0, -1))  # [E, Z, F M]
        one = self._constant("direction", np.array([1]))
        for name, layer in (("inner1", model.inner1), ("inner2", model.inner2)):
            x = self._add("Squeeze", [self._lstm(name, x, layer), one], f"{name}_hidden")  # [E, Z, H]
        x = self._add("Transpose", [x], "rows_first", perm=[1, 0, 2])
        return self._reshaped(x, "inner", (0, -1))

    def _beside(self, x: str) -> str:
        """What the layers beside the inner LSTM make of the last bins, [Z, hidden]; see :meth:`LRConvLSTM.recent`."""
        model, length = self._model, self._model.window_length
        bins = min(model.spec.recent, length)
        ends = [
            self._constant(f"recent_{end}", np.array([at])) for end, at in (("from", length - bins), ("to", length))
        ]
        x = self._add("Slice", [x, *ends, self._constant("bin_axis", np.array([1]))], "recent_bins")  # [Z, bins, M]
        if len(model.first):
            pair = [
                self._add("Gather", [x, self._constant(name, getattr(model, name).numpy())], f"{name}s", axis=2)
                for name in ("first", "second")
            ]
            x = self._add("Concat", [x, self._add("Sub", pair, "differences")], "recent_inputs", axis=2)
        edges = model.encoding.edges
        inputs, count = edges.shape
        x = self._add("Unsqueeze", [x, self._constant("component_axis", np.array([3]))], "recent_values")
        code, missing = self._components(x, edges, "recent")  # [Z, bins, P, D - 1]
        code = self._reshaped(code, "recent_flat", (0, -1))
        missing = self._add("Cast", [missing], "recent_gaps", to=TensorProto.FLOAT)
        missing = self._reshaped(missing, "recent_gaps_flat", (0, -1))
        first, norm1, second, norm2 = (model.beside[at] for at in (0, 1, 4, 5))
        weight, bias = _folded(first, norm1)
        # Last bin first there, in the order of time here.
        weight = weight.reshape(-1, bins, inputs, count).flip(1)
        parts, missing_part = weight[..., :-1], weight[..., -1] + weight[..., :-1].sum(-1)
        known = [
            self._constant("beside1_code", _array(2 * parts.flatten(1))),
            self._constant("beside1_bias", _array(bias - parts.flatten(1).sum(1))),
        ]
        x = self._add("Gemm", [code, *known], "beside1_known", transB=1)
        x = self._add(
            "Gemm", [missing, self._constant("beside1_gaps", _array(missing_part.flatten(1))), x], "beside1", transB=1
        )
        x = self._add("Relu", [x], "beside1_out")
        weight, bias = _folded(second, norm2)
        layer = [self._constant("beside2_weight", _array(weight)), self._constant("beside2_bias", _array(bias))]
        return self._add("Relu", [self._add("Gemm", [x, *layer], "beside2", transB=1)], "beside2_out")

    def _outer(self, encoded: str, state: str) -> tuple[str, str]:
        """Names of what the outer LSTM has seen [Z, H] and of what it carries on [Z, S]."""
        model, (a, b) = self._model, self._model.spec.outer
        zero, one = (self._constant(f"axis_{axis}", np.array([axis])) for axis in (0, 1))
        x = self._add("Unsqueeze", [encoded, zero], "encoded_step")  # one step of the outer sequence
        parts = [f"{self._name}_{part}" for part in ("h1", "c1", "h2", "c2")]
        self._graph.add_many("Split", [state, self._constant("outer_sizes", np.array([a, a, b, b]))], parts, axis=1)
        carried = [self._graph.add("Unsqueeze", [part, zero], f"{part}_before") for part in parts]
        after: list[str] = []
        for name, layer, at in (("outer1", model.outer1, 0), ("outer2", model.outer2, 2)):
            hidden_and_cell = [f"{part}_after" for part in parts[at : at + 2]]
            y = self._lstm(name, x, layer, carried[at : at + 2], hidden_and_cell)
            x = self._add("Squeeze", [y, one], f"{name}_hidden")  # [1, Z, H]
            after += hidden_and_cell
        carried_on = self._add("Concat", after, "outer_after", axis=2)
        return self._add("Squeeze", [x, zero], "last_hidden"), self._add("Squeeze", [carried_on, zero], "after")

    def _convolution(self, name: str, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
        """Convolution, normalisation and ReLU."""
        weight, bias = _folded(conv, norm)
        inputs = [x, self._constant(f"{name}_weight", _array(weight)), self._constant(f"{name}_bias", _array(bias))]
        return self._add("Relu", [self._add("Conv", inputs, f"{name}_sum")], f"{name}_out")

    def _lstm(
        self, name: str, x: str, layer: nn.LSTM, before: Sequence[str] = ("", ""), after: Sequence[str] = ()
    ) -> str:
        """One LSTM layer over [T, Z, I]: all hidden values [T, 1, Z, H]; from a zero state unless one is given."""
        bias = np.concatenate([_gates(layer, "bias_ih_l0"), _gates(layer, "bias_hh_l0")])
        weights = [
            self._constant(f"{name}_W", _gates(layer, "weight_ih_l0")[None]),
            self._constant(f"{name}_R", _gates(layer, "weight_hh_l0")[None]),
            self._constant(f"{name}_B", bias[None]),
        ]
        inputs = [x, *weights, "", *before]
        while not inputs[-1]:
            inputs.pop()
        output = f"{self._name}_{name}_all"
        self._graph.add_many("LSTM", inputs, [output, *after], hidden_size=layer.hidden_size)
        return output

    def _reshaped(self, x: str, name: str, shape: tuple[int, ...]) -> str:
        return _reshaped(self._graph, x, f"{self._name}_{name}", shape)


#: Parameters of a linear layer.
_PARTS = ("weight", "bias")


def _reshaped(graph: GraphBuilder, x: str, name: str, shape: tuple[int, ...]) -> str:
    return graph.add("Reshape", [x, graph.constant(f"{name}_shape", np.array(shape))], name)


@torch.no_grad()
def _folded(layer: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer with the normalisation after it, in double precision."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert layer.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = layer.weight.double() * factor.reshape(-1, *[1] * (layer.weight.dim() - 1))
    return weight, (layer.bias.double() - norm.running_mean.double()) * factor + norm.bias.double()


def _gates(layer: nn.LSTM, name: str) -> NDArray[np.float32]:
    """A parameter in ONNX's order of the gates (input, output, forget, cell); torch has input, forget, cell, output."""
    i, f, c, o = np.split(_array(layer.get_parameter(name)), 4)
    return np.concatenate([i, o, f, c])


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return array
