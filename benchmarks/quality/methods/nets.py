"""Our network: as shipped, and with one thing changed."""

from copy import deepcopy
from typing import Any

import msgspec
import numpy as np
import torch
from benchmarks.quality.prediction import HELD_OUT, Prediction
from benchmarks.quality.protocol import Fold
from scipy.special import log_softmax

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, UnitsSpec
from rarefault.train.calibration.choice import choose_parts
from rarefault.train.calibration.cross_fit import HeldOut, Rotation, wants_cross_fit
from rarefault.train.dataset.unit_labels import units_spec
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import Fit, choose_device, fit
from rarefault.train.fitting.new_model import networks_of, new_network
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
        parts = Rotation(fold.history, fold.split, config, prior, units, at_units).run(network)
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
    held, spec, model = choice.held, choice.spec, model.only(choice.parts.kept, prior, at_units)
    if config.training.refit:
        served = choice.served(config)
        if untrained is not None:
            untrained = untrained.only(networks_of(served.wanted, at_units), prior)
        model = refit(untrained, "trees" in held.names, fold.both(), prior, served, units, at_units)
    test = HeldOut.of(model, fold.parts["test"], fold.history, config)
    notes: dict[str, Any] = {
        "parameters": model.parameters,
        "epochs": len(fitted.curves),
        "experts": msgspec.to_builtins(spec.experts),
        "filter": msgspec.to_builtins(spec.filter),
        "parts": list(choice.parts.kept),
    }
    opinions = {
        f"{name}_{part}": of.opinions[:, e]
        for part, of in (("validation", held), ("test", test))
        for e, name in enumerate(model.names)
    }
    windows = {name: getattr(held.windows, name) for name in HELD_OUT}
    return Prediction(_log_prob(spec, held), _log_prob(spec, test), prior, notes, opinions, windows)


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
