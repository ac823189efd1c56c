"""Boosted trees beside the network: the same windows, read by thresholds on simple statistics.

A network of this size learns smooth functions of the window; many faults are a threshold on a level, a step or a range
of one channel, which a tree finds at once and a network hardly (Grinsztajn, Oyallon and Varoquaux, "Why do tree-based
models still outperform deep learning on typical tabular data?", 2022). How both are pooled is the business of the
decision (:mod:`rarefault.runtime.inference.decision.pool`).

Where a device has like units (:mod:`rarefault.train.dataset.units`), a fault may be at any one of them, and often shows
in a difference of two of its channels, such as a temperature and its setpoint. So these differences are statistics,
too, and so are the largest and the smallest over all units of each. Where the fault log names the unit of a fault's
events, trees that all units share look for the fault at each unit by itself (:class:`UnitTrees`); the trees of the
whole device are left with the other classes.

Of the whole device, half of the trees' log-probability comes from extremely randomised trees (:class:`ExtraTrees`):
boosted trees learn by heart the devices and runs that they have seen, these do so less.

Shapes: N windows, L bins, C channels, K classes, S spans, G lags, U units, M channels of a unit, P their pairs, J
faults that are looked for at units, V = K + U J values of an opinion.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.dataset.units import MOST_PAIRED
from rarefault.train.model.parts import ModelPart

#: Added to the probabilities by extremely randomised trees: of a class that none of them speaks for, nothing is known.
SMOOTHING = 1e-3
#: What the names of the units' and of the extremely randomised trees' arrays begin with.
AT_UNITS, EXTRA = "at_units.", "extra."
#: The arrays of an ensemble.
ARRAYS = ("feature", "threshold", "missing_left", "left", "right", "value", "root", "target", "base", "depth")
#: Bins, back from the end of the window, whose values the trees of units ask for.
RECENT = 16


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


class Statistics(NamedTuple):
    """What is measured in windows.

    Attributes:
        channels: last value, its changes, means and ranges of every channel, [N, 1 + G + 2 S, C].
        mean_abs_change: mean absolute change from one bin to the next of every channel, [N, S, C].
        levels: of the last values, the means and the changes over a quarter of the window, the channels of each unit
            and the differences of their pairs, [N, U, M + P] each; empty without units.
    """

    channels: Tensor
    mean_abs_change: Tensor
    levels: tuple[Tensor, ...]


def statistics(window_NLC: Tensor, units_UM: Tensor) -> Statistics:
    """Statistics of windows in raw units; NaN where nothing is known.

    Sums are taken in double precision, so that another order of adding gives the same number and not the other side of
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
    step = window_NLC.diff(dim=1).abs()
    known = ~torch.isnan(step)
    mean_abs_change = (spans[:, 1:] @ torch.where(known, step, 0.0).double() / (spans[:, 1:] @ known.double())).float()
    last = window_NLC[:, -1:]
    change = last - window_NLC[:, [length - 1 - lag for lag in taps.lags]]
    mean = (total / count).float()
    channels = torch.cat([last, change, mean, torch.where(count > 0, width, torch.nan)], dim=1)
    if not units_UM.numel():
        return Statistics(channels, mean_abs_change, ())
    levels = [last[:, 0], mean[:, taps.spans.index(taps.quarter)]]
    levels += [change[:, taps.lags.index(taps.quarter)]] if taps.lags else []
    return Statistics(channels, mean_abs_change, tuple(_within_units(level, units_UM) for level in levels))


def window_features(found: Statistics, units_UM: Tensor) -> Tensor:
    """What the boosted trees of whole devices ask for, [N, features].

    With units, the differences of the last values within each unit follow the channels' statistics, then the largest
    and the smallest over the units of all levels.
    """
    features = [found.channels.flatten(1)]
    if found.levels:
        features.append(found.levels[0][:, :, units_UM.shape[1] :].flatten(1))
        features += [extreme for level in found.levels for extreme in _over_units(level)]
    return torch.cat(features, dim=1)


