"""How far samples and events of a history are apart: what a grid is chosen from."""

from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Bool, Float64
from rarefault.train.history import History

#: A distance of samples that is so many times the usual one is a gap.
LONGER = 10
DAY_S = 86_400.0


@dataclass(frozen=True)
class Distances:
    """How far samples and events are apart, seconds.

    Attributes:
        sample: median distance of a device's samples.
        channels: median and 90th percentile of the distances of each channel's values, by name.
        gaps: distances of a device's samples that are far longer than usual, ascending.
        covered: sum of the devices' time with samples.
        span: of the device that has the longest.
        short, usual: 10th percentile and median of the durations of events; None without events.
        shortest: the shortest class's median duration.
    """

    sample: float
    channels: dict[str, tuple[float, float]]
    gaps: Float64
    covered: float
    span: float
    short: float | None
    usual: float | None
    shortest: tuple[str, float] | None


def distances_of(history: History, cuts: int) -> Distances:
    """Measure a history.

    Args:
        history: with samples.
        cuts: places where rows of a device were left out; so many of its longest distances are none.
    """
    steps, span = [], 0.0
    channels: dict[str, list[Float64]] = {name: [] for name in history.channels}
    for slot in range(len(history.devices)):
        rows = np.flatnonzero(history.device == slot)
        time_s = history.time_ms[rows] / 1000
        step = np.diff(time_s)
        step = step[step > 0]
        # Where rows were left out is no gap of the device.
        usual = np.median(step) if len(step) else 0.0
        cut = np.argsort(step)[len(step) - min(cuts, int((step > LONGER * usual).sum())) :]
        steps.append(np.delete(step, cut))
        if len(rows) > 1:
            span = max(span, float(time_s[-1] - time_s[0]))
        known: Bool = np.isfinite(history.values[rows])
        for i, name in enumerate(history.channels):
            apart = np.diff(time_s[known[:, i]])
            channels[name].append(apart[apart > 0])
    step = np.sort(np.concatenate(steps)) if steps else np.empty(0)
    sample = float(np.median(step)) if len(step) else 900.0
    by_channel = {}
    for name, parts in channels.items():
        apart = np.concatenate(parts)
        if len(apart):
            by_channel[name] = (float(np.median(apart)), float(np.percentile(apart, 90)))
    # A device whose channels come one after the other has many samples close together.
    usual = max([sample, float(np.median([median for median, _ in by_channel.values()])) if by_channel else 0.0])
    gaps = step[step > LONGER * usual]
    covered = float(step.sum() - gaps[gaps > DAY_S].sum())
    duration_s = (history.events.end_ms - history.events.start_ms) / 1000
    inside = duration_s[duration_s > 0]
    medians = {
        name: float(np.median(own))
        for number, name in enumerate(history.classes)
        if len(own := duration_s[(history.events.fault == number) & (duration_s > 0)])
    }
    shortest = min(medians.items(), key=lambda item: item[1]) if medians else None
    return Distances(
        sample,
        by_channel,
        gaps,
        covered,
        span,
        float(np.percentile(inside, 10)) if len(inside) else None,
        float(np.median(inside)) if len(inside) else None,
        shortest,
    )
