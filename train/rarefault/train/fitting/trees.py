"""Growing the trees that stand beside the network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor

from rarefault.runtime.arrays import Bool, Float32, Float64, Int64
from rarefault.runtime.errors import RarefaultError
from rarefault.train.config import TrainConfig, TreesConfig
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.tree_features import CHUNK, extra_count, features_of, fill_unknown, unit_features_of
from rarefault.train.model.trees import UNSEEN, ExtraTrees, TreeExpert, UnitTrees

#: Windows that bins are found from where windows are weighted, at most.
BINNED = 50_000
#: Deepest tree; what the step computes is bounded by it.
DEPTH = 8
#: Leaves of an extremely randomised tree, at most, and the share of the statistics that a split may choose from. On
#: Tennessee Eastman, trees without a bound have twice the nodes and say nothing else.
EXTRA_LEAVES, EXTRA_FEATURES = 256, 0.1
#: Largest difference between the trees' probabilities and those of the library that grew them.
ALLOWED = 1e-6
#: Faults with fewer events in the training windows are learnt from again with their units swapped.
FEW_EVENTS = 20


def refit_trees(
    trees: TreeExpert,
    windows: LabelledWindows,
    training_prior: tuple[float, ...],
    config: TrainConfig,
    units: Int64 = NO_UNITS,
) -> TreeExpert:
    """Trees grown anew on more windows, with the same share.

    On days of plant 31 macro-F1 rose from 0.716 to 0.761 on test blocks by this, on weeks from 0.605 to 0.620 (trees
    alone).

    Args:
        trees: those of the training blocks.
        windows: of the training and validation blocks together.
        training_prior: class shares that the network has learnt, [K].
        config: trees and training sections are used.
        units: channels of each unit, [U, M].
    """
    training = config.training
    grown = grow_trees(windows, len(trees.base), training_prior, config.trees, training.seed, training.threads, units)
    assert grown is not None  # the training blocks have two classes
    grown.share.copy_(trees.share)
    return grown


def grow_trees(
    windows: LabelledWindows,
    n_classes: int,
    prior: tuple[float, ...],
    config: TreesConfig,
    seed: int,
    threads: int = 0,
    units: Int64 = NO_UNITS,
) -> TreeExpert | None:
    """Trees on the statistics of the labelled windows; None where there are not two classes.

    Args:
        windows: of the training part.
        n_classes: K.
        prior: class shares that the network has learnt, [K]. However the trees are grown, they are made to have learnt
            the same afterwards.
        config: their number and size.
        seed: of the growing.
        threads: 0 takes one.
        units: channels of each unit, [U, M].

    Raises:
        RarefaultError: the trees could not be read from the library that grew them.
    """
    known = windows.counts(n_classes) > 0
    if known.sum() < 2:
        return None
    at_units = grow_at_units(windows, prior, config, seed, threads, units)
    elsewhere = [] if at_units is None else at_units.faults.tolist()
    trees = grow_at_devices(windows, prior, config, seed, threads, units, elsewhere)
    trees.at_units = at_units
    return trees


def grow_at_devices(
    windows: LabelledWindows,
    prior: tuple[float, ...],
    config: TreesConfig,
    seed: int,
    threads: int,
    units: Int64,
    elsewhere: Sequence[int],
) -> TreeExpert:
    """Trees of whole devices.

    Args:
        windows, prior, config, seed, threads, units: see :func:`grow_trees`; the windows have two classes.
        elsewhere: faults that are looked for at each unit, and so not by these trees.

    Raises:
        RarefaultError: the trees could not be read from the library that grew them.
    """
    n_classes = len(prior)
    select = np.flatnonzero(windows.labelled & ~np.isin(windows.label, elsewhere))
    label = windows.label[select]
    counts = np.bincount(label, minlength=n_classes)
    if (counts > 0).sum() < 2:
        certain = np.where(counts > 0, 0.0, UNSEEN)
        return _expert({**_no_trees(), "base": torch.from_numpy(certain)}, units)
    features = features_of(windows, select, units)
    if len(units) and config.swaps:
        few = [c for c in few_events(windows, n_classes) if c not in elsewhere]
        rare = np.flatnonzero(np.isin(windows.label, few))
        if len(rare):
            # Few events may be long ones: no more copies than there are windows, to bound the memory.
            again = np.repeat(rare, min(config.swaps, len(select) // len(rare)))
            copies = features_of(windows, again, units, np.random.default_rng(seed))
            features, label = np.concatenate([features, copies]), np.concatenate([label, windows.label[again]])
    # Where rare faults are looked for at units, what is left is not rare and needs no weights: on plant 31, F1 of
    # fault 6 is 0.922 with them for 0.927 on days, 0.840 for 0.832 on weeks.
    weighted = not elsewhere
    grower = _grower(config, seed, "balanced" if weighted else None)
    asked = features[:, : features.shape[1] - extra_count(windows.windows)]
    _grow(grower, asked, label, threads)
    classes = np.asarray(grower.classes_, np.int64)
    # Of two classes the library grows trees for the second alone, whose score is the logit.
    speaks = classes if len(classes) > 2 else classes[1:]
    base = np.full(n_classes, UNSEEN)
    base[classes] = 0.0
    trees = _expert(_read([(grower, speaks.tolist())], base), units)
    shown = select[:CHUNK]
    with torch.inference_mode():
        got = torch.softmax(trees.scores(torch.from_numpy(asked[: len(shown)])), dim=1).numpy()[:, classes]
    _check(got, grower.predict_proba(asked[: len(shown)]))
    if config.extra_trees and windows.windows.length > 1:  # of one bin, nothing can be said of changes
        trees.extra = _grow_extra(features, label, classes, base, config, seed, weighted=weighted)
    if weighted:
        to_prior = torch.log(torch.tensor(prior, dtype=torch.float64)) * (trees.base > UNSEEN)
        for ensemble in (trees, trees.extra):
            if ensemble is not None:
                ensemble.base += to_prior
    return trees


def _grow_extra(
    features: Float32, label: Int64, classes: Int64, base: Float64, config: TreesConfig, seed: int, *, weighted: bool
) -> ExtraTrees:
    """Extremely randomised trees of whole devices.

    Args:
        features, label: of the windows, as for the boosted ones.
        classes: that the windows have.
        base: ``UNSEEN`` for the other classes, [K].
        config: their number.
        seed: of the growing.
        weighted: whether all classes count alike.
    """
    fill_unknown(features)
    grower = ExtraTreesClassifier(
        config.extra_trees,
        criterion="entropy",
        max_features=EXTRA_FEATURES,
        max_leaf_nodes=EXTRA_LEAVES,
        class_weight="balanced" if weighted else None,
        random_state=seed,
        n_jobs=1,
    ).fit(features, label)
    nodes, roots = [], []
    at = 0
    for tree in (member.tree_ for member in grower.estimators_):
        own = np.arange(tree.node_count) + at
        leaf = tree.children_left < 0
        value = np.zeros((len(own), len(base)))
        value[np.ix_(leaf, classes)] = tree.value[leaf, 0] / config.extra_trees
        nodes.append(
            {
                "feature": np.where(leaf, 0, tree.feature),
                "threshold": np.where(leaf, 0.0, tree.threshold),
                "missing_left": tree.missing_go_to_left.astype(bool),
                "left": np.where(leaf, own, tree.children_left + at),
                "right": np.where(leaf, own, tree.children_right + at),
                "value": value,
            }
        )
        roots.append(at)
        at += len(own)
    trees = ExtraTrees(
        **_joined(nodes),
        root=torch.tensor(roots),
        base=torch.from_numpy(np.where(base > UNSEEN, 0.0, UNSEEN)),
        depth=torch.tensor(max(member.tree_.max_depth for member in grower.estimators_)),
    )
    shown = features[:CHUNK]
    with torch.inference_mode():
        got = trees.value[trees.leaves(torch.from_numpy(shown))].sum(1).numpy()[:, classes]
    _check(got, grower.predict_proba(shown))
    return trees


def _joined(nodes: list[dict[str, NDArray[Any]]]) -> dict[str, Tensor]:
    """Arrays of all trees one after the other."""
    return {name: torch.from_numpy(np.concatenate([of[name] for of in nodes])) for name in nodes[0]}


def grow_at_units(
    windows: LabelledWindows,
    prior: tuple[float, ...],
    config: TreesConfig,
    seed: int,
    threads: int,
    units: Int64,
) -> UnitTrees | None:
    """Trees that look for faults at each unit; None where the log names no units, or none of the windows has them.

    They learn what share of the windows each fault has at a unit: there is no weighing, and nothing to undo.

    Args:
        windows, prior, config, seed, threads, units: see :func:`grow_trees`.

    Raises:
        RarefaultError: the trees could not be read from the library that grew them.
    """
    labels = windows.at_units
    if labels is None:
        return None
    select = np.flatnonzero(windows.labelled)
    told = [labels.active[select][labels.known[select, j], :, j] for j in range(len(labels.faults))]
    chosen = [j for j, active in enumerate(told) if active.any() and not active.all()]
    if not chosen:
        return None
    features = unit_features_of(windows, select, units)
    growers = []
    for at, j in enumerate(chosen):
        grower = _grower(config, seed)
        _grow(grower, features[np.repeat(labels.known[select, j], len(units))], told[j].ravel(), threads)
        growers.append((grower, [at]))
    shift = np.log(np.asarray(prior)) - np.log(np.asarray(class_frequencies(windows.label, len(prior))))
    trees = UnitTrees(
        **_read(growers, np.zeros(len(chosen))),
        faults=torch.tensor([labels.faults[j] for j in chosen]),
        rarest_first=torch.tensor(labels.rarest_first),
        shift=torch.from_numpy(shift),
    )
    shown = features[:CHUNK]
    with torch.inference_mode():
        got = torch.sigmoid(trees.scores(torch.from_numpy(shown))).numpy()
    _check(got, np.stack([grower.predict_proba(shown)[:, 1] for grower, _ in growers], axis=1))
    return trees


class _Grower(HistGradientBoostingClassifier):  # type: ignore[misc, unused-ignore]
    """The library's trees, their bins found fast where windows are weighted.

    The library looks for each of the 254 borders of each feature by itself then, which takes longer than to grow the
    trees. Of more than 200,000 windows it draws some by their weights and needs no weights any more: so it is done here
    for any number.
    """

    def _bin_data(self, X: Float32, *weight: Float64 | None, is_training_data: bool) -> Any:
        weights = weight[0] if weight else None
        if weights is None or not is_training_data:
            return super()._bin_data(X, *weight, is_training_data=is_training_data)
        rng, n = np.random.default_rng(self.random_state), min(len(X), BINNED)
        super()._bin_data(X[rng.choice(len(X), n, p=weights / weights.sum())], None, is_training_data=True)
        return self._bin_mapper.transform(X)


def _grower(config: TreesConfig, seed: int, class_weight: str | None = None) -> HistGradientBoostingClassifier:
    return _Grower(
        max_iter=config.rounds,
        learning_rate=config.learning_rate,
        max_leaf_nodes=config.leaves,
        min_samples_leaf=config.min_samples,
        max_features=config.features,
        l2_regularization=config.l2,
        max_depth=DEPTH,
        class_weight=class_weight,
        early_stopping=False,
        random_state=seed,
    )


def _grow(grower: HistGradientBoostingClassifier, features: Float32, label: Int64 | Bool, threads: int) -> None:
    fill_unknown(features)
    # The library's threads wait for each other without sleeping: on a busy core they take minutes for what one does in
    # half of one. And sums of one thread are the same on every machine.
    with threadpool_limits(max(threads, 1), user_api="openmp"):
        grower.fit(features, label)


@torch.inference_mode()
def judge(trees: TreeExpert, windows: LabelledWindows) -> Float32:
    """The trees' log-probabilities of all windows, [W, K]."""
    select = np.arange(len(windows))
    parts = [
        trees(torch.from_numpy(windows.windows.gather(select[at : at + CHUNK]))) for at in range(0, len(select), CHUNK)
    ]
    return torch.cat(parts).numpy()


