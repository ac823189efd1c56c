"""Labels for what a journal holds: a fault log and people's answers to alarms, joined to the time of the samples.

The rules are those that ``rarefault label --help`` states.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rarefault.runtime.inference.manifest import NORMAL
from rarefault.runtime.journal.records import AlarmRecord, Feedback
from rarefault.train.history.data import UNLABELLED
from rarefault.train.labelling.answers import Unused, read_answers
from rarefault.train.labelling.rows import (
    BOTH,
    FEEDBACK,
    FOREVER_MS,
    NO_STATE,
    OUTSIDE,
    UNANSWERED,
    Row,
    Span,
    clip,
    cut,
    meet,
    overlay,
)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A stretch where feedback and log differ; ``log`` is what the log has, such as ``"leak"``."""

    device: str
    start_ms: int
    end_ms: int
    feedback: str
    log: str


@dataclass(slots=True)
class Labels:
    """The labels of a journal.

    Attributes:
        rows: events, and time that nobody knows, by device and start; what is normal has no row.
        conflicts: where feedback won over the log.
        unused: answers that could not be used.
        answers: number of answers that were used.
        replaced: number of answers that gave way to a later one on the same alarm or stretch.
        retracted: number of answers that were taken back.
        clipped: events of the log that reach beyond the labelled time and were cut to it.
        dropped: events of the log that lie outside of it.
        new_faults: faults that are named by feedback alone, neither by an alarm nor by the log.
    """

    rows: list[Row] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)
    answers: int = 0
    replaced: int = 0
    retracted: int = 0
    clipped: int = 0
    dropped: int = 0
    new_faults: list[str] = field(default_factory=list)


def make_labels(
    spans: Mapping[str, Span],
    alarms: Iterable[AlarmRecord],
    feedback: Iterable[Feedback],
    log: Sequence[Row] | None,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> Labels:
    """Join log and feedback to the time of the samples.

    Args:
        spans: of each device that has samples.
        alarms: the alarm states of all devices, in order.
        feedback: people's answers, in order.
        log: events of the fault log; None where there is none.
        since_ms, until_ms: only this time is labelled; by default all.
    """
    states: dict[str, list[AlarmRecord]] = {}
    for alarm in alarms:
        states.setdefault(alarm.device, []).append(alarm)
    limits = {
        name: (max(span.first_ms, since_ms or 0), min(span.last_ms + 1, until_ms or FOREVER_MS))
        for name, span in spans.items()
    }
    answers = read_answers(feedback, states, limits)
    labels = Labels(unused=answers.unused, answers=answers.used, replaced=answers.replaced, retracted=answers.retracted)
    known = {alarm.state for own in states.values() for alarm in own} | {row.fault for row in log or ()}
    new_faults: set[str] = set()
    for name, (low_ms, high_ms) in limits.items():
        logged = None if log is None else [row for row in log if row.device == name]
        if low_ms >= high_ms:
            labels.rows.append(Row(name, spans[name].first_ms, FOREVER_MS, UNLABELLED, OUTSIDE))
            labels.dropped += len(logged or ())
            continue
        answered = overlay(answers.rows.get(name, ()))
        if logged is None:
            labels.rows += _without_log(name, states.get(name, []), answered, low_ms, high_ms)
        else:
            labels.rows += _with_log(logged, answered, low_ms, high_ms, labels)
        new_faults |= {row.fault for row in answered} - known - {NORMAL, UNLABELLED}
        if spans[name].first_ms < low_ms:
            labels.rows.append(Row(name, spans[name].first_ms, low_ms, UNLABELLED, OUTSIDE))
        labels.rows.append(Row(name, high_ms, FOREVER_MS, UNLABELLED, OUTSIDE))
    labels.new_faults = sorted(new_faults)
    labels.rows = [row for row in labels.rows if row.fault != NORMAL]
    labels.rows.sort(key=lambda row: (row.device, row.start_ms, row.end_ms))
    return labels


def _without_log(
    device: str, states: Sequence[AlarmRecord], answered: list[Row], low_ms: int, high_ms: int
) -> list[Row]:
    """Rows of a device from its answers alone: time under every state but normal is unlabelled until answered."""
    edges = [*(state.since_ms for state in states), high_ms]
    unknown = [Row(device, 0, edges[0], UNLABELLED, NO_STATE)]
    for state, start, end in zip(states, edges, edges[1:], strict=False):
        if state.state != NORMAL and start < end:
            unknown.append(Row(device, start, end, UNLABELLED, UNANSWERED))
    clipped = [clip(row, low_ms, high_ms) for row in unknown]
    return [piece for row in clipped if row for piece in cut(row, answered)] + answered


def _with_log(logged: list[Row], answered: list[Row], low_ms: int, high_ms: int, labels: Labels) -> list[Row]:
    """Rows of a device from its log and its answers; ``labels`` counts what was cut and where they differ."""
    clipped = [clip(row, low_ms, high_ms) for row in logged]
    labels.dropped += clipped.count(None)
    labels.clipped += sum(
        (part.start_ms, part.end_ms) != (row.start_ms, row.end_ms)
        for part, row in zip(clipped, logged, strict=True)
        if part
    )
    log = [row for row in clipped if row]
    labels.conflicts += [conflict for stretch in answered if (conflict := _conflict(stretch, log))]
    return _join(log, answered)


def _conflict(stretch: Row, log: list[Row]) -> Conflict | None:
    """Where an answer contradicts the log; None where it does not."""
    there = [row for row in log if meet(row, stretch)]
    others = sorted({row.fault for row in there if row.fault not in {stretch.fault, UNLABELLED}})
    missing = stretch.fault not in {NORMAL, UNLABELLED} and not there
    if not others and not missing:
        return None
    return Conflict(stretch.device, stretch.start_ms, stretch.end_ms, stretch.fault, ", ".join(others) or NORMAL)


def _join(log: list[Row], answered: list[Row]) -> list[Row]:
    """Log and feedback of a device: feedback wins on its stretches, and what both have is one event."""
    events = [piece for row in log for piece in cut(row, [other for other in answered if other.fault != row.fault])]
    for stretch in answered:
        same = [row for row in events if row.fault == stretch.fault and meet(row, stretch)]
        events = [row for row in events if row not in same]
        start, end = (min(row.start_ms for row in [stretch, *same]), max(row.end_ms for row in [stretch, *same]))
        # Answers name no unit; that of the log holds where it is one.
        units = {row.unit for row in same}
        unit = units.pop() if len(units) == 1 else ""
        events.append(Row(stretch.device, start, end, stretch.fault, BOTH if same else FEEDBACK, unit))
    return events
