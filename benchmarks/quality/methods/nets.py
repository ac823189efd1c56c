"""Our network: as shipped, and with one thing changed."""

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.quality.prediction import HELD_OUT, Prediction
from benchmarks.quality.protocol import Fold

from rarefault.runtime.arrays import Float32
from rarefault.train.calibration.cross_fit import HeldOut, Rotation, wants_cross_fit
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.network import choose_device, fit, serve
from rarefault.train.fitting.new_model import new_model
from rarefault.train.fitting.trees import grow_trees, judge
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.runs.refit import refit


def train_net(fold: Fold, seed: int) -> Prediction:
    """Train with the fold's configuration, by the trainer's own steps."""
    torch.manual_seed(seed)
    model, _ = new_model(fold.config, fold.history, fold.parts["train"])
    return train_model(model, fold)


def train_model(model: LRConvLSTM, fold: Fold) -> Prediction:
    """Train a network that has its centre and scale, and ask it about the held-out windows."""
    config, untrained = fold.config, deepcopy(model)
    model.to(choose_device(config.training.device))
    with tempfile.TemporaryDirectory(prefix="rarefault-quality-") as folder:
        fitted = fit(
            model,
            fold.parts["train"],
            fold.parts["validation"],
            config,
            digest="",
            resume_file=Path(folder, "resume.pt"),
        )
    model.cpu()
    training_prior = fitted.training_prior
    units = channels_of_units(config.trees.units, config.data, fold.history.channels)
    trees = None
    if config.trees.rounds:
        trees = grow_trees(
            fold.parts["train"], fold.n_classes, training_prior, config.trees, config.training.seed, units=units
        )
    judged: list[HeldOut] = []
    if wants_cross_fit(config, fold.parts["train"], fold.parts["validation"], fold.n_classes):
        judged = Rotation(fold.history, fold.split, config, training_prior, fitted.best_epoch, units).run(model)
    held = HeldOut.joined(judged or [HeldOut.of(model, trees, fold.parts["validation"], fold.history, config)])
    true = class_frequencies(fold.parts["train"].label, fold.n_classes)
    if trees is not None:
        held.fit_pool_weights(model, trees, training_prior, true, fold.parts["train"].counts(fold.n_classes))
    held.fit_filter(model, training_prior, true, enabled=config.decision.filter)
    validation = held.log_prob(model)
    parts = {} if held.trees is None else {"network_validation": held.network, "trees_validation": held.trees}
    if config.training.refit:
        model = refit(untrained, model, fold.both(), training_prior, config, fitted.best_epoch, units)
    notes: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": len(fitted.curves),
        "best_epoch": fitted.best_epoch,
    }
    if model.trees is not None:
        notes["trees_share"] = np.round(model.trees.share.numpy(), 3).tolist()
    if (found := model.filter) is not None:
        notes["filter"] = {name: round(value, 3) for name, value in found.fitted_values().items()}
    parts |= _parts(model, fold)
    windows = {name: getattr(held.windows, name) for name in HELD_OUT}
    return Prediction(validation, serve(model, fold.parts["test"]), training_prior, notes, parts, windows)


def _parts(model: LRConvLSTM, fold: Fold) -> dict[str, Float32]:
    """What network and trees say of the test windows by themselves."""
    trees, found, windows = model.trees, model.filter, fold.parts["test"]
    if trees is None:
        return {}
    model.trees = model.filter = None
    parts = {"network_test": serve(model, windows), "trees_test": judge(trees, windows)}
    model.trees, model.filter = trees, found
    return parts
