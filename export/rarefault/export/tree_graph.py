"""The trees of :mod:`rarefault.train.trees` as ONNX nodes.

The statistics are computed as there, sums in double precision, and the thresholds compared in double precision, so that
file and checkpoint come to the same leaf. Shapes: N windows, L bins, C channels, S spans, G lags, K classes, U units, M
channels of a unit, P their pairs.
"""

import numpy as np
from onnx import TensorProto, numpy_helper
from torch import Tensor

from rarefault.export.building import GraphBuilder
from rarefault.train.trees import Taps, TreeExpert, pairs_of

#: Domain of the tree operators.
DOMAIN = "ai.onnx.ml"


def tree_log_prob(graph: GraphBuilder, trees: TreeExpert, window_length: int) -> str:
    """Name of the trees' log-probabilities [N, K] of ``window`` [N, L, C]."""
    features = graph.add("Cast", [_features(graph, trees, window_length)], "tree_features", to=TensorProto.DOUBLE)
    nodes = np.arange(len(trees.left))
    leaf = trees.left.numpy() == nodes
    first = trees.root.numpy()
    tree = np.searchsorted(first, nodes, side="right") - 1
    number = nodes - first[tree]  # of a node within its tree
    at = np.flatnonzero(leaf)

    def child(of: Tensor) -> list[int]:
        numbers: list[int] = np.where(leaf, 0, of.numpy() - first[tree]).tolist()
        return numbers

    sums = graph.add(
        "TreeEnsembleRegressor",
        [features],
        "tree_sums",
        domain=DOMAIN,
        n_targets=len(trees.base),
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=number.tolist(),
        nodes_featureids=trees.feature.tolist(),
        nodes_modes=["LEAF" if end else "BRANCH_LEQ" for end in leaf.tolist()],
        nodes_values_as_tensor=numpy_helper.from_array(trees.threshold.numpy(), "nodes_values"),
        nodes_truenodeids=child(trees.left),
        nodes_falsenodeids=child(trees.right),
        nodes_missing_value_tracks_true=trees.missing_left.int().tolist(),
        target_treeids=tree[at].tolist(),
        target_nodeids=number[at].tolist(),
        target_ids=trees.target.numpy()[tree[at]].tolist(),
        target_weights_as_tensor=numpy_helper.from_array(trees.value.numpy()[at], "target_weights"),
    )
    # Not as the operator's base values: ONNX Runtime leaves them out for a class without a tree.
    base = graph.constant("tree_base", trees.base.numpy().astype(np.float32))
    return graph.add("LogSoftmax", [graph.add("Add", [sums, base], "tree_scores")], "tree_log_prob", axis=1)


def pooled(graph: GraphBuilder, trees: TreeExpert, network: str, spoken: str) -> str:
    """Name of the pooled scores, which are no probabilities yet, [N, K]."""
    share = trees.share.numpy().astype(np.float32)
    parts = [
        graph.add("Mul", [network, graph.constant("network_share", np.float32(1) - share)], "network_part"),
        graph.add("Mul", [spoken, graph.constant("trees_share", share)], "trees_part"),
    ]
    return graph.add("Add", parts, "pooled")


