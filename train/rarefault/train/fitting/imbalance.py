"""The imbalance recipe: class-weighted loss and light random under-sampling.

Training sequences are split into normal ones N and faulty ones P. Several random subsets N_i of N are drawn, each
Q_i = N_i + P gets class weights from its own counts, and each epoch trains on one Q_i chosen at random: all of N is
seen over time, and no fault is thrown away.
"""

from dataclasses import dataclass

import numpy as np
import torch
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import RandomUnderSampler
from torch import Tensor

from rarefault.runtime.arrays import Float32, Float64, Int64
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


def class_weights(counts: Int64, alpha: float, max_weight: float) -> Float64:
    """``n_c ** -alpha``, scaled to mean 1 over the samples and capped; 0 for a class without samples, [K].

    The cap is on the final weight: classes above it are set to it, and the others are scaled so that the mean over the
    samples stays 1, until no class is above.

    >>> class_weights(np.array([900, 90, 10]), alpha=1.0, max_weight=20.0).round(2)
    array([ 0.44,  4.44, 20.  ])
    """
    present = counts > 0
    raw = np.where(present, np.maximum(counts, 1).astype(np.float64) ** -alpha, 0.0)
    n = counts.astype(np.float64)
    capped = np.zeros(len(counts), bool)
    weights = raw
    for _ in range(len(counts)):
        free = present & ~capped
        budget = n.sum() - max_weight * n[capped].sum()
        weights = np.where(capped, max_weight, np.where(free, raw * budget / (raw * n)[free].sum(), 0.0))
        over = free & (weights > max_weight)
        if not over.any() or (over | capped)[present].all():
            break
        capped |= over
    return weights


def weighted_nll(log_prob_BTK: Tensor, target_BTK: Tensor, weights_K: Tensor) -> Tensor:
    """Class-weighted negative log-likelihood, divided by the COUNT of windows.

    Dividing by the sum of the weights, as ``torch.nn.NLLLoss`` does, would cancel the weight in a batch of one class.
    Windows without a label say nothing and are not counted.

    Args:
        log_prob_BTK: log-probabilities.
        target_BTK: one-hot labels, or mixed ones where sequences were interpolated; all 0 where there is no label.
        weights_K: weight of each class.

    In a batch of one class the weight stays in the loss, and a window without a label changes nothing:

    >>> log_prob = torch.full((1, 2, 2), 0.5).log()
    >>> weights = torch.tensor([1.0, 3.0])
    >>> for label in ([[1, 1]], [[1, -1]]):
    ...     print(f"{weighted_nll(log_prob, one_hot(np.array(label), 2), weights):.3f}")
    2.079
    2.079
    """
    labelled = (target_BTK.sum(-1) > 0).sum().clamp(min=1)
    share = labelled / target_BTK[..., 0].numel()
    return -(target_BTK * weights_K * log_prob_BTK).sum(-1).mean() / share


def draw_subsets(
    starts: Int64,
    label: Int64,
    sequence_length: int,
    n_classes: int,
    *,
    alpha: float,
    max_weight: float,
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
        alpha, max_weight: see :func:`class_weights`.
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
        found.append(Subset(chosen, counts, class_weights(counts, alpha, max_weight)))
    return found


def effective_prior(subsets: list[Subset]) -> tuple[float, ...]:
    """The class shares that the weighted loss on the subsets makes a model learn, [K]: ``w_c n_c`` scaled to sum 1."""
    mass = np.mean([s.weights * s.counts / (s.weights * s.counts).sum() for s in subsets], axis=0)
    return _as_prior(mass)


def class_shares(label: Int64, n_classes: int) -> tuple[float, ...]:
    """Class shares of the windows that have a label, [K]."""
    known = label[label >= 0]
    return _as_prior(np.bincount(known, minlength=n_classes) / max(len(known), 1))


def _as_prior(mass: Float64) -> tuple[float, ...]:
    floored = np.maximum(mass, SMALLEST_PRIOR)
    return tuple(float(p) for p in floored / floored.sum())


def smote_sequences(
    x_QRC: Float32, label_QT: Int64, n_classes: int, center: Float32, scale: Float32, seed: int
) -> tuple[Float32, Float32]:
    """Over-sampling instead of under-sampling: SMOTE between sequences of one kind.

    A sequence's kind is its rarest class. Missing values are drawn between like the channel's mean, since SMOTE knows
    no gaps; the labels are drawn between like the values, so that a new sequence's target is the mixture that it is.
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
    true_prior = torch.from_numpy(label)
    return torch.nn.functional.one_hot(true_prior.clamp(min=0), n_classes).float() * (true_prior >= 0).unsqueeze(-1)


@torch.no_grad()
def move_prior(model: LRConvLSTM, training_prior: tuple[float, ...], true_prior: tuple[float, ...]) -> None:
    """Move the bias of a network's head, where there is one, as if it had learnt other class shares, [K] each."""
    if not model.spec.network:
        return
    model.head.bias.add_(torch.from_numpy(np.log(np.asarray(true_prior)) - np.log(np.asarray(training_prior))))
