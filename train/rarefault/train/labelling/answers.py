"""People's answers to alarms as stretches of the labelled time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rarefault.runtime.inference.manifest import NO_DATA, NORMAL, UNKNOWN
from rarefault.runtime.journal.records import AlarmRecord, Feedback
from rarefault.train.history.data import UNLABELLED
from rarefault.train.labelling.rows import FEEDBACK, FOREVER_MS, Row, clip


@dataclass(frozen=True, slots=True)
class Unused:
    """An answer that gives no label for the labelled time, and why."""

    device: str
    alarm: str
    answer: str
    received_ms: int
    why: str


@dataclass(slots=True)
class Answers:
    """The answers that count.

    Attributes:
        rows: by device, the latest answer last; they may overlap.
        used: number of answers in ``rows``.
        replaced: number of answers that gave way to a later one on the same alarm or stretch.
        retracted: number of answers that were taken back.
        unused: answers that could not be used.
    """

    rows: dict[str, list[Row]] = field(default_factory=dict)
    used: int = 0
    replaced: int = 0
    retracted: int = 0
    unused: list[Unused] = field(default_factory=list)


def read_answers(
    feedback: Iterable[Feedback],
    states: Mapping[str, Sequence[AlarmRecord]],
    limits: Mapping[str, tuple[int, int]],
) -> Answers:
    """Find the stretch and the fault of each answer.

    Args:
        feedback: the answers, in order.
        states: the alarm states of each device, in order.
        limits: the labelled time of each device that has samples, ``[start, end)``.
    """
    answers = Answers()
    alarms = _alarms(states)
    kept: dict[object, Row] = {}
    for answer in feedback:
        if answer.answer == "retracted":
            if kept.pop(answer.subject, None) is None:
                answers.unused.append(_unused(answer, "there is no answer that counts to take back"))
            else:
                answers.retracted += 1
            continue
        row = _row(answer, alarms.get(answer.alarm) if answer.alarm else None, limits)
        if isinstance(row, str):
            answers.unused.append(_unused(answer, row))
            continue
        answers.replaced += kept.pop(answer.subject, None) is not None
        kept[answer.subject] = row
    answers.used = len(kept)
    for row in kept.values():
        answers.rows.setdefault(row.device, []).append(row)
    return answers


def _alarms(states: Mapping[str, Sequence[AlarmRecord]]) -> dict[str, tuple[AlarmRecord, int]]:
    """Each alarm state and the time at which the next one of its device began, by id."""
    return {
        alarm.id: (alarm, max(after.since_ms if after else FOREVER_MS, alarm.since_ms))
        for own in states.values()
        for alarm, after in zip(own, [*own[1:], None], strict=True)
    }


def _unused(answer: Feedback, why: str) -> Unused:
    return Unused(answer.device, answer.alarm, answer.answer, answer.received_ms, why)


def _row(answer: Feedback, found: tuple[AlarmRecord, int] | None, limits: Mapping[str, tuple[int, int]]) -> Row | str:
    """The stretch that an answer labels, cut to the labelled time, or why it labels none."""
    row = _stretch(answer, found)
    if answer.device not in limits:
        return "the journal has no samples of the device"
    if isinstance(row, str):
        return row
    return clip(row, *limits[answer.device]) or "the stretch has no samples in the labelled time"


def _stretch(  # noqa: PLR0911 - each reason has its own sentence
    answer: Feedback, found: tuple[AlarmRecord, int] | None
) -> Row | str:
    """The stretch that an answer labels, or why it labels none."""
    state, start_ms, end_ms = "", answer.start_ms, answer.end_ms
    if answer.alarm:
        if found is None:
            return "no alarm of this id is in the journal (it may be older than what the journal keeps)"
        alarm, until_ms = found
        if alarm.device != answer.device:
            return f"the alarm is one of device {alarm.device!r}"
        state = alarm.state
        start_ms = alarm.since_ms if start_ms is None else start_ms
        end_ms = until_ms if end_ms is None else end_ms
    if start_ms is None or end_ms is None:
        return "it names neither an alarm nor a start and an end"
    if end_ms < start_ms:
        return "its end is before its start"
    if answer.fault in {UNKNOWN, NO_DATA}:
        return f"{answer.fault!r} is no fault"
    fault = answer.fault or _implied_fault(answer.answer, state)
    if not fault:
        return "it does not say which fault it was" + (f" (the state was {state!r})" if state else "")
    return Row(answer.device, start_ms, max(end_ms, start_ms + 1), fault, FEEDBACK)


def _implied_fault(answer: str, state: str) -> str:
    """What an answer that names no fault means for an alarm state; "" where that is open."""
    if answer == "refuted":
        # Who refutes 'normal' has seen something, and does not say what.
        return {NORMAL: UNLABELLED, NO_DATA: ""}.get(state, NORMAL)
    return "" if state in {UNKNOWN, NO_DATA} else state
