"""Statistics of the window as ONNX nodes, computed once for all that read them.

See :func:`rarefault.train.model.trees.statistics`. Sums are in double precision, as there. Shapes: N windows, L bins, I
columns, S spans.
"""

from functools import cached_property

import numpy as np
from onnx import TensorProto

from rarefault.export.building import GraphBuilder
from rarefault.train.model.trees import Taps


class WindowStatistics:
    """Names of statistics of ``window`` [N, L, I]; what nobody asks for gets no node.

    Args:
        graph: gets the nodes.
        length: L.
    """

    def __init__(self, graph: GraphBuilder, length: int) -> None:
        self._graph, self._length, self._taps = graph, length, Taps.of(length)

    @cached_property
    def _known(self) -> str:
        return self._graph.add("Not", [self._graph.add("IsNaN", ["window"], "missing")], "known")

    @property
    def means(self) -> str:
        """Means over the spans, NaN where nothing is known, [N, S, I]."""
        return self._means_and_counts[0]

    @property
    def _count(self) -> str:
        """How many bins of each span are known, [N, S, I]."""
        return self._means_and_counts[1]

    @cached_property
    def _means_and_counts(self) -> tuple[str, str]:
        graph = self._graph
        spans = graph.constant("spans", self._taps.span_matrix(self._length))
        filled = graph.add("Where", [self._known, "window", graph.constant("nothing", np.float32(0))], "known_or_zero")
        total = graph.add("MatMul", [spans, graph.add("Cast", [filled], "wide", to=TensorProto.DOUBLE)], "totals")
        count = graph.add("MatMul", [spans, graph.add("Cast", [self._known], "ones", to=TensorProto.DOUBLE)], "counts")
        mean = graph.add("Cast", [graph.add("Div", [total, count], "wide_means")], "means", to=TensorProto.FLOAT)
        return mean, count

    @cached_property
    def ranges(self) -> str:
        """Largest less smallest value over the spans, NaN where nothing is known, [N, S, I]."""
        graph = self._graph
        axis = graph.constant("bin_axis", np.array([1]))
        end = graph.constant("window_end", np.array([self._length]))
        widths = []
        extremes = {}
        for name, filler, operator in (("highest", -np.inf, "ReduceMax"), ("lowest", np.inf, "ReduceMin")):
            inputs = [self._known, "window", graph.constant(f"{name}_filler", np.float32(filler))]
            extremes[operator] = (name, graph.add("Where", inputs, name))
        for span in self._taps.spans:
            start = graph.constant(f"span_{span}_start", np.array([self._length - span]))
            ends = []
            for operator, (name, bins) in extremes.items():
                part = graph.add("Slice", [bins, start, end, axis], f"{name}_{span}_bins")
                ends.append(graph.add(operator, [part], f"{name}_{span}", axes=[1], keepdims=1))
            widths.append(graph.add("Sub", ends, f"range_{span}"))
        width = graph.add("Concat", widths, "wide_ranges", axis=1)
        some = graph.add("Greater", [self._count, graph.constant("none", np.float64(0))], "some_known")
        return graph.add("Where", [some, width, graph.constant("nan", np.float32(np.nan))], "ranges")

    @cached_property
    def mean_abs_changes(self) -> str:
        """Mean absolute change from one bin to the next over the spans, NaN where none is known, [N, S, I]."""
        graph = self._graph
        spans = graph.constant("step_spans", self._taps.span_matrix(self._length)[:, 1:])
        axis = graph.constant("step_axis", np.array([1]))
        ends = []
        for name, first, after in (("later", 1, self._length), ("earlier", 0, self._length - 1)):
            bounds = [
                graph.constant(f"{name}_{end}", np.array([at])) for end, at in (("first", first), ("after", after))
            ]
            ends.append(graph.add("Slice", ["window", *bounds, axis], f"{name}_bins"))
        step = graph.add("Abs", [graph.add("Sub", ends, "bin_changes")], "steps")
        unknown = graph.add("IsNaN", [step], "steps_unknown")
        known = graph.add("Cast", [graph.add("Not", [unknown], "steps_known")], "step_ones", to=TensorProto.DOUBLE)
        filled = graph.add("Where", [unknown, graph.constant("no_step", np.float32(0)), step], "steps_or_zero")
        total = graph.add(
            "MatMul", [spans, graph.add("Cast", [filled], "wide_steps", to=TensorProto.DOUBLE)], "step_totals"
        )
        mean = graph.add("Div", [total, graph.add("MatMul", [spans, known], "step_counts")], "wide_mean_abs_change")
        return graph.add("Cast", [mean], "mean_abs_change", to=TensorProto.FLOAT)
