"""From pooled opinions to a verdict and its alarm.

The evidence of a window (:mod:`rarefault.runtime.inference.decision.pool`), weighed against the windows before
(:mod:`rarefault.runtime.inference.decision.belief`), is brought to a scale by a temperature ``T`` (Guo et al., "On
calibration of modern neural networks", 2017). The posterior of class ``c``::

    posterior_c  ~  prior_c * exp(evidence_c / T)

Missing a rare fault costs more than a false alarm, so each class has a threshold; the score::

    score_c  ~  posterior_c / threshold_c          (sum 1)

decides: the verdict is the class with the largest score. The prediction set of a window holds the classes whose
posterior is at least their conformal threshold (:mod:`rarefault.train.calibration.conformal`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarefault.runtime.arrays import ALL, Bool, Float64, Int32, Int64
from rarefault.runtime.inference.decision.alarms import AlarmChange, Alarms
from rarefault.runtime.inference.decision.belief import Beliefs, ForwardFilter
from rarefault.runtime.inference.decision.pool import Pool, Pooled
from rarefault.runtime.inference.engine import rounds
from rarefault.runtime.inference.manifest import DecisionSpec


class Judgement(NamedTuple):
    """Verdicts and alarms of windows.

    Attributes:
        posterior: calibrated class probabilities under the true prior, [W, K].
        fault: index of the verdict's class, [W].
        score: of that class, [W].
        strange: which windows fit no class, [W].
        alarms: changes of alarm states.
    """

    posterior: Float64
    fault: Int64
    score: Float64
    strange: Bool
    alarms: list[AlarmChange]


class Decision:
    """Applies a :class:`DecisionSpec`; keeps belief and alarm state of every device.

    A rare class may win with a small probability, where its threshold is small:

    >>> from rarefault.runtime.inference.manifest import ExpertSpec
    >>> spec = DecisionSpec(prior=(0.9, 0.1), thresholds=(0.9, 0.05), experts=(ExpertSpec(name="network"),))
    >>> decision = Decision(spec)
    >>> posterior = decision.posterior(np.zeros((1, 2)))  # no evidence
    >>> posterior.round(3), decision.score(posterior).round(3)
    (array([[0.9, 0.1]]), array([[0.333, 0.667]]))
    >>> decision.verdict(decision.score(posterior))
    array([1])
    """

    def __init__(self, spec: DecisionSpec) -> None:
        self.n_classes = len(spec.thresholds)
        self._beliefs = Beliefs(self.n_classes)
        self._alarms = Alarms(spec)
        self.use(spec)

    def use(self, spec: DecisionSpec) -> None:
        """Use other settings for the same classes from now on; beliefs and alarms of devices stay."""
        self.spec = spec
        self._pool = Pool(spec.prior, spec.units)
        self._weights = [expert.weight for expert in spec.experts]
        self._unit_weights = [expert.unit_weight for expert in spec.experts]
        self._filter = None if spec.filter is None else ForwardFilter(spec.filter, spec.prior)
        self._thresholds = np.asarray(spec.thresholds, np.float64)
        self._conformal = np.asarray(spec.conformal_thresholds or (0.0,) * self.n_classes, np.float64)
        self._alarms.use(spec)
        # What measures the distance, and where it stands in its opinion.
        self._measured = next((e for e, expert in enumerate(spec.experts) if expert.name == "network"), 0)
        self._quantiles = np.asarray(() if spec.distance is None else spec.distance.quantiles, np.float64)
        self._far = np.inf if spec.distance is None or spec.distance.far is None else spec.distance.far

    def pool(self, opinions: NDArray[np.floating]) -> Pooled:
        """The opinions of all experts [W, E, V] as one."""
        return self._pool.pool(opinions, self._weights, self._unit_weights)

    def window_evidence(self, opinions: NDArray[np.floating]) -> Float64:
        """What the opinions [W, E, V] on each window by itself add to the prior, but for a constant, [W, K]."""
        return self._pool.label(self.pool(opinions)) - self._pool.log_prior

    def evidence(
        self, device: Int32 | Int64, fresh: Bool, opinions: NDArray[np.floating], before: Float64 | None = None
    ) -> Float64:
        """The same, weighed against the belief in each device, which moves on, [W, K].

        Args:
            device, fresh: of windows sorted by device, then by time, [W].
            opinions: on them, [W, E, V].
            before: where the belief before each window is to be put, [W, K]; None where nowhere.
        """
        return self._weighed(device, fresh, opinions, rounds(device), before)

    def _weighed(
        self,
        device: Int32 | Int64,
        fresh: Bool,
        opinions: NDArray[np.floating],
        turns: list[NDArray[np.int64]],
        before: Float64 | None,
    ) -> Float64:
        evidence = self.window_evidence(opinions)
        if self._filter is None or not len(device):
            if before is not None:
                before[:] = 0.0
            return evidence
        self._beliefs.make_room(int(device.max()) + 1)
        return self._filter.carry(evidence, device, fresh, turns, self._beliefs.belief, before)

    def posterior_after(self, opinions: NDArray[np.floating], belief: Float64) -> Float64:
        """Class probabilities of windows that would each be the next after the same belief [K]; [N, K]."""
        evidence = self.window_evidence(opinions)
        if self._filter is not None:
            evidence = self._filter.weigh(evidence, np.broadcast_to(belief, evidence.shape)).evidence
        return self.posterior(evidence)

    def unit_of(self, opinion: NDArray[np.floating], fault: int) -> int | None:
        """The unit that shows a fault most in one window; None where the fault is not looked for at units.

        Args:
            opinion: [E, V].
            fault: number of its class.
        """
        return self._pool.foremost_unit(self.pool(opinion[None]), fault)

    def share_at(self, opinions: NDArray[np.floating], unit: int, fault: int) -> Float64:
        """Probability, pooled but not calibrated, that windows have a fault at a unit, [W]."""
        logit = self._pool.logit_at(self.pool(opinions), unit, fault)
        return np.asarray(1.0 / (1.0 + np.exp(-logit)))

    def posterior(self, evidence: Float64) -> Float64:
        """Calibrated class probabilities, from what speaks for each class beside the prior, [W, K] both."""
        z = evidence / self.spec.temperature + self._pool.log_prior
        z -= z.max(axis=1, keepdims=True)
        p: Float64 = np.exp(z)
        p /= p.sum(axis=1, keepdims=True)
        return p

    def score(self, posterior: Float64) -> Float64:
        """Posterior over threshold, scaled to sum 1, [W, K]."""
        ratio = posterior / self._thresholds
        ratio /= ratio.sum(axis=1, keepdims=True)
        return ratio

    def verdict(self, score: Float64) -> Int64:
        """Index of the verdict's class, [W]."""
        best: Int64 = score.argmax(axis=1)
        return best

    def prediction_set(self, posterior: Float64) -> Bool:
        """Which classes the windows can be of, at the manifest's coverage, [W, K]."""
        return np.asarray(posterior >= self._conformal)

    def distance(self, opinions: NDArray[np.floating]) -> Float64 | None:
        """How far windows are from all classes, [W]; None where the model measures no distance.

        Args:
            opinions: [W, E, V].
        """
        if self.spec.distance is None:
            return None
        found: Float64 = opinions[:, self._measured, self._pool.width].astype(np.float64)
        return found

    def familiarity(self, opinions: NDArray[np.floating]) -> Float64 | None:
        """Share of held-out windows of known classes that were at least as far from all classes, [W].

        None where the model measures no distance.
        """
        if (distance := self.distance(opinions)) is None:
            return None
        shares = np.linspace(1.0, 0.0, len(self._quantiles))
        # Of equal distances the largest share counts; beyond the largest there are none.
        first = np.searchsorted(self._quantiles, self._quantiles, side="left")
        return np.interp(distance, self._quantiles, shares[first], right=0.0)

    def far(self, opinions: NDArray[np.floating]) -> Bool:
        """Which windows are farther from all classes than the manifest allows, [W]; none without a distance."""
        if (distance := self.distance(opinions)) is None:
            return np.zeros(len(opinions), bool)
        return np.asarray(distance > self._far)

    def strange(self, posterior: Float64, verdict: Int64, far: Bool | None = None) -> Bool:
        """Windows that fit no class, [W].

        Their prediction set is empty and their verdict is a class with a conformal threshold, or they are far from all
        classes. Classes without a threshold, which are in every prediction set, do not count.

        Args:
            posterior: [W, K].
            verdict: [W].
            far: see :meth:`far`; None: where no distance was measured, [W].
        """
        has_threshold = self._conformal > 0
        empty = has_threshold[verdict] & ~(self.prediction_set(posterior) & has_threshold).any(axis=1)
        return np.asarray(empty if far is None else empty | far)

    def judge(
        self,
        device: Int32,
        end_ms: Int64,
        fresh: Bool,
        opinions: NDArray[np.floating],
        before: Float64 | None = None,
    ) -> Judgement:
        """Verdicts and the alarm changes of windows sorted by device, then by time.

        Args:
            device, end_ms, fresh: of the windows, [W].
            opinions: of the experts on them, [W, E, V].
            before: see :meth:`evidence`.
        """
        turns = rounds(device)
        posterior = self.posterior(self._weighed(device, fresh, opinions, turns, before))
        score = self.score(posterior)
        verdict = self.verdict(score)
        strange = self.strange(posterior, verdict, self.far(opinions))
        changes = self._alarms.follow(device, end_ms, fresh, turns, posterior, score, strange)
        return Judgement(posterior, verdict, score[np.arange(len(verdict)), verdict], strange, changes)

    def follow(
        self,
        device: Int32,
        end_ms: Int64,
        fresh: Bool,
        posterior: Float64,
        score: Float64,
        far: Bool | None = None,
    ) -> list[AlarmChange]:
        """The alarm changes of windows sorted by device, then by time, whose posterior and score are known.

        Args:
            device, end_ms, fresh: of the windows, [W].
            posterior, score: [W, K].
            far: see :meth:`strange`.
        """
        strange = self.strange(posterior, self.verdict(score), far)
        return self._alarms.follow(device, end_ms, fresh, rounds(device), posterior, score, strange)

    def silence(self, device: Int64, newest_ms: Int64) -> list[AlarmChange]:
        """See :meth:`~rarefault.runtime.inference.decision.alarms.Alarms.silence`; the belief stays."""
        return self._alarms.silence(device, newest_ms)

    def reported(self, devices: int) -> Int64:
        """See :meth:`~rarefault.runtime.inference.decision.alarms.Alarms.reported`."""
        return self._alarms.reported(devices)

    def take_over(self, reported: Int64) -> None:
        """See :meth:`~rarefault.runtime.inference.decision.alarms.Alarms.take_over`."""
        self._alarms.take_over(reported)

    def forget(self, devices: Int64) -> None:
        """Make slots as new."""
        self._beliefs.forget(devices)
        self._alarms.forget(devices)

    def state(self, rows: slice = ALL) -> dict[str, NDArray[Any]]:
        """Beliefs and alarms of the devices, by the name of the array."""
        return {**self._beliefs.state(rows), **self._alarms.state(rows)}

    def restore(self, state: Mapping[str, NDArray[Any]], first: int = 0) -> None:
        """Go on from what :meth:`state` gave from a slot on.

        Raises:
            KeyError, ValueError: it is another release's, or another model's.
        """
        self._beliefs.restore(state, first)
        self._alarms.restore(state, first)
