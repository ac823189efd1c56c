"""Fits the distances from the classes, once the networks are trained.

Shapes: N windows, U units, H hidden size.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rarefault.runtime.arrays import Bool, Float32, Float64, Int64
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.tree_features import CHUNK
from rarefault.train.model.distance import ClassDistance
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.network_expert import NetworkExpert

#: Windows of devices, or of units, that distances are fitted on, at most; windows of devices with many units, at least.
MOST_ROWS, LEAST_WINDOWS = 40_000, 1_000
#: Share of the training windows that are nearer than a distance of 1.
NEARER = 0.99


def fit_distances(network: NetworkExpert, windows: LabelledWindows, seed: int) -> None:
    """Fit the distances of a trained network.

    Args:
        network: changed in place. One without layers beside the inner LSTM stays as it is: its distances are 0.
        windows: that it was trained on.
        seed: of the draws.
    """
    if not all(isinstance(part, LRConvLSTM) for _, part in network.parts()):
        return
    network.eval()
    rng, units = np.random.default_rng(seed), max(len(network.columns_of_units), 1)
    chosen = drawn_evenly(windows.label, max(MOST_ROWS // units, LEAST_WINDOWS), rng)
    label = windows.label[chosen]
    if network.device is not None and network.device_distance is not None:
        found = _recent(network.device, windows, chosen, lambda bins: bins)
        network.device_distance.fit(found.astype(np.float64), label)
        _scale(network.device_distance, found)
    if network.at_units is None or network.unit_distance is None:
        return
    columns = network.columns_of_units.cpu()
    found = _recent(network.at_units, windows, chosen, lambda bins: bins[:, :, columns].transpose(1, 2).flatten(0, 1))
    of, known = _unit_classes(network, windows, chosen)
    silent = _silent(windows, chosen, columns.numpy())
    usable = (known & ~silent).ravel()
    network.unit_distance.fit(found[usable].astype(np.float64), of.ravel()[usable])
    _scale(network.unit_distance, found, silent)


def drawn_evenly(label: Int64, most: int, rng: np.random.Generator) -> Int64:
    """Windows with a label, no more than so many, of rare classes all; ascending numbers.

    >>> drawn_evenly(np.array([0, 0, 0, 0, -1, 1]), 3, np.random.default_rng(0))
    array([2, 3, 5])
    """
    classes, counts = np.unique(label[label >= 0], return_counts=True)
    taken: list[Int64] = []
    for place, c in enumerate(classes[np.argsort(counts, kind="stable")]):
        mine, room = np.flatnonzero(label == c), (most - sum(map(len, taken))) // (len(classes) - place)
        taken.append(mine if len(mine) <= room else rng.choice(mine, room, replace=False))
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)


@torch.inference_mode()
def _recent(model: LRConvLSTM, windows: LabelledWindows, chosen: Int64, rows_of: Callable[[Tensor], Tensor]) -> Float32:
    """What the layers beside the inner LSTM make of windows, [N, H], or of each of their units, [N U, H]."""
    device = next(model.parameters()).device
    parts = []
    for at in range(0, len(chosen), CHUNK):
        bins = torch.from_numpy(windows.windows.gather(chosen[at : at + CHUNK]))
        parts.append(model.recent_of(rows_of(bins).to(device)).cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, model.spec.hidden), np.float32)


def _unit_classes(network: NetworkExpert, windows: LabelledWindows, chosen: Int64) -> tuple[Int64, Bool]:
    """Of each unit, 0 without a fault or 1 + the number of its rarest one, and whether that is known, [N, U] each."""
    units, labels = network.units, windows.at_units
    assert units is not None
    of = np.zeros((len(chosen), len(units.channels)), np.int64)
    known = np.full(of.shape, labels is not None)
    if labels is None:
        return of, known
    for fault in sorted(units.faults, key=units.rarest_first.index, reverse=True):
        known_at, active = labels.of(fault)
        of[active[chosen]] = 1 + units.faults.index(fault)
        known &= known_at[chosen][:, None]
    return of, known


def _silent(windows: LabelledWindows, chosen: Int64, columns: Int64) -> Bool:
    """Which units have not a single value in a window, [N, U]."""
    found = np.empty((len(chosen), len(columns)), bool)
    for at in range(0, len(chosen), CHUNK):
        bins = windows.windows.gather(chosen[at : at + CHUNK])
        found[at : at + CHUNK] = np.isnan(bins[:, :, columns]).all(axis=(1, 3))
    return found


def _scale(measure: ClassDistance, recent: Float32, silent: Bool | None = None) -> None:
    """Let a distance of 1 be that which few windows have: at the foremost of their units, where there are some."""
    far: Float64 = measure(torch.from_numpy(recent).to(measure.axes)).cpu().numpy().astype(np.float64)
    if silent is not None:
        far = np.where(silent, 0.0, far.reshape(silent.shape)).max(axis=1)
    unit = float(np.quantile(far, NEARER)) if len(far) else 0.0
    if unit > 0.0:
        measure.scale(unit)
