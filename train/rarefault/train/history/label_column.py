"""A label per sample to events: each run of one label over a device's samples.

A label holds until a sample with another one, as a state does, but for no longer than the usual distance of a device's
samples: nobody knows when it changed during a gap. It does not hold beyond a device's last sample.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Int32, Int64
from rarefault.train.history.finish import EventPiece

#: What a label can mean instead of a fault's number: no fault; nothing, so that the run goes on.
NO_FAULT, EMPTY = -1, -2


@dataclass(slots=True)
class LabelPiece:
    """Labels of samples that stand together in a file (m of them).

    Attributes:
        device: index into the devices, [m].
        time_ms: milliseconds since the epoch, [m].
        label: number of each label's name, [m].
    """

    device: Int32
    time_ms: Int64
    label: Int32


def label_events(pieces: list[LabelPiece], names: list[str], fault_of: Callable[[str], int]) -> EventPiece:
    """Events from the first sample of each run of one fault to what ends it.

    Args:
        pieces: the labels of all samples, in the order of the files.
        names: of the labels, by number.
        fault_of: the number of a label's fault, or ``NO_FAULT`` or ``EMPTY``.
    """
    device = np.concatenate([piece.device for piece in pieces])
    time_ms = np.concatenate([piece.time_ms for piece in pieces])
    label = np.concatenate([piece.label for piece in pieces])
    fault = np.array([fault_of(name) for name in names], np.int32)[label]
    order = np.lexsort((time_ms, device))
    hold_ms = _usual_steps(device[order], time_ms[order])
    order = order[fault[order] != EMPTY]
    device, time_ms, fault = device[order], time_ms[order], fault[order]
    change = (np.diff(device) != 0) | (np.diff(fault) != 0)
    first = np.flatnonzero(np.r_[len(order) > 0, change]) if len(order) else np.empty(0, np.int64)
    last = np.r_[first[1:], len(order)] - 1 if len(order) else first
    run = fault[first] >= 0
    first, last = first[run], last[run]
    after = np.minimum(last + 1, len(order) - 1)
    goes_on = device[after] == device[last]
    held = np.minimum(time_ms[after] - time_ms[last], hold_ms[device[last]])
    return EventPiece(device[first], time_ms[first], time_ms[last] + np.where(goes_on, held, 0), fault[first])


def _usual_steps(device: Int32, time_ms: Int64) -> Int64:
    """Median distance of each device's samples (sorted by device, then time), milliseconds, by number."""
    steps = np.zeros(int(device.max(initial=-1)) + 1, np.int64)
    step, same = np.diff(time_ms), np.diff(device) == 0
    moved = same & (step > 0)
    owner, step = device[1:][moved], step[moved]
    bounds = np.flatnonzero(np.r_[True, np.diff(owner) != 0, True]) if len(owner) else np.zeros(1, np.int64)
    for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        steps[owner[a]] = int(np.median(step[a:b]))
    return steps
