"""Growing the trees that stand beside the network."""

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.grid import Float32, Float64, Int64
from rarefault.train.config import TrainConfig, TreesConfig
from rarefault.train.conformal import event_of
from rarefault.train.fit import serve
from rarefault.train.model import LRConvLSTM
from rarefault.train.trees import UNSEEN, TreeExpert, window_features
from rarefault.train.units import NONE, swapped
from rarefault.train.windows import LabelledWindows

#: Windows whose features are computed at once.
CHUNK = 2048
#: Deepest tree; what the step computes is bounded by it.
DEPTH = 8
#: Largest difference between the trees' probabilities and those of the library that grew them.
ALLOWED = 1e-6
#: Faults with fewer events in the training windows are learnt from again with their units swapped.
FEW_EVENTS = 20
#: Of faults with fewer training windows, the trees alone are heard.
FEW_WINDOWS = 100
#: The trees' share that one would take without validation windows.
USUAL_SHARE = 0.75


def add_trees(
    model: LRConvLSTM,
    train: LabelledWindows,
    validation: LabelledWindows,
    learnt: tuple[float, ...],
    true: tuple[float, ...],
    config: TrainConfig,
    units: Int64 = NONE,
) -> None:
    """Grow trees on the training windows and put them beside a trained network.

    Args:
        model: gets them.
        train, validation: windows of the parts; the trees' share is fitted on the latter.
        learnt: class shares that the network has learnt, [K].
        true: class shares of the history, [K].
        config: trees and training sections are used.
        units: channels of each unit, [U, M].
    """
    model.trees = None
    trees = grow_trees(
        train, model.n_classes, learnt, config.trees, config.training.seed, config.training.threads, units
    )
    if trees is None:
        return
    network = serve(model, validation)
    shift = np.log(np.asarray(true)) - np.log(np.asarray(learnt))
    counts = train.counts(model.n_classes)
    trees.share.copy_(torch.from_numpy(fit_shares(network, judge(trees, validation), validation.label, shift, counts)))
    model.trees = trees


