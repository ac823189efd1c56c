"""The scores of the PHM Society 2015 data challenge, which ask for the start and the end of every event.

An event is found (``tp``) where a run of verdicts of its fault starts and ends within four samples of it, each run and
each event counting once. A run that fits an event of another fault is a misclassification (``ms``); other runs are
false (``fp``), other events missed (``fn``). The challenge's rules (PHM Society, "PHM data challenge", 2015) give a
plant, with the misclassified counting as false and as missed::

    (1/5) * sum over the codes 1 to 5 of (4 tp - 10 fp - fn)

and work published on this data since uses ``10 tp - 0.1 (fp + fn) - 0.01 ms``. A verdict names one fault at a time
while events of the log overlap, so the labels themselves do not reach the largest score; theirs is given beside.
"""

import re

import msgspec
import numpy as np

from rarefault.runtime.arrays import Int64

#: Start and end must be within so many samples (bins of the grid) of the event's.
TOLERANCE_SAMPLES = 4
#: Faults of the challenge's data, and those among them that are scored: 6 stands for everything else.
_NAMES, _SCORED = re.compile(r"fault_[1-6]"), re.compile(r"fault_[1-5]")


class Phm2015Score(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of the PHM Society 2015 data challenge, summed over the devices."""

    tp: int
    """Predicted stretches that match an event of the same fault: start and end are within the tolerance."""
    fp: int
    """Predicted stretches that match no event."""
    fn: int
    """Events that no predicted stretch matches."""
    ms: int
    """Predicted stretches that match an event of another fault."""
    rules: float
    """Score by the challenge's rules: ``(4 tp - 10 (fp + ms) - (fn + ms))`` over the number of fault codes: 5, or all
    faults if they are not those of the challenge."""
    literature: float
    """Score as published later: ``10 tp - 0.1 (fp + fn) - 0.01 ms``."""


class Intervals(msgspec.Struct, frozen=True):
    """Faults in time, [S] each; starts and ends in milliseconds, both inclusive."""

    stretch: Int64
    """Number of the unbroken stretch of judged windows."""
    fault: Int64
    start_ms: Int64
    end_ms: Int64

    def of_faults(self, faults: list[int]) -> "Intervals":
        """Those of some faults."""
        keep = np.isin(self.fault, faults)
        return Intervals(self.stretch[keep], self.fault[keep], self.start_ms[keep], self.end_ms[keep])


def scored_faults(classes: tuple[str, ...]) -> tuple[list[int], int]:
    """Classes that are scored and the number to divide by: codes 1 to 5 of the challenge, else all faults."""
    faults = classes[1:]
    if all(_NAMES.fullmatch(name) for name in faults):
        return [c for c, name in enumerate(classes) if _SCORED.fullmatch(name)], 5
    return list(range(1, len(classes))), len(faults)


def runs(stretch: Int64, end_ms: Int64, value: Int64, n_classes: int) -> Intervals:
    """Runs of the same fault in windows of one stretch, from the end of the first to the end of the last window.

    Args:
        stretch, end_ms, value: of the windows in order, [W].
        n_classes: K; values outside 1 to K - 1 are no fault.
    """
    new = np.r_[True, (stretch[1:] != stretch[:-1]) | (value[1:] != value[:-1])]
    first = np.flatnonzero(new[: len(value)])
    last = np.r_[first[1:], len(value)] - 1
    keep = (value[first] > 0) & (value[first] < n_classes)
    first, last = first[keep], last[keep]
    return Intervals(stretch[first], value[first], end_ms[first], end_ms[last])


def score_phm2015(predicted: Intervals, events: Intervals, period_ms: int, classes: tuple[str, ...]) -> Phm2015Score:
    """Match runs to events and count."""
    faults, divisor = scored_faults(classes)
    predicted, events = predicted.of_faults(faults), events.of_faults(faults)
    tp = ms = 0
    for stretch in np.unique(predicted.stretch):
        p, e = np.flatnonzero(predicted.stretch == stretch), np.flatnonzero(events.stretch == stretch)
        off_start = np.abs(predicted.start_ms[p, None] - events.start_ms[None, e])
        off_end = np.abs(predicted.end_ms[p, None] - events.end_ms[None, e])
        near = np.maximum(off_start, off_end) <= TOLERANCE_SAMPLES * period_ms
        same = predicted.fault[p, None] == events.fault[None, e]
        off = off_start + off_end
        # Right ones first, then what is left; of several the nearest.
        order = sorted(np.argwhere(near).tolist(), key=lambda at: (not same[*at], off[*at]))
        free_p, free_e = set(range(len(p))), set(range(len(e)))
        for i, j in order:
            if i in free_p and j in free_e:
                free_p.remove(i)
                free_e.remove(j)
                tp, ms = tp + int(same[i, j]), ms + int(not same[i, j])
    fp, fn = len(predicted.fault) - tp - ms, len(events.fault) - tp - ms
    return Phm2015Score(
        tp=tp,
        fp=fp,
        fn=fn,
        ms=ms,
        rules=(4 * tp - 10 * (fp + ms) - (fn + ms)) / divisor,
        literature=10 * tp - 0.1 * (fp + fn) - 0.01 * ms,
    )
