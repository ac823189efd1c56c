"""Our network: as shipped, and with one thing changed."""

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.quality.prediction import Prediction
from benchmarks.quality.protocol import Fold

from rarefault.runtime.grid import Float32
from rarefault.train.again import learn_again
from rarefault.train.fit import fit, serve
from rarefault.train.model import LRConvLSTM
from rarefault.train.recipe import class_shares, effective_prior
from rarefault.train.split import Part
from rarefault.train.training import new_model
from rarefault.train.tree_fit import add_trees, judge
from rarefault.train.units import channels_of_units


def train_net(fold: Fold, seed: int) -> Prediction:
    """Train with the fold's configuration, by the trainer's own steps."""
    torch.manual_seed(seed)
    model, _ = new_model(fold.config, fold.history, fold.parts["train"])
    return train_model(model, fold)


def train_model(model: LRConvLSTM, fold: Fold) -> Prediction:
    """Train a network that has its centre and scale, and ask it about the held-out windows."""
    config, untrained = fold.config, deepcopy(model)
    with tempfile.TemporaryDirectory(prefix="rarefault-quality-") as folder:
        fitted = fit(
            model,
            fold.parts["train"],
            fold.parts["validation"],
            config,
            digest="",
            resume_file=Path(folder, "resume.pt"),
        )
    learnt = effective_prior(fitted.subsets)
    units = channels_of_units(config, fold.history.channels)
    if config.trees.rounds:
        true = class_shares(fold.parts["train"].label, fold.n_classes)
        add_trees(model, fold.parts["train"], fold.parts["validation"], learnt, true, config, units)
    validation = serve(model, fold.parts["validation"])
    parts = _parts(model, fold, "validation")
    if config.training.refit:
        model = learn_again(untrained, model, fold.both(), learnt, config, fitted.best_epoch, units)
    notes: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": len(fitted.curves),
        "best_epoch": fitted.best_epoch,
    }
    if model.trees is not None:
        notes["trees_share"] = np.round(model.trees.share.numpy(), 3).tolist()
    parts |= _parts(model, fold, "test")
    return Prediction(validation, serve(model, fold.parts["test"]), learnt, notes, parts)


def _parts(model: LRConvLSTM, fold: Fold, part: Part) -> dict[str, Float32]:
    """What network and trees say by themselves."""
    trees, windows = model.trees, fold.parts[part]
    if trees is None:
        return {}
    model.trees = None
    found = {f"network_{part}": serve(model, windows), f"trees_{part}": judge(trees, windows)}
    model.trees = trees
    return found
