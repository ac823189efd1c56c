"""The trees that are shipped beside our network, alone."""

from benchmarks.quality.prediction import Prediction
from benchmarks.quality.protocol import Fold

from rarefault.train.epochs import epoch_source
from rarefault.train.recipe import effective_prior
from rarefault.train.tree_fit import grow_trees, judge
from rarefault.train.units import channels_of_units
from rarefault.train.untrained import new_model


def alone(fold: Fold, seed: int) -> Prediction:
    """Grown as in training, with nothing beside them."""
    model, _ = new_model(fold.config, fold.history, fold.parts["train"])
    prior = effective_prior(epoch_source(fold.parts["train"], model, fold.config).subsets)
    units = channels_of_units(fold.config, fold.history.channels)
    trees = grow_trees(fold.parts["train"], fold.n_classes, prior, fold.config.trees, seed, units=units)
    if trees is None:
        raise ValueError("there is one class only")
    validation = judge(trees, fold.parts["validation"])
    if fold.config.training.refit:
        trees = grow_trees(fold.both(), fold.n_classes, prior, fold.config.trees, seed, units=units)
        assert trees is not None
    return Prediction(validation, judge(trees, fold.parts["test"]), prior)
