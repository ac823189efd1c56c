"""The networks of :mod:`rarefault.train.model.network_expert` as ONNX nodes.

Batch normalisation is folded into the layer before it. The encoding's components go from 0 to 1 here and from -1 to 1
there, and the layers after it make up for that. Whether a value is known is one component more, so that neither biases
nor missing values cost a node over all planes.

All arrays before the inner LSTM have the bins and rows as their last axes: so each step runs over long pieces of
memory, and nothing has to be turned round before the convolutions.

Shapes: N devices due, U units, Z = U N rows (devices, or all first units, then all second ones), L bins, I columns, M
channels of a unit, P inputs of the layers beside, D edges of an encoding, Q planes, F filters, E bins after the
convolutions, H hidden size, J faults at a unit, K classes, V = K + U J + 1 values of an opinion, S carried state.

Why: decisions 0037 and 0039.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from rarefault.export.building import GraphBuilder
from rarefault.export.statistics_graph import WindowStatistics
from rarefault.runtime.arrays import ALL
from rarefault.runtime.inference.decision.pool import UNSEEN
from rarefault.train.model.distance import ClassDistance
from rarefault.train.model.network import KNOWN, LOWEST, LRConvLSTM, spans_of
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.parts import NetworkName
from rarefault.train.model.trees import Taps

#: Where a component of the values that are missing is 0, and where it is 1.
MISSING = KNOWN[::-1]


class Carried(NamedTuple):
    """Names of a network's outputs, of what it carries on, and of what the layers beside the inner LSTM make of it."""

    output: str
    state: str
    recent: str


class _Judged(NamedTuple):
    """Names of a network's part of the opinion, of its state, and of its distance [N, 1]; empty without a network."""

    output: str
    state: str
    distance: str


def network_opinion(graph: GraphBuilder, network: NetworkExpert, measured: WindowStatistics) -> tuple[str, str]:
    """Names of the network's opinion [N, V] and of what it carries on [N, S]; see :meth:`NetworkExpert.forward`.

    Args:
        graph: gets the nodes.
        network: the expert.
        measured: of the window.
    """
    length, columns = network.window_length, network.columns
    raw = _reshaped(graph, "window", "flat_window", (-1, length * columns))
    raw = graph.add("Transpose", [raw], "bins_of_columns", perm=[1, 0])  # [L I, N]
    places = np.arange(length * columns).reshape(length, columns)
    states = _states(graph, network)
    found = _of_device(graph, network, measured, raw, places, states.get("device", ""))
    judged = [found]
    if network.units is not None:
        judged.append(_of_units(graph, network, measured, raw, places, states.get("at_units", "")))
    distances = [one.distance for one in judged if one.distance]
    far = distances[0] if len(distances) == 1 else graph.add("Max", distances, "far")
    opinion = graph.add("Concat", [*(one.output for one in judged), far], "network_opinion", axis=1)
    after = [one.state for one in judged if one.state]
    return opinion, after[0] if len(after) == 1 else graph.add("Concat", after, "network_after", axis=1)


def _states(graph: GraphBuilder, network: NetworkExpert) -> dict[NetworkName, str]:
    """Names of what each network has carried on, [N, S] each."""
    if network.device is None:
        return {"at_units": "state"}
    if network.at_units is None:
        return {"device": "state"}
    of_device = network.device.state_size
    sizes = graph.constant("state_sizes", np.array([of_device, network.state_size - of_device]))
    graph.add_many("Split", ["state", sizes], ["device_state", "units_state"], axis=1)
    return {"device": "device_state", "at_units": "units_state"}


def _of_device(
    graph: GraphBuilder,
    network: NetworkExpert,
    measured: WindowStatistics,
    raw: str,
    places: NDArray[np.int64],
    state: str,
) -> _Judged:
    """Log-probabilities of the classes [N, K], those of the prior without a network, and the state after them.

    Args:
        graph, network, measured: see :func:`network_opinion`.
        raw: see :meth:`_Network.outputs`.
        places: rows of ``raw`` by bin and column, [L, I].
        state: before it.
    """
    name = "device_log_prob"
    if network.device is None:
        return _Judged(graph.rows(name, _array(network.log_prior)), "", "")
    found = _Network(graph, "device", network.device, measured).outputs(raw, places[..., None], state)
    far = ""
    if network.device_distance is not None:
        far = _distance(graph, network.device_distance, found.recent, "device_distance")
    return _Judged(_log_prob(graph, network, found.output, name), found.state, far)


