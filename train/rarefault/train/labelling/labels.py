"""Labels for what a journal holds: a fault log and people's answers to alarms, joined to the time of the samples.

The rules are those that ``rarefault label --help`` states. Stretches of time are kept as ``[start, end)`` here and
written as start and end of an event.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rarefault.runtime.inference.manifest import NO_DATA, NORMAL, UNKNOWN
from rarefault.runtime.journal.records import AlarmRecord, Feedback
from rarefault.runtime.times import TIME_LIMIT_MS, format_ms
from rarefault.train.history.data import UNLABELLED

#: End of what is open-ended.
FOREVER_MS = TIME_LIMIT_MS - 1

# Where a row of the labels is from.
LOG, FEEDBACK, BOTH = "log", "feedback", "log and feedback"
UNANSWERED, SILENT, OUTSIDE = "unanswered", "no alarm state", "outside the labelled time"


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch of a device's time and what was there: a fault, ``normal``, or ``unlabelled``; and at which unit."""

    device: str
    start_ms: int
    end_ms: int
    fault: str
    source: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Samples of a device: how many, the first, the last."""

    samples: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A stretch of which people say something else than the log; ``log`` is what the log has, such as ``"leak"``."""

    device: str
    start_ms: int
    end_ms: int
    feedback: str
    log: str


