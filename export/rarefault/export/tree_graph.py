"""The trees of :mod:`rarefault.train.model.trees` as ONNX nodes.

The statistics are computed as there, sums in double precision, and the thresholds compared in double precision, so that
file and checkpoint come to the same leaf. Shapes: N windows, L bins, C channels, S spans, G lags, K classes, U units, M
channels of a unit, P their pairs.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor

from rarefault.export.building import GraphBuilder
from rarefault.export.statistics_graph import WindowStatistics
from rarefault.train.model.trees import (
    RECENT,
    SMOOTHING,
    ExtraTrees,
    Taps,
    TreeExpert,
    Trees,
    UnitTrees,
    pairs_of,
)

#: Domain of the tree operators.
DOMAIN = "ai.onnx.ml"
#: Names of the levels of :class:`rarefault.train.model.trees.Statistics`, in their order.
LEVELS = ("last", "mean", "change")


def tree_opinion(graph: GraphBuilder, trees: TreeExpert, window_length: int, measured: WindowStatistics) -> str:
    """Name of the trees' opinion [N, V] of ``window`` [N, L, I].

    Args:
        graph: gets the nodes.
        trees: the expert.
        window_length: L.
        measured: of the window.
    """
    found = _statistics(graph, trees, window_length, measured)
    if trees.at_units is None:
        return _device_log_prob(graph, trees, found, measured, "tree_opinion")
    log_prob = _device_log_prob(graph, trees, found, measured, "tree_log_prob")
    logits = _unit_logits(graph, trees, trees.at_units, found, window_length)
    return graph.add("Concat", [log_prob, logits], "tree_opinion", axis=1)


def _device_log_prob(
    graph: GraphBuilder, trees: TreeExpert, found: "_Found", measured: WindowStatistics, name: str
) -> str:
    """Log-probabilities of the device's classes [N, K]; without trees they are the same for all windows."""
    if not len(trees.root):
        return graph.rows(name, torch.log_softmax(trees.base, dim=0).float().numpy())
    features = _window_features(graph, found)
    scores = _scores(graph, "tree", trees, features)
    if trees.extra is not None:
        change = graph.add("Flatten", [measured.mean_abs_changes], "flat_mean_abs_change", axis=1)
        all_features = graph.add("Concat", [features, change], "extra_features", axis=1)
        experts = [
            graph.add("LogSoftmax", [scores], "boosted_log_prob", axis=1),
            graph.add("LogSoftmax", [_extra_scores(graph, trees.extra, all_features)], "extra_log_prob", axis=1),
        ]
        both = graph.add("Add", experts, "device_sum")
        scores = graph.add("Mul", [both, graph.constant("half", np.float32(0.5))], "device_scores")
    return graph.add("LogSoftmax", [scores], name, axis=1)


def _unit_logits(graph: GraphBuilder, trees: TreeExpert, at_units: UnitTrees, found: "_Found", length: int) -> str:
    """Logits of the faults at all units [N, U J]; without trees they are the same for all windows."""
    units = len(trees.units)
    if not len(at_units.root):
        return graph.rows("tree_units", at_units.base.float().repeat(units).numpy())
    logits = _scores(graph, "unit", at_units, _unit_features(graph, found, trees, length))
    by_device = graph.constant("by_device", np.array([-1, units * len(at_units.faults)]))
    return graph.add("Reshape", [logits, by_device], "tree_units")


def _scores(graph: GraphBuilder, name: str, trees: Trees, features: str) -> str:
    """Sums of the leaves [N, scores] of features [N, F]; see :meth:`rarefault.train.model.trees.Trees.scores`."""
    base = graph.constant(f"{name}_base", trees.base.numpy().astype(np.float32))
    at = _leaves(trees)
    tree = np.searchsorted(trees.root.numpy(), at, side="right") - 1
    value = trees.value.numpy()[at]
    sums = _sums(graph, name, trees, features, (at, trees.target.numpy()[tree], value))
    # Not as the operator's base values: ONNX Runtime leaves them out for a class without a tree.
    return graph.add("Add", [sums, base], f"{name}_scores")


def _extra_scores(graph: GraphBuilder, trees: ExtraTrees, features: str) -> str:
    """Scores [N, K] of features [N, F]; see :meth:`rarefault.train.model.trees.ExtraTrees.scores`."""
    at = _leaves(trees)
    value = trees.value.numpy()[at]
    leaf, target = np.nonzero(value)
    frequency = _sums(graph, "extra", trees, features, (at[leaf], target, value[leaf, target]))
    some = graph.add("Add", [frequency, graph.constant("doubt", np.float32(SMOOTHING))], "extra_share")
    base = graph.constant("extra_base", trees.base.numpy().astype(np.float32))
    return graph.add("Add", [graph.add("Log", [some], "extra_log_share"), base], "extra_scores")


def _leaves(trees: Trees) -> NDArray[np.int64]:
    """Nodes without children."""
    return np.flatnonzero(trees.left.numpy() == np.arange(len(trees.left)))


