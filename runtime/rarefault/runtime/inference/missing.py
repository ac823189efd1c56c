"""Numbers that stand for no value, such as -9999: the same in a history and live."""

from collections.abc import Sequence

import numpy as np

from rarefault.runtime.arrays import Bool, Float64

#: Stands among values for a number that means no value: where values hold until they end, the one before it does.
NO_VALUE_HERE = -np.inf


def stands_for_none(values: Float64, missing: Sequence[float]) -> Bool:
    """Which values are one of the named numbers, or such a number as a float32 holds it.

    Args:
        values: physical units, of any shape.
        missing: the numbers.
    """
    named = np.asarray(missing, np.float64)
    with np.errstate(over="ignore"):
        return np.isin(values, np.concatenate((named, named.astype(np.float32))))


def without_named(values: Float64, missing: Sequence[float]) -> Float64:
    """The values, minus infinite where one of the named numbers stands; themselves where none is named."""
    return np.where(stands_for_none(values, missing), NO_VALUE_HERE, values) if missing else values