@dataclass(frozen=True, slots=True)
class Unused:
    """An answer that says nothing about the labelled time, and why."""

    device: str
    alarm: str
    answer: str
    received_ms: int
    why: str


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
    spans: dict[str, Span],
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
        alarms: what was said of the devices, in order.
        feedback: what people said, in order.
        log: events of the fault log; None where there is none.
        since_ms, until_ms: only this time is labelled; by default all.
    """
    labels = Labels()
    said: dict[str, list[AlarmRecord]] = {}
    for alarm in alarms:
        said.setdefault(alarm.device, []).append(alarm)
    low = {name: max(span.first_ms, since_ms or 0) for name, span in spans.items()}
    high = {name: min(span.last_ms + 1, until_ms or FOREVER_MS) for name, span in spans.items()}
    answers = _answers(feedback, said, spans, low, high, labels)
    known = {alarm.state for states in said.values() for alarm in states} | {row.fault for row in log or ()}
    for name, span in spans.items():
        if low[name] >= high[name]:
            labels.rows.append(Row(name, span.first_ms, FOREVER_MS, UNLABELLED, OUTSIDE))
            labels.dropped += sum(event.device == name for event in log or ())
            continue
        spoken = _paint(answers.get(name, ()))
        if log is None:
            events = spoken
            silent = [_clip(row, low[name], high[name]) for row in _unspoken(name, said.get(name, []), high[name])]
            labels.rows += [piece for row in silent if row for piece in _cut(row, spoken)]
        else:
            own = [row for row in log if row.device == name]
            clipped = [_clip(row, low[name], high[name]) for row in own]
            labels.dropped += clipped.count(None)
            labels.clipped += sum(
                (cut.start_ms, cut.end_ms) != (row.start_ms, row.end_ms)
                for cut, row in zip(clipped, own, strict=True)
                if cut
            )
            events = _join([row for row in clipped if row], spoken, labels)
        labels.rows += [row for row in events if row.fault != NORMAL]
        labels.new_faults += [row.fault for row in spoken if row.fault not in {*known, NORMAL, UNLABELLED}]
        if span.first_ms < low[name]:
            labels.rows.append(Row(name, span.first_ms, low[name], UNLABELLED, OUTSIDE))
        labels.rows.append(Row(name, high[name], FOREVER_MS, UNLABELLED, OUTSIDE))
    labels.new_faults = sorted(set(labels.new_faults))
    labels.rows.sort(key=lambda row: (row.device, row.start_ms, row.end_ms))
    return labels


def _answers(
    feedback: Iterable[Feedback],
    said: dict[str, list[AlarmRecord]],
    spans: dict[str, Span],
    low: dict[str, int],
    high: dict[str, int],
    labels: Labels,
) -> dict[str, list[Row]]:
    """What people said of each device, as stretches of its labelled time, the latest answer last."""
    stretches = {
        alarm.id: (alarm, max(after.since_ms if after else FOREVER_MS, alarm.since_ms))
        for states in said.values()
        for alarm, after in zip(states, [*states[1:], None], strict=True)
    }
    kept: dict[object, Row] = {}
    for answer in feedback:
        if answer.answer == "retracted":
            if kept.pop(answer.subject, None) is None:
                why = "there is no answer that counts to take back"
                labels.unused.append(Unused(answer.device, answer.alarm, answer.answer, answer.received_ms, why))
            else:
                labels.retracted += 1
            continue
        found = stretches.get(answer.alarm) if answer.alarm else None
        row, why = _stretch(answer, found)
        if answer.device not in spans:
            why = "the journal has no samples of the device"
        elif row is not None:
            row = _clip(row, low[answer.device], high[answer.device])
            why = "" if row else "the stretch has no samples in the labelled time"
        if why or row is None:
            labels.unused.append(Unused(answer.device, answer.alarm, answer.answer, answer.received_ms, why))
            continue
        labels.replaced += kept.pop(answer.subject, None) is not None
        kept[answer.subject] = row
    labels.answers = len(kept)
    by_device: dict[str, list[Row]] = {}
    for row in kept.values():
        by_device.setdefault(row.device, []).append(row)
    return by_device


def _stretch(  # noqa: PLR0911 - each way to say nothing has its own reason
    answer: Feedback, found: tuple[AlarmRecord, int] | None
) -> tuple[Row | None, str]:
    """What an answer says, or why it says nothing."""
    state, start_ms, end_ms = "", answer.start_ms, answer.end_ms
    if answer.alarm:
        if found is None:
            return None, "no alarm of this id is in the journal (it may be older than what the journal keeps)"
        alarm, until_ms = found
        if alarm.device != answer.device:
            return None, f"the alarm is one of device {alarm.device!r}"
        state = alarm.state
        start_ms = alarm.since_ms if start_ms is None else start_ms
        end_ms = until_ms if end_ms is None else end_ms
    if start_ms is None or end_ms is None:
        return None, "it names neither an alarm nor a start and an end"
    if end_ms < start_ms:
        return None, "its end is before its start"
    fault = answer.fault
    if fault in {UNKNOWN, NO_DATA}:
        return None, f"{fault!r} is no fault"
    if not fault and answer.answer == "refuted":
        # Who refutes 'normal' has seen something, and does not say what.
        fault = {NORMAL: UNLABELLED, NO_DATA: ""}.get(state, NORMAL)
    elif not fault:
        fault = "" if state in {UNKNOWN, NO_DATA} else state
    if not fault:
        return None, "it does not say which fault it was" + (f" (the state was {state!r})" if state else "")
    return Row(answer.device, start_ms, max(end_ms, start_ms + 1), fault, FEEDBACK), ""


def _unspoken(device: str, states: list[AlarmRecord], high_ms: int) -> list[Row]:
    """Time that is not known to be normal where there is no log: under every state but normal, and before the first."""
    edges = [*(state.since_ms for state in states), high_ms]
    rows = [Row(device, 0, edges[0], UNLABELLED, SILENT)]
    for state, start, end in zip(states, edges, edges[1:], strict=False):
        if state.state != NORMAL and start < end:
            rows.append(Row(device, start, end, UNLABELLED, UNANSWERED))
    return rows


def _clip(row: Row, low_ms: int, high_ms: int) -> Row | None:
    """The part of a row in ``[low_ms, high_ms)``; None where there is none."""
    if row.start_ms >= high_ms or row.end_ms < low_ms:
        return None
    # The instant of the last sample is the end of what reaches to it.
    end_ms = row.end_ms if row.end_ms < high_ms else high_ms - 1
    return replace(row, start_ms=max(row.start_ms, low_ms), end_ms=max(end_ms, row.start_ms, low_ms))


def _paint(rows: Iterable[Row]) -> list[Row]:
    """The rows without overlaps, in order of time: a later one stands on earlier ones."""
    painted: list[Row] = []
    for row in rows:
        painted = [piece for under in painted for piece in _cut(under, [row])]
        painted.append(row)
    return sorted(painted, key=lambda row: row.start_ms)


def _cut(row: Row, holes: Sequence[Row]) -> list[Row]:
    """What is left of a row outside the holes."""
    pieces = [row]
    for hole in holes:
        left: list[Row] = []
        for piece in pieces:
            if not _meet(piece, hole):
                left.append(piece)
                continue
            if piece.start_ms < hole.start_ms:
                left.append(replace(piece, end_ms=hole.start_ms))
            if hole.end_ms < piece.end_ms:
                left.append(replace(piece, start_ms=hole.end_ms))
        pieces = left
    return pieces


def _meet(a: Row, b: Row) -> bool:
    """Whether two rows share some time; one of no length is an instant."""
    return a.start_ms < max(b.end_ms, b.start_ms + 1) and b.start_ms < max(a.end_ms, a.start_ms + 1)


def _join(log: list[Row], spoken: list[Row], labels: Labels) -> list[Row]:
    """Log and feedback of a device: feedback wins on its stretches, and what both say is one event."""
    for stretch in spoken:
        there = [row for row in log if _meet(row, stretch)]
        others = sorted({row.fault for row in there if row.fault not in {stretch.fault, UNLABELLED}})
        missing = stretch.fault not in {NORMAL, UNLABELLED} and not there
        if others or missing:
            said = ", ".join(others) or NORMAL
            labels.conflicts.append(Conflict(stretch.device, stretch.start_ms, stretch.end_ms, stretch.fault, said))
    events = [piece for row in log for piece in _cut(row, [s for s in spoken if s.fault != row.fault])]
    for stretch in spoken:
        same = [row for row in events if row.fault == stretch.fault and _meet(row, stretch)]
        events = [row for row in events if row not in same]
        start, end = (min(row.start_ms for row in [stretch, *same]), max(row.end_ms for row in [stretch, *same]))
        # People do not say at which unit it was; what the log says holds where it is one.
        units = {row.unit for row in same}
        unit = units.pop() if len(units) == 1 else ""
        events.append(Row(stretch.device, start, end, stretch.fault, BOTH if same else FEEDBACK, unit))
    return events


def describe_time(start_ms: int, end_ms: int) -> str:
    """Such as ``2024-01-01 00:10 to 2024-01-01 03:00``, UTC."""
    return " to ".join(format_ms(ms)[:16].replace("T", " ") for ms in (start_ms, end_ms))
