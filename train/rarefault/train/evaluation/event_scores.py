"""Scores per event: what a maintenance engineer asks. Was it seen, how soon, and how often did it cry wolf?

A metric is a function in :data:`EVENT_METRICS` and a field of :class:`rarefault.train.evaluation.metrics.Scores`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.arrays import Int32, Int64
from rarefault.runtime.inference.decision import AlarmChange
from rarefault.runtime.inference.manifest import UNKNOWN, GridSpec
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.evaluation.affiliation import Affiliation, affiliation_of_fault
from rarefault.train.evaluation.alarms import AlarmCounts, AlarmJudge, RaisedAlarms, States
from rarefault.train.evaluation.metrics import AlarmTally, EventScore, Scores
from rarefault.train.evaluation.phm2015_score import Intervals, Phm2015Score, runs, score_phm2015
from rarefault.train.history import History, labelled_ends

#: Fewest events with clear borders that say whether the log's clock is right.
CLEAR_EVENTS = 5


@dataclass(frozen=True)
class JudgedEvents:
    """Events of a history, and the verdicts and alarms beside them.

    Only windows with a label are given. An event counts if a window ends in a bin that it labels; it is detected if one
    of these windows has its fault as the verdict. A false alarm is a raised alarm during whose standing no event of its
    fault is active (of any fault, for ``unknown``), nor any time without a label. Device-days are the time that the
    windows stand for.

    Attributes:
        history: gives the events, by the same device slots.
        device, end_ms, label, verdict: of the windows, sorted by device and time, [W].
        alarms: changes of alarm states.
        grid, stride: of the windows.
    """

    history: History
    device: Int32
    end_ms: Int64
    label: Int64
    verdict: Int64
    alarms: list[AlarmChange]
    grid: GridSpec
    stride: int

    @property
    def span_ms(self) -> int:
        """Time between the ends of two windows."""
        return self.stride * self.grid.period_ms

    @property
    def days(self) -> float:
        """Device-days."""
        return device_days(len(self.end_ms), self.span_ms)

    @cached_property
    def _first_of_stretch(self) -> Int64:
        """First window of each stretch: windows of one device without a gap."""
        new_device = self.device[1:] != self.device[:-1]
        return np.flatnonzero(np.r_[True, new_device | (np.diff(self.end_ms) > self.span_ms)][: len(self.device)])

    @cached_property
    def stretch(self) -> Int64:
        """Number of the stretch of each window, [W]."""
        return np.searchsorted(self._first_of_stretch, np.arange(len(self.device)), "right") - 1

    @cached_property
    def windows_of_events(self) -> list[tuple[int, Int64]]:
        """Number of each event that counts, and its windows."""
        events, (first_ms, last_ms) = self.history.events, self._labelled_ends
        found = []
        for i in range(len(events)):
            inside = (self.end_ms >= first_ms[i]) & (self.end_ms <= last_ms[i])
            if len(mine := np.flatnonzero((self.device == events.device[i]) & inside)):
                found.append((i, mine))
        return found

    @cached_property
    def _labelled_ends(self) -> tuple[Int64, Int64]:
        return labelled_ends(self.history.events, self.grid, self.history.event_times)

    @cached_property
    def found(self) -> list[EventScore]:
        """The events that count."""
        return [self._event_score(i, mine) for i, mine in self.windows_of_events]

    def _event_score(self, i: int, mine: Int64) -> EventScore:
        raised_ms = self._first_alarms.get(i)
        events = self.history.events
        start_ms, fault = int(events.start_ms[i]), int(events.fault[i])
        hit = mine[self.verdict[mine] == fault]
        since = max(start_ms, int(self.end_ms[mine[0]]))
        return EventScore(
            device=self.history.devices[events.device[i]],
            fault=self.history.classes[fault],
            start_ms=start_ms,
            end_ms=int(events.end_ms[i]),
            detected=bool(len(hit)),
            delay_s=max(0.0, (int(self.end_ms[hit[0]]) - since) / 1000) if len(hit) else None,
            alarmed=raised_ms is not None,
            alarm_delay_s=None if raised_ms is None else max(0.0, (raised_ms - since) / 1000),
        )

    @cached_property
    def truth(self) -> Intervals:
        """The events that count, cut at the borders of the stretches."""
        events, first = self.history.events, self._first_of_stretch
        first_ms, last_ms = self.end_ms[first], self.end_ms[np.r_[first[1:], len(self.device)] - 1]
        pieces = [
            (part, events.fault[i], max(events.start_ms[i], first_ms[part]), min(events.end_ms[i], last_ms[part]))
            for i, mine in self.windows_of_events
            for part in np.unique(self.stretch[mine]).tolist()
        ]
        return Intervals(*np.asarray(pieces, np.int64).reshape(-1, 4).T)

    @cached_property
    def _judge(self) -> AlarmJudge:
        return AlarmJudge(self.history, self.device.astype(np.int64), self.end_ms, self.grid)

    @cached_property
    def counts(self) -> AlarmCounts:
        """Alarms held against events."""
        return self._judge.count(States.of(self.alarms))

    @cached_property
    def raised(self) -> RaisedAlarms:
        """The alarms, each judged."""
        return self._judge.raised(States.of(self.alarms))

    @cached_property
    def _first_alarms(self) -> dict[int, int]:
        return self._judge.first_alarms(self.raised)

    @cached_property
    def borders(self) -> Int64:
        """Windows by which verdicts begin and end after the labels of an event, for events with clear borders, [E, 2].

        The borders of an event are clear where its label and its verdict are one run of windows each, and both begin
        and end within a stretch.
        """
        label, verdict = (
            event_of(self.stretch, np.zeros(len(self.device), bool), what) for what in (self.label, self.verdict)
        )
        found = []
        for event, mine in self.windows_of_events:
            fault = self.history.events.fault[event]
            hit = mine[(self.verdict[mine] == fault) & (self.label[mine] == fault)]
            if not len(hit) or np.ptp(label[hit]) or np.ptp(verdict[hit]):
                continue
            spans = [_run(number, int(hit[0])) for number in (label, verdict)]
            if all(self._is_inside(first, last) for first, last in spans):
                found.append(np.subtract(spans[1], spans[0]))
        return np.asarray(found, np.int64).reshape(-1, 2)

    def _is_inside(self, first: int, last: int) -> bool:
        """Whether a run of windows has others of its stretch before and after it."""
        around = self.stretch[max(first - 1, 0) : last + 2]
        return len(around) == last - first + 3 and bool(around[0] == around[-1])

    @property
    def false_alarms_by_device(self) -> dict[str, int]:
        """False alarms of each device that has some, those with most first."""
        found = self._judge.false_alarms(self.raised)
        return {self.history.devices[slot]: count for slot, count in found.items()}

    @cached_property
    def affiliation(self) -> dict[str, Affiliation]:
        """How near verdicts lie to labels, by fault."""
        named = list(enumerate(self.history.classes))[1:]
        return {name: affiliation_of_fault(self.device, self.label, self.verdict, c) for c, name in named}

    def phm2015(self, verdict: Int64) -> Phm2015Score:
        """Score of the PHM challenge for verdicts of the windows, [W]."""
        classes = self.history.classes
        predicted = runs(self.stretch, self.end_ms, verdict, len(classes))
        return score_phm2015(predicted, self.truth, self.grid.period_ms, classes)


def _event_recall(judged: JudgedEvents) -> dict[str, float | None]:
    recall: dict[str, float | None] = {}
    for name in judged.history.classes[1:]:
        detected = [event.detected for event in judged.found if event.fault == name]
        recall[name] = float(np.mean(detected)) if detected else None
    return recall


def _median_delay_s(judged: JudgedEvents) -> float | None:
    delays = [event.delay_s for event in judged.found if event.delay_s is not None]
    return float(np.median(delays)) if delays else None


def _per_day(count: int, judged: JudgedEvents) -> float | None:
    return count / judged.days if judged.days else None


def _run(number: Int64, at: int) -> tuple[int, int]:
    """First and last position of a number in an ascending list of them, [W]."""
    first, last = np.searchsorted(number, number[at], "left"), np.searchsorted(number, number[at], "right") - 1
    return int(first), int(last)


def _alarms_by_state(judged: JudgedEvents) -> dict[str, AlarmTally]:
    raised = judged.raised
    return {
        name: AlarmTally(true=int((raised.true & own).sum()), false=int((raised.false & own).sum()))
        for state, name in enumerate((*judged.history.classes, UNKNOWN))
        if state and ((own := raised.state == state).any() or name != UNKNOWN)
    }


def _log_offset_s(judged: JudgedEvents) -> float | None:
    if len(judged.borders) < CLEAR_EVENTS:
        return None
    begin, end = np.median(judged.borders, axis=0)
    return float(min(begin, end, key=abs)) * judged.span_ms / 1000 if begin * end > 0 else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


#: Fields of :class:`rarefault.train.evaluation.metrics.Scores` that need events or alarms.
EVENT_METRICS: dict[str, Callable[[JudgedEvents], Any]] = {
    "events_total": lambda judged: len(judged.found),
    "events_detected": lambda judged: sum(event.detected for event in judged.found),
    "event_recall": _event_recall,
    "median_delay_s": _median_delay_s,
    "false_alarms": lambda judged: judged.counts.false,
    "false_alarms_per_device_day": lambda judged: _per_day(judged.counts.false, judged),
    "false_alarms_by_device": lambda judged: judged.false_alarms_by_device,
    "alarm_changes": lambda judged: judged.counts.changes,
    "alarm_changes_per_device_day": lambda judged: _per_day(judged.counts.changes, judged),
    "unknown_alarms": lambda judged: judged.counts.unknown,
    "device_days": lambda judged: judged.days,
    "true_alarms": lambda judged: judged.counts.true,
    "events_alarmed": lambda judged: judged.counts.seen,
    "event_f1": lambda judged: judged.counts.f1,
    "affiliation": lambda judged: judged.affiliation,
    "affiliation_precision": lambda judged: _mean([score.precision for score in judged.affiliation.values()]),
    "affiliation_recall": lambda judged: _mean([score.recall for score in judged.affiliation.values()]),
    "alarms_by_state": _alarms_by_state,
    "log_offset_s": _log_offset_s,
    "phm2015": lambda judged: judged.phm2015(judged.verdict),
    "phm2015_of_labels": lambda judged: judged.phm2015(judged.label),
    "events": lambda judged: judged.found,
}


def score_events(scores: Scores, judged: JudgedEvents) -> Scores:
    """The scores of windows with those of events and alarms filled in."""
    return msgspec.structs.replace(scores, **{name: metric(judged) for name, metric in EVENT_METRICS.items()})


def device_days(windows: int, span_ms: int) -> float:
    """The time that some windows stand for, each for the ``span_ms`` to the next."""
    return windows * span_ms / 86_400_000
