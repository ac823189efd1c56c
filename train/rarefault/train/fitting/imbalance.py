"""The imbalance recipe: weighted loss and light random under-sampling.

Training sequences are split into normal ones N and faulty ones P. Each epoch trains on Q = N_i + P, where N_i is a
random part of N that is drawn anew: all of N is seen over time, and no fault is thrown away (decision 0003). The
weights come from the counts of what is drawn. Both are undone at the bias of the network's last layer, so that its
opinions hold for the class shares of the history.

A loss is a class that fits :class:`Loss`, and its entry in :func:`loss_of`. It owns what follows from it: the weights
of the outputs, what the sum is divided by, and what a network learns from it. How sequences are drawn is the business
of :mod:`rarefault.train.fitting.epochs`.

Shapes: B sequences, T windows, O outputs (classes, or faults at a unit).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from imblearn.over_sampling import SMOTE
from torch import Tensor

from rarefault.runtime.arrays import Float32, Float64, Int64
from rarefault.train.config import RecipeConfig

#: Prior of a class that training never saw; not zero, so that its logarithm is finite.
SMALLEST_PRIOR = 1e-6
#: Neighbours between which SMOTE draws.
SMOTE_NEIGHBOURS = 5


class Loss(Protocol):
    """What the network minimises."""

    def weights(self, active: Float64, known: Float64, /) -> Float64:
        """Weight of each output, [O].

        Args:
            active: windows in an epoch that have it active, [O].
            known: windows of which that is known, [O].
        """

    def __call__(self, output_BTO: Tensor, target_BTO: Tensor, known_BTO: Tensor, weights_O: Tensor, /) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            output_BTO: scores or logits.
            target_BTO: 1 where an output is active, or a share where sequences were interpolated.
            known_BTO: 0 where nobody knows.
            weights_O: of :meth:`weights`.
        """

    def learned(self, active: Float64, known: Float64, /) -> Float64:
        """What a network learns of the outputs' frequencies: in the form of its outputs, but for a constant, [O].

        Where an output never is active, 0.
        """

    def true(self, share: Float64, /) -> Float64:
        """The same of shares of the windows, [O]."""


@dataclass(frozen=True)
class WeightedNll:
    """Class-weighted negative log-likelihood of scores, divided by the COUNT of windows.

    Dividing by the sum of the weights, as ``torch.nn.NLLLoss`` does, would cancel the weight in a batch of one class.
    Windows without a label are neither in the sum nor in the count.

    Attributes:
        alpha, max_weight: see :class:`rarefault.train.config.RecipeConfig`.
    """

    alpha: float
    max_weight: float

    def weights(self, active: Float64, known: Float64) -> Float64:  # noqa: ARG002 - each window has one class
        """``n_c ** -alpha``, scaled to mean 1 over the samples and capped; 0 for a class without samples, [K].

        The cap is on the final weight: classes above it are set to it, and the others are scaled so that the mean over
        the samples stays 1, until no class is above.

        >>> n = np.array([900.0, 90.0, 10.0])
        >>> WeightedNll(alpha=1.0, max_weight=20.0).weights(n, n).round(2)
        array([ 0.44,  4.44, 20.  ])
        """
        present = active > 0
        raw = np.where(present, np.where(present, active, 1.0) ** -self.alpha, 0.0)
        capped = np.zeros(len(active), bool)
        weights = raw
        for _ in range(len(active)):
            free = present & ~capped
            budget = active.sum() - self.max_weight * active[capped].sum()
            weights = np.where(capped, self.max_weight, np.where(free, raw * budget / (raw * active)[free].sum(), 0.0))
            over = free & (weights > self.max_weight)
            if not over.any() or (over | capped)[present].all():
                break
            capped |= over
        return weights

    def __call__(self, output_BTO: Tensor, target_BTO: Tensor, known_BTO: Tensor, weights_O: Tensor) -> Tensor:
        """See :class:`Loss`.

        In a batch of one class the weight stays in the loss, and a window without a label changes nothing:

        >>> loss, even = WeightedNll(alpha=1.0, max_weight=20.0), torch.zeros(1, 2, 2)
        >>> second = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
        >>> for known in ([[1.0], [1.0]], [[1.0], [0.0]]):
        ...     print(f"{loss(even, second, torch.tensor([known]).expand(1, 2, 2), torch.tensor([1.0, 3.0])):.3f}")
        2.079
        2.079
        """
        log_prob = torch.log_softmax(output_BTO, dim=-1)
        known = known_BTO[..., 0]
        return -((target_BTO * weights_O * log_prob).sum(-1) * known).sum() / known.sum().clamp(min=1)

    def learned(self, active: Float64, known: Float64) -> Float64:
        """Logarithm of ``w_c n_c``."""
        mass = self.weights(active, known) * active
        return np.log(np.where(mass > 0, mass, 1.0))

    def true(self, share: Float64) -> Float64:
        """Logarithm of the class shares."""
        return np.log(share)