def extra_features(found: Statistics, units_UM: Tensor) -> Tensor:
    """What the extremely randomised trees ask for, [N, features]: the same and how unsteady the channels are.

    Some faults show in that alone. Boosted trees gain nothing from it (decision 0012).
    """
    return torch.cat([window_features(found, units_UM), found.mean_abs_change.flatten(1)], dim=1)


def unit_features(window_NLC: Tensor, found: Statistics, units_UM: Tensor) -> Tensor:
    """What the trees of single units ask for, unit after unit, [N U, features].

    The values of its channels in the last bins, and the differences of the pairs of its last values. A unit has so few
    channels that trees do better on the bins than on statistics of them. The unit's number is no feature, because what
    one unit shows can happen at each (decision 0010).
    """
    size = units_UM.shape[1]
    own = window_NLC[:, -RECENT:, units_UM].permute(0, 2, 1, 3).flatten(2)
    return torch.cat([own, found.levels[0][..., size:]], dim=2).flatten(0, 1)


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


class Trees(nn.Module):
    """An ensemble of trees as flat arrays, nodes of all trees after one another.

    Args:
        feature: that a node asks for; [nodes].
        threshold: to the left where the feature is at most this, [nodes].
        missing_left: whether NaN goes to the left, [nodes].
        left, right: numbers of the children; a leaf's own number, [nodes].
        value: of a leaf, [nodes].
        root: first node of each tree, [trees].
        target: score that a tree adds to, [trees].
        base: what every score begins with, [scores].
        depth: steps from the root to the deepest leaf, [].
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
    #: Names of all arrays.
    arrays: tuple[str, ...] = ARRAYS

    def __init__(self, **arrays: Tensor) -> None:
        super().__init__()
        if set(arrays) != set(self.arrays):
            raise ValueError(f"trees are {', '.join(self.arrays)}, not {', '.join(arrays)}")
        for name, array in arrays.items():
            self.register_buffer(name, array)

    def leaves(self, features: Tensor) -> Tensor:
        """Nodes in which features [N, F] end, [N, trees]."""
        features = features.double()
        at = self.root.expand(len(features), -1)
        for _ in range(int(self.depth)):
            value = features.gather(1, self.feature[at])
            left = (value <= self.threshold[at]) | (value.isnan() & self.missing_left[at])
            at = torch.where(left, self.left[at], self.right[at])
        return at

    def scores(self, features: Tensor) -> Tensor:
        """Sums of the leaves that features [N, F] lead to, in double precision, [N, scores]."""
        return self.base.repeat(len(features), 1).index_add_(1, self.target, self.value[self.leaves(features)])


class ExtraTrees(Trees):
    """Extremely randomised trees (Geurts, Ernst and Wehenkel, "Extremely randomized trees", 2006).

    Args:
        value: share of a tree's verdict that a leaf gives to each class, the sum over all trees is a probability,
            [nodes, K].
        base: added to the logarithms of the probabilities, [K].
        others: see :class:`Trees`; there is no ``target``.
    """

    arrays = tuple(name for name in ARRAYS if name != "target")

    def scores(self, features: Tensor) -> Tensor:
        """Log-probabilities of features [N, F] but for a constant, in double precision, [N, K]."""
        return torch.log(self.value[self.leaves(features)].sum(1) + SMOOTHING) + self.base


class UnitTrees(Trees):
    """Trees that look for faults at one unit, the same for all units; a score is a fault's logit.

    Args:
        faults: what each score speaks for, [J].
        others: see :class:`Trees`; there are J scores.
    """

    faults: Tensor
    arrays = (*ARRAYS, "faults")


class TreeOpinion(NamedTuple):
    """Opinions on windows, [N, V], and of the device's classes those of the boosted trees alone, [N, K]."""

    opinion: Tensor
    boosted: Tensor


