"""The imbalance recipe: class-weighted loss and light random under-sampling.

Training sequences are split into normal ones N and faulty ones P. Several random subsets N_i of N are drawn, each
Q_i = N_i + P gets class weights from its own counts, and each epoch trains on one Q_i chosen at random: all of N is
seen over time, and no fault is thrown away (decision 0003).

A loss is a class that fits :class:`Loss`, and its entry in :func:`loss_of`. It owns what follows from it: the weights
of the classes, what the sum is divided by, and the class frequencies that a network learns from it. How sequences are
drawn is the business of :mod:`rarefault.train.fitting.epochs`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import RandomUnderSampler
from torch import Tensor

from rarefault.runtime.arrays import Float32, Float64, Int64
from rarefault.train.config import RecipeConfig
from rarefault.train.model.network import LRConvLSTM

#: Prior of a class that training never saw; not zero, so that its logarithm is finite.
SMALLEST_PRIOR = 1e-6
#: Neighbours between which SMOTE draws.
SMOTE_NEIGHBOURS = 5


@dataclass(frozen=True)
class Subset:
    """One Q_i.

    Attributes:
        starts: first windows of its sequences, [Q].
        counts: windows of each class in them, [K].
        weights: weight of each class in the loss, [K].
    """

    starts: Int64
    counts: Int64
    weights: Float64


class Loss(Protocol):
    """What the network minimises."""

    def class_weights(self, counts: Int64, /) -> Float64:
        """Weight of each class from the number of its windows in a subset, [K] both."""

    def __call__(self, log_prob_BTK: Tensor, target_BTK: Tensor, weights_K: Tensor, /) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            log_prob_BTK: log-probabilities.
            target_BTK: one-hot labels, or mixed ones where sequences were interpolated; all 0 where there is no label.
            weights_K: of :meth:`class_weights`.
        """

    def learned_prior(self, subsets: Sequence[Subset], /) -> tuple[float, ...]:
        """The class frequencies that a network learns which minimises the loss on the subsets, [K], sum 1."""


@dataclass(frozen=True)
class WeightedNll:
    """Class-weighted negative log-likelihood, divided by the COUNT of windows.

    Dividing by the sum of the weights, as ``torch.nn.NLLLoss`` does, would cancel the weight in a batch of one class.
    Windows without a label are neither in the sum nor in the count.

    Attributes:
        alpha, max_weight: see :class:`rarefault.train.config.RecipeConfig`.
    """

    alpha: float
    max_weight: float

    def class_weights(self, counts: Int64) -> Float64:
        """``n_c ** -alpha``, scaled to mean 1 over the samples and capped; 0 for a class without samples, [K].

        The cap is on the final weight: classes above it are set to it, and the others are scaled so that the mean over
        the samples stays 1, until no class is above.

        >>> WeightedNll(alpha=1.0, max_weight=20.0).class_weights(np.array([900, 90, 10])).round(2)
        array([ 0.44,  4.44, 20.  ])
        """
        present = counts > 0
        raw = np.where(present, np.maximum(counts, 1).astype(np.float64) ** -self.alpha, 0.0)
        n = counts.astype(np.float64)
        capped = np.zeros(len(counts), bool)
        weights = raw
        for _ in range(len(counts)):
            free = present & ~capped
            budget = n.sum() - self.max_weight * n[capped].sum()
            weights = np.where(capped, self.max_weight, np.where(free, raw * budget / (raw * n)[free].sum(), 0.0))
            over = free & (weights > self.max_weight)
            if not over.any() or (over | capped)[present].all():
                break
            capped |= over
        return weights

    def __call__(self, log_prob_BTK: Tensor, target_BTK: Tensor, weights_K: Tensor) -> Tensor:
        """See :class:`Loss`.

        In a batch of one class the weight stays in the loss, and a window without a label changes nothing:

        >>> loss, log_prob = WeightedNll(alpha=1.0, max_weight=20.0), torch.full((1, 2, 2), 0.5).log()
        >>> for label in ([[1, 1]], [[1, -1]]):
        ...     print(f"{loss(log_prob, one_hot(np.array(label), 2), torch.tensor([1.0, 3.0])):.3f}")
        2.079
        2.079
        """
        labelled = (target_BTK.sum(-1) > 0).sum().clamp(min=1)
        fraction = labelled / target_BTK[..., 0].numel()
        return -(target_BTK * weights_K * log_prob_BTK).sum(-1).mean() / fraction

    def learned_prior(self, subsets: Sequence[Subset]) -> tuple[float, ...]:
        """``w_c n_c`` scaled to sum 1, the mean over the subsets, [K]."""
        return _as_prior(np.mean([s.weights * s.counts / (s.weights * s.counts).sum() for s in subsets], axis=0))


