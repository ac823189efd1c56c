"""Features of many windows, for growing trees."""

import numpy as np
import torch

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.window_buffer import Windows
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.dataset.units import swapped
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.model.trees import Taps, extra_features, statistics, unit_features

#: Windows whose features are computed at once.
CHUNK = 2048
#: No statistic is larger for the library that grows trees: it adds them up. No threshold lies beyond, either.
LARGEST = np.float32(1e30)


def features_of(
    windows: LabelledWindows, select: Int64, units: Int64 = NO_UNITS, swap: np.random.Generator | None = None
) -> Float32:
    """Statistics of the selected windows, [W, features]; with ``swap``, of copies whose units it swaps.

    Those of :func:`extra_features`, which begin with those of :func:`window_features`.
    """
    index = torch.from_numpy(units)
    parts = []
    for at in range(0, len(select), CHUNK):
        x = windows.windows.gather(select[at : at + CHUNK])
        x = x if swap is None else swapped(x, units, swap)
        parts.append(extra_features(statistics(torch.from_numpy(x), index), index).numpy())
    return _bounded(parts)


def extra_count(windows: Windows) -> int:
    """How many of the statistics, the last ones, are for the extremely randomised trees alone."""
    channels: int = windows.rows.shape[1]
    return len(Taps.of(windows.length).spans) * channels


def unit_features_of(windows: LabelledWindows, select: Int64, units: Int64) -> Float32:
    """Statistics of the units of the selected windows, unit after unit, [W U, features]."""
    index = torch.from_numpy(units)
    parts = []
    for at in range(0, len(select), CHUNK):
        x = torch.from_numpy(windows.windows.gather(select[at : at + CHUNK]))
        parts.append(unit_features(x, statistics(x, index), index).numpy())
    return _bounded(parts)


def _bounded(parts: list[Float32]) -> Float32:
    """The parts as one, its infinities (sums of what a float32 just holds) and all that is as large made finite."""
    features = np.concatenate(parts)
    return np.clip(features, -LARGEST, LARGEST, out=features)


def fill_unknown(features: Float32) -> None:
    """Make constant, in place, what is never known: libraries cannot bin it. No tree splits by a constant."""
    features[:, np.isnan(features).all(axis=0)] = 0.0
