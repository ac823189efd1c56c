"""Trees that scikit-learn grows."""

from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from rarefault.runtime.arrays import Bool, Float32, Float64, Int64
from rarefault.train.config import TreesConfig
from rarefault.train.fitting.tree_library import Boosted, Randomised, Tree

#: Windows that bins are found from where windows are weighted, at most.
BINNED = 50_000
#: Deepest tree; what the step computes is bounded by it.
DEPTH = 8
#: Leaves of an extremely randomised tree, at most, and the share of the statistics that a split may choose from. More
#: leaves make the file larger and predict no better (decision 0012).
EXTRA_LEAVES, EXTRA_FEATURES = 256, 0.1


class ScikitLearn:
    """See :class:`rarefault.train.fitting.tree_library.TreeLibrary`."""

    name = "scikit-learn"

    def boost(
        self,
        features: Float32,
        label: Int64 | Bool,
        config: TreesConfig,
        seed: int,
        threads: int,
        *,
        balanced: bool,
        weight: Float64 | None = None,
    ) -> Boosted:
        """Histogram-based gradient boosting."""
        grower = _Booster(
            max_iter=config.rounds,
            learning_rate=config.learning_rate,
            max_leaf_nodes=config.leaves,
            min_samples_leaf=config.min_samples,
            max_features=config.features,
            l2_regularization=config.l2,
            max_depth=DEPTH,
            class_weight="balanced" if balanced else None,
            early_stopping=False,
            random_state=seed,
        )
        # The library's threads wait for each other without sleeping: on a busy core they take minutes for what one does
        # in half of one. And sums of one thread are the same on every machine.
        with threadpool_limits(max(threads, 1), user_api="openmp"):
            grower.fit(features, label, sample_weight=weight)
        rounds = grower._predictors  # noqa: SLF001 - there is no public way to the trees
        return Boosted(
            classes=np.asarray(grower.classes_, np.int64),
            trees=[_boosted_tree(tree.nodes) for trees in rounds for tree in trees],
            score=[score for trees in rounds for score in range(len(trees))],
            base=grower._baseline_prediction.ravel(),  # noqa: SLF001
            predict=grower.predict_proba,
        )

    def randomise(
        self,
        features: Float32,
        label: Int64,
        config: TreesConfig,
        seed: int,
        *,
        balanced: bool,
        weight: Float64 | None = None,
    ) -> Randomised:
        """Extremely randomised trees, split by entropy."""
        grower = ExtraTreesClassifier(
            config.extra_trees,
            criterion="entropy",
            max_features=EXTRA_FEATURES,
            max_leaf_nodes=EXTRA_LEAVES,
            class_weight="balanced" if balanced else None,
            random_state=seed,
            n_jobs=1,
        ).fit(features, label, sample_weight=weight)
        return Randomised(
            classes=np.asarray(grower.classes_, np.int64),
            trees=[_randomised_tree(member.tree_) for member in grower.estimators_],
            predict=grower.predict_proba,
        )


class _Booster(HistGradientBoostingClassifier):  # type: ignore[misc, unused-ignore]
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


def _boosted_tree(nodes: Any) -> Tree:
    """From the library's table of nodes."""
    own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
    return Tree(
        feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        left=np.where(leaf, own, nodes["left"].astype(np.int64)),
        right=np.where(leaf, own, nodes["right"].astype(np.int64)),
        value=np.where(leaf, nodes["value"], 0.0),
        depth=int(nodes["depth"].max()),
    )


def _randomised_tree(tree: Any) -> Tree:
    """From the library's arrays."""
    own, leaf = np.arange(tree.node_count), tree.children_left < 0
    return Tree(
        feature=np.where(leaf, 0, tree.feature),
        threshold=np.where(leaf, 0.0, tree.threshold),
        missing_left=tree.missing_go_to_left.astype(bool),
        left=np.where(leaf, own, tree.children_left),
        right=np.where(leaf, own, tree.children_right),
        value=np.where(leaf[:, None], tree.value[:, 0], 0.0),
        depth=int(tree.max_depth),
    )
