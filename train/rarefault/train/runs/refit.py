"""Refit: network and trees are trained once more, on the training and validation blocks together.

Of a fault with a handful of events, the validation blocks hold what the training blocks lack. No blocks are left to say
when to stop or how to decide: the network is trained for as many epochs as were best, the trees have the same sizes,
and the decision is that which was fitted on the held-out windows.
"""

from collections.abc import Callable

from rarefault.runtime.arrays import Int64
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.imbalance import move_prior
from rarefault.train.fitting.network import choose_device, refit_network
from rarefault.train.fitting.trees import refit_trees
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.parallel.background import Background


def refit(
    start: LRConvLSTM,
    held_out: LRConvLSTM,
    windows: LabelledWindows,
    training_prior: tuple[float, ...],
    config: TrainConfig,
    epochs: int,
    units: Int64 = NO_UNITS,
    on_epoch: Callable[[int], None] | None = None,
) -> LRConvLSTM:
    """Train network and trees on more windows; the decision that was fitted with the held-out model fits the result.

    Args:
        start: the network as it was before it was trained; trained in place.
        held_out: the model that was not trained on the validation blocks; gives pool weights and filter.
        windows: of the training and validation blocks together.
        training_prior: of the held-out model, [K]; the result is moved to it.
        config: recipe, trees and training sections are used.
        epochs: of the network; 0 leaves it as it is.
        units: channels of each unit, [U, M].
        on_epoch: called with the number of epochs that are done.

    Returns:
        ``start``, on the processor.

    Raises:
        RarefaultError: the loss is no longer a number.
    """
    with Background(1) as background:
        trees = None
        if held_out.trees is not None:
            trees = background.submit(refit_trees, held_out.trees, windows, training_prior, config, units)
        if epochs:
            start.to(choose_device(config.training.device))
            learned_prior = refit_network(start, windows, config, epochs, on_epoch)
            start.cpu()
            move_prior(start, learned_prior, training_prior)
        start.trees = None if trees is None else background.result(trees)
    start.filter = held_out.filter
    return start
