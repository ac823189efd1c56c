"""The cost curve: what more or fewer alarms would cost, on the blocks that are judged."""

import msgspec
import numpy as np

from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import Manifest
from rarefault.train.evaluation.alarms import AlarmJudge, AlarmTrial
from rarefault.train.evaluation.evaluate import Evaluation
from rarefault.train.evaluation.event_scores import device_days

#: Factors on the thresholds of all faults; 1 is the decision as it is.
FACTORS = tuple(2.0 ** (step / 2) for step in range(-12, 13))


class CostPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms and events when the thresholds of all faults are multiplied by one factor."""

    factor: float
    """The factor."""
    missed: int
    """Events without an alarm of their fault."""
    events: int
    """Events with at least one judged window."""
    false_alarms: int
    """False alarms."""
    false_alarms_per_device_day: float
    """The same per device and day."""
    alarm_changes_per_device_day: float
    """Changes of the alarm state per device and day."""
    true_alarms: int
    """True alarms."""


def cost_curve(evaluation: Evaluation, manifest: Manifest) -> list[CostPoint]:
    """Missed events and false alarms for each factor, in ascending order of the factor.

    The factor 1 gives the scores of the evaluation itself. Choosing another one by the curve of the test blocks would
    make them validation blocks; ``rarefault evaluate --part validation --report`` shows the curve of those.
    """
    verdicts, known = evaluation.verdicts, evaluation.labelled
    span_ms = manifest.grid.period_ms * manifest.window.stride
    device = verdicts.device.astype(np.int64)
    judge = AlarmJudge(evaluation.history, device[known], verdicts.end_ms[known], manifest.grid)
    far = Decision(manifest.decision).far(verdicts.opinions)
    trial = AlarmTrial(
        judge, manifest.decision, device, verdicts.end_ms, verdicts.fresh, verdicts.posterior, span_ms, far
    )
    thresholds = np.tile(np.asarray(manifest.decision.thresholds), (len(FACTORS), 1))
    thresholds[:, 1:] *= np.asarray(FACTORS)[:, None]
    days = device_days(int(known.sum()), span_ms)
    return [
        CostPoint(
            factor=factor,
            missed=counts.events - counts.seen,
            events=counts.events,
            false_alarms=counts.false,
            false_alarms_per_device_day=counts.false / days,
            alarm_changes_per_device_day=counts.changes / days,
            true_alarms=counts.true,
        )
        for factor, counts in zip(FACTORS, trial.count(thresholds), strict=True)
    ]