def _of_units(
    graph: GraphBuilder,
    network: NetworkExpert,
    measured: WindowStatistics,
    raw: str,
    places: NDArray[np.int64],
    state: str,
) -> _Judged:
    """Logits of the faults at all units [N, U J], those of the prior without a network, and the states after them.

    Args:
        graph, network, measured, raw, places, state: see :func:`_of_device`.
    """
    units = len(network.columns_of_units)
    if network.at_units is None:
        return _Judged(graph.rows("unit_logits", _array(network.unit_logit.repeat(units))), "", "")
    places = places[:, network.columns_of_units.numpy().T]  # [L, M, U]
    before = _by_unit(graph, state, "unit_states", units, network.at_units.state_size)
    own = _Network(graph, "unit", network.at_units, measured).outputs(raw, places, before)
    silent = _silent(graph, raw, places)
    prior = graph.constant("unit_logit", _array(network.unit_logit))
    logits = graph.add("Where", [silent, prior, own.output], "unit_logits_known")
    logits = _by_device(graph, logits, "unit_logits", units, network.at_units.outputs)
    far = ""
    if network.unit_distance is not None:
        far = _distance(graph, network.unit_distance, own.recent, "unit_distance")
        far = graph.add("Where", [silent, graph.constant("no_distance", np.float32(0.0)), far], "unit_distance_known")
        far = graph.add("ReduceMax", [_by_device(graph, far, "unit_distances", units, 1)], "units_far", axes=[1])
    after = _by_device(graph, own.state, "units_after", units, network.at_units.state_size)
    return _Judged(logits, after, far)


def _by_unit(graph: GraphBuilder, x: str, name: str, units: int, size: int) -> str:
    """Values of all units of each device [N, U size] as a row for each unit of each device, [U N, size]."""
    x = _reshaped(graph, x, f"{name}_of_devices", (-1, units, size))
    x = graph.add("Transpose", [x], f"{name}_by_unit", perm=[1, 0, 2])
    return _reshaped(graph, x, name, (-1, size))


def _by_device(graph: GraphBuilder, x: str, name: str, units: int, size: int) -> str:
    """The reverse of :func:`_by_unit`."""
    x = _reshaped(graph, x, f"{name}_of_units", (units, -1, size))
    x = graph.add("Transpose", [x], f"{name}_by_device", perm=[1, 0, 2])
    return _reshaped(graph, x, name, (-1, units * size))


def _silent(graph: GraphBuilder, raw: str, places: NDArray[np.int64]) -> str:
    """Name of which units have not a single value in the window, [U N, 1]: there is no evidence.

    Args:
        graph: see :func:`network_opinion`.
        raw, places: see :meth:`_Network.outputs`.
    """
    every = graph.constant("units_places", places.reshape(-1, places.shape[2]))  # [L M, U]
    values = graph.add("Gather", [raw, every], "units_values", axis=0)
    missing = graph.add("Cast", [graph.add("IsNaN", [values], "units_missing")], "units_gaps", to=TensorProto.FLOAT)
    gone = graph.add("ReduceMin", [missing], "units_gone", axes=[0], keepdims=0)  # [U, N]
    return graph.add("Cast", [_reshaped(graph, gone, "units_gone_rows", (-1, 1))], "units_silent", to=TensorProto.BOOL)


def _distance(graph: GraphBuilder, measure: ClassDistance, recent: str, name: str) -> str:
    """Name of the distances [Z, 1] from the classes; see :meth:`ClassDistance.forward`.

    Args:
        graph: gets the nodes.
        measure: what was fitted.
        recent: what the layers beside the inner LSTM make of the windows, [Z, hidden].
        name: of the result.
    """
    found = graph.add("MatMul", [recent, graph.constant(f"{name}_axes", _array(measure.axes))], f"{name}_place")
    found = graph.add("Unsqueeze", [found, graph.constant(f"{name}_axis", np.array([1]))], f"{name}_places")
    apart = graph.add("Sub", [found, graph.constant(f"{name}_means", _array(measure.means))], f"{name}_apart")
    squares = graph.add("ReduceSumSquare", [apart], f"{name}_squares", axes=[2], keepdims=0)  # [Z, G]
    return graph.add("Sqrt", [graph.add("ReduceMin", [squares], f"{name}_nearest", axes=[1])], name)


def _log_prob(graph: GraphBuilder, network: NetworkExpert, scores: str, name: str) -> str:
    """Log-probabilities of the classes [N, K]; those that the network has no part in are as good as impossible."""
    absent, none = graph.constant("absent", network.absent.numpy()), graph.constant("impossible", np.float32(-np.inf))
    every = graph.add("LogSoftmax", [graph.add("Where", [absent, none, scores], "seen")], "device_every", axis=1)
    left = graph.add("Where", [absent, graph.constant("unseen", np.float32(UNSEEN)), every], "device_left")
    return graph.add("LogSoftmax", [left], name, axis=1)


