"""The trees that are shipped beside our network, alone, with the filter."""

import numpy as np
from benchmarks.quality.prediction import HELD_OUT, Prediction, filtered
from benchmarks.quality.protocol import Fold

from rarefault.train.decision_fit import Validation
from rarefault.train.epochs import epoch_source
from rarefault.train.held_out import Rotation, wants_cross_fit
from rarefault.train.recipe import effective_prior
from rarefault.train.tree_fit import grow_trees, judge
from rarefault.train.trees import TreeExpert
from rarefault.train.units import channels_of_units
from rarefault.train.untrained import new_model
from rarefault.train.windows import LabelledWindows


def alone(fold: Fold, seed: int) -> Prediction:
    """Grown as in training, with nothing beside them."""
    model, _ = new_model(fold.config, fold.history, fold.parts["train"])
    prior = effective_prior(epoch_source(fold.parts["train"], model, fold.config).subsets)
    units, k = channels_of_units(fold.config, fold.history.channels), fold.n_classes

    def grown(windows: LabelledWindows) -> TreeExpert:
        trees = grow_trees(windows, k, prior, fold.config.trees, seed, units=units)
        if trees is None:
            raise ValueError("there is one class only")
        return trees

    trees = grown(fold.parts["train"])
    held, said = [fold.validation()], [judge(trees, fold.parts["validation"])]
    if wants_cross_fit(fold.config, fold.parts["train"], fold.parts["validation"], k):
        for train, windows in Rotation(fold.history, fold.split, fold.config, prior, 0, units).parts():
            held.append(Validation.of(fold.history, windows, fold.config.grid, fold.config.window))
            said.append(judge(grown(train), windows))
    whole, order = Validation.joined(held)
    if fold.config.training.refit:
        trees = grown(fold.both())
    windows_of = {name: getattr(whole, name) for name in HELD_OUT}
    said_of_test = judge(trees, fold.parts["test"])
    prediction = Prediction(np.concatenate(said)[order], said_of_test, prior, windows=windows_of)
    return filtered(fold, prediction) if fold.config.decision.filter else prediction
