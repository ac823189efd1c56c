"""Edges of the piecewise-linear encodings: quantiles, and the levels that tell the faults from the rest.

A fault of a machine is often an exact condition, such as "4 degrees above the set-point". Quantiles hardly ever meet
such a level. So a few small trees are grown on the last bins of the windows, and the levels that they split at are
edges, too: those with the largest gain, as in the tree-based binning of Gorishniy, Rubachev and Babenko, "On Embeddings
for Numerical Features in Tabular Deep Learning", 2022, section 3.2.2, but by trees that see all inputs at once. Each
level becomes two edges, the nearest training values on both sides, so that the encoding steps there and nowhere else.

Shapes: N windows, M columns of a unit, P inputs (the columns and the differences of their pairs), O outputs.
"""

import numpy as np
import torch
from sklearn.tree import DecisionTreeClassifier

from rarefault.runtime.arrays import Bool, Float32, Float64, Int64
from rarefault.train.fitting.examples import Examples
from rarefault.train.fitting.tree_features import CHUNK
from rarefault.train.model.network import LRConvLSTM

#: Trees for each output, their leaves, the windows in a leaf at least, and the share of inputs that a split may choose
#: from.
TREES, LEAVES, LEAST, INPUTS = 3, 64, 3, 0.5
#: Windows that the trees are grown on, and values that quantiles are taken of, at most.
MOST_WINDOWS, MOST_VALUES, MOST_MEASURED = 30_000, 60_000, 20_000
#: Share of the edges that are quantiles at least.
QUANTILES = 0.4
#: Values beyond this, of broken sensors, count as this.
HUGE = np.float32(1e30)

#: Levels of one input, with the gain of each.
Levels = dict[float, float]


@torch.no_grad()
def fit_edges(model: LRConvLSTM, examples: Examples, seed: int) -> None:
    """Set the edges of a network's encodings from what it will learn from.

    Args:
        model: changed in place.
        examples: gives the values, and which of them the faults go with.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    rows = examples.windows.windows.rows
    some = rng.choice(len(rows), min(len(rows), MOST_VALUES), replace=False)
    own = rows[np.sort(some)][:, examples.columns].reshape(-1, examples.columns.shape[1])
    parts = [(model.encoding, _inputs(model, own))]
    if model.measured is not None:
        count = min(len(examples.windows), MOST_MEASURED)
        chosen = np.sort(rng.choice(len(examples.windows), count, replace=False))
        parts.append((model.measured, _measures(model, examples, chosen, np.zeros_like(chosen))))
    levels = _levels(model, examples, rng)
    for encoding, values in parts:
        own_levels, levels = levels[: values.shape[1]], levels[values.shape[1] :]
        edges = [_edges(column, own, model.spec.edges) for column, own in zip(values.T, own_levels, strict=True)]
        encoding.edges.copy_(torch.from_numpy(np.stack(edges)))


def _levels(model: LRConvLSTM, examples: Examples, rng: np.random.Generator) -> list[Levels]:
    """Levels at which small trees split each input, and each statistic of a window, [P + Y]."""
    recent, bins = min(model.spec.recent, model.window_length), _recent_inputs
    window, unit = np.nonzero(examples.known.any(axis=2))
    active = examples.active[window, unit]
    faulty = np.asarray((active[:, 1:] if examples.exclusive else active).any(axis=1))
    chosen = np.union1d(_some(~faulty, MOST_WINDOWS, rng), _some(faulty, MOST_WINDOWS, rng))
    inputs, measured = len(model.encoding.edges), 0 if model.measured is None else len(model.measured.edges)
    of = np.r_[np.tile(np.arange(inputs), recent), inputs + np.arange(measured)]  # input of each of the trees' features
    found: list[Levels] = [{} for _ in range(inputs + measured)]
    if not len(chosen):
        return found
    parts = [bins(model, examples, window[chosen], unit[chosen], back) for back in range(recent)]
    if model.measured is not None:
        parts.append(_measures(model, examples, window[chosen], unit[chosen]))
    x = np.clip(np.concatenate(parts, axis=1), -HUGE, HUGE)
    for output in range(1 if examples.exclusive else 0, active.shape[1]):
        y = active[chosen, output]
        if min(y.sum(), (~y).sum()) < LEAST:
            continue
        for _ in range(TREES):
            _add_levels(found, of, x, y, int(rng.integers(2**31)))
    return found


def _recent_inputs(model: LRConvLSTM, examples: Examples, window: Int64, unit: Int64, back: int) -> Float32:
    """Inputs of a unit so many bins before the end of each window, [N, P]."""
    row = examples.windows.windows.end_row[window] - back
    return _inputs(model, examples.windows.windows.rows[row[:, None], examples.columns[unit]])


def _measures(model: LRConvLSTM, examples: Examples, window: Int64, unit: Int64) -> Float32:
    """Statistics of a unit's channels over windows, [N, Y]."""
    found = []
    for at in range(0, len(window), CHUNK):
        bins = examples.windows.windows.gather(window[at : at + CHUNK])
        own = np.take_along_axis(bins, examples.columns[unit[at : at + CHUNK]][:, None], axis=2)
        found.append(model.measures_of(torch.from_numpy(own)).numpy())
    return np.concatenate(found)