def regrow_trees(
    trees: TreeExpert, windows: LabelledWindows, learnt: tuple[float, ...], config: TrainConfig, units: Int64 = NONE
) -> TreeExpert:
    """Trees grown anew on more windows, with the same share.

    On days of plant 31 macro-F1 rose from 0.716 to 0.761 on test blocks by this, on weeks from 0.605 to 0.620 (trees
    alone).

    Args:
        trees: those of the training blocks.
        windows: of the training and validation blocks together.
        learnt: class shares that the network has learnt, [K].
        config: trees and training sections are used.
        units: channels of each unit, [U, M].
    """
    training = config.training
    grown = grow_trees(windows, len(trees.base), learnt, config.trees, training.seed, training.threads, units)
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
    units: Int64 = NONE,
) -> TreeExpert | None:
    """Boosted trees on the statistics of the labelled windows; None where there are not two classes.

    Args:
        windows: of the training part.
        n_classes: K.
        prior: class shares that the network has learnt, [K]. The trees are grown as if all classes were as frequent,
            and made to have learnt the same afterwards.
        config: their number and size.
        seed: of the growing.
        threads: 0 takes one.
        units: channels of each unit, [U, M].

    Raises:
        RarefaultError: the trees could not be read from the library that grew them.
    """
    select = np.flatnonzero(windows.labelled)
    label = windows.label[select]
    counts = np.bincount(label, minlength=n_classes)
    if (counts > 0).sum() < 2:
        return None
    features = features_of(windows, select, units)
    if len(units) and config.swaps:
        rare = np.flatnonzero(np.isin(windows.label, few_events(windows, n_classes)))
        if len(rare):
            # Few events may be long ones: no more copies than there are windows, to bound the memory.
            again = np.repeat(rare, min(config.swaps, len(select) // len(rare)))
            copies = features_of(windows, again, units, np.random.default_rng(seed))
            features, label = np.concatenate([features, copies]), np.concatenate([label, windows.label[again]])
    # The library cannot bin what is never known. Being constant, it is asked for by no tree.
    features[:, np.isnan(features).all(axis=0)] = 0.0
    grower = HistGradientBoostingClassifier(
        max_iter=config.rounds,
        learning_rate=config.learning_rate,
        max_leaf_nodes=config.leaves,
        min_samples_leaf=config.min_samples,
        max_features=config.features,
        l2_regularization=config.l2,
        max_depth=DEPTH,
        class_weight="balanced",
        early_stopping=False,
        random_state=seed,
    )
    # The library's threads wait for each other without sleeping: on a busy core they take minutes for what one does in
    # half of one. And sums of one thread are the same on every machine.
    with threadpool_limits(max(threads, 1), user_api="openmp"):
        grower.fit(features, label)
    trees = _read(grower, n_classes, units)
    shown = select[:CHUNK]
    _check(trees, grower, windows, shown, features[: len(shown)])
    trees.base += torch.log(torch.tensor(prior, dtype=torch.float64)) * (trees.base > UNSEEN)
    return trees


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
    cut = windows.windows
    event = event_of(cut.device.astype(np.int64), cut.fresh, windows.label)
    counts = [len(np.unique(event[windows.label == c])) for c in range(n_classes)]
    return [c for c in range(1, n_classes) if 0 < counts[c] < FEW_EVENTS]


def features_of(
    windows: LabelledWindows, select: Int64, units: Int64 = NONE, swap: np.random.Generator | None = None
) -> Float32:
    """Statistics of the selected windows, [W, features]; with ``swap``, of copies whose units are dealt anew by it."""
    index = torch.from_numpy(units)
    parts = []
    for at in range(0, len(select), CHUNK):
        x = windows.windows.gather(select[at : at + CHUNK])
        x = x if swap is None else swapped(x, units, swap)
        parts.append(window_features(torch.from_numpy(x), index).numpy())
    return np.concatenate(parts)


def fit_shares(network: Float32, trees: Float32, label: Int64, shift: Float64, counts: Int64) -> Float64:
    """The trees' share in what is said of each class, [K].

    It is that of :func:`fit_share`, but 1 for faults with few training windows: a network hardly learns those, trees
    do. On days of plant 31 the area under the precision-recall curve of fault 4 (8 to 41 training windows) was 0.37
    with one share for all classes and 0.50 so; the trees alone have 0.50.

    Args:
        network, trees, label, shift: see :func:`fit_share`.
        counts: training windows of each class, [K].
    """
    share = np.full(len(counts), fit_share(network, trees, label, shift))
    share[1:][counts[1:] < FEW_WINDOWS] = 1.0
    return share


def fit_share(network: Float32, trees: Float32, label: Int64, shift: Float64) -> float:
    """The trees' share of the pooled verdict: half-way from the usual one to what the validation windows ask for.

    What they ask for makes their labels likeliest. Both parts get a factor of their own; their sum is a temperature,
    which is fitted again with the decision. Few events make few independent windows, so that the share found on one
    fold hardly tells that of the next (0.1 to 1.0 on weeks of plant 31): half-way, the log loss on test blocks fell
    from 1.275 to 1.072 on Tennessee Eastman, from 0.315 to 0.308 on days of plant 31, and rose from 0.550 to 0.553 on
    weeks.

    Args:
        network, trees: log-probabilities, [W, K].
        label: -1 where nobody knows, [W].
        shift: logarithm of the true prior over that of the training, [K].
    """
    known = np.flatnonzero(label >= 0)
    target = label[known]
    parts = np.stack((network[known], trees[known])).astype(np.float64)

    def nll(factors: Float64) -> float:
        log_prob = log_softmax(np.tensordot(factors, parts, axes=1) + shift, axis=1)
        return -float(log_prob[np.arange(len(known)), target].mean())

    found = minimize(nll, (0.5, 0.5), bounds=((0.0, 5.0), (0.0, 5.0)), method="L-BFGS-B").x
    asked = found[1] / found.sum() if found.sum() > 0 else USUAL_SHARE
    return float(asked + USUAL_SHARE) / 2


def _read(grower: HistGradientBoostingClassifier, n_classes: int, units: Int64) -> TreeExpert:
    """The library's trees as flat arrays."""
    known = np.asarray(grower.classes_, np.int64)
    # Of two classes the library grows trees for the second alone, whose score is the logit.
    speaks = known if len(known) > 2 else known[1:]
    base = np.full(n_classes, UNSEEN)
    base[known] = 0.0
    base[speaks] = grower._baseline_prediction.ravel()  # noqa: SLF001 - there is no public way to the trees
    nodes, roots, targets = [], [], []
    at = 0
    for trees_of_round in grower._predictors:  # noqa: SLF001
        for target, tree in zip(speaks, trees_of_round, strict=True):
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
            targets.append(target)
            at += len(own)
    depth = max(int(tree.nodes["depth"].max()) for trees in grower._predictors for tree in trees)  # noqa: SLF001
    flat = {name: torch.from_numpy(np.concatenate([n[name] for n in nodes])) for name in nodes[0]}
    return TreeExpert(
        **flat,
        root=torch.tensor(roots),
        target=torch.tensor(np.asarray(targets)),
        base=torch.from_numpy(base),
        depth=torch.tensor(depth),
        share=torch.full((n_classes,), 0.5, dtype=torch.float64),
        units=torch.from_numpy(units),
    )


@torch.inference_mode()
def _check(
    trees: TreeExpert,
    grower: HistGradientBoostingClassifier,
    windows: LabelledWindows,
    select: Int64,
    features: Float32,
) -> None:
    """Whether the arrays compute what the library computes."""
    got = trees(torch.from_numpy(windows.windows.gather(select))).exp().numpy()[:, grower.classes_]
    difference = float(np.abs(got - grower.predict_proba(features)).max())
    if not difference <= ALLOWED:
        raise RarefaultError(
            f"the trees that were read differ from those that scikit-learn grew by {difference:.2g}: its inner format "
            "may have changed; install the versions of constraints.txt, or set trees.rounds = 0"
        )
