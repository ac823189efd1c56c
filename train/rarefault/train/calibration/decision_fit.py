"""The decision, fitted on held-out windows: temperature, prediction sets, distance, thresholds, alarm timing."""

from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.optimize import minimize_scalar

from rarefault.runtime.arrays import Float32, Float64, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, DistanceSpec, coverage_key
from rarefault.train.calibration.alarm_timing import fit_timing
from rarefault.train.calibration.conformal import fit_conformal_thresholds, least_events
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.calibration.objectives import OBJECTIVES, Calibrated
from rarefault.train.config import DecisionConfig
from rarefault.train.dataset.label_runs import event_of

#: Coverages that a daemon may be configured to use in place of the model's own.
COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
#: Quantiles of the distance that a model file has.
QUANTILES = 101
#: Range of the temperature.
TEMPERATURES = (0.2, 5.0)


@dataclass(frozen=True)
class DecisionFit:
    """The fitted decision, and what a person should know of it."""

    spec: DecisionSpec
    notes: list[str]


def fit_decision(opinions: Float32, windows: HeldOutWindows, spec: DecisionSpec, config: DecisionConfig) -> DecisionFit:
    """Fit the temperature, then prediction sets and distance, then thresholds, then the timing of alarms.

    Args:
        opinions: on the held-out windows, [W, E, V].
        windows: the same windows.
        spec: prior, experts, units and filter are kept.
        config: the section ``[decision]``.
    """
    known = windows.label >= 0
    evidence = Decision(spec).evidence(windows.device, windows.fresh, opinions)
    temperature = fit_temperature(evidence[known], windows.label[known], spec)
    spec = msgspec.structs.replace(spec, temperature=temperature)
    posterior = Decision(spec).posterior(evidence)
    spec, notes = _with_prediction_sets(spec, posterior, windows, config.coverage)
    spec, more = with_distance(spec, opinions, windows, config.far_share)
    notes += more
    thresholds = OBJECTIVES[config.objective](Calibrated(posterior, windows, spec, config))
    spec = msgspec.structs.replace(spec, thresholds=tuple(thresholds.values.tolist()))
    far = Decision(spec).far(opinions)
    return DecisionFit(fit_timing(spec, posterior, config, windows, far), notes + thresholds.notes)


def _with_prediction_sets(
    spec: DecisionSpec, posterior: Float64, windows: HeldOutWindows, coverage: float
) -> tuple[DecisionSpec, list[str]]:
    """The decision with conformal thresholds for a coverage, where it is not 0, and notes about them."""
    if not coverage:
        return spec, []
    event = event_of(windows.device, windows.fresh, windows.label)
    conformal, events = fit_conformal_thresholds(posterior, windows.label, event, coverage)
    spec = msgspec.structs.replace(
        spec,
        coverage=coverage,
        conformal_thresholds=tuple(conformal.tolist()),
        thresholds_by_coverage={
            coverage_key(other): tuple(fit_conformal_thresholds(posterior, windows.label, event, other)[0].tolist())
            for other in COVERAGES
        },
    )
    least = least_events(coverage)
    few = [f"{name} ({n})" for name, n in zip(windows.history.classes, events, strict=True) if n < least]
    if not few:
        return spec, []
    note = (
        f"fewer than {least} held-out events of {', '.join(few)}: a coverage of {coverage:g} cannot be stated of them, "
        "they are plausible always"
    )
    return spec, [note]


def with_distance(
    spec: DecisionSpec, opinions: Float32, windows: HeldOutWindows, share: float
) -> tuple[DecisionSpec, list[str]]:
    """The decision with what distances mean, where they were measured, and notes about them.

    Args:
        spec: prior, experts and units are used.
        opinions: on the held-out windows, [W, E, V].
        windows: the same windows.
        share: of the windows of a new event that may be far from all classes.
    """
    names = [expert.name for expert in spec.experts]
    # Networks to compare with measure none.
    if "network" not in names or opinions.shape[2] == spec.opinion_size:
        return spec, []
    known = windows.label >= 0
    distance = opinions[known, names.index("network"), -1].astype(np.float64)
    event = event_of(windows.device, windows.fresh, windows.label)[known]
    found = DistanceSpec(quantiles=tuple(_quantiles_by_event(distance, event).tolist()))
    notes = []
    if share:
        # A window is far where a score that is its distance with the sign turned is below the threshold.
        threshold, events = fit_conformal_thresholds(
            -distance[:, None], np.zeros(len(event), np.int64), event, 1 - share
        )
        if events[0] < (least := least_events(1 - share)):
            notes = [f"fewer than {least} held-out events ({events[0]}): no window is too far from all classes"]
        else:
            found = msgspec.structs.replace(found, far=max(float(-threshold[0]), 0.0))
    return msgspec.structs.replace(spec, distance=found), notes


def _quantiles_by_event(distance: Float64, event: Int64) -> Float64:
    """Distances at evenly spaced shares of windows, each event counting as one, [QUANTILES].

    >>> _quantiles_by_event(np.array([0.0, 1.0, 2.0, 9.0]), np.array([0, 0, 0, 1]))[[0, 20, 40, 60, 100]]
    array([0., 1., 2., 9., 9.])
    """
    _, number, size = np.unique(event, return_inverse=True, return_counts=True)
    shares = np.linspace(0.0, 1.0, QUANTILES)
    found = np.quantile(distance, shares, weights=1 / size[number], method="inverted_cdf")
    return np.asarray(found, np.float64)


def fit_temperature(evidence: Float64, label: Int64, spec: DecisionSpec) -> float:
    """The temperature at which the posterior has the smallest negative log-likelihood.

    Guo et al., "On calibration of modern neural networks", 2017, section 4.2; here of the evidence alone, since the
    prior is known.
    """

    def nll(log_temperature: float) -> float:
        return log_loss(evidence, label, msgspec.structs.replace(spec, temperature=float(np.exp(log_temperature))))

    found = minimize_scalar(nll, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def log_loss(evidence: Float64, label: Int64, spec: DecisionSpec) -> float:
    """Negative log-likelihood per window of the posterior; see :func:`log_losses`."""
    return float(log_losses(evidence, label, spec).mean())


def log_losses(evidence: Float64, label: Int64, spec: DecisionSpec) -> Float64:
    """Negative log-likelihood of the posterior of each window, [W].

    Args:
        evidence: [W, K].
        label: known, [W].
        spec: gives temperature and prior.
    """
    p = Decision(spec).posterior(evidence)[np.arange(len(label)), label]
    losses: Float64 = -np.log(np.maximum(p, 1e-12))
    return losses