def _inputs(model: LRConvLSTM, own: Float32) -> Float32:
    inputs: Float32 = model.inputs_of(torch.from_numpy(own)).numpy()
    return inputs


def _some(which: Bool, most: int, rng: np.random.Generator) -> Int64:
    at: Int64 = np.flatnonzero(which)
    return at if len(at) <= most else rng.choice(at, most, replace=False)


def _add_levels(found: list[Levels], of: Int64, x: Float32, y: Bool, seed: int) -> None:
    """Grow a tree and add what its splits gain, in entropy, to the levels of their inputs."""
    grown = DecisionTreeClassifier(
        criterion="entropy",
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAST,
        max_features=INPUTS,
        class_weight="balanced",
        random_state=seed,
    ).fit(x, y)
    tree = grown.tree_
    share = tree.weighted_n_node_samples / tree.weighted_n_node_samples[0]
    for node in np.flatnonzero(tree.children_left >= 0):
        left, right = tree.children_left[node], tree.children_right[node]
        gain = share[node] * tree.impurity[node] - share[left] * tree.impurity[left]
        gain -= share[right] * tree.impurity[right]
        levels = found[of[tree.feature[node]]]
        level = float(tree.threshold[node])
        levels[level] = levels.get(level, 0.0) + float(gain)


def _edges(values: Float32, levels: Levels, count: int) -> Float64:
    """Edges of one input, ascending in single precision, [D].

    >>> _edges(np.array([1, 2, 3, 4, 5, 6], np.float32), {3.4: 0.2}, 5)
    array([1. , 3. , 3.5, 4. , 6. ])
    """
    known = np.clip(values[~np.isnan(values)], -HUGE, HUGE)
    distinct = np.unique(known).astype(np.float64)
    if len(distinct) < 2:
        only = float(distinct[0] if len(distinct) else 0.0)
        step = max(1.0, _least_step(only))
        return np.array([only + (at - 0.5) * step for at in range(count)])
    gain: dict[int, float] = {}
    for level, gained in levels.items():
        above = int(np.searchsorted(distinct, level))
        if 0 < above < len(distinct):
            gain[above] = gain.get(above, 0.0) + gained
    best = sorted(gain, key=lambda above: (-gain[above], above))[: int((1 - QUANTILES) * count) // 2]
    edges = {float(distinct[above - side]) for above in best for side in (0, 1)}
    quantiles = np.quantile(known, np.linspace(0, 1, count)).astype(np.float32).astype(np.float64)
    edges |= _spread(quantiles, edges, count)
    edges |= _spread(distinct, edges, count)
    ascending = np.array(sorted(edges))
    width = max(ascending[-1] - ascending[0], _least_step(ascending[-1]))
    return np.concatenate((ascending, ascending[-1] + width * np.arange(1, count - len(ascending) + 1)))


def _least_step(value: float) -> float:
    """What can be added to a value again and again and makes a difference in single precision."""
    return 4 * float(np.spacing(np.float32(abs(value))))


def _spread(candidates: Float64, taken: set[float], count: int) -> set[float]:
    """Of the candidates that are not taken, as many as are still needed, evenly spread."""
    left = np.setdiff1d(candidates, np.array(sorted(taken)))
    need = min(count - len(taken), len(left))
    return {float(x) for x in left[np.linspace(0, len(left) - 1, need).round().astype(int)]} if need > 0 else set()
