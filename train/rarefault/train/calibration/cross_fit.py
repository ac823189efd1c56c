"""Predictions for windows by models that were not trained on them. The decision is fitted on these.

The model that was trained on the training blocks predicts the validation blocks. These hold only a handful of events of
a fault: too few for a conformal threshold, or for a threshold that holds on the next block. In that case, or where
``training.cross_fit`` is true, each part of the training blocks is held out in turn, too, and predicted by a model that
was trained on all other parts. The decision is then fitted on every event outside of the test blocks (cross-conformal
prediction: Vovk, "Cross-conformal predictors", 2015). It is used with a model that is trained on one part more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from msgspec.structs import replace

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.manifest import DecisionSpec
from rarefault.train.calibration.decision_fit import fit_temperature, log_loss
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.calibration.pooling import fit_pool_weights, pooled
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.split import Split, mostly_cut, rotations
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.windows import LabelledWindows, cut_windows
from rarefault.train.fitting.imbalance import move_prior
from rarefault.train.fitting.network import choose_device, refit_network, serve
from rarefault.train.fitting.new_model import new_model
from rarefault.train.fitting.trees import grow_at_devices, grow_at_units, judge
from rarefault.train.history import History
from rarefault.train.model.forward_filter import ForwardFilter, fit_filter
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.trees import TreeExpert
from rarefault.train.parallel.background import Background

#: With so many validation events of a fault, no further ones are needed: at a coverage of 0.9, the coverage of other
#: events has a standard deviation of sqrt(0.9 * 0.1 / 50), four points.
STEADY_EVENTS = 50
#: Parts that the trees hold out one by one of each that the network holds out, and the trees of units of each of those.
#: A model that was fitted on fewer blocks than the served one is less sure, and a conformal threshold fitted on its
#: predictions covers too much. So what is fast to fit holds out little at a time (decision 0004).
TREE_PARTS, UNIT_PARTS = 2, 2


def wants_cross_fit(config: TrainConfig, train: LabelledWindows, validation: LabelledWindows, n_classes: int) -> bool:
    """Whether the training blocks are held out in turn, too.

    Args:
        config: its training section is used.
        train, validation: windows of the blocks.
        n_classes: K.
    """
    configured = config.training.cross_fit
    if configured != "auto":
        return configured
    few = (validation.events(n_classes) < STEADY_EVENTS) & (train.counts(n_classes) > 0)
    return bool(few[1:].any())


@dataclass(frozen=True)
class HeldOut:
    """Held-out windows and the predictions of models that were not trained on them.

    Attributes:
        windows: sorted by device and time, [W].
        network: log-probabilities of the networks, [W, K].
        trees: log-probabilities of the trees, [W, K]; None where there are none.
    """

    windows: HeldOutWindows
    network: Float32
    trees: Float32 | None

    @classmethod
    def of(
        cls,
        network: LRConvLSTM,
        trees: TreeExpert | None,
        windows: LabelledWindows,
        history: History,
        config: TrainConfig,
    ) -> "HeldOut":
        """Predictions of a network that has no trees beside it, and of trees."""
        return cls(
            HeldOutWindows.of(history, windows, config.grid, config.window),
            serve(network, windows),
            None if trees is None else judge(trees, windows),
        )

    @classmethod
    def joined(cls, parts: Sequence["HeldOut"]) -> "HeldOut":
        """Windows of several parts as one."""
        windows, order = HeldOutWindows.joined([part.windows for part in parts])
        trees = [part.trees for part in parts if part.trees is not None]
        return cls(
            windows,
            np.concatenate([part.network for part in parts])[order],
            np.concatenate(trees)[order] if len(trees) == len(parts) else None,
        )

    def fit_pool_weights(
        self,
        model: LRConvLSTM,
        trees: TreeExpert,
        training_prior: tuple[float, ...],
        true_prior: tuple[float, ...],
        counts: Int64,
    ) -> None:
        """Fit the pool weight of the trees for each class; the model gets the trees.

        Args:
            model: where it has no network, the weight of the trees is 1.
            trees: get their pool weights.
            training_prior, true_prior: class frequencies, [K].
            counts: training windows of each class, [K].
        """
        assert self.trees is not None
        model.trees = trees
        if not model.spec.network:
            trees.share.fill_(1.0)
            return
        shift = np.log(np.asarray(true_prior)) - np.log(np.asarray(training_prior))
        at_units = [] if trees.at_units is None else trees.at_units.faults.tolist()
        weights = fit_pool_weights(self.network, self.trees, self.windows.label, shift, counts, at_units)
        trees.share.copy_(torch.from_numpy(weights))

    def fit_filter(
        self, model: LRConvLSTM, training_prior: tuple[float, ...], true_prior: tuple[float, ...], *, enabled: bool
    ) -> None:
        """Fit the filter over the windows of a device; the model gets it.

        Args:
            model: has its trees. A filter that it has is not used. Without a network it carries nothing else, so it
                gets a filter that changes nothing where the filter is not enabled, or does not help.
            training_prior, true_prior: class frequencies, [K].
            enabled: whether to fit one.
        """
        model.filter = None
        if enabled:
            model.filter = self._filter(self.log_prob(model), training_prior, true_prior)
        if model.filter is None and not model.spec.network:
            model.filter = ForwardFilter.identity(training_prior, true_prior)

    def _filter(
        self, log_prob: Float32, training_prior: tuple[float, ...], true_prior: tuple[float, ...]
    ) -> ForwardFilter | None:
        return fit_filter(log_prob, self.windows.label, self.windows.fresh, training_prior, true_prior)

    def log_losses(self, model: LRConvLSTM, spec: DecisionSpec) -> dict[str, float | None]:
        """Log loss of the windows with a label, with and without the network, each at its best temperature.

        Args:
            model: has its trees and its filter.
            spec: gives the priors.

        Returns:
            ``as_served``, and ``trees_alone``: of the trees with a filter of their own; None where there is no network,
            or there are no trees.
        """

        def least(log_prob: Float32) -> float:
            known = self.windows.label >= 0
            log_prob, label = log_prob[known], self.windows.label[known]
            return log_loss(log_prob, label, replace(spec, temperature=fit_temperature(log_prob, label, spec)))

        alone = self.trees if model.spec.network else None
        if alone is not None and model.filter is not None:
            found = self._filter(alone, spec.training_prior, spec.true_prior)
            alone = alone if found is None else found.along(alone, self.windows.fresh)
        return {"as_served": least(self.log_prob(model)), "trees_alone": None if alone is None else least(alone)}

    def log_prob(self, model: LRConvLSTM) -> Float32:
        """Log-probabilities of network and trees, pooled and filtered as in a model, [W, K]."""
        log_prob = self.network
        if self.trees is not None and model.trees is not None:
            log_prob = pooled(log_prob, self.trees, model.trees.share.numpy())
        return log_prob if model.filter is None else model.filter.along(log_prob, self.windows.fresh)


@dataclass(frozen=True)
class Rotation:
    """Holds parts of a history out in turn.

    All blocks but those of the test are cut into parts as large as the validation blocks, which are one of them. A
    network is slow to train, so it leaves out one part at a time. Trees leave out one of ``TREE_PARTS`` of a part, and
    those of units one of ``UNIT_PARTS`` of such a part. Where most events are longer than a block, all leave out whole
    parts: a model that was trained on more of the very event that is held out is surer of it than of a new one.

    Attributes:
        history: all of it.
        split: its blocks.
        config: as for a whole training.
        training_prior: that all models are moved to, [K].
        epochs: of each network; no blocks are left to say when to stop.
        units: channels of each unit, [U, M].
        on_part: called with the number of a part, from 1 on, and of how many, before a network is trained without it.
        on_epoch: called with the number of its epochs that are done.
        on_trees: called with the number of some trees, from 1 on, and of how many, before they are waited for.
    """

    history: History
    split: Split
    config: TrainConfig
    training_prior: tuple[float, ...]
    epochs: int
    units: Int64 = field(default_factory=NO_UNITS.copy)
    on_part: Callable[[int, int], None] = lambda _number, _all: None
    on_epoch: Callable[[int], None] = lambda _done: None
    on_trees: Callable[[int, int], None] = lambda _number, _all: None

    def run(self, network: LRConvLSTM) -> list[HeldOut]:
        """Predict every block but those of the test by models that were not trained on it.

        The trees grow in the background while the networks are trained, one after the other.

        Args:
            network: without trees; it was trained on the training blocks.

        Raises:
            RarefaultError: the loss is no longer a number, or trees could not be read from the library that grew them.
        """
        config, grid = self.config.split, self.config.grid
        further = rotations(self.history, self.split, "train", config.folds - 2, config.seed, grid)
        parts = (self.split, *further)
        with Background(self.config.training.jobs) as background:
            grown = [
                [background.submit(self._grow, finer) for finer in self._finer(part, TREE_PARTS)] for part in parts
            ]
            networks: list[LRConvLSTM | None] = [network]
            for number, part in enumerate(further, 1):
                self.on_part(number, len(further))
                networks.append(self._train(part))
            beside = zip(networks, grown, strict=True)
            waiting = [(network, call) for network, calls in beside if network is not None for call in calls]
            found = []
            for number, (beside_trees, call) in enumerate(waiting, 1):
                self.on_trees(number, len(waiting))
                for held_out, trees in background.result(call):
                    windows = HeldOutWindows.of(self.history, held_out, grid, self.config.window)
                    found.append(HeldOut(windows, serve(beside_trees, held_out), trees))
        return found

    def _finer(self, part: Split, parts: int) -> list[Split]:
        """Splits that hold out some of what a part holds out."""
        config = self.config
        if mostly_cut(self.history, self.split):
            return [part]
        finer = rotations(self.history, part, "validation", parts, config.split.seed, config.grid)
        return finer if finer and config.trees.rounds else [part]

    def _windows(self, split: Split) -> tuple[LabelledWindows, LabelledWindows] | None:
        """Windows to train on and windows that are held out.

        None where no held-out window has a label, or there is one class to train on.
        """
        train, held_out = (
            cut_windows(split.select(self.history, part), self.config.grid, self.config.window, self.units)
            for part in ("train", "validation")
        )
        two = (train.counts(len(self.history.classes)) > 0).sum() >= 2
        return (train, held_out) if two and held_out.labelled.any() else None

    def _grow(self, split: Split) -> list[tuple[LabelledWindows, Float32 | None]]:
        """Windows that a split holds out, and the predictions of trees that were not grown on them."""
        if (windows := self._windows(split)) is None:
            return []
        train, held_out = windows
        if not self.config.trees.rounds:
            return [(held_out, None)]
        trees, seed, threads = self.config.trees, self.config.training.seed, self.config.training.threads
        grown = []
        for finer in self._finer(split, UNIT_PARTS) if train.at_units is not None else [split]:
            if (own := windows if finer is split else self._windows(finer)) is not None:
                at_units = grow_at_units(own[0], self.training_prior, trees, seed, threads, self.units)
                grown.append((own[1], at_units))
        # A fault that some of them have no trees for, for lack of events, is left to the trees of devices.
        faults = [set() if at_units is None else set(at_units.faults.tolist()) for _, at_units in grown]
        elsewhere = sorted(set.intersection(*faults)) if faults else []
        expert = grow_at_devices(train, self.training_prior, trees, seed, threads, self.units, elsewhere)
        judged: list[tuple[LabelledWindows, Float32 | None]] = []
        for held_out, at_units in grown:
            expert.at_units = at_units if elsewhere else None
            judged.append((held_out, judge(expert, held_out)))
        return judged

    def _train(self, split: Split) -> LRConvLSTM | None:
        """A network that was not trained on what a split holds out."""
        config = self.config
        if (windows := self._windows(split)) is None:
            return None
        train, _ = windows
        torch.manual_seed(config.training.seed)
        model, _ = new_model(config, self.history, train)
        model.to(choose_device(config.training.device))
        learned_prior = refit_network(model, train, config, self.epochs, self.on_epoch)
        model.cpu()
        move_prior(model, learned_prior, self.training_prior)
        return model