def _features(graph: GraphBuilder, trees: TreeExpert, length: int) -> str:
    """The statistics [N, features] of ``window``; see :func:`rarefault.train.trees.window_features`."""
    taps = Taps.of(length)
    known = graph.add("Not", ["missing"], "known")
    spans = graph.constant("spans", taps.span_matrix(length))
    filled = graph.add("Where", [known, "window", graph.constant("nothing", np.float32(0))], "known_or_zero")
    total = graph.add("MatMul", [spans, graph.add("Cast", [filled], "wide", to=TensorProto.DOUBLE)], "totals")
    count = graph.add("MatMul", [spans, graph.add("Cast", [known], "ones", to=TensorProto.DOUBLE)], "counts")
    mean = graph.add("Cast", [graph.add("Div", [total, count], "wide_means")], "means", to=TensorProto.FLOAT)

    axis = graph.constant("bin_axis", np.array([1]))
    end = graph.constant("window_end", np.array([length]))
    widths = []
    extremes = {}
    for name, filler, operator in (("highest", -np.inf, "ReduceMax"), ("lowest", np.inf, "ReduceMin")):
        inputs = [known, "window", graph.constant(f"{name}_filler", np.float32(filler))]
        extremes[operator] = (name, graph.add("Where", inputs, name))
    for span in taps.spans:
        start = graph.constant(f"span_{span}_start", np.array([length - span]))
        ends = [
            graph.add(
                operator,
                [graph.add("Slice", [bins, start, end, axis], f"{name}_{span}_bins")],
                f"{name}_{span}",
                axes=[1],
                keepdims=1,
            )
            for operator, (name, bins) in extremes.items()
        ]
        widths.append(graph.add("Sub", ends, f"range_{span}"))
    width = graph.add("Concat", widths, "wide_ranges", axis=1)
    some = graph.add("Greater", [count, graph.constant("none", np.float64(0))], "some_known")
    width = graph.add("Where", [some, width, graph.constant("nan", np.float32(np.nan))], "ranges")

    last = graph.add("Gather", ["window", graph.constant("last_bin", np.array([length - 1]))], "last", axis=1)
    before = graph.constant("lagged_bins", np.array([length - 1 - lag for lag in taps.lags]))
    change = graph.add("Sub", [last, graph.add("Gather", ["window", before], "lagged", axis=1)], "changes")
    features = graph.add("Concat", [last, change, mean, width], "statistics", axis=1)
    flat = graph.add("Flatten", [features], "flat_statistics", axis=1)
    if not trees.units.numel():
        return flat
    levels = [("last", last, 0), ("mean", mean, taps.spans.index(taps.quarter))]
    levels += [("change", change, taps.lags.index(taps.quarter))] if taps.lags else []
    first, second = pairs_of(trees.units.shape[1])
    pieces = [flat]
    extremes_of_units: list[str] = []
    for name, rows, row in levels:
        level = graph.add("Gather", [rows, graph.constant(f"{name}_row", np.array(row))], f"{name}_level", axis=1)
        units = graph.constant(f"{name}_units", trees.units.numpy())
        own = graph.add("Gather", [level, units], f"{name}_of_units", axis=1)  # [N, U, M]
        if first:
            ends = [
                graph.add("Gather", [own, graph.constant(f"{name}_{end}", np.array(chosen))], f"{name}_{end}s", axis=2)
                for end, chosen in (("minuend", first), ("subtrahend", second))
            ]
            pairs = graph.add("Sub", ends, f"{name}_pairs")  # [N, U, P]
            own = graph.add("Concat", [own, pairs], f"{name}_within_units", axis=2)
            if name == "last":
                pieces.append(graph.add("Flatten", [pairs], "flat_pairs", axis=1))
        extremes_of_units += _over_units(graph, name, own)
    return graph.add("Concat", pieces + extremes_of_units, "all_statistics", axis=1)


def _over_units(graph: GraphBuilder, name: str, level: str) -> list[str]:
    """The largest and the smallest over the units of which it is known."""
    unknown = graph.add("IsNaN", [level], f"{name}_unknown")
    found = []
    for end, filler, operator in (("high", -np.inf, "ReduceMax"), ("low", np.inf, "ReduceMin")):
        inputs = [unknown, graph.constant(f"{name}_{end}_filler", np.float32(filler)), level]
        filled = graph.add("Where", inputs, f"{name}_{end}_filled")
        extreme = graph.add(operator, [filled], f"{name}_{end}_found", axes=[1], keepdims=0)
        none = graph.add("IsInf", [extreme], f"{name}_{end}_none")
        nan = graph.constant(f"{name}_{end}_nan", np.float32(np.nan))
        found.append(graph.add("Where", [none, nan, extreme], f"{name}_{end}"))
    return found