class _Network:
    """The nodes of one network.

    Args:
        graph: gets them.
        name: what their names begin with.
        model: the network.
        measured: statistics of the window of whole devices.
    """

    def __init__(self, graph: GraphBuilder, name: str, model: LRConvLSTM, measured: WindowStatistics) -> None:
        self._graph, self._name, self._model, self._measured = graph, name, model, measured

    def outputs(self, raw: str, places: NDArray[np.int64], state: str) -> Carried:
        """Names of the outputs [Z, O], of the state after them [Z, S], and of what is found beside [Z, hidden].

        Args:
            raw: all columns of the windows, one row for each bin and column, [L I, N].
            places: rows of ``raw`` that hold the inputs, [L, M, U].
            state: before it, [Z, S].
        """
        recent = self._beside(raw, places)
        encoded = self._add("Concat", [self._inner(raw, places), recent], "encoded", axis=1)
        seen, after = self._outer(encoded, state)
        both = self._add("Concat", [seen, recent], "seen", axis=1)
        head = [self._constant(f"head_{part}", _array(self._model.head.get_parameter(part))) for part in _PARTS]
        return Carried(self._add("Gemm", [both, *head], "outputs", transB=1), after, recent)

    def _add(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        return self._graph.add(operator, inputs, f"{self._name}_{output}", **attributes)

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        return self._graph.constant(f"{self._name}_{name}", value)

    def _taken(self, raw: str, places: NDArray[np.int64], name: str) -> str:
        """Name of some rows of ``raw``, [*places, N]."""
        return self._add("Gather", [raw, self._constant(f"{name}_places", places)], name, axis=0)

    def _filled(self, x: str, name: str) -> str:
        """Name of the values with :data:`LOWEST` where they are missing; Where takes several times as long."""
        return self._add(
            "Imputer",
            [x],
            f"{name}_filled",
            domain="ai.onnx.ml",
            imputed_value_floats=[LOWEST],
            replaced_value_float=float("nan"),
        )

    def _components(self, x: str, edges: Tensor, name: str, bounds: tuple[tuple[float, float], ...]) -> str:
        """Name of the components from 0 to 1 [P, D', X] of values [P, 1, X], D - 1 of the edges, one of each bound.

        Args:
            x: values, missing ones filled with :data:`LOWEST`.
            edges: that fit them, [P, D].
            name: of the nodes.
            bounds: where each further component is 0, and where it is 1.
        """
        low, high = edges[:, :-1], edges[:, 1:]
        more = torch.tensor(bounds, dtype=edges.dtype).T[:, None].expand(2, len(edges), -1)
        low, high = torch.cat((low, more[0]), dim=1), torch.cat((high, more[1]), dim=1)
        above = self._add("Sub", [x, self._constant(f"{name}_low", _array(low[..., None]))], f"{name}_above")
        part = self._add(
            "Div", [above, self._constant(f"{name}_width", _array((high - low)[..., None]))], f"{name}_part"
        )
        ends = [self._constant(f"{name}_{end}", np.float32(value)) for end, value in (("none", 0), ("all", 1))]
        return self._add("Clip", [part, *ends], f"{name}_code")

    def _inner(self, raw: str, places: NDArray[np.int64]) -> str:
        """What the inner LSTM makes of the windows, [Z, E H]; see :meth:`LRConvLSTM._inner`."""
        model, length = self._model, self._model.window_length
        channels, _, planes = model.planes.shape
        weight, bias = model.planes.double(), model.planes_bias.double()
        parts, missing_part = weight[:, :-1], weight[:, -1]
        x = self._taken(raw, places.swapaxes(0, 1), "values")  # [M, L, U, N]
        x = self._reshaped(x, "values_of_channels", (channels, 1, -1))
        x = self._filled(x, "bins")
        code = self._components(x, model.encoding.edges[:channels], "bins", (KNOWN, MISSING))  # [M, D + 1, L Z]
        known = (bias - parts.sum(1))[:, None]
        weight = torch.cat((2 * parts, known, (bias + missing_part)[:, None]), dim=1).swapaxes(1, 2)  # [M, Q, D + 1]
        x = self._add("MatMul", [self._constant("planes", _array(weight)), code], "planes_sum")
        x = self._add("Relu", [x], "planes_out")
        x = self._reshaped(x, "images", (channels, planes, length, -1))  # [M, Q, L, Z]
        x = self._convolution("conv1", x, model.conv1, model.norm1)
        x = self._convolution("conv2", x, model.conv2, model.norm2)  # [M, F, E, Z]
        columns, left = channels * model.spec.filters, length - 2 * (model.spec.kernel - 1)
        x = self._add("Transpose", [self._reshaped(x, "flat_images", (columns, -1))], "flat_bins", perm=[1, 0])
        x = self._reshaped(x, "bins", (left, -1, columns))  # [E, Z, M F]
        by_channel = np.arange(columns).reshape(-1, channels).T.ravel()  # its weights are in the order F M
        one = self._constant("direction", np.array([1]))
        for name, layer, order in (("inner1", model.inner1, by_channel), ("inner2", model.inner2, ALL)):
            x = self._add("Squeeze", [self._lstm(name, x, layer, columns=order), one], f"{name}_hidden")  # [E, Z, H]
        x = self._add("Transpose", [x], "rows_first", perm=[1, 0, 2])
        return self._reshaped(x, "inner", (0, -1))

    def _beside(self, raw: str, places: NDArray[np.int64]) -> str:
        """What the layers beside the inner LSTM make of the last bins, [Z, hidden]; see :meth:`LRConvLSTM._recent`."""
        model, length = self._model, self._model.window_length
        bins = min(model.spec.recent, length)
        last = places[length - bins :].swapaxes(0, 1)  # [M, bins, U]
        x = self._taken(raw, last, "recent_bins")
        if len(model.first):
            pair = [self._taken(raw, last[getattr(model, name).numpy()], f"{name}s") for name in ("first", "second")]
            x = self._add("Concat", [x, self._add("Sub", pair, "differences")], "recent_inputs", axis=0)
        edges = model.encoding.edges
        inputs, count = edges.shape
        x = self._filled(self._reshaped(x, "recent_values", (inputs, 1, -1)), "recent")
        code = self._components(x, edges, "recent", (KNOWN,))  # [P, D, bins Z]
        code = self._reshaped(code, "recent_flat", (inputs * count * bins, -1))
        weight, bias = _folded(model.beside[0], model.beside[1])
        own = weight[:, : bins * inputs * count]
        # Last bin first there, in the order of time here.
        weights = [own.reshape(-1, bins, inputs, count).flip(1).permute(2, 3, 1, 0)]  # [P, D, bins, H]
        if model.measured is not None:
            code = self._add("Concat", [code, self._measures(model.measured.edges)], "beside_code", axis=0)
            weights.append(weight[:, bins * inputs * count :].reshape(len(weight), -1, count, 1).permute(1, 2, 3, 0))
        folded = [
            torch.cat((2 * of[:, :-1], -of[:, :-1].sum(1, keepdim=True) - of[:, -1:]), dim=1).flatten(0, 2)
            for of in weights
        ]
        layer = [
            self._constant("beside1_weight", _array(torch.cat(folded))),
            self._constant("beside1_bias", _array(bias + sum(of[:, -1].sum((0, 1)) for of in weights))),
        ]
        x = self._add("Relu", [self._add("Gemm", [code, *layer], "beside1", transA=1)], "beside1_out")
        weight, bias = _folded(model.beside[4], model.beside[5])
        layer = [self._constant("beside2_weight", _array(weight)), self._constant("beside2_bias", _array(bias))]
        return self._add("Relu", [self._add("Gemm", [x, *layer], "beside2", transB=1)], "beside2_out")

    def _measures(self, edges: Tensor) -> str:
        """Components of the statistics of the window [Y D, N]; see :meth:`LRConvLSTM.measures_of`."""
        length = self._model.window_length
        spans = Taps.of(length).spans
        at = self._constant("spans", np.array([spans.index(span) for span in spans_of(length)]))
        found = (self._measured.means, self._measured.ranges, self._measured.mean_abs_changes)
        rows = [self._add("Gather", [x, at], f"measure_{row}", axis=1) for row, x in enumerate(found)]
        x = self._reshaped(self._add("Concat", rows, "measures", axis=1), "measures_flat", (0, -1))
        x = self._add("Transpose", [x], "measures_first", perm=[1, 0])
        x = self._filled(self._reshaped(x, "measure_values", (len(edges), 1, -1)), "measures")
        code = self._components(x, edges, "measures", (KNOWN,))
        return self._reshaped(code, "measures_read", (edges.numel(), -1))

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
        self,
        name: str,
        x: str,
        layer: nn.LSTM,
        before: Sequence[str] = ("", ""),
        after: Sequence[str] = (),
        columns: slice | NDArray[np.int64] = ALL,
    ) -> str:
        """One LSTM layer over [T, Z, I]: all hidden values [T, 1, Z, H].

        Args:
            name: of the nodes.
            x: what it reads.
            layer: gives the weights.
            before, after: hidden and cell values; from a zero state unless one is given.
            columns: of the weights, in the order of I.
        """
        bias = np.concatenate([_gates(layer, "bias_ih_l0"), _gates(layer, "bias_hh_l0")])
        weights = [
            self._constant(f"{name}_W", _gates(layer, "weight_ih_l0")[None, :, columns]),
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