def loss_of(recipe: RecipeConfig) -> Loss:
    """The loss that the recipe asks for."""
    return WeightedNll(recipe.alpha, recipe.max_weight)


def draw_subsets(
    starts: Int64,
    label: Int64,
    sequence_length: int,
    n_classes: int,
    class_weights: Callable[[Int64], Float64],
    *,
    normal_share: float,
    subsets: int,
    seed: int,
) -> list[Subset]:
    """The Q_i of the training sequences.

    Args:
        starts: first window of every sequence, [Q].
        label: class of every window, -1 for none, [W].
        sequence_length: T.
        n_classes: K.
        class_weights: weights from counts, see :class:`Loss`.
        normal_share: part of N in each N_i; 1 keeps all of it, in a single Q.
        subsets: number of Q_i.
        seed: of the draws.
    """
    steps = np.arange(sequence_length)
    faulty = (label[starts[:, None] + steps] > 0).any(axis=1)
    keep = round(normal_share * int((~faulty).sum()))
    found = []
    for i in range(subsets if normal_share < 1 else 1):
        chosen = starts
        if normal_share < 1 and keep and faulty.any():
            sampler = RandomUnderSampler(sampling_strategy={0: keep}, random_state=seed + i)
            picked, _ = sampler.fit_resample(np.arange(len(starts))[:, None], faulty.astype(int))
            chosen = np.sort(starts[picked[:, 0]])
        seen = label[chosen[:, None] + steps].ravel()
        counts = np.bincount(seen[seen >= 0], minlength=n_classes)
        found.append(Subset(chosen, counts, class_weights(counts)))
    return found


def class_frequencies(label: Int64, n_classes: int) -> tuple[float, ...]:
    """Class frequencies of the windows that have a label, [K], sum 1; none is 0."""
    known = label[label >= 0]
    return _as_prior(np.bincount(known, minlength=n_classes) / max(len(known), 1))


def _as_prior(mass: Float64) -> tuple[float, ...]:
    floored = np.maximum(mass, SMALLEST_PRIOR)
    return tuple(float(p) for p in floored / floored.sum())


def smote_sequences(
    x_QRC: Float32, label_QT: Int64, n_classes: int, center: Float32, scale: Float32, seed: int
) -> tuple[Float32, Float32]:
    """Over-sampling instead of under-sampling: SMOTE between sequences of one kind.

    A sequence's kind is its rarest class. SMOTE knows no gaps: missing values count as the channel's mean. Labels are
    interpolated like values, so that the target of a new sequence is the same mixture as its values.
    Kinds with too few sequences for SMOTE's neighbours are left as they are.

    Returns:
        Bins of sequences [Q', R, C] in raw units and targets [Q', T, K].
    """
    counts = np.bincount(label_QT.ravel(), minlength=n_classes)
    rarity = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")  # 0 = the most frequent class
    kind = np.argsort(-counts, kind="stable")[rarity[label_QT].max(axis=1)]
    one_hot = np.eye(n_classes, dtype=np.float32)[label_QT]
    z = np.nan_to_num((x_QRC - center) / scale, nan=0.0)
    size = np.bincount(kind, minlength=n_classes)
    strategy = {int(k): int(size.max()) for k in np.flatnonzero(size > SMOTE_NEIGHBOURS)}
    flat = np.concatenate((z.reshape(len(z), -1), one_hot.reshape(len(z), -1)), axis=1)
    left = np.isin(kind, list(strategy), invert=True)
    grown = flat[~left]
    if len(strategy) > 1:
        grown, _ = SMOTE(sampling_strategy=strategy, k_neighbors=SMOTE_NEIGHBOURS, random_state=seed).fit_resample(
            flat[~left], kind[~left]
        )
    grown = np.concatenate((grown, flat[left])).astype(np.float32)
    n_values = z[0].size
    x = grown[:, :n_values].reshape(-1, *x_QRC.shape[1:]) * scale + center
    return x.astype(np.float32), grown[:, n_values:].reshape(-1, *one_hot.shape[1:])


def one_hot(label: Int64, n_classes: int) -> Tensor:
    """Targets of plain labels, all 0 where there is none, [..., K]."""
    number = torch.from_numpy(label)
    return torch.nn.functional.one_hot(number.clamp(min=0), n_classes).float() * (number >= 0).unsqueeze(-1)


@torch.no_grad()
def move_prior(model: LRConvLSTM, before: tuple[float, ...], after: tuple[float, ...]) -> None:
    """Move the bias of a network's head as if it had been trained on other class frequencies.

    Args:
        model: changed in place.
        before, after: class frequencies, [K].
    """
    model.head.bias.add_(torch.from_numpy(np.log(np.asarray(after)) - np.log(np.asarray(before))))