def _sums(
    graph: GraphBuilder,
    name: str,
    trees: Trees,
    features: str,
    given: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
) -> str:
    """Sums of what the leaves give to the scores, [N, scores].

    Args:
        given: a leaf's node, a score, and what the leaf gives to it, [G] each.
    """
    features = graph.add("Cast", [features], f"{name}_asked", to=TensorProto.DOUBLE)
    nodes = np.arange(len(trees.left))
    leaf = trees.left.numpy() == nodes
    first = trees.root.numpy()
    tree = np.searchsorted(first, nodes, side="right") - 1
    number = nodes - first[tree]  # of a node within its tree
    at, target, value = given

    def child(of: Tensor) -> list[int]:
        numbers: list[int] = np.where(leaf, 0, of.numpy() - first[tree]).tolist()
        return numbers

    return graph.add(
        "TreeEnsembleRegressor",
        [features],
        f"{name}_sums",
        domain=DOMAIN,
        n_targets=len(trees.base),
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=number.tolist(),
        nodes_featureids=trees.feature.tolist(),
        nodes_modes=["LEAF" if end else "BRANCH_LEQ" for end in leaf.tolist()],
        nodes_values_as_tensor=numpy_helper.from_array(trees.threshold.numpy(), f"{name}_nodes_values"),
        nodes_truenodeids=child(trees.left),
        nodes_falsenodeids=child(trees.right),
        nodes_missing_value_tracks_true=trees.missing_left.int().tolist(),
        target_treeids=tree[at].tolist(),
        target_nodeids=number[at].tolist(),
        target_ids=target.tolist(),
        target_weights_as_tensor=numpy_helper.from_array(value, f"{name}_target_weights"),
    )


class _Found(NamedTuple):
    """Names of what :class:`rarefault.train.model.trees.Statistics` has.

    First the channels, then of each level the unit's own channels and the differences of their pairs, where there are
    any.
    """

    channels: str
    levels: list[tuple[str, list[str]]]


def _statistics(graph: GraphBuilder, trees: TreeExpert, length: int, measured: WindowStatistics) -> _Found:
    """The statistics of ``window``; see :func:`rarefault.train.model.trees.statistics`."""
    taps = Taps.of(length)
    mean, width = measured.means, measured.ranges
    last = graph.add("Gather", ["window", graph.constant("last_bin", np.array([length - 1]))], "last", axis=1)
    before = graph.constant("lagged_bins", np.array([length - 1 - lag for lag in taps.lags]))
    change = graph.add("Sub", [last, graph.add("Gather", ["window", before], "lagged", axis=1)], "changes")
    channels = graph.add("Concat", [last, change, mean, width], "statistics", axis=1)
    if not trees.units.numel():
        return _Found(channels, [])
    levels = [(last, 0), (mean, taps.spans.index(taps.quarter))]
    levels += [(change, taps.lags.index(taps.quarter))] if taps.lags else []
    return _Found(channels, [_within_units(graph, trees, *of) for of in zip(LEVELS, levels, strict=False)])


def _within_units(graph: GraphBuilder, trees: TreeExpert, name: str, level: tuple[str, int]) -> tuple[str, list[str]]:
    """Channels of each unit [N, U, M] in a row of some statistics, and the differences of their pairs [N, U, P]."""
    rows, row = level
    values = graph.add("Gather", [rows, graph.constant(f"{name}_row", np.array(row))], f"{name}_level", axis=1)
    units = graph.constant(f"{name}_units", trees.units.numpy())
    own = graph.add("Gather", [values, units], f"{name}_of_units", axis=1)
    first, second = pairs_of(trees.units.shape[1])
    if not first:
        return own, []
    ends = [
        graph.add("Gather", [own, graph.constant(f"{name}_{end}", np.array(chosen))], f"{name}_{end}s", axis=2)
        for end, chosen in (("minuend", first), ("subtrahend", second))
    ]
    return own, [graph.add("Sub", ends, f"{name}_pairs")]


def _window_features(graph: GraphBuilder, found: _Found) -> str:
    """Those of the whole device [N, features]; see :func:`rarefault.train.model.trees.window_features`."""
    flat = graph.add("Flatten", [found.channels], "flat_statistics", axis=1)
    if not found.levels:
        return flat
    pieces = [flat, *(graph.add("Flatten", [pairs], "flat_pairs", axis=1) for pairs in found.levels[0][1])]
    for name, (own, pairs) in zip(LEVELS, found.levels, strict=False):
        level = graph.add("Concat", [own, *pairs], f"{name}_within_units", axis=2) if pairs else own
        pieces += _over_units(graph, name, level)
    return graph.add("Concat", pieces, "all_statistics", axis=1)


def _unit_features(graph: GraphBuilder, found: _Found, trees: TreeExpert, length: int) -> str:
    """Those of each unit [N U, features]; see :func:`rarefault.train.model.trees.unit_features`."""
    bounds = [graph.constant(f"recent_{name}", np.array([at])) for name, at in (("start", -RECENT), ("end", length))]
    recent = graph.add("Slice", ["window", *bounds, graph.constant("recent_axis", np.array([1]))], "recent")
    own = graph.add("Gather", [recent, graph.constant("recent_units", trees.units.numpy())], "recent_of_units", axis=2)
    own = graph.add("Transpose", [own], "recent_by_unit", perm=[0, 2, 1, 3])  # [N, U, bins, M]
    bins, (units, size) = min(RECENT, length), trees.units.shape
    own = graph.add("Reshape", [own, graph.constant("recent_shape", np.array([-1, units, bins * size]))], "recent_flat")
    width = bins * size + sum(len(pairs_of(size)[0]) for _ in found.levels[0][1])
    features = graph.add("Concat", [own, *found.levels[0][1]], "unit_features_by_unit", axis=2)
    return graph.add("Reshape", [features, graph.constant("unit_rows", np.array([-1, width]))], "unit_features")


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