def few_events(windows: LabelledWindows, n_classes: int) -> list[int]:
    """The faults that have fewer than ``FEW_EVENTS`` events in the windows, but one at least."""
    counts = windows.events(n_classes)
    return [c for c in range(1, n_classes) if 0 < counts[c] < FEW_EVENTS]


def _read(growers: list[tuple[HistGradientBoostingClassifier, list[int]]], base: Float64) -> dict[str, Tensor]:
    """The library's trees as flat arrays.

    Args:
        growers: each with the scores that its trees add to, in the order of the trees of a round.
        base: what the scores begin with, [scores]; the growers' own beginnings are added.
    """
    nodes, roots, targets = [], [], []
    at = depth = 0
    for grower, scores in growers:
        base[scores] += grower._baseline_prediction.ravel()  # noqa: SLF001 - there is no public way to the trees
        for trees_of_round in grower._predictors:  # noqa: SLF001
            for score, tree in zip(scores, trees_of_round, strict=True):
                own = np.arange(len(tree.nodes)) + at
                leaf = tree.nodes["is_leaf"].astype(bool)
                nodes.append(
                    {
                        "feature": np.where(leaf, 0, tree.nodes["feature_idx"]).astype(np.int64),
                        "threshold": np.where(leaf, 0.0, tree.nodes["num_threshold"]),
                        "missing_left": tree.nodes["missing_go_to_left"].astype(bool),
                        "left": np.where(leaf, own, tree.nodes["left"].astype(np.int64) + at),
                        "right": np.where(leaf, own, tree.nodes["right"].astype(np.int64) + at),
                        "value": np.where(leaf, tree.nodes["value"], 0.0),
                    }
                )
                roots.append(at)
                targets.append(score)
                at += len(own)
                depth = max(depth, int(tree.nodes["depth"].max()))
    return {
        **_joined(nodes),
        "root": torch.tensor(roots),
        "target": torch.tensor(targets),
        "base": torch.from_numpy(base),
        "depth": torch.tensor(depth),
    }


def _no_trees() -> dict[str, Tensor]:
    """Arrays of no tree."""
    whole, real = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
    return {
        **dict.fromkeys(("feature", "left", "right", "root", "target"), whole),
        **dict.fromkeys(("threshold", "value"), real),
        "missing_left": whole.bool(),
        "depth": torch.tensor(0),
    }


def _expert(arrays: dict[str, Tensor], units: Int64) -> TreeExpert:
    share = torch.full(arrays["base"].shape, 0.5, dtype=torch.float64)
    return TreeExpert(**arrays, share=share, units=torch.from_numpy(units))


def _check(got: Float64, wanted: Float64) -> None:
    """Whether the arrays compute what the library computes: probabilities."""
    difference = float(np.abs(got - wanted).max())
    if not difference <= ALLOWED:
        raise RarefaultError(
            f"the trees that were read differ from those that scikit-learn grew by {difference:.2g}: its inner format "
            "may have changed; install the versions of constraints.txt, or set trees.rounds = 0"
        )
