"""The answers of the page's routes, as JSON. Times are milliseconds since the epoch, None where there is none."""

import msgspec

from rarefault.page.journal.fleet import Kind, Row, kind_of
from rarefault.page.journal.follower import JournalState
from rarefault.runtime.journal.records import AlarmRecord, Feedback


class Access(msgspec.Struct, frozen=True):
    """Who the reader is. Without users, everybody reads, and nobody answers."""

    user: str | None
    may_answer: bool


class Status(msgspec.Struct, frozen=True):
    """What stands around each view."""

    version: str
    access: Access
    journal: JournalState
    now_ms: int
    counts: dict[str, int]


class Answer(msgspec.Struct, frozen=True):
    """What a person said of an alarm, or of a stretch of time."""

    received_ms: int
    alarm: str
    answer: str
    fault: str
    start_ms: int | None
    end_ms: int | None
    note: str


class Alarm(msgspec.Struct, frozen=True):
    """A state of a device, as it was published.

    Attributes:
        key: its place in the order.
        until_ms: since when the next state has been there; None where this one lasts.
        channels: that moved it, with what each added to the log-probability, the most first.
        answer: the last one of people that stands.
    """

    key: int
    id: str
    device: str
    state: str
    kind: Kind
    since_ms: int
    until_ms: int | None
    published_ms: int
    model: str
    probability: float | None
    score: float | None
    unit: str | None
    channels: list[tuple[str, float]]
    answer: Answer | None


class _Detail(msgspec.Struct, frozen=True):
    probability: float | None = None
    score: float | None = None
    channels: dict[str, float] = {}
    unit: str | None = None


class AlarmList(msgspec.Struct, frozen=True):
    """Alarms; ``next`` is where the following ones are asked for from, None where there are none."""

    alarms: list[Alarm]
    next: int | None


class Device(msgspec.Struct, frozen=True):
    """One device: how it is now, its last states and whether there are older ones, and people's answers."""

    row: Row
    alarms: list[Alarm]
    older: bool
    answers: list[Answer]
    channels: list[str]
    newest_ms: int | None


class Rejected(msgspec.Struct, frozen=True):
    """A piece of telemetry that could not be used."""

    received_ms: int
    topic: str
    detail: str
    payload: str


class Reason(msgspec.Struct, frozen=True):
    """What could not be used for one reason, and the newest of it."""

    reason: str
    count: int
    examples: list[Rejected]


class Muted(msgspec.Struct, frozen=True):
    """A device whose samples have all been late for a while: its clock is wrong."""

    device: str
    late: int
    heard_ms: int
    newest_ms: int


class Health(msgspec.Struct, frozen=True):
    """What an operator looks at."""

    journal: JournalState
    path: str
    size: int
    newest: tuple[str, int] | None
    devices: int
    silent: int
    reasons: list[Reason]
    muted: list[Muted]
    muted_more: int
    salvaged_ms: int | None
    salvaged: str


def answer_of(feedback: Feedback) -> Answer:
    """A person's answer."""
    f = feedback
    return Answer(f.received_ms, f.alarm, f.answer, f.fault, f.start_ms, f.end_ms, f.note)


def alarm_of(key: int, record: AlarmRecord, until_ms: int | None, answer: Answer | None) -> Alarm:
    """An alarm; of one of an earlier release, or of a foreign hand, what moved it is not known."""
    try:
        detail = msgspec.json.decode(record.detail or "{}", type=_Detail)
    except msgspec.MsgspecError:
        detail = _Detail()
    return Alarm(
        key=key,
        id=record.id,
        device=record.device,
        state=record.state,
        kind=kind_of(record.state),
        since_ms=record.since_ms,
        until_ms=until_ms,
        published_ms=record.published_ms,
        model=record.model,
        probability=detail.probability,
        score=detail.score,
        unit=detail.unit,
        channels=sorted(detail.channels.items(), key=lambda item: -abs(item[1])),
        answer=answer,
    )
