"""Units: like parts of a device, such as the air handlers of a building or the pumps of a station.

What one of them has shown can happen at each of the others. For a fault with few events that is most of what can be
known of it: the fit repeats the windows of such faults, each time with the units' channels swapped, and every feature
of a unit is also taken at whichever unit has most and least of it.

Shapes: U units, M channels of each, N windows, L bins, C channels.
"""

from collections.abc import Sequence

import numpy as np

from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import Derived
from rarefault.train.dataset.unit_labels import NO_UNITS
from rarefault.train.history import DataConfig

#: Units with more inputs than this are not compared pair by pair.
MOST_PAIRED = 12


def channels_of_units(
    prefixes: tuple[str, ...] | None, data: DataConfig, channels: Sequence[str], derived: Sequence[Derived] = ()
) -> Int64:
    """Numbers of the inputs of each unit, those of one name in one column, [U, M]; empty without units.

    Args:
        prefixes: how the channels' names begin, by unit. None: the units that the history's format defines, such as
            the components of a plant of the PHM Society's data of 2015.
        data: the section that the history is read with.
        channels: of the history, [C].
        derived: inputs that follow the channels; what is derived from a unit's channel is the unit's.

    Raises:
        HistoryError: a unit has no channels, or the units have none of the same name.
    """
    if prefixes is None:
        prefixes = data.unit_prefixes(channels)
    inputs = (*channels, *(each.name for each in derived))
    found = [{name.removeprefix(p): i for i, name in enumerate(inputs) if name.startswith(p)} for p in prefixes]
    for prefix, names in zip(prefixes, found, strict=True):
        if not names:
            raise HistoryError(f"trees.units: no channel begins with {prefix!r}; there are {', '.join(channels[:10])}")
    if len(found) < 2:
        return NO_UNITS
    shared = [name for name in found[0] if all(name in names for names in found)]
    if not shared:
        raise HistoryError(f"trees.units: no channel is named alike after {', '.join(map(repr, prefixes))}")
    return np.array([[names[name] for name in shared] for names in found], np.int64)


def swapped(window_NLC: Float32, units: Int64, rng: np.random.Generator) -> Float32:
    """Copies of windows with the channels of their units swapped at random, [N, L, C].

    A unit without any value in a window, such as one that the device does not have, stays where it is.
    """
    n, u = len(window_NLC), len(units)
    present = ~np.isnan(window_NLC[:, :, units]).all(axis=(1, 3))  # [N, U]
    slot = np.argsort(np.where(present, 0.0, 2.0), axis=1, kind="stable")
    drawn = np.argsort(np.where(present, rng.random((n, u)), 2.0), axis=1, kind="stable")
    source = np.empty((n, u), np.int64)
    np.put_along_axis(source, slot, drawn, axis=1)
    channel = np.tile(np.arange(window_NLC.shape[2]), (n, 1))
    channel[:, units.ravel()] = units[source].reshape(n, -1)
    return np.take_along_axis(window_NLC, channel[:, None, :], axis=2)
