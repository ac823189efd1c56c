"""Predictions for windows by models that were not trained on them. The decision is fitted on these.

The model that was trained on the training blocks predicts the validation blocks. These hold only a handful of events of
a fault: too few for a conformal threshold, or for a threshold that holds on the next block. In that case, or where
``training.cross_fit`` is true, each part of the training blocks is held out in turn, too, and predicted by a model that
was trained on all other parts. The decision is then fitted on every event outside of the test blocks (cross-conformal
prediction: Vovk, "Cross-conformal predictors", 2015). It is used with a model that is trained on one part more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

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
from rarefault.train.dataset.split import Split, rotations
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.windows import LabelledWindows, cut_windows
from rarefault.train.fitting.network import Epoch, choose_device, fit, serve_apart
from rarefault.train.fitting.new_model import new_network
from rarefault.train.fitting.trees import grow_trees, judge_both
from rarefault.train.history import History
from rarefault.train.model.experts import Experts, stacked
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.trees import TreeExpert
from rarefault.train.parallel.background import Background

#: With so many validation events of a fault, no further ones are needed: at a coverage of 0.9, the coverage of other
#: events has a standard deviation of sqrt(0.9 * 0.1 / 50), four points.
STEADY_EVENTS = 50


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
    """Held-out windows and the opinions of experts that were not trained on them.

    Attributes:
        windows: sorted by device and time, [W].
        opinions: of the experts, [W, E, V].
        names: of the experts, [E].
        boosted: opinions of the boosted trees alone on the device's classes, [W, K]; None where no others are beside
            them.
        apart: distances of each of the networks, [W, networks]; None without a network.
    """

    windows: HeldOutWindows
    opinions: Float32
    names: tuple[Literal["network", "trees"], ...]
    boosted: Float32 | None = None
    apart: Float32 | None = None

    @classmethod
    def of(cls, model: Experts, windows: LabelledWindows, history: History, config: TrainConfig) -> "HeldOut":
        """The opinions of a model on windows."""
        held_out = HeldOutWindows.of(history, windows, config.grid, config.window)
        boosted, apart = None, None

        def of_network(network: NetworkExpert) -> Float32:
            nonlocal apart
            opinions, apart = serve_apart(network, windows)
            return opinions

        def of_trees(trees: TreeExpert) -> Float32:
            nonlocal boosted
            opinions, boosted = judge_both(trees, windows)
            if trees.extra is None:
                boosted = None
            return opinions

        opinions = model.each(of_network, of_trees)
        return cls(held_out, stacked(opinions), model.names, boosted, apart)

    @classmethod
    def joined(cls, parts: Sequence["HeldOut"]) -> "HeldOut":
        """Windows of several parts as one."""
        windows, order = HeldOutWindows.joined([part.windows for part in parts])
        boosted = None
        if any(part.boosted is not None for part in parts):
            # Where there are no others beside the boosted trees, these are all of the trees' opinion.
            boosted = np.concatenate([part.of_boosted() for part in parts])[order]
        measured = [part.apart for part in parts if part.apart is not None]
        apart = np.concatenate(measured)[order] if measured else None
        opinions = np.concatenate([part.opinions for part in parts])[order]
        return cls(windows, opinions, parts[0].names, boosted, apart)

    def of_boosted(self) -> Float32:
        """Opinions of the boosted trees alone on the device's classes, [W, K]."""
        if self.boosted is not None:
            return self.boosted
        return self.opinions[:, self.names.index("trees"), : len(self.windows.history.classes)]

    def alone(self, name: Literal["network", "trees"]) -> "HeldOut":
        """With the opinions of one expert."""
        at = self.names.index(name)
        boosted = self.boosted if name == "trees" else None
        apart = self.apart if name == "network" else None
        return HeldOut(self.windows, self.opinions[:, at : at + 1], (name,), boosted, apart)

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

    All blocks but those of the test are cut into parts as large as the validation blocks, which are one of them. The
    model that was trained on the training blocks judges these; further ones leave out one other part each.

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

    def run(self, model: Experts) -> list[HeldOut]:
        """Predict every block but those of the test by models that were not trained on it.

        The trees grow in the background while the networks are trained, one after the other.

        Args:
            model: it was trained on the training blocks; the further ones have the same experts.

        Raises:
            RarefaultError: the loss is no longer a number, or trees could not be read from the library that grew them.
        """
        config = self.config
        further = rotations(self.history, self.split, "train", config.split.folds - 2, config.split.seed, config.grid)
        first = self._windows(self.split)
        found = [] if first is None else [HeldOut.of(model, first[1], self.history, config)]
        parts = [windows for part in further if (windows := self._windows(part)) is not None]
        with Background(config.training.jobs) as background:
            grown = [background.submit(self._grow, train) for train, _ in parts] if model.trees is not None else []
            networks: list[NetworkExpert | None] = []
            for number, (train, _) in enumerate(parts, 1):
                if model.network is not None:
                    self.on_part(number, len(parts))
                networks.append(None if model.network is None else self._train(train))
            for number, (_, held_out) in enumerate(parts, 1):
                trees = None
                if grown:
                    self.on_trees(number, len(parts))
                    trees = background.result(grown[number - 1])
                found.append(HeldOut.of(Experts(networks[number - 1], trees), held_out, self.history, config))
        return found

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

    def _grow(self, train: LabelledWindows) -> TreeExpert | None:
        """Trees that were grown on a part's other blocks."""
        training = self.config.training
        return grow_trees(
            train,
            self.prior,
            self.config.trees,
            training.seed,
            training.threads,
            self.units,
            self.at_units,
            parts=self.config.wanted,
        )

    def _train(self, train: LabelledWindows) -> NetworkExpert | None:
        """A network that was trained on a part's other blocks."""
        config = self.config
        torch.manual_seed(config.training.seed)
        network = new_network(config, self.history, train, self.at_units)
        if network is None:
            return None
        network.to(choose_device(config.training.device))
        fit(network, train, config, self.prior, on_epoch=self.on_epoch)
        return network.cpu()
