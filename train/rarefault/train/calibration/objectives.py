"""What the thresholds make large: the values of ``decision.objective``.

An objective is a function from calibrated held-out windows to thresholds, and its entry in :data:`OBJECTIVES`. The
search for thresholds is the same for all, see :mod:`rarefault.train.calibration.thresholds`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.runtime.inference.manifest import DecisionSpec
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.calibration.thresholds import (
    MIN_WINDOWS,
    Score,
    event_f1,
    fit_thresholds,
    macro_f1,
    recall_within_budget,
)
from rarefault.train.config import DecisionConfig
from rarefault.train.evaluation.alarms import AlarmTrial


@dataclass(frozen=True)
class Calibrated:
    """Held-out windows and their posterior, before there are thresholds.

    Attributes:
        posterior: calibrated, [W, K].
        windows: the same windows.
        spec: the decision so far.
        config: the section ``[decision]``.
    """

    posterior: Float64
    windows: HeldOutWindows
    spec: DecisionSpec
    config: DecisionConfig

    @property
    def known(self) -> Bool:
        """Which windows have a label, [W]."""
        return self.windows.label >= 0

    @property
    def counts(self) -> Int64:
        """Windows of each class, [K]."""
        return np.bincount(self.windows.label[self.known], minlength=len(self.spec.thresholds))

    def trial(self) -> AlarmTrial:
        """The alarms under any thresholds."""
        return self.windows.trial(self.spec, self.posterior)


class Thresholds(NamedTuple):
    """What an objective finds.

    Attributes:
        values: the largest is 1, [K].
        notes: what a person should know of them.
    """

    values: Float64
    notes: list[str]


def by_posterior(held: Calibrated) -> Thresholds:
    """None: the largest posterior decides."""
    return Thresholds(np.ones(len(held.spec.thresholds)), [])


def by_macro_f1(held: Calibrated) -> Thresholds:
    """Macro-F1 of the verdicts."""
    values, _ = _search(held)
    return Thresholds(values, _few_windows(held))


def by_event_f1(held: Calibrated) -> Thresholds:
    """F1 of the alarms against the events; macro-F1 where there are none."""
    trial = held.trial()
    if trial.judge.n_events:
        values, _ = _search(held, event_f1(trial))
        return Thresholds(values, _few_windows(held))
    note = "the held-out windows hold no event: the thresholds maximise macro-F1 instead"
    found = by_macro_f1(held)
    return Thresholds(found.values, [note, *found.notes])


def within_false_alarm_budget(held: Calibrated) -> Thresholds:
    """Macro recall of the verdicts within a budget of false alarms."""
    budget, known = held.config.budget, held.known
    score = recall_within_budget(
        held.posterior[known], held.windows.label[known], held.trial(), held.windows.device_days, budget
    )
    values, reached = _search(held, score)
    notes = []
    if reached < 0:
        notes.append(
            f"no thresholds keep the false alarms on the held-out windows within {budget:g} a day and device: "
            f"those with the fewest are taken, {-reached:.2f}"
        )
    return Thresholds(values, notes + _few_windows(held))


#: By what ``decision.objective`` calls them.
OBJECTIVES: dict[str, Callable[[Calibrated], Thresholds]] = {
    "macro_f1": by_macro_f1,
    "event_f1": by_event_f1,
    "false_alarm_budget": within_false_alarm_budget,
    "posterior": by_posterior,
}


def _search(held: Calibrated, of_alarms: Score | None = None) -> tuple[Float64, float]:
    """Thresholds [K], and the score that they reach: of alarms where one is given, else macro-F1."""
    known = held.known
    by_share = macro_f1(held.posterior[known], held.windows.label[known])
    return fit_thresholds(by_share, held.counts, np.asarray(held.spec.prior), of_alarms)


def _few_windows(held: Calibrated) -> list[str]:
    """A note where classes have too few windows for a threshold of their own."""
    named = zip(held.windows.history.classes, held.counts, strict=True)
    few = [f"{name} ({n})" for name, n in named if n < MIN_WINDOWS]
    if not few:
        return []
    note = (
        f"fewer than {MIN_WINDOWS} held-out windows of {', '.join(few)}: no threshold of their own was fitted, "
        "theirs follow from their share where that costs no other class"
    )
    return [note]