@dataclass(frozen=True)
class WeightedBce:
    """Binary cross-entropy of logits, the positive part weighted, divided by the count of what is known.

    Attributes:
        alpha, max_weight: see :class:`rarefault.train.config.RecipeConfig`.
    """

    alpha: float
    max_weight: float

    def weights(self, active: Float64, known: Float64) -> Float64:
        """Weight of a window that has the fault: ``(n / n_c) ** alpha``, capped; 1 of a fault without any, [J].

        >>> WeightedBce(alpha=1.0, max_weight=20.0).weights(np.array([500.0, 10.0]), np.array([1000.0, 1000.0]))
        array([ 2., 20.])
        """
        share = np.where(active > 0, active, 1.0) / np.where(active > 0, known, 1.0)
        return np.minimum(share**-self.alpha, self.max_weight)

    def __call__(self, output_BTO: Tensor, target_BTO: Tensor, known_BTO: Tensor, weights_O: Tensor) -> Tensor:
        """See :class:`Loss`."""
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            output_BTO, target_BTO, pos_weight=weights_O, reduction="none"
        )
        return (each * known_BTO).sum() / known_BTO.sum().clamp(min=1)

    def learned(self, active: Float64, known: Float64) -> Float64:
        """Logarithm of the odds of ``w_c n_c``."""
        mass, rest = self.weights(active, known) * active, known - active
        return np.log(np.where((mass > 0) & (rest > 0), mass / np.where(rest > 0, rest, 1.0), 1.0))

    def true(self, share: Float64) -> Float64:
        """Logarithm of the odds."""
        return np.log(share) - np.log1p(-share)


def loss_of(recipe: RecipeConfig, *, exclusive: bool) -> Loss:
    """The loss that the recipe asks for.

    Args:
        recipe: its weights.
        exclusive: whether exactly one output is active at a time.
    """
    return (WeightedNll if exclusive else WeightedBce)(recipe.alpha, recipe.max_weight)


def class_frequencies(label: Int64, n_classes: int) -> tuple[float, ...]:
    """Class frequencies of the windows that have a label, [K], sum 1; none is 0."""
    known = label[label >= 0]
    floored = np.maximum(np.bincount(known, minlength=n_classes) / max(len(known), 1), SMALLEST_PRIOR)
    return tuple(float(p) for p in floored / floored.sum())


def smote_sequences(
    x_QRM: Float32, target_QTO: Float32, kind_Q: Int64, center: Float32, scale: Float32, seed: int
) -> tuple[Float32, Float32]:
    """Over-sampling instead of under-sampling: SMOTE between sequences of one kind.

    SMOTE knows no gaps: missing values count as the channel's mean. Targets are interpolated like values, so that the
    target of a new sequence is the same mixture as its values. Kinds with too few sequences for SMOTE's neighbours are
    left as they are.

    Args:
        x_QRM: bins of sequences, raw units.
        target_QTO: of each window.
        kind_Q: of each sequence.
        center, scale: of the channels, [M].
        seed: of the draws.

    Returns:
        Bins of sequences [Q', R, M] in raw units and targets [Q', T, O].
    """
    z = np.nan_to_num((x_QRM - center) / scale, nan=0.0)
    size = np.bincount(kind_Q)
    strategy = {int(k): int(size.max()) for k in np.flatnonzero(size > SMOTE_NEIGHBOURS)}
    flat = np.concatenate((z.reshape(len(z), -1), target_QTO.reshape(len(z), -1)), axis=1)
    left = np.isin(kind_Q, list(strategy), invert=True)
    grown = flat[~left]
    if len(strategy) > 1:
        grown, _ = SMOTE(sampling_strategy=strategy, k_neighbors=SMOTE_NEIGHBOURS, random_state=seed).fit_resample(
            flat[~left], kind_Q[~left]
        )
    grown = np.concatenate((grown, flat[left])).astype(np.float32)
    n_values = z[0].size
    x = grown[:, :n_values].reshape(-1, *x_QRM.shape[1:]) * scale + center
    return x.astype(np.float32), grown[:, n_values:].reshape(-1, *target_QTO.shape[1:])
