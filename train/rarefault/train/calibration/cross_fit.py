"""Predictions for windows by models that were not trained on them. The decision is fitted on these.

The model that was trained on the training blocks predicts the validation blocks. These hold only a handful of events of
a fault: too few for a conformal threshold, or for a threshold that holds on the next block. In that case, or where
``training.cross_fit`` is true, each part of the training blocks is held out in turn, too, and predicted by a model that
was trained on all other parts. The decision is then fitted on every event outside of the test blocks (cross-conformal
prediction: Vovk, "Cross-conformal predictors", 2015). It is used with a model that is trained on one part more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal, NamedTuple

import numpy as np
import torch
from msgspec.structs import replace

from rarefault.runtime.arrays import Float32, Float64, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, UnitsSpec
from rarefault.train.calibration.decision_fit import fit_temperature, log_losses
from rarefault.train.calibration.filter_fit import fit_filter
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.calibration.pooling import fit_pool_weights
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.dataset.split import Split, mostly_cut, rotations
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.windows import LabelledWindows, cut_windows
from rarefault.train.fitting.network import Epoch, choose_device, fit, serve
from rarefault.train.fitting.new_model import new_network
from rarefault.train.fitting.trees import grow_at_devices, grow_at_units, judge_both, wants_trees
from rarefault.train.history import History
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
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


class Judged(NamedTuple):
    """Opinions of trees [W, V], and of the boosted ones alone on the device's classes [W, K] where others are there."""

    opinions: Float32
    boosted: Float32 | None

    @classmethod
    def of(cls, trees: TreeExpert, windows: LabelledWindows) -> "Judged":
        """The opinions on windows."""
        opinions, boosted = judge_both(trees, windows)
        return cls(opinions, None if trees.extra is None else boosted)


