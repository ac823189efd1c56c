"""Whether samples come at the borders of the grid's bins, where chance decides which bin each falls into."""

import numpy as np

from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.history.data import History

#: So near a border, as a share of the period, a sample may as well have come on its other side.
NEAR = 0.05
#: Of the samples so many must be near a border, and of these so many on either side: were they spread evenly over the
#: period, a tenth would be near one.
CONCENTRATED, EITHER_SIDE = 0.5, 0.02


def border_finding(history: History, grid: GridSpec) -> str | None:
    """A sentence where most samples come at a border, some before it and some after; with the offset that mends it."""
    if not len(history):
        return None
    period_ms = grid.period_ms
    since = history.time_ms - (grid.end_ms(grid.bin_of(history.time_ms)) - period_ms)
    after, before = since < NEAR * period_ms, since >= (1 - NEAR) * period_ms
    near = float((after | before).mean())
    if near < CONCENTRATED or min(after.sum(), before.sum()) < EITHER_SIDE * (after | before).sum():
        return None
    # Half a period away from where they come, in whole seconds where the period has some.
    away = np.round((grid.offset_s + grid.period_s / 2) % grid.period_s, 0 if grid.period_s >= 10 else 3)
    return (
        f"{near:.0%} of the samples come within {NEAR * grid.period_s:g} s of a border of the grid's bins, "
        f"{before.mean():.0%} before and {after.mean():.0%} after it: chance decides which bin each falls into; set "
        f"grid.offset_s = {away:g}"
    )
