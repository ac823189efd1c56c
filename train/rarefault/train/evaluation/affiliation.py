"""Affiliation precision and recall: how near verdicts lie to events, without thresholds on overlap or delay.

Huet, Navarro and Rossi, "Local evaluation of time series anomaly detection algorithms", KDD 2022, section 3. Time is
cut into one zone per event, at the middle between neighbouring events. In the zone ``E`` of event ``J``, with ``X``
uniform in ``E`` and ``I`` what was predicted there::

    precision = mean over x in I of  P(dist(X, J) > dist(x, J)),    1 for x in J
    recall    = mean over y in J of  P(|X - y| > dist(y, I)),       1 for y in I, 0 where I is empty

so that 1 is perfect and a random prediction has a precision of about 0.5 around a short event. Precision is averaged
over the zones in which something was predicted, recall over all. The integrands are linear between the points at which
the nearest end or a border of the zone changes, so the midpoint rule between these points is exact.
"""

import math

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int32, Int64


class Affiliation(msgspec.Struct, frozen=True, kw_only=True):
    """Affiliation scores of one fault. Null if the fault has no event; the precision also if it was never predicted."""

    precision: float | None
    """How near the predictions are to the events, from 0 to 1."""
    recall: float | None
    """How near the events are to the predictions, from 0 to 1."""


def affiliation_of_fault(device: Int32 | Int64, label: Int64, verdict: Int64, fault: int) -> Affiliation:
    """Score the verdicts of one fault on the windows of all devices.

    Each device's judged windows, one after the other, are its time, and a window is one unit of it. Devices on which
    the fault does not occur have no zone and do not count.

    Args:
        device, label, verdict: of the windows, sorted by device and time, [W].
        fault: the class.
    """
    precisions: list[float] = []
    recalls: list[float] = []
    for slot in np.unique(device[label == fault]):
        mine = device == slot
        for precision, recall in zone_scores(
            spans(verdict[mine] == fault), spans(label[mine] == fault), (0.0, float(mine.sum()))
        ):
            precisions.append(precision)
            recalls.append(recall)
    known = [value for value in precisions if not math.isnan(value)]
    return Affiliation(
        precision=float(np.mean(known)) if known else None, recall=float(np.mean(recalls)) if recalls else None
    )


def spans(mask: Bool) -> Float64:
    """Start and end of each run of true values, the value ``i`` covering ``[i, i + 1)``, [S, 2]."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.float64)


def zone_scores(predicted: Float64, events: Float64, whole: tuple[float, float]) -> list[tuple[float, float]]:
    """Precision (NaN where nothing is predicted) and recall of each event's zone.

    Args:
        predicted: disjoint intervals in order of time, [I, 2].
        events: disjoint intervals of positive length in order of time, [V, 2].
        whole: all of the time that there is.
    """
    borders = np.r_[whole[0], (events[:-1, 1] + events[1:, 0]) / 2, whole[1]]
    scores = []
    for event, low, high in zip(events, borders[:-1], borders[1:], strict=True):
        first, stop = np.searchsorted(predicted[:, 1], low, "right"), np.searchsorted(predicted[:, 0], high, "left")
        inside = np.clip(predicted[first:stop], low, high)
        scores.append((_precision(inside, event, low, high), _recall(inside, event, low, high)))
    return scores


def _precision(inside: Float64, event: Float64, low: float, high: float) -> float:
    """Mean over the predicted time of the probability that a random instant is farther from the event."""
    if not len(inside):
        return math.nan
    start, end = event
    turns = np.r_[start, end, end + (start - low), start - (high - end)]
    pieces = np.concatenate([_pieces(a, b, turns) for a, b in inside])
    x, length = pieces.mean(axis=1), pieces[:, 1] - pieces[:, 0]
    distance = np.maximum(np.maximum(start - x, x - end), 0.0)
    nearer = np.minimum(end + distance, high) - np.maximum(start - distance, low)
    chance = np.where(distance > 0, 1 - nearer / (high - low), 1.0)
    return float(chance @ length / length.sum())


def _recall(inside: Float64, event: Float64, low: float, high: float) -> float:
    """Mean over the event of the probability that a random instant is farther from it than the nearest prediction."""
    if not len(inside):
        return 0.0
    ends = inside.ravel()
    turns = np.r_[ends, (ends[:-1] + ends[1:]) / 2, (ends + low) / 2, (ends + high) / 2]
    pieces = _pieces(event[0], event[1], turns)
    y, length = pieces.mean(axis=1), pieces[:, 1] - pieces[:, 0]
    after = np.searchsorted(ends, y)  # odd: between start and end of one prediction
    gap_before = np.where(after > 0, y - ends[np.maximum(after - 1, 0)], np.inf)
    gap_after = np.where(after < len(ends), ends[np.minimum(after, len(ends) - 1)] - y, np.inf)
    distance = np.where(after % 2 == 1, 0.0, np.minimum(gap_before, gap_after))
    nearer: Float64 = np.minimum(y + distance, high) - np.maximum(y - distance, low)
    return float((1 - nearer / (high - low)) @ length / length.sum())


def _pieces(a: float, b: float, turns: Float64) -> Float64:
    """The interval cut at those of the points that lie in it, [P, 2]."""
    cuts = np.unique(np.r_[a, turns[(turns > a) & (turns < b)], b])
    return np.column_stack((cuts[:-1], cuts[1:]))