@dataclass(frozen=True)
class HeldOut:
    """Held-out windows and the opinions of experts that were not trained on them.

    Attributes:
        windows: sorted by device and time, [W].
        opinions: of the experts, [W, E, V].
        names: of the experts, [E].
        boosted: opinions of the boosted trees alone on the device's classes, [W, K]; None where no others are beside
            them.
    """

    windows: HeldOutWindows
    opinions: Float32
    names: tuple[Literal["network", "trees"], ...]
    boosted: Float32 | None = None

    @classmethod
    def of(cls, model: Experts, windows: LabelledWindows, history: History, config: TrainConfig) -> "HeldOut":
        """The opinions of a model on windows."""
        held_out = HeldOutWindows.of(history, windows, config.grid, config.window)
        boosted = None

        def of_trees(trees: TreeExpert) -> Float32:
            nonlocal boosted
            judged = Judged.of(trees, windows)
            boosted = judged.boosted
            return judged.opinions

        opinions = model.each(lambda network: serve(network, windows), of_trees)
        return cls(held_out, np.stack(opinions, axis=1), model.names, boosted)

    @classmethod
    def joined(cls, parts: Sequence["HeldOut"]) -> "HeldOut":
        """Windows of several parts as one."""
        windows, order = HeldOutWindows.joined([part.windows for part in parts])
        boosted = None
        if any(part.boosted is not None for part in parts):
            # Where there are no others beside the boosted trees, these are all of the trees' opinion.
            boosted = np.concatenate([part.of_boosted() for part in parts])[order]
        return cls(windows, np.concatenate([part.opinions for part in parts])[order], parts[0].names, boosted)

    def of_boosted(self) -> Float32:
        """Opinions of the boosted trees alone on the device's classes, [W, K]."""
        if self.boosted is not None:
            return self.boosted
        return self.opinions[:, self.names.index("trees"), : len(self.windows.history.classes)]

    def alone(self, name: Literal["network", "trees"]) -> "HeldOut":
        """With the opinions of one expert."""
        at = self.names.index(name)
        boosted = self.boosted if name == "trees" else None
        return HeldOut(self.windows, self.opinions[:, at : at + 1], (name,), boosted)

    def weighed(self, prior: tuple[float, ...], units: UnitsSpec | None, *, filtered: bool) -> DecisionSpec:
        """How much the experts and the windows before count: the decision so far, with equal thresholds.

        Args:
            prior: class shares, [K].
            units: what is looked for at units.
            filtered: whether to fit a filter.
        """
        held = self.windows
        event = event_of(held.device, held.fresh, held.label)[held.label > 0]
        experts = fit_pool_weights(self.opinions, held.label, len(np.unique(event)), self.names, prior, units)
        spec = DecisionSpec(prior=prior, thresholds=(1.0,) * len(prior), experts=experts, units=units)
        if not filtered:
            return spec
        found = fit_filter(Decision(spec).window_evidence(self.opinions), held.label, held.fresh, prior)
        return replace(spec, filter=found)

    def losses(self, spec: DecisionSpec) -> Float64:
        """Log loss of each window with a label, at the best temperature, [known W]."""
        known = self.windows.label >= 0
        evidence = Decision(spec).evidence(self.windows.device, self.windows.fresh, self.opinions)[known]
        label = self.windows.label[known]
        return log_losses(evidence, label, replace(spec, temperature=fit_temperature(evidence, label, spec)))

    def log_loss(self, spec: DecisionSpec) -> float:
        """Log loss of the windows with a label, at the best temperature."""
        return float(self.losses(spec).mean())

    def log_losses(self, spec: DecisionSpec) -> dict[str, float | None]:
        """Log loss with and without the network.

        Args:
            spec: the decision, as fitted on all experts.

        Returns:
            ``as_served``, and ``trees_alone``: of the trees with a filter of their own; None where there is no network,
            or there are no trees.
        """
        alone = None
        if len(self.names) > 1:
            trees = self.alone("trees")
            alone = trees.log_loss(trees.weighed(spec.prior, spec.units, filtered=spec.filter is not None))
        return {"as_served": self.log_loss(spec), "trees_alone": alone}


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
        prior: class shares that all opinions hold for, [K].
        units: columns of each unit, [U, M].
        at_units: what is looked for at them; None where nothing is.
        on_part: called with the number of a part, from 1 on, and of how many, before a network is trained without it.
        on_epoch: called with every epoch.
        on_trees: called with the number of some trees, from 1 on, and of how many, before they are waited for.
    """

    history: History
    split: Split
    config: TrainConfig
    prior: tuple[float, ...]
    units: Int64 = field(default_factory=NO_UNITS.copy)
    at_units: UnitsSpec | None = None
    on_part: Callable[[int, int], None] = lambda _number, _all: None
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None
    on_trees: Callable[[int, int], None] = lambda _number, _all: None

    def run(self, network: NetworkExpert | None) -> list[HeldOut]:
        """Predict every block but those of the test by models that were not trained on it.

        The trees grow in the background while the networks are trained, one after the other.

        Args:
            network: it was trained on the training blocks; None for trees alone.

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
            networks = [network]
            for number, part in enumerate(further if network is not None else (), 1):
                self.on_part(number, len(further))
                networks.append(self._train(part))
            beside = zip_longest(networks, grown)
            waiting = [(own, call) for own, calls in beside if own is not None or network is None for call in calls]
            found = []
            for number, (own, call) in enumerate(waiting, 1):
                self.on_trees(number, len(waiting))
                for held_out, trees in background.result(call):
                    windows = HeldOutWindows.of(self.history, held_out, grid, self.config.window)
                    opinions: dict[Literal["network", "trees"], Float32] = {}
                    if own is not None:
                        opinions["network"] = serve(own, held_out)
                    if trees is not None:
                        opinions["trees"] = trees.opinions
                    boosted = None if trees is None else trees.boosted
                    found.append(HeldOut(windows, np.stack(list(opinions.values()), axis=1), tuple(opinions), boosted))
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
        faults = None if self.at_units is None else self.at_units.faults
        train, held_out = (
            cut_windows(split.select(self.history, part), self.config.grid, self.config.window, self.units, faults)
            for part in ("train", "validation")
        )
        two = (train.counts(len(self.history.classes)) > 0).sum() >= 2
        return (train, held_out) if two and held_out.labelled.any() else None

    def _grow(self, split: Split) -> list[tuple[LabelledWindows, Judged | None]]:
        """Windows that a split holds out, and the opinions of trees that were not grown on them."""
        if (windows := self._windows(split)) is None:
            return []
        train, held_out = windows
        parts = self.config.wanted
        if not wants_trees(parts, self.at_units):
            return [(held_out, None)]
        trees, seed, threads = self.config.trees, self.config.training.seed, self.config.training.threads
        elsewhere = () if self.at_units is None else self.at_units.faults
        expert = grow_at_devices(train, self.prior, trees, seed, threads, self.units, elsewhere, parts)
        if self.at_units is None:
            return [(held_out, Judged.of(expert, held_out))]
        judged: list[tuple[LabelledWindows, Judged | None]] = []
        for finer in self._finer(split, UNIT_PARTS):
            if (own := windows if finer is split else self._windows(finer)) is not None:
                expert.at_units = grow_at_units(own[0], self.at_units, trees, seed, threads, self.units, parts)
                judged.append((own[1], Judged.of(expert, own[1])))
        return judged

    def _train(self, split: Split) -> NetworkExpert | None:
        """A network that was not trained on what a split holds out."""
        config = self.config
        if (windows := self._windows(split)) is None:
            return None
        train, _ = windows
        torch.manual_seed(config.training.seed)
        network = new_network(config, self.history, train, self.at_units)
        if network is None:
            return None
        network.to(choose_device(config.training.device))
        fit(network, train, config, self.prior, on_epoch=self.on_epoch)
        return network.cpu()
