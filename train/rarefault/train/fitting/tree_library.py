"""What is needed of a library that grows trees.

A library is a class that fits :class:`TreeLibrary`; :data:`rarefault.train.fitting.trees.LIBRARY` says which one grows
the trees. It hands its trees over as arrays: what is served is computed from those, and compared with the library's own
predictions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rarefault.runtime.arrays import Bool, Float32, Float64, Int64
from rarefault.train.config import TreesConfig


@dataclass(frozen=True)
class Tree:
    """One tree as arrays over its nodes, the root first.

    Attributes:
        feature: column that a node compares, 0 at a leaf, [nodes].
        threshold: left where the feature is at most this, 0.0 at a leaf, [nodes].
        missing_left: whether NaN goes to the left, [nodes].
        left, right: numbers of the children, a leaf's own number, [nodes].
        value: of a leaf, 0 elsewhere: what it adds to a score, [nodes], or the frequencies of the classes in it,
            [nodes, classes].
        depth: steps from the root to the deepest leaf.
    """

    feature: Int64
    threshold: Float64
    missing_left: Bool
    left: Int64
    right: Int64
    value: Float64
    depth: int


@dataclass(frozen=True)
class Boosted:
    """Boosted trees, whose sums are logits.

    Attributes:
        classes: that the labels have, in ascending order. Of two, there is one score, the logit of the second; of
            more, one score for each.
        trees: of all rounds.
        score: number of the score that each tree adds to, [trees].
        base: what each score begins with, [scores].
        predict: probabilities of features [N, F], by the library itself, [N, classes].
    """

    classes: Int64
    trees: list[Tree]
    score: list[int]
    base: Float64
    predict: Callable[[Float32], Float64]


@dataclass(frozen=True)
class Randomised:
    """Extremely randomised trees, whose mean is a probability.

    Attributes:
        classes: that the labels have, in ascending order.
        trees: their values are frequencies of these classes.
        predict: probabilities of features [N, F], by the library itself, [N, classes].
    """

    classes: Int64
    trees: list[Tree]
    predict: Callable[[Float32], Float64]


class TreeLibrary(Protocol):
    """Grows trees on features [N, F], of which none is NaN throughout, and labels [N]; the same for the same seed.

    ``balanced`` gives all classes the same weight, however many windows they have. ``weight`` [N] says how many windows
    each one stands for; None: one.
    """

    name: str

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
        """``config.rounds`` rounds of boosted trees."""

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
        """``config.extra_trees`` extremely randomised trees."""
