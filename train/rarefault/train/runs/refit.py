"""Learning again, once all that the validation blocks are for has been fitted: from those blocks, too.

Of a fault with a handful of events, the validation blocks hold what the training blocks lack. Nothing is left to say
when to stop or how to decide: the network takes as many epochs as were best, trees and decision stay of one size.
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
    """Network and trees anew from more windows; the decision that was fitted on the held-out model fits the result.

    Args:
        start: the network as it was before it was trained; trained in place.
        held_out: the model that has not seen the validation blocks; its trees' share and its filter are taken over.
        windows: of the training and validation blocks together.
        training_prior: class shares that the held-out model has learnt, [K]; the result has learnt the same.
        config: recipe, trees and training sections are used.
        epochs: of the network; 0 leaves it as it is.
        units: channels of each unit, [U, M].
        on_epoch: told how many epochs are done.

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
            learnt = refit_network(start, windows, config, epochs, on_epoch)
            start.cpu()
            move_prior(start, learnt, training_prior)
        start.trees = None if trees is None else background.result(trees)
    start.filter = held_out.filter
    return start
