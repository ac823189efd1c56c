"""Temperature, plausible classes, thresholds and the timing of alarms, from held-out windows."""

from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.optimize import minimize_scalar

from rarefault.runtime.arrays import Float32, Float64, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, coverage_key
from rarefault.train.calibration.alarm_timing import fit_timing
from rarefault.train.calibration.conformal import fit_conformal_thresholds, least_events
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.calibration.thresholds import (
    MIN_WINDOWS,
    Objective,
    event_f1,
    fit_thresholds,
    macro_f1,
    recall_within_budget,
)
from rarefault.train.config import DecisionConfig
from rarefault.train.dataset.label_runs import event_of

#: Coverages that a daemon may ask for in place of the model's own.
COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
#: Range of the temperature.
TEMPERATURES = (0.2, 5.0)


@dataclass(frozen=True)
class DecisionFit:
    """The fitted decision and what is to be said about it."""

    spec: DecisionSpec
    notes: list[str]


def fit_decision(
    log_prob: Float32,
    label: Int64,
    classes: tuple[str, ...],
    training_prior: tuple[float, ...],
    true_prior: tuple[float, ...],
    config: DecisionConfig,
    validation: HeldOutWindows | None = None,
) -> DecisionFit:
    """Fit temperature, then which classes are plausible, then thresholds; for the delays see ``alarm_timing``.

    Args:
        log_prob: of the held-out windows, [W, K].
        label: their classes, -1 where nobody knows them, [W].
        classes: names, [K].
        training_prior, true_prior: [K]; see :mod:`rarefault.runtime.inference.decision`.
        config: objective and alarm settings.
        validation: the same windows; needed for a coverage, and where the objective counts alarms.
    """
    known = label >= 0
    spec = DecisionSpec(
        training_prior=training_prior,
        true_prior=true_prior,
        thresholds=(1.0,) * len(classes),
    )
    spec = msgspec.structs.replace(spec, temperature=fit_temperature(log_prob[known], label[known], spec))
    if validation is None and (config.coverage or config.objective in {"event_f1", "false_alarm_budget"}):
        raise ValueError("a coverage, or an objective that counts alarms, needs the held-out windows")
    posterior, notes = Decision(spec).posterior(log_prob), list[str]()
    if config.coverage and validation is not None:
        event = event_of(validation.device, validation.fresh, validation.label)
        conformal, events = fit_conformal_thresholds(posterior, label, event, config.coverage)
        spec = msgspec.structs.replace(
            spec,
            coverage=config.coverage,
            conformal_thresholds=tuple(conformal.tolist()),
            thresholds_by_coverage={
                coverage_key(other): tuple(fit_conformal_thresholds(posterior, label, event, other)[0].tolist())
                for other in COVERAGES
            },
        )
        least = least_events(config.coverage)
        if few := [f"{name} ({n})" for name, n in zip(classes, events, strict=True) if n < least]:
            notes.append(
                f"fewer than {least} held-out events of {', '.join(few)}: a coverage of {config.coverage:g} cannot "
                "be stated of them, they are plausible always"
            )
    if config.objective == "posterior":
        return DecisionFit(_timed(spec, posterior, config, validation), notes)
    by_share, of_alarms = macro_f1(posterior[known], label[known]), None
    if validation is not None and config.objective != "macro_f1":
        of_alarms = _of_alarms(posterior, label, spec, config, validation)
        if of_alarms is None:
            notes.append("the held-out windows hold no event: the thresholds maximise macro-F1 instead")
    counts = np.bincount(label[known], minlength=len(classes))
    thresholds, reached = fit_thresholds(by_share, counts, np.asarray(true_prior), of_alarms)
    if config.objective == "false_alarm_budget" and reached < 0:
        notes.append(
            f"no thresholds keep the false alarms on the held-out windows within {config.budget:g} a day and device: "
            f"those with the fewest are taken, {-reached:.2f}"
        )
    few = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < MIN_WINDOWS]
    if few:
        notes.append(
            f"fewer than {MIN_WINDOWS} held-out windows of {', '.join(few)}: no threshold of their own was fitted, "
            "theirs follow from their share where that costs no other class"
        )
    spec = msgspec.structs.replace(spec, thresholds=tuple(float(t) for t in thresholds))
    return DecisionFit(_timed(spec, posterior, config, validation), notes)


def _timed(
    spec: DecisionSpec, posterior: Float64, config: DecisionConfig, validation: HeldOutWindows | None
) -> DecisionSpec:
    return spec if validation is None else fit_timing(spec, posterior, config, validation)


def _of_alarms(
    posterior: Float64, label: Int64, spec: DecisionSpec, config: DecisionConfig, validation: HeldOutWindows
) -> Objective | None:
    """What to make large where alarms are counted; None where it would need events and there are none."""
    trial, known = validation.trial(spec, posterior), label >= 0
    if config.objective == "event_f1":
        return event_f1(trial) if trial.judge.n_events else None
    return recall_within_budget(posterior[known], label[known], trial, validation.device_days, config.budget)


def fit_temperature(log_prob: Float32, label: Int64, spec: DecisionSpec) -> float:
    """The temperature at which the corrected posterior has the smallest negative log-likelihood.

    Guo et al., "On calibration of modern neural networks", 2017, section 4.2; here with the prior correction in place,
    since it is the corrected posterior that is to be calibrated.
    """

    def nll(log_temperature: float) -> float:
        return log_loss(log_prob, label, msgspec.structs.replace(spec, temperature=float(np.exp(log_temperature))))

    found = minimize_scalar(nll, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def log_loss(log_prob: Float32, label: Int64, spec: DecisionSpec) -> float:
    """Negative log-likelihood per window of the corrected posterior.

    Args:
        log_prob: [W, K].
        label: known, [W].
        spec: gives temperature and priors.
    """
    p = Decision(spec).posterior(log_prob)[np.arange(len(label)), label]
    return float(-np.log(np.maximum(p, 1e-12)).mean())
