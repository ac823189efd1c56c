"""What each epoch trains on: batches of sequences, by the sampler of the recipe.

A sampler is a class that fits :class:`EpochSource`, and its entry in :data:`SAMPLERS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
import torch

from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.train.config import TrainConfig, TrainingConfig
from rarefault.train.dataset.windows import channel_statistics
from rarefault.train.fitting.examples import Batch, Examples
from rarefault.train.fitting.imbalance import smote_sequences

#: Of an epoch that is bounded, the share that sequences without a fault may have.
NORMAL_PART = 0.5


class EpochSource(Protocol):
    """Batches of every epoch.

    Attributes:
        active: windows of an epoch that have each output active, [O].
        known: windows of an epoch of which that is known, [O].
        steps: batches in an epoch.
    """

    active: Float64
    known: Float64
    steps: int

    def batches(self, number: int) -> Iterator[Batch]:
        """Those of an epoch; the same for the same number."""


def epoch_source(examples: Examples, config: TrainConfig) -> EpochSource:
    """The batches that ``recipe.sampler`` asks for."""
    return SAMPLERS[config.recipe.sampler].source(examples, config)


def quickly_sampled(config: TrainConfig) -> TrainConfig:
    """The configuration with a sampler that is quick to set up; its batches take as long to learn from."""
    quick = SAMPLERS[config.recipe.sampler].timed_as
    return (
        config
        if not quick
        else msgspec.structs.replace(config, recipe=msgspec.structs.replace(config.recipe, sampler=quick))
    )


class DrawnEpochs:
    """Each epoch draws its sequences anew: a share of those without a fault, and all others."""

    def __init__(self, examples: Examples, training: TrainingConfig, normal_share: float) -> None:
        self._examples, self._training = examples, training
        self._of_kind = [np.flatnonzero(examples.kind == kind) for kind in range(examples.active.shape[2] + 1)]
        there = np.array([len(of) for of in self._of_kind], np.float64)
        wanted = there * min(training.passes / training.sequence_length, 1.0)  # each sequence once at most
        if there[1:].any():
            wanted[0] *= normal_share
        self._counts = _bounded(wanted, training.max_sequences or np.inf)
        rate = self._counts / np.maximum(there, 1)
        self.active, self.known = examples.totals(rate)
        self.steps = -(-int(self._counts.sum()) // training.batch_size)

    def batches(self, number: int) -> Iterator[Batch]:
        """See :class:`EpochSource`."""
        rng = np.random.default_rng([self._training.seed, number])
        drawn = [rng.choice(of, n, replace=False) for of, n in zip(self._of_kind, self._counts, strict=True)]
        order = rng.permutation(np.concatenate(drawn))
        for at in range(0, len(order), self._training.batch_size):
            yield self._examples.at(order[at : at + self._training.batch_size])


def _bounded(wanted: Float64, most: float) -> Int64:
    """Sequences of each kind in an epoch; where there are more than the bound, of the most frequent kinds fewer.

    A kind of which there are any has one at least.

    >>> _bounded(np.array([9000.0, 500.0, 8.2, 0.0]), 1000)
    array([500, 492,   8,   0])

    Args:
        wanted: of each kind, the first without a fault, [kinds].
        most: in an epoch.
    """
    some = wanted > 0
    if wanted.sum() > most:
        wanted = wanted.copy()
        faults = wanted[1:].sum()
        wanted[0] = min(wanted[0], max(NORMAL_PART * most, most - faults))
        left = most - wanted[0]
        low, high = 0.0, float(wanted[1:].max(initial=0.0))
        for _ in range(60):
            level = (low + high) / 2
            low, high = (level, high) if np.minimum(wanted[1:], level).sum() <= left else (low, level)
        wanted[1:] = np.minimum(wanted[1:], low)
    return np.where(some, np.maximum(np.round(wanted), 1), 0).astype(np.int64)


class SmoteEpochs:
    """All epochs use one set, grown by SMOTE and held in memory."""

    def __init__(self, examples: Examples, training: TrainingConfig) -> None:
        self._training = training
        # Overlapping sequences are nearly copies of each other; SMOTE needs different ones. A sequence that is labelled
        # in part cannot be mixed with others.
        spacing = max(1, round(training.sequence_length / training.passes))
        spaced = np.flatnonzero(examples.start % spacing == 0)
        known = np.stack(
            [examples.known[examples.start[spaced] + t, examples.unit[spaced]] for t in range(examples.length)]
        )
        spaced = spaced[known.all(axis=(0, 2))] if len(spaced) else spaced
        if not len(spaced):
            raise HistoryError(
                f"no sequence of training.sequence_length = {training.sequence_length} windows is labelled throughout, "
                'so SMOTE has nothing to mix: set recipe.sampler = "under", or label more'
            )
        batch = examples.at(spaced)
        bins = batch.bins.numpy()
        center, scale, _, _ = channel_statistics(bins.reshape(-1, bins.shape[2]))
        x, target = smote_sequences(bins, batch.target.numpy(), examples.kind[spaced], center, scale, training.seed)
        self._x, self._target = torch.from_numpy(x), torch.from_numpy(target)
        self.active = target.sum(axis=(0, 1), dtype=np.float64)
        self.known = np.full(target.shape[2], float(target.shape[0] * target.shape[1]))
        self.steps = -(-len(x) // training.batch_size)

    def batches(self, number: int) -> Iterator[Batch]:
        """See :class:`EpochSource`."""
        order = torch.from_numpy(np.random.default_rng([self._training.seed, number]).permutation(len(self._x)))
        for part in order.split(self._training.batch_size):
            target = self._target[part]
            yield Batch(self._x[part], target, torch.ones_like(target))


@dataclass(frozen=True)
class Sampler:
    """One value of ``recipe.sampler``.

    Attributes:
        source: makes the batches from what there is to learn from.
        timed_as: where that takes minutes, the sampler whose batches stand for these when a training is timed.
    """

    source: Callable[[Examples, TrainConfig], EpochSource]
    timed_as: str = ""


SAMPLERS = {
    "under": Sampler(lambda examples, config: DrawnEpochs(examples, config.training, config.recipe.normal_share)),
    "smote": Sampler(lambda examples, config: SmoteEpochs(examples, config.training), timed_as="none"),
    "none": Sampler(lambda examples, config: DrawnEpochs(examples, config.training, 1.0)),
}
