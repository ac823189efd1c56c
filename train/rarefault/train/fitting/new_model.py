"""New networks: centre and scale of the channels are set, the weights are random."""

import torch

from rarefault.train.config import TrainConfig
from rarefault.train.dataset.windows import LabelledWindows, channel_statistics
from rarefault.train.history import History
from rarefault.train.model.network import LRConvLSTM

#: Networks with fewer parameters train as fast on one thread as on two, and much faster where cores are shared.
SMALL_PARAMETERS = 1_000_000


def new_model(config: TrainConfig, history: History, windows: LabelledWindows) -> tuple[LRConvLSTM, list[str]]:
    """A new model with centre and scale of the training windows, and notes about its channels."""
    inputs = (*history.channels, *(derived.name for derived in config.grid.chosen))
    model = LRConvLSTM(config.model.spec(), len(inputs), len(history.classes), config.window.length)
    set_threads(model, config.training.threads)
    return model, _normalise(model, windows, inputs)


def set_threads(model: LRConvLSTM, threads: int) -> None:
    """Threads of torch; by default one for a small network, whose work is not worth the threads' waiting."""
    if threads == 0 and sum(p.numel() for p in model.parameters()) < SMALL_PARAMETERS:
        threads = 1
    if threads:
        torch.set_num_threads(threads)


def _normalise(model: LRConvLSTM, windows: LabelledWindows, channels: tuple[str, ...]) -> list[str]:
    """Set the model's centre and scale from the training bins; notes about channels that carry no information."""
    center, scale, absent, constant = channel_statistics(windows.windows.rows)
    model.center.copy_(torch.from_numpy(center))
    model.scale.copy_(torch.from_numpy(scale))
    notes = []
    if absent:
        names = ", ".join(channels[c] for c in absent)
        notes.append(
            f"channel(s) without any value in the training blocks: {names}; they stay inputs of the model, as always "
            "missing, and carry no information"
        )
    if constant:
        names = ", ".join(channels[c] for c in constant)
        notes.append(
            f"channel(s) that never change in the training blocks: {names}; they stay inputs of the model, centred and "
            "not scaled, and carry no information"
        )
    return notes
