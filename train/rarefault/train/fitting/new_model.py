"""New networks, and what a person should know of the channels."""

from collections.abc import Collection

import torch
from torch import nn

from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.windows import LabelledWindows, channel_statistics
from rarefault.train.history import History
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.parts import NETWORK_OF, ModelPart, NetworkName

#: Networks with fewer parameters train as fast on one thread as on two, and much faster where cores are shared.
SMALL_PARAMETERS = 1_000_000


def networks_of(parts: Collection[ModelPart], units: UnitsSpec | None) -> tuple[NetworkName, ...]:
    """The networks among the parts, that of units only where there is something to look for."""
    return tuple(name for part, name in NETWORK_OF.items() if part in parts and (name == "device" or units is not None))


def new_network(
    config: TrainConfig, history: History, windows: LabelledWindows, units: UnitsSpec | None = None
) -> NetworkExpert | None:
    """A new network; the edges of its encodings are found when it is trained. None where no part of one is wanted.

    Args:
        config: sizes, parts and threads are used.
        history: gives the classes.
        windows: give the columns.
        units: what is looked for at units.
    """
    names = networks_of(config.wanted, units)
    if not names:
        return None
    columns = windows.windows.rows.shape[1]
    network = NetworkExpert(config.model.spec(), columns, len(history.classes), config.window.length, units, names)
    set_threads(network, config.training.threads)
    return network


def set_threads(model: nn.Module, threads: int) -> None:
    """Threads of torch; by default one for a small network, whose work is not worth the threads' waiting."""
    if threads == 0 and sum(p.numel() for p in model.parameters()) < SMALL_PARAMETERS:
        threads = 1
    if threads:
        torch.set_num_threads(threads)


def channel_notes(windows: LabelledWindows, channels: tuple[str, ...]) -> list[str]:
    """Notes about channels that carry no information in the training windows."""
    _, _, absent, constant = channel_statistics(windows.windows.rows)
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
            f"channel(s) that never change in the training blocks: {names}; they stay inputs of the model, and carry "
            "no information"
        )
    return notes
