"""Our network: as shipped, and with one thing changed."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from benchmarks.quality.prediction import HELD_OUT, Prediction
from benchmarks.quality.protocol import Fold
from scipy.special import log_softmax

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, UnitsSpec
from rarefault.train.calibration.choice import choose_parts, with_parts
from rarefault.train.calibration.cross_fit import HeldOut, Rotation, wants_cross_fit
from rarefault.train.dataset.unit_labels import units_spec
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import Fit, choose_device, fit
from rarefault.train.fitting.new_model import new_network
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.runs.refit import refit


def train_net(fold: Fold, seed: int) -> Prediction:
    """Train with the fold's configuration, by the trainer's own steps."""
    torch.manual_seed(seed)
    config, train = fold.config, fold.parts["train"]
    at_units = units_spec(train.at_units, train.labelled, _units(fold), fold.history.channels)
    return train_model(
        new_network(config, fold.history, train, at_units) if config.model.network else None, fold, at_units
    )


def train_model(network: NetworkExpert | None, fold: Fold, at_units: UnitsSpec | None) -> Prediction:
    """Train a network, and ask it about the held-out windows.

    Args:
        network: new; None for trees alone.
        fold: to train on.
        at_units: what is looked for at units.
    """
    config, train, seed = fold.config, fold.parts["train"], fold.config.training.seed
    units, prior = _units(fold), class_frequencies(train.label, fold.n_classes)
    untrained = deepcopy(network)
    fitted = Fit() if network is None else _fitted(network, fold, prior)
    trees = None
    if config.trees.rounds:
        trees = grow_trees(train, prior, config.trees, seed, 0, units, at_units, parts=config.wanted)
    model = Experts(network, trees)
    parts: list[HeldOut] = []
    if wants_cross_fit(config, train, fold.parts["validation"], fold.n_classes):
        parts = Rotation(fold.history, fold.split, config, prior, units, at_units).run(model)
    held = HeldOut.joined(parts or [HeldOut.of(model, fold.parts["validation"], fold.history, config)])
    choice = choose_parts(
        held,
        model.parts,
        fold.split,
        prior,
        at_units,
        filtered=config.decision.filter,
        free=config.training.parts == "auto",
    )
    if config.training.refit:  # all parts, as some methods are a part of this one
        model = refit(untrained, trees is not None, fold.both(), prior, config, units, at_units)
    test = HeldOut.of(model, fold.parts["test"], fold.history, config)
    kept = choice.parts.kept
    notes: dict[str, Any] = {"parameters": model.parameters, "epochs": len(fitted.curves), "parts": list(kept)}
    served = _prediction(choice.spec, choice.held, with_parts(test, kept, prior, at_units), notes)
    return replace(served, parts=_opinions(held, test))


def _opinions(held: HeldOut, test: HeldOut) -> dict[str, Float32]:
    """Of each expert on held-out and test windows."""
    return {
        f"{name}_{part}": of.opinions[:, e]
        for part, of in (("validation", held), ("test", test))
        for e, name in enumerate(of.names)
    }


def alone(name: Literal["network", "trees"]) -> Callable[[Fold, Prediction], Prediction]:
    """One expert of a training, with a filter and a decision of its own.

    The experts of a model are trained without each other, so this is what a training of the one would give.
    """

    def of(fold: Fold, whole: Prediction) -> Prediction:
        train, config = fold.parts["train"], fold.config
        at_units = units_spec(train.at_units, train.labelled, _units(fold), fold.history.channels)
        windows = replace(fold.validation(), **{name: whole.windows[name] for name in HELD_OUT})  # type: ignore[arg-type]
        held = HeldOut(windows, whole.parts[f"{name}_validation"][:, None], (name,))
        test = HeldOut(fold.validation("test"), whole.parts[f"{name}_test"][:, None], (name,))
        prior = class_frequencies(train.label, fold.n_classes)
        spec = held.weighed(prior, at_units, filtered=config.decision.filter)
        return _prediction(spec, held, test, dict(whole.notes or {}))

    return of


def _prediction(spec: DecisionSpec, held: HeldOut, test: HeldOut, notes: dict[str, Any]) -> Prediction:
    """What the decision so far makes of the opinions on held-out and test windows."""
    notes |= {"experts": msgspec.to_builtins(spec.experts), "filter": msgspec.to_builtins(spec.filter)}
    windows = {name: getattr(held.windows, name) for name in HELD_OUT}
    return Prediction(_log_prob(spec, held), _log_prob(spec, test), spec.prior, notes, _opinions(held, test), windows)


def _units(fold: Fold) -> Int64:
    return channels_of_units(fold.config.trees.units, fold.config.data, fold.history.channels)


def _fitted(network: NetworkExpert, fold: Fold, prior: tuple[float, ...]) -> Fit:
    network.to(choose_device(fold.config.training.device))
    found = fit(network, fold.parts["train"], fold.config, prior)
    network.cpu()
    return found


def _log_prob(spec: DecisionSpec, held: HeldOut) -> Float32:
    """Of all experts and the windows before, for the class shares of the history, [W, K]."""
    evidence = Decision(spec).evidence(held.windows.device, held.windows.fresh, held.opinions)
    return np.asarray(log_softmax(evidence + np.log(np.asarray(spec.prior)), axis=1), np.float32)
