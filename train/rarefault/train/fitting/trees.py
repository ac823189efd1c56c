"""Growing the trees that stand beside the network.

The growing itself is a library's, see :mod:`rarefault.train.fitting.tree_library`.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefault.runtime.arrays import Float32, Float64, Int64
from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.inference.decision.pool import UNSEEN
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.config import TreesConfig
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.drawing import draw
from rarefault.train.fitting.sklearn_trees import ScikitLearn
from rarefault.train.fitting.tree_features import CHUNK, extra_count, features_of, fill_unknown, unit_features_of
from rarefault.train.fitting.tree_library import Boosted, Tree, TreeLibrary
from rarefault.train.model.parts import MODEL_PARTS, ModelPart
from rarefault.train.model.trees import ExtraTrees, TreeExpert, UnitTrees, no_trees, no_unit_trees

#: Grows all trees.
LIBRARY: TreeLibrary = ScikitLearn()
#: Largest difference between the trees' probabilities and those of the library that grew them.
ALLOWED = 1e-6
#: Of faults with fewer events in the training windows, there are copies with their units swapped.
FEW_EVENTS = 20


def grow_trees(
    windows: LabelledWindows,
    prior: tuple[float, ...],
    config: TreesConfig,
    seed: int,
    threads: int = 0,
    units: Int64 = NO_UNITS,
    at_units: UnitsSpec | None = None,
    *,
    parts: Collection[ModelPart] = MODEL_PARTS,
) -> TreeExpert | None:
    """Trees on the statistics of the labelled windows; None where there are not two classes, or none are wanted.

    Args:
        windows: to learn from.
        prior: class frequencies that the trees' opinions hold for, [K], however they are grown.
        config: their number and size.
        seed: of the growing.
        threads: 0 takes one.
        units: columns of each unit, [U, M].
        at_units: what is looked for at them; None where nothing is.
        parts: those to grow; the others have no evidence.

    Raises:
        RarefaultError: the trees could not be read from the library that grew them.
    """
    if (windows.counts(len(prior)) > 0).sum() < 2 or not wants_trees(parts, at_units):
        return None
    elsewhere = [] if at_units is None else at_units.faults
    trees = grow_at_devices(windows, prior, config, seed, threads, units, elsewhere, parts)
    if at_units is not None:
        trees.at_units = grow_at_units(windows, at_units, config, seed, threads, units, parts)
    return trees


def wants_trees(parts: Collection[ModelPart], at_units: UnitsSpec | None) -> bool:
    """Whether some of the parts are trees that there is anything to find for."""
    return "trees_device" in parts or ("trees_units" in parts and at_units is not None)


def grow_at_devices(
    windows: LabelledWindows,
    prior: tuple[float, ...],
    config: TreesConfig,
    seed: int,
    threads: int,
    units: Int64,
    elsewhere: Sequence[int],
    parts: Collection[ModelPart] = MODEL_PARTS,
) -> TreeExpert:
    """Trees of whole devices; none, and so no evidence, where they are not among the parts.

    Args:
        windows, prior, config, seed, threads, units: see :func:`grow_trees`; the windows have two classes.
        elsewhere: faults that have trees at each unit, and so none here.
        parts: those that are wanted.

    Raises:
        RarefaultError: the trees could not be read from the library that grew them.
    """
    n_classes = len(prior)
    if "trees_device" not in parts:
        return _expert(no_trees(np.log(prior)), units)
    own = np.where(np.isin(windows.label, elsewhere), -1, windows.label)
    drawn = draw(own, config.max_windows, config.max_windows, seed)
    select = drawn.select
    counts = np.bincount(windows.label[select], minlength=n_classes)
    if (counts > 0).sum() < 2:
        certain = np.where(counts > 0, 0.0, UNSEEN)
        return _expert(no_trees(certain), units)
    features, label = _with_swaps(windows, select, n_classes, config, seed, units, elsewhere)
    # Where rare faults are looked for at units, what is left is not rare and needs no weights (decision 0010).
    balanced = not elsewhere
    weight = None if balanced else drawn.weight
    plain = features[:, : features.shape[1] - extra_count(windows.windows)]
    fill_unknown(plain)
    grown = LIBRARY.boost(plain, label, config, seed, threads, balanced=balanced, weight=weight)
    base = np.full(n_classes, UNSEEN)
    base[grown.classes] = 0.0
    # Of two classes there is one score, the logit of the second.
    scored = grown.classes if len(grown.classes) > 2 else grown.classes[1:]
    trees = _expert(_joined([(grown, scored.tolist())], base), units)
    shown = plain[: min(len(select), CHUNK)]
    with torch.inference_mode():
        served = torch.softmax(trees.scores(torch.from_numpy(shown)), dim=1).numpy()[:, grown.classes]
    _check(served, grown.predict(shown))
    # A window of one bin has no changes.
    if config.extra_trees and "extra_trees" in parts and windows.windows.length > 1:
        trees.extra = _grow_extra(features, label, n_classes, config, seed, balanced=balanced, weight=weight)
    learned = np.ones(n_classes) if balanced else np.bincount(label, weights=weight, minlength=n_classes)
    to_prior = np.zeros(n_classes)
    to_prior[grown.classes] = np.log(np.asarray(prior)[grown.classes]) - np.log(learned[grown.classes])
    for ensemble in (trees, trees.extra):
        if ensemble is not None:
            ensemble.base += torch.from_numpy(to_prior)
    return trees


def _with_swaps(
    windows: LabelledWindows,
    select: Int64,
    n_classes: int,
    config: TreesConfig,
    seed: int,
    units: Int64,
    elsewhere: Sequence[int],
) -> tuple[Float32, Int64]:
    """Features [N, F] and labels [N] of windows, and of copies of those with rare faults, with their units swapped."""
    features, label = features_of(windows, select, units), windows.label[select]
    if not len(units) or not config.swaps:
        return features, label
    few = [c for c in few_events(windows, n_classes) if c not in elsewhere]
    rare = select[np.isin(windows.label[select], few)]
    if not len(rare):
        return features, label
    # Few events may be long ones: no more copies than there are windows, to bound the memory.
    copied = np.repeat(rare, min(config.swaps, len(select) // len(rare)))
    copies = features_of(windows, copied, units, np.random.default_rng(seed))
    return np.concatenate([features, copies]), np.concatenate([label, windows.label[copied]])


def _grow_extra(
    features: Float32,
    label: Int64,
    n_classes: int,
    config: TreesConfig,
    seed: int,
    *,
    balanced: bool,
    weight: Float64 | None,
) -> ExtraTrees:
    """Extremely randomised trees of whole devices.

    Args:
        features, label: of the windows, as for the boosted ones.
        n_classes: K.
        config: their number.
        seed: of the growing.
        balanced: whether all classes count alike.
        weight: windows that each one stands for, [N]; None: one.
    """
    fill_unknown(features)
    grown = LIBRARY.randomise(features, label, config, seed, balanced=balanced, weight=weight)
    nodes, roots, at = [], [], 0
    for tree in grown.trees:
        value = np.zeros((len(tree.left), n_classes))
        value[:, grown.classes] = tree.value / len(grown.trees)
        nodes.append({**_nodes(tree, at), "value": value})
        roots.append(at)
        at += len(tree.left)
    base = np.full(n_classes, UNSEEN)
    base[grown.classes] = 0.0
    trees = ExtraTrees(
        **_concatenated(nodes),
        root=torch.tensor(roots),
        base=torch.from_numpy(base),
        depth=torch.tensor(max(tree.depth for tree in grown.trees)),
    )
    shown = features[:CHUNK]
    with torch.inference_mode():
        served = trees.value[trees.leaves(torch.from_numpy(shown))].sum(1).numpy()[:, grown.classes]
    _check(served, grown.predict(shown))
    return trees


def grow_at_units(
    windows: LabelledWindows,
    wanted: UnitsSpec,
    config: TreesConfig,
    seed: int,
    threads: int,
    units: Int64,
    parts: Collection[ModelPart] = MODEL_PARTS,
) -> UnitTrees:
    """Trees of the faults at each unit; of a fault that the windows do not have anywhere, there is no evidence.

    Of none there is where they are not among the parts.

    They are grown without class weights, so they learn the shares of the windows' units; these are undone.

    Args:
        windows, config, seed, threads, units: see :func:`grow_trees`; the windows know the faults at the units.
        wanted: the faults, and the shares that the logits hold for.
        parts: those that are wanted.

    Raises:
        RarefaultError: the trees could not be read from the library that grew them.
    """
    if "trees_units" not in parts:
        return no_unit_trees(wanted)
    labels = windows.at_units
    drawn = draw(windows.label, config.max_windows, config.max_windows // max(len(units), 1), seed)
    select = drawn.select
    prior = np.log(wanted.prior) - np.log1p(-np.asarray(wanted.prior))
    base, learned = np.zeros(len(prior)), np.zeros(len(prior))
    grown: list[tuple[Boosted, list[int]]] = []
    features = np.empty((0, 0), np.float32)
    found = [] if labels is None else [labels.of(fault) for fault in wanted.faults]
    for at, (known_at, active_at) in enumerate(found):
        known = known_at[select]
        active = active_at[select][known].ravel()
        if not active.any() or active.all():
            continue
        features = features if len(features) else unit_features_of(windows, select, units)
        rows = np.repeat(known, len(units))
        own = features[rows]
        fill_unknown(own)
        weight = None if drawn.weight is None else np.repeat(drawn.weight, len(units))[rows]
        grown.append((LIBRARY.boost(own, active, config, seed, threads, balanced=False, weight=weight), [at]))
        share = np.average(active, weights=weight)
        learned[at] = np.log(share) - np.log1p(-share)
    arrays = _joined(grown, base) if grown else no_trees(base)
    trees = UnitTrees(**arrays, faults=torch.tensor(wanted.faults))
    if grown:
        shown = features[:CHUNK]
        with torch.inference_mode():
            served = torch.sigmoid(trees.scores(torch.from_numpy(shown))).numpy()
        grown_for = [at for _, (at,) in grown]
        _check(served[:, grown_for], np.stack([boosted.predict(shown)[:, 1] for boosted, _ in grown], axis=1))
    trees.base += torch.from_numpy(prior - learned)
    return trees


def judge(trees: TreeExpert, windows: LabelledWindows) -> Float32:
    """The trees' opinions on all windows, [W, V]."""
    return judge_both(trees, windows)[0]


