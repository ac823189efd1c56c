"""Learning again, once all that the validation blocks are for has been fitted: from those blocks, too.

Of a fault with a handful of events, the validation blocks hold what the training blocks lack. Nothing is left to say
when to stop or how to decide: the network takes as many epochs as were best, trees and decision stay of one size.
"""

from collections.abc import Callable

import numpy as np
import torch

from rarefault.runtime.grid import Int64
from rarefault.train.background import Background
from rarefault.train.config import TrainConfig
from rarefault.train.fit import choose_device, fit_again
from rarefault.train.model import LRConvLSTM
from rarefault.train.recipe import effective_prior
from rarefault.train.tree_fit import regrow_trees
from rarefault.train.unit_labels import NONE
from rarefault.train.windows import LabelledWindows


def learn_again(
    start: LRConvLSTM,
    held_out: LRConvLSTM,
    windows: LabelledWindows,
    learnt: tuple[float, ...],
    config: TrainConfig,
    epochs: int,
    units: Int64 = NONE,
    on_epoch: Callable[[int], None] | None = None,
) -> LRConvLSTM:
    """Network and trees anew from more windows; the decision that was fitted on the held-out model fits the result.

    Args:
        start: the network as it was before it was trained; trained in place.
        held_out: the model that has not seen the validation blocks; its trees' share and its filter are taken over.
        windows: of the training and validation blocks together.
        learnt: class shares that the held-out model has learnt, [K]; the result has learnt the same.
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
            trees = background.submit(regrow_trees, held_out.trees, windows, learnt, config, units)
        if epochs:
            start.to(choose_device(config.training.device))
            subsets = fit_again(start, windows, config, epochs, on_epoch)
            start.cpu()
            move_prior(start, effective_prior(subsets), learnt)
        start.trees = None if trees is None else background.result(trees)
    start.filter = held_out.filter
    return start


@torch.no_grad()
def move_prior(model: LRConvLSTM, learnt: tuple[float, ...], wanted: tuple[float, ...]) -> None:
    """Move the bias of a network's head, where there is one, as if it had learnt other class shares, [K] each."""
    if not model.spec.network:
        return
    model.head.bias.add_(torch.from_numpy(np.log(np.asarray(wanted)) - np.log(np.asarray(learnt))))
