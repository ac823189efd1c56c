"""The belief: what was predicted for the windows before counts for a window, too.

A fault that was there a window ago is mostly there still. The classes are taken as the states of a hidden Markov model
(Rabiner, "A tutorial on hidden Markov models", 1989, section III A): from window to window a device keeps its class or,
with a probability called the renewal, draws a new one by the class shares. The evidence of a window, which is its
log-probabilities less those of the class shares, stands for its likelihood (Bourlard and Morgan, "Connectionist speech
recognition", 1994)::

    belief  ~  ((1 - renewal) * belief before + renewal * prior) * exp(weight * evidence)

Windows overlap and tend to err alike, so they are no independent evidence: ``weight`` is mostly below 1. For the same
reason a belief that has settled is too sure of itself, while a window that is clear by itself should count at once. So
the result is a logarithmic opinion pool of belief and window, each to a power of its own (Genest and Zidek, "Combining
probability distributions", 1986, section 3)::

    evidence after  =  belief_power * log(belief / prior) + window_power * evidence

A device begins without a belief: the evidence of its first window stays as it is.

Why: decisions 0006 and 0031.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarefault.runtime.arrays import Bool, DeviceArrays, Float64, Int32, Int64
from rarefault.runtime.inference.manifest import FilterSpec


class Beliefs(DeviceArrays):
    """The belief of every device, [D, K]; a row of zeros is none."""

    belief: Float64

    def __init__(self, n_classes: int) -> None:
        super().__init__(belief=np.zeros(n_classes))


class Weighed(NamedTuple):
    """Evidence, but for a constant of each window, and the belief after it, [N, K] both."""

    evidence: Float64
    belief: Float64


class ForwardFilter:
    """Weighs windows against beliefs.

    >>> forward = ForwardFilter(FilterSpec(weight=0.5, renewal=0.1, belief_power=1.0, window_power=0.0), (0.5, 0.5))
    >>> fault, none = np.log([[0.5, 1.5]]), np.zeros((1, 2))
    >>> first = forward.weigh(fault, none)
    >>> first.belief.round(3)
    array([[0.25, 0.75]])
    >>> forward.weigh(none, first.belief).belief.round(3)  # a window without evidence
    array([[0.275, 0.725]])

    Args:
        spec: what was fitted.
        prior: class shares, [K].
    """

    def __init__(self, spec: FilterSpec, prior: tuple[float, ...]) -> None:
        self._spec, self._prior = spec, np.asarray(prior, np.float64)
        self._drawn, self._log_prior = spec.renewal * self._prior, np.log(self._prior)

    def weigh(self, evidence: Float64, belief: Float64) -> Weighed:
        """One window of each device.

        Args:
            evidence: [N, K].
            belief: before it, [N, K].
        """
        spec = self._spec
        some = belief.any(axis=1, keepdims=True)
        before = np.where(some, (1.0 - spec.renewal) * belief + self._drawn, self._prior)
        score = np.log(before) + np.where(some, spec.weight, 1.0) * evidence
        score -= score.max(axis=1, keepdims=True)
        after = np.exp(score)
        after /= after.sum(axis=1, keepdims=True)
        both = spec.belief_power * (score - self._log_prior) + spec.window_power * evidence
        return Weighed(np.where(some, both, evidence), after)

    def carry(
        self,
        evidence: Float64,
        device: Int32 | Int64,
        fresh: Bool,
        turns: list[NDArray[np.int64]],
        beliefs: Float64,
        before: Float64 | None = None,
    ) -> Float64:
        """Windows of many devices, in their order, [W, K].

        Args:
            evidence: [W, K].
            device: row of ``beliefs`` that each window is of, [W].
            fresh: where a device begins anew, [W].
            turns: see :func:`rarefault.runtime.arrays.rounds`.
            beliefs: before the windows; changed in place to those after them, [D, K].
            before: where the belief that each window is weighed against is to be put, [W, K]; None where nowhere.
        """
        out = np.empty_like(evidence)
        for turn in turns:
            slots = device[turn]
            belief = beliefs[slots]
            belief[fresh[turn]] = 0.0
            if before is not None:
                before[turn] = belief
            out[turn], beliefs[slots] = self.weigh(evidence[turn], belief)
        return out
