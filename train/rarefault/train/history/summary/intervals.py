"""How often channels report, and a grid that is far from it."""

from collections.abc import Sequence
from statistics import median

import numpy as np

from rarefault.runtime.arrays import Int32, Int64
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.history.summary.structs import ChannelSummary, Reporting

#: A channel is steady if so many of its steps are at most so many times the median.
USUAL, STEADY = 90, 2.0
#: A bin should be neither so many times shorter than the time between two values, nor so many times longer.
SHORTER, LONGER = 2.0, 20.0
#: Periods that are proposed, seconds.
ROUND_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def steps_ms(device: Int32, time_ms: Int64) -> Int64:
    """Times between two values of one device, milliseconds.

    Args:
        device: slot of each value's device, [n].
        time_ms: of the values, in order of time for each device, [n].
    """
    order = np.argsort(device, kind="stable")
    step = np.diff(time_ms[order])
    own: Int64 = step[(np.diff(device[order]) == 0) & (step > 0)]
    return own


def reporting(step: Int64) -> tuple[float | None, float | None, Reporting]:
    """Median and 90th percentile of a channel's steps, seconds, and how it reports; None where it has no steps."""
    if not len(step):
        return None, None, ""
    middle, usual = np.percentile(step, [50, USUAL]) / 1000
    return float(middle), float(usual), "steady" if usual <= STEADY * middle else "by exception"


def interval_finding(channels: Sequence[ChannelSummary], grid: GridSpec) -> str | None:
    """A sentence where bins are far from the time between two values, with a period that is near it."""
    steady = [channel.interval_s for channel in channels if channel.reports == "steady" and channel.interval_s]
    if not steady or len(steady) < len(channels) / 2:
        return None
    interval_s = median(steady)
    near = min(ROUND_S, key=lambda period: abs(np.log(period / interval_s)))
    if grid.period_s * SHORTER < interval_s:
        need = f", and grid.max_hold_s to at least {max(near, interval_s):g}" if grid.max_hold_s < interval_s else ""
        return (
            f"most channels report every {interval_s:g} s (median), and a bin of the grid lasts {grid.period_s:g} s: "
            f"most bins have no value of their own; set grid.period_s to about {near}{need}"
        )
    if grid.period_s > LONGER * interval_s:
        return (
            f"most channels report every {interval_s:g} s (median), and a bin of the grid lasts {grid.period_s:g} s, "
            f"of which it keeps one value a channel: where faults show within less, set grid.period_s nearer to {near}"
        )
    return None