class TreeExpert(Trees):
    """The trees of whole devices, and those of their units where there are any.

    Args:
        units: columns of each unit, [U, M]; empty without units.
        others: see :class:`Trees`; there are K scores.

    Attributes:
        extra: has half of the say of those of whole devices.
        at_units: looks for faults at each unit.
    """

    units: Tensor
    arrays = (*ARRAYS, "units")

    def __init__(self, **arrays: Tensor) -> None:
        super().__init__(**arrays)
        self.extra: ExtraTrees | None = None
        self.at_units: UnitTrees | None = None

    def forward(self, window_NLC: Tensor) -> Tensor:
        """Opinions on windows in raw units, [N, V]."""
        return self.judge(window_NLC).opinion

    def judge(self, window_NLC: Tensor) -> "TreeOpinion":
        """Opinions on windows in raw units, with and without the extremely randomised trees."""
        found = statistics(window_NLC, self.units)
        boosted = log_prob = torch.log_softmax(self.scores(window_features(found, self.units)), dim=1)
        if self.extra is not None:
            extra = torch.log_softmax(self.extra.scores(extra_features(found, self.units)), dim=1)
            log_prob = torch.log_softmax((log_prob + extra) / 2, dim=1)
        if self.at_units is None:
            return TreeOpinion(log_prob.float(), boosted.float())
        logits = self.at_units.scores(unit_features(window_NLC, found, self.units))
        opinion = torch.cat([log_prob, logits.unflatten(0, (len(window_NLC), -1)).flatten(1)], dim=1)
        return TreeOpinion(opinion.float(), boosted.float())

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """Those that have trees."""
        there: dict[ModelPart, bool] = {
            "trees_device": len(self.root) > 0,
            "extra_trees": self.extra is not None,
            "trees_units": self.at_units is not None and len(self.at_units.root) > 0,
        }
        return tuple(part for part, is_there in there.items() if is_there)

    def only(
        self, parts: Collection[ModelPart], prior: Sequence[float], at_units: UnitsSpec | None
    ) -> "TreeExpert | None":
        """The same trees without the other parts, which have no evidence then; None where no part is left.

        Args:
            parts: that stay.
            prior: class shares that the opinions hold for, [K].
            at_units: what is looked for at units; None where nothing is.
        """
        if not set(self.parts) & set(parts):
            return None
        whole = {name: getattr(self, name) for name in ARRAYS} if "trees_device" in parts else no_trees(np.log(prior))
        found = TreeExpert(**whole, units=self.units)
        found.extra = self.extra if {"trees_device", "extra_trees"} <= set(parts) else None
        if at_units is not None:
            found.at_units = self.at_units if "trees_units" in parts else no_unit_trees(at_units)
        return found.train(self.training)

    @classmethod
    def of_weights(cls, weights: Mapping[str, Tensor]) -> "TreeExpert":
        """From what ``state_dict`` gave."""
        parts: dict[str, dict[str, Tensor]] = {AT_UNITS: {}, EXTRA: {}, "": {}}
        for name, array in weights.items():
            of = next(prefix for prefix in parts if name.startswith(prefix))
            parts[of][name.removeprefix(of)] = array
        expert = cls(**parts[""])
        expert.at_units = UnitTrees(**parts[AT_UNITS]) if parts[AT_UNITS] else None
        expert.extra = ExtraTrees(**parts[EXTRA]) if parts[EXTRA] else None
        return expert


def no_trees(scores: NDArray[np.float64]) -> dict[str, Tensor]:
    """Arrays of no tree: whatever the window, the scores are these, [scores]."""
    whole, real = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
    return {
        **dict.fromkeys(("feature", "left", "right", "root", "target"), whole),
        **dict.fromkeys(("threshold", "value"), real),
        "missing_left": whole.bool(),
        "depth": torch.tensor(0),
        "base": torch.from_numpy(scores),
    }


def no_unit_trees(wanted: UnitsSpec) -> UnitTrees:
    """Trees that look for the faults at units and never have evidence."""
    prior = np.asarray(wanted.prior)
    return UnitTrees(**no_trees(np.log(prior) - np.log1p(-prior)), faults=torch.tensor(wanted.faults))
