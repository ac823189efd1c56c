"""Refit: network and trees are trained once more, on the training and validation blocks together.

Of a fault with a handful of events, the validation blocks hold what the training blocks lack. No blocks are left to say
how to decide: the decision is that which was fitted on the held-out windows.
"""

from collections.abc import Callable, Mapping, Sequence

from rarefault.runtime.arrays import Int64
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.network import Epoch, choose_device, fit
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.parallel.background import Background


def refit(
    start: NetworkExpert | None,
    with_trees: bool,
    windows: LabelledWindows,
    prior: tuple[float, ...],
    config: TrainConfig,
    units: Int64 = NO_UNITS,
    at_units: UnitsSpec | None = None,
    *,
    learned: Mapping[str, Sequence[float]] | None = None,
    trained: bool = True,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Experts:
    """Train network and trees on more windows; the decision that was fitted with the held-out model fits the result.

    Only the parts of ``config`` are trained.

    The validation blocks hold events that the training blocks lack (decision 0009).

    Args:
        start: the network as it was before it was trained; it has the parts of the configuration, and is trained in
            place. None for trees alone.
        with_trees: whether to grow trees.
        windows: of the training and validation blocks together.
        prior: class frequencies that the opinions of the held-out model hold for, [K]; so do those of the result.
        config: recipe, trees and training sections are used.
        units: columns of each unit, [U, M].
        at_units: what is looked for at them.
        learned: see :func:`rarefault.train.fitting.network.fit`.
        trained: whether to train the network; else it stays as it is.
        on_epoch: called with every epoch.

    Returns:
        The experts, on the processor.

    Raises:
        RarefaultError: the loss is no longer a number.
    """
    training = config.training
    with Background(1) as background:
        trees = None
        if with_trees:
            trees = background.submit(
                grow_trees,
                windows,
                prior,
                config.trees,
                training.seed,
                training.threads,
                units,
                at_units,
                parts=config.wanted,
            )
        if start is not None:
            start.hold_for(prior)
        if start is not None and trained:
            start.to(choose_device(training.device))
            fit(start, windows, config, prior, learned=learned, on_epoch=on_epoch)
            start.cpu()
        return Experts(start, None if trees is None else background.result(trees))
