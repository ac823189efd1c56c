"""Boosted trees beside the network: the same windows, read by thresholds on simple statistics.

A network of this size learns smooth functions of the window; many faults are a threshold on a level, a step or a range
of one channel, which a tree finds at once and a network hardly (Grinsztajn, Oyallon and Varoquaux, "Why do tree-based
models still outperform deep learning on typical tabular data?", 2022). Both learn the same prior, and their
log-probabilities are pooled (Genest and Zidek, "Combining probability distributions", 1986, section 3); each class
has its own share::

    log_prob  =  log_softmax((1 - share) * network + share * trees)

Where a device has like units (:mod:`rarefault.train.units`), a fault may be at any one of them, and is often told by a
difference of two of its channels, such as a temperature and its setpoint. So these differences are statistics, too, and
the largest and the smallest over all units of each.

Shapes: N windows, L bins, C channels, K classes, S spans, G lags, U units, M channels of a unit, P their pairs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Raw score of a class that the trees have never seen.
UNSEEN = -20.0
#: Units with more channels than this are not compared pair by pair.
MOST_PAIRED = 12


@dataclass(frozen=True)
class Taps:
    """What is measured in a window of a given length; all counted in bins back from its end.

    Attributes:
        lags: the last value is compared with those, [G].
        spans: mean and range are taken over those, [S].
    """

    lags: tuple[int, ...]
    spans: tuple[int, ...]
    quarter: int
    """Lag and span over which units are compared; always one of the spans, and of the lags unless there are none."""

    @classmethod
    def of(cls, length: int) -> "Taps":
        """One bin, a quarter and three quarters of the window; and all of it."""
        parts = (max(1, length // 4), max(1, length * 3 // 4))
        lags = sorted({lag for lag in (1, *parts) if lag < length})
        return cls(tuple(lags), tuple(sorted({*parts, length})), parts[0])

    def span_matrix(self, length: int) -> NDArray[np.float64]:
        """1 where a bin is in a span, [S, L]."""
        back = length - np.arange(length)
        return (back <= np.asarray(self.spans)[:, None]).astype(np.float64)


def window_features(window_NLC: Tensor, units_UM: Tensor | None = None) -> Tensor:
    """Last value, its differences, means and ranges of every channel; NaN where nothing is known, [N, features].

    With units, the differences of the last values within each unit follow, then the largest and the smallest over the
    units of last values, changes and means and of their differences.

    Sums are taken in double precision, so that another order of adding gives the same feature and not the other side of
    a threshold.
    """
    length = window_NLC.shape[1]
    taps = Taps.of(length)
    known = ~torch.isnan(window_NLC)
    spans = torch.from_numpy(taps.span_matrix(length)).to(window_NLC.device)
    total = spans @ torch.where(known, window_NLC, 0.0).double()
    count = spans @ known.double()
    high = torch.where(known, window_NLC, -torch.inf)
    low = torch.where(known, window_NLC, torch.inf)
    width = torch.stack([high[:, -s:].amax(1) - low[:, -s:].amin(1) for s in taps.spans], dim=1)
    last = window_NLC[:, -1:]
    change = last - window_NLC[:, [length - 1 - lag for lag in taps.lags]]
    mean = (total / count).float()
    features = [torch.cat([last, change, mean, torch.where(count > 0, width, torch.nan)], dim=1).flatten(1)]
    if units_UM is not None and units_UM.numel():
        levels = [last[:, 0], mean[:, taps.spans.index(taps.quarter)]]
        levels += [change[:, taps.lags.index(taps.quarter)]] if taps.lags else []
        compared = [_within_units(level, units_UM) for level in levels]
        features.append(compared[0][:, :, units_UM.shape[1] :].flatten(1))
        features += [extreme for level in compared for extreme in _over_units(level)]
    return torch.cat(features, dim=1)


def pairs_of(channels: int) -> tuple[list[int], list[int]]:
    """Which channels of a unit are compared: the first and the second of each pair, [P] each."""
    first, second = np.triu_indices(channels if channels <= MOST_PAIRED else 0, 1)
    return first.tolist(), second.tolist()


def _within_units(level_NC: Tensor, units_UM: Tensor) -> Tensor:
    """Channels of each unit, and the differences of their pairs, [N, U, M + P]."""
    own = level_NC[:, units_UM]
    first, second = pairs_of(units_UM.shape[1])
    return torch.cat([own, own[..., first] - own[..., second]], dim=2)


def _over_units(level_NUX: Tensor) -> tuple[Tensor, Tensor]:
    """The largest and the smallest over the units of which it is known, [N, X] each."""
    known = ~torch.isnan(level_NUX)
    high = torch.where(known, level_NUX, -torch.inf).amax(1)
    low = torch.where(known, level_NUX, torch.inf).amin(1)
    some = known.any(1)
    return torch.where(some, high, torch.nan), torch.where(some, low, torch.nan)


class TreeExpert(nn.Module):
    """An ensemble of trees as flat arrays, nodes of all trees after one another.

    Args:
        feature: that a node asks for; [nodes].
        threshold: to the left where the feature is at most this, [nodes].
        missing_left: whether NaN goes to the left, [nodes].
        left, right: numbers of the children; a leaf's own number, [nodes].
        value: of a leaf, [nodes].
        root: first node of each tree, [trees].
        target: class that a tree speaks for, [trees].
        base: what every class's score begins with, [K].
        depth: steps from the root to the deepest leaf, [].
        share: of the trees in what is said of each class, from 0 to 1, [K].
        units: channels of each unit, [U, M]; empty without units.
    """

    feature: Tensor
    threshold: Tensor
    missing_left: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    root: Tensor
    target: Tensor
    base: Tensor
    depth: Tensor
    share: Tensor
    units: Tensor

    def __init__(self, **arrays: Tensor) -> None:
        super().__init__()
        if set(arrays) != set(self.__annotations__):
            raise ValueError(f"trees are {', '.join(self.__annotations__)}, not {', '.join(arrays)}")
        for name, array in arrays.items():
            self.register_buffer(name, array)

    def forward(self, window_NLC: Tensor) -> Tensor:
        """Log-probabilities of windows in raw units, [N, K]."""
        features = window_features(window_NLC, self.units).double()
        at = self.root.expand(len(features), -1)
        for _ in range(int(self.depth)):
            value = features.gather(1, self.feature[at])
            left = (value <= self.threshold[at]) | (value.isnan() & self.missing_left[at])
            at = torch.where(left, self.left[at], self.right[at])
        scores = self.base.repeat(len(features), 1).index_add_(1, self.target, self.value[at])
        return torch.log_softmax(scores, dim=1).float()

    def pool(self, network: Tensor, trees: Tensor) -> Tensor:
        """Log-probabilities of the two together, [..., K]."""
        share = self.share.to(network.dtype)
        return torch.log_softmax((1 - share) * network + share * trees, dim=-1)
