"""Pooling: the opinions of all experts on a window become one score for each class.

An expert gives a window log-probabilities of the device's classes and, of each fault that is looked for at units, a
logit for every unit. Both hold for the class shares of the training history; what follows them is not pooled. Opinions
are pooled as evidence, which is what they add to those shares, each expert with a factor of its own (Genest and Zidek,
"Combining probability distributions", 1986, section 3)::

    device  =  log prior   + sum_e weight_e      * (opinion_e - log prior)
    unit    =  logit prior + sum_e unit_weight_e * (logit_e   - logit prior)

The rule of the rarest gives a window its label: a fault is active unless it is at no unit and the device does not show
it either; the rarest of those that are active is the label. Units, and the faults of a unit, are taken as independent.

Why: decisions 0010 and 0031.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarefault.runtime.arrays import Float64
from rarefault.runtime.inference.manifest import UnitsSpec

#: Log-probability, before it is normalised, of a class that an expert has never seen or does not look for.
UNSEEN = -20.0
#: Least probability of a fault that nothing speaks for.
LEAST = 1e-9
#: A logit beyond this is as good as certain.
CERTAIN = 500.0


class Pooled(NamedTuple):
    """What all experts think together.

    Attributes:
        device: log-probabilities of the device's classes, but for a constant, [W, K]. Those of faults that are looked
            for at units have no meaning.
        units: logits of the faults at each unit, [W, U, J]; J = 0 where nothing is looked for at units.
    """

    device: Float64
    units: Float64


class Pool:
    """Pools opinions for given classes and units.

    >>> pool = Pool((0.9, 0.1), None)
    >>> opinions = np.log([[[0.9, 0.1], [0.5, 0.5]]])  # one expert has no evidence
    >>> score = pool.label(pool.pool(opinions, [1.0, 1.0], [0.0, 0.0]))
    >>> (np.exp(score) / np.exp(score).sum()).round(3)
    array([[0.5, 0.5]])

    Args:
        prior: class shares, [K].
        units: what is looked for at units; None where nothing is.

    Attributes:
        log_prior: [K].
        unit_logit: logit of the share of a unit's windows that have each fault, [J].
    """

    def __init__(self, prior: Sequence[float], units: UnitsSpec | None) -> None:
        self.log_prior: Float64 = np.log(np.asarray(prior, np.float64))
        self._at_units = units is not None
        faults, self._n_units, share = ((), 0, ()) if units is None else (units.faults, len(units.names), units.prior)
        by_unit = np.asarray(share, np.float64)
        self.unit_logit: Float64 = np.log(by_unit) - np.log1p(-by_unit)
        self._faults = np.asarray(faults, np.int64)
        if units is not None:
            self._commonest_first = np.array([0, *reversed(units.rarest_first)])
            self._place = np.argsort(self._commonest_first)  # of each class
            self._unit_place = self._place[self._faults] - 1

    @property
    def width(self) -> int:
        """Values of an opinion that are pooled."""
        return len(self.log_prior) + self._n_units * len(self._faults)

    def pool(self, opinions: NDArray[np.floating], weights: Sequence[float], unit_weights: Sequence[float]) -> Pooled:
        """The opinions of all experts as one.

        Args:
            opinions: [W, E, V].
            weights, unit_weights: factors of each expert's evidence, [E].
        """
        k = len(self.log_prior)
        device = _weighted(opinions[:, :, :k], self.log_prior, weights)
        if not self._at_units:
            return Pooled(device, np.empty((len(opinions), 0, 0)))
        prior = np.tile(self.unit_logit, self._n_units)
        logits = _weighted(opinions[:, :, k : self.width], prior, unit_weights)
        return Pooled(device, logits.reshape(len(opinions), self._n_units, len(self._faults)))

    def label(self, pooled: Pooled) -> Float64:
        """Log-probabilities of a window's label, but for a constant, [W, K]."""
        if not self._at_units:
            return pooled.device
        device = pooled.device
        device[:, self._faults] = -np.inf
        # Of the classes that are at least as common: none of a fault and of rarer ones is then a difference of two.
        so_far = np.logaddexp.accumulate(device[:, self._commonest_first], axis=1)
        none = so_far[:, :-1] - so_far[:, 1:]  # [W, K - 1], the commonest fault first
        at_units = np.log(np.exp(np.minimum(pooled.units, CERTAIN)) + 1.0)
        none[:, self._unit_place] -= at_units.sum(axis=1)
        rarer = np.zeros((len(none), none.shape[1] + 1))
        np.cumsum(none[:, ::-1], axis=1, out=rarer[:, 1:])
        rarer = rarer[:, ::-1]  # log-probability that neither a fault of this place nor a rarer one is active
        label = np.empty_like(rarer)
        label[:, 0] = rarer[:, 0]
        label[:, 1:] = np.log(np.maximum(1.0 - np.exp(none), LEAST)) + rarer[:, 1:]
        return label[:, self._place]

    def logit_at(self, pooled: Pooled, unit: int, fault: int) -> Float64:
        """Logit of a fault at a unit, [W]."""
        logit: Float64 = pooled.units[:, unit, np.flatnonzero(self._faults == fault)[0]]
        return np.clip(logit, -CERTAIN, CERTAIN)

    def foremost_unit(self, pooled: Pooled, fault: int) -> int | None:
        """The unit at which the first window shows a fault most; None where it is not looked for at units."""
        at = np.flatnonzero(self._faults == fault)
        return int(pooled.units[0, :, at[0]].argmax()) if len(at) else None


def _weighted(opinions_WEX: NDArray[np.floating], prior_X: Float64, weights: Sequence[float]) -> Float64:
    """Prior and weighted evidence, [W, X]."""
    out = np.empty((len(opinions_WEX), len(prior_X)))
    out[:] = (1.0 - sum(weights)) * prior_X
    for e, weight in enumerate(weights):
        out += np.multiply(opinions_WEX[:, e], weight, dtype=np.float64)
    return out
