"""The last value of each cell, through bins that are closed at one time and from those before."""

import numpy as np

from rarefault.runtime.arrays import NEVER, Bool, Float64, Int64


def last_values(
    value: Float64,
    index: Int64,
    boundary: Bool,
    starts: Bool,
    carried: Float64,
    carried_bin: Int64,
    *,
    inclusive: bool,
) -> tuple[Float64, Int64]:
    """Per cell the last value at or (``inclusive=False``) before it in its segment, and the bin that it is from.

    Args:
        value: [E, C], NaN where there is none.
        index: bin of each row, [E].
        boundary: rows where a segment or a device begins, [E].
        starts: rows where a segment begins, so that nothing is carried into it, [E].
        carried: each row's device's value from before the push, [E, C].
        carried_bin: the bin that it is from, [E, C].
    """
    n = len(index)
    row = np.arange(n)[:, None]
    source = np.maximum.accumulate(np.where(np.isnan(value), -1, row), axis=0)
    if not inclusive:
        source = np.concatenate((np.full_like(source[:1], -1), source[:-1]))
    begin = np.maximum.accumulate(np.where(boundary, np.arange(n), 0))
    inside = source >= begin[:, None]
    continued = ~starts[begin][:, None]
    found = np.maximum(source, 0)
    past = np.where(continued, carried, np.nan)
    past_bin = np.where(continued, carried_bin, NEVER)
    return (
        np.where(inside, np.take_along_axis(value, found, axis=0), past),
        np.where(inside, index[found], past_bin),
    )
