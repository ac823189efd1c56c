"""What each epoch trains on: batches of sequences, by the sampler of the recipe.

A sampler is a class that fits :class:`EpochSource`, and its entry in :data:`SAMPLERS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
import torch
from torch import Tensor

from rarefault.runtime.arrays import Int64
from rarefault.runtime.errors import HistoryError
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.imbalance import Subset, draw_subsets, loss_of, one_hot, smote_sequences
from rarefault.train.fitting.sequences import draw_epoch, sequence_starts
from rarefault.train.model.network import LRConvLSTM

Batch = tuple[Tensor, Tensor, Tensor]


class EpochSource(Protocol):
    """Batches of every epoch.

    Attributes:
        subsets: the Q_i, or the one set that all epochs use.
        steps: batches in an epoch.
    """

    subsets: list[Subset]
    steps: int

    def batches(self, number: int) -> Iterator[Batch]:
        """Bins of sequences [B, R, C], targets [B, T, K] and class weights [K]; the same for the same number."""


def epoch_source(windows: LabelledWindows, model: LRConvLSTM, config: TrainConfig) -> EpochSource:
    """The batches that ``recipe.sampler`` asks for."""
    starts = sequence_starts(windows, config.training.sequence_length)
    return SAMPLERS[config.recipe.sampler].source(windows, starts, model, config)


def quickly_sampled(config: TrainConfig) -> TrainConfig:
    """The configuration with a sampler that is quick to set up; its batches take as long to learn from."""
    quick = SAMPLERS[config.recipe.sampler].timed_as
    return (
        config
        if not quick
        else msgspec.structs.replace(config, recipe=msgspec.structs.replace(config.recipe, sampler=quick))
    )


class SubsetEpochs:
    """Each epoch draws its sequences from one Q_i chosen at random."""

    def __init__(
        self, windows: LabelledWindows, starts: Int64, model: LRConvLSTM, config: TrainConfig, normal_share: float
    ) -> None:
        recipe, self._training = config.recipe, config.training
        self._windows, self._n_classes = windows, model.n_classes
        self._rows = windows.rows()
        self.subsets = draw_subsets(
            starts,
            windows.label,
            self._training.sequence_length,
            model.n_classes,
            loss_of(recipe).class_weights,
            normal_share=normal_share,
            subsets=recipe.subsets,
            seed=self._training.seed,
        )
        # All Q_i have the same number of sequences, and so of steps.
        drawn = self._draw(self.subsets[0], np.random.default_rng(0))
        self.steps = -(-len(drawn) // self._training.batch_size)

    def _draw(self, subset: Subset, rng: np.random.Generator) -> Int64:
        training = self._training
        return draw_epoch(subset.starts, training.sequence_length, training.passes, training.max_sequences, rng)

    def batches(self, number: int) -> Iterator[Batch]:
        """See :class:`EpochSource`."""
        rng = np.random.default_rng([self._training.seed, number])
        subset = self.subsets[int(rng.integers(len(self.subsets)))]
        drawn = self._draw(subset, rng)
        weights = torch.from_numpy(subset.weights).float()
        for at in range(0, len(drawn), self._training.batch_size):
            first = drawn[at : at + self._training.batch_size]
            select = first[:, None] + np.arange(self._training.sequence_length)
            rows = self._windows.sequence_rows(first, self._training.sequence_length)
            yield self._rows[torch.from_numpy(rows)], one_hot(self._windows.label[select], self._n_classes), weights


class SmoteEpochs:
    """All epochs use one set, grown by SMOTE and held in memory."""

    def __init__(self, windows: LabelledWindows, starts: Int64, model: LRConvLSTM, config: TrainConfig) -> None:
        self._training = config.training
        length = self._training.sequence_length
        # Overlapping sequences are nearly copies of each other; SMOTE needs different ones.
        spaced = starts[:: max(1, round(length / self._training.passes))]
        # A sequence that is labelled in part cannot be mixed with others.
        spaced = spaced[windows.labelled[spaced[:, None] + np.arange(length)].all(axis=1)]
        if not len(spaced):
            raise HistoryError(
                f"no sequence of training.sequence_length = {length} windows is labelled throughout, so SMOTE has "
                'nothing to mix: set recipe.sampler = "under", or label more'
            )
        select = spaced[:, None] + np.arange(length)
        label = windows.label[select]
        x, target = smote_sequences(
            windows.windows.rows[windows.sequence_rows(spaced, length)],
            label,
            model.n_classes,
            model.center.cpu().numpy(),
            model.scale.cpu().numpy(),
            self._training.seed,
        )
        self._x, self._target = torch.from_numpy(x), torch.from_numpy(target)
        counts = np.round(target.sum(axis=(0, 1))).astype(np.int64)
        self.subsets = [Subset(spaced, counts, loss_of(config.recipe).class_weights(counts))]
        self.steps = -(-len(x) // self._training.batch_size)

    def batches(self, number: int) -> Iterator[Batch]:
        """See :class:`EpochSource`."""
        order = torch.from_numpy(np.random.default_rng([self._training.seed, number]).permutation(len(self._x)))
        weights = torch.from_numpy(self.subsets[0].weights).float()
        for part in order.split(self._training.batch_size):
            yield self._x[part], self._target[part], weights


def _under_sampled(windows: LabelledWindows, starts: Int64, model: LRConvLSTM, config: TrainConfig) -> EpochSource:
    return SubsetEpochs(windows, starts, model, config, config.recipe.normal_share)


def _all(windows: LabelledWindows, starts: Int64, model: LRConvLSTM, config: TrainConfig) -> EpochSource:
    return SubsetEpochs(windows, starts, model, config, 1.0)


@dataclass(frozen=True)
class Sampler:
    """One value of ``recipe.sampler``.

    Attributes:
        source: makes the batches from windows, first windows of the sequences [Q], network and configuration.
        timed_as: where that takes minutes, the sampler whose batches stand for these when a training is timed.
    """

    source: Callable[[LabelledWindows, Int64, LRConvLSTM, TrainConfig], EpochSource]
    timed_as: str = ""


SAMPLERS = {
    "under": Sampler(_under_sampled),
    "smote": Sampler(SmoteEpochs, timed_as="none"),
    "none": Sampler(_all),
}