@torch.inference_mode()
def judge_both(trees: TreeExpert, windows: LabelledWindows) -> tuple[Float32, Float32]:
    """The trees' opinions on all windows [W, V], and of the device's classes those of the boosted ones alone [W, K]."""
    select = np.arange(len(windows))
    parts = [
        trees.judge(torch.from_numpy(windows.windows.gather(select[at : at + CHUNK])))
        for at in range(0, len(select), CHUNK)
    ]
    opinion, boosted = (torch.cat(of).numpy() for of in zip(*parts, strict=True))
    return opinion, boosted


def few_events(windows: LabelledWindows, n_classes: int) -> list[int]:
    """The faults that have fewer than ``FEW_EVENTS`` events in the windows, but one at least."""
    counts = windows.events(n_classes)
    return [c for c in range(1, n_classes) if 0 < counts[c] < FEW_EVENTS]


def _joined(grown: list[tuple[Boosted, list[int]]], base: Float64) -> dict[str, Tensor]:
    """Boosted trees as flat arrays.

    Args:
        grown: each with the numbers of the scores that its own scores are added to.
        base: what the scores begin with, [scores]; what those of the trees begin with is added, in place.
    """
    nodes, roots, targets = [], [], []
    at = depth = 0
    for boosted, scores in grown:
        base[scores] += boosted.base
        for tree, score in zip(boosted.trees, boosted.score, strict=True):
            nodes.append(_nodes(tree, at))
            roots.append(at)
            targets.append(scores[score])
            at += len(tree.left)
            depth = max(depth, tree.depth)
    return {
        **_concatenated(nodes),
        "root": torch.tensor(roots),
        "target": torch.tensor(targets),
        "base": torch.from_numpy(base),
        "depth": torch.tensor(depth),
    }


def _nodes(tree: Tree, at: int) -> dict[str, NDArray[Any]]:
    """The arrays of a tree whose first node is number ``at`` of all."""
    return {
        "feature": tree.feature,
        "threshold": tree.threshold,
        "missing_left": tree.missing_left,
        "left": tree.left + at,
        "right": tree.right + at,
        "value": tree.value,
    }


def _concatenated(nodes: list[dict[str, NDArray[Any]]]) -> dict[str, Tensor]:
    """Arrays of all trees one after the other."""
    return {name: torch.from_numpy(np.concatenate([of[name] for of in nodes])) for name in nodes[0]}


def _expert(arrays: dict[str, Tensor], units: Int64) -> TreeExpert:
    return TreeExpert(**arrays, units=torch.from_numpy(units))


def _check(served: Float64, predicted: Float64) -> None:
    """Whether the arrays compute the probabilities that the library predicts.

    Raises:
        RarefaultError: they do not.
    """
    difference = float(np.abs(served - predicted).max())
    if not difference <= ALLOWED:
        raise RarefaultError(
            f"the trees that were read differ from those that {LIBRARY.name} grew by {difference:.2g}: its inner "
            "format may have changed; install the versions of constraints.txt, or set trees.rounds = 0"
        )
