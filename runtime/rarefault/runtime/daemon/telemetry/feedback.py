"""Feedback: people confirm or refute alarms on ``{prefix}/{device}/feedback``, and get an answer."""

import difflib
from collections.abc import Container, Sequence
from contextlib import suppress
from typing import Literal

import msgspec

from rarefault.runtime.inference.manifest import NO_DATA, NORMAL, UNKNOWN
from rarefault.runtime.journal.records import Feedback
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.telemetry.reasons import Reason, RejectionError, quote
from rarefault.runtime.telemetry.topics import Template, topic_level_problem
from rarefault.runtime.times import parse_time_ms

#: Longest feedback, bytes.
MAX_BYTES = 10_000
MAX_NAME, MAX_NOTE = 200, 2000
#: Stands for the alarm that a device is in.
CURRENT = "current"
#: Faults that an answer lists.
LISTED = 50


class FeedbackPayload(msgspec.Struct, frozen=True):
    """A person's answer to an alarm, or a statement about a stretch of time."""

    answer: Literal["confirmed", "refuted", "retracted"]
    """``confirmed``: the fault was there. ``refuted``: it was not. ``retracted``: takes back an earlier answer to the
    same alarm or stretch of time."""
    alarm: str = ""
    """Id of the alarm, or ``current`` for the one that the device is in. If absent, ``start`` and ``end`` are
    required."""
    fault: str = ""
    """Which fault it was, if it was another one than the alarm's, or if there was no alarm."""
    new: bool = False
    """Set to true if ``fault`` is a new name. Otherwise an unknown name is refused as a typing error."""
    start: str | float | int | None = None
    """When the fault began, if known better than from the alarm. ISO 8601, epoch seconds or milliseconds."""
    end: str | float | int | None = None
    """When the fault ended, likewise."""
    note: str = ""
    """Free text, at most 2000 characters."""


class ResultPayload(msgspec.Struct, frozen=True):
    """The daemon's reply to a message of feedback."""

    alarm: str
    """The alarm's id from the message. Empty if the message named none."""
    accepted: bool
    """Whether the answer was kept."""
    reason: str
    """Why it was not accepted, and what to do. Empty if it was."""
    runtime: str
    """Name of the daemon that replies: all daemons that share a prefix receive the message."""
    time: str
    """When the message arrived."""
    faults: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The known faults, if the message's fault is not one of them."""


class UnknownFaultError(RejectionError):
    """A fault that is not known; ``faults`` are."""

    def __init__(self, fault: str, faults: list[str]) -> None:
        self.faults = faults[:LISTED]
        near = difflib.get_close_matches(fault, faults, n=1)
        mean = f"did you mean {quote(near[0])}? " if near else ""
        super().__init__(
            Reason.BAD_FEEDBACK,
            f'nobody knows a fault {quote(fault)}; {mean}If it is a new one, send "new": true with it',
        )


class Known:
    """What feedback can refer to.

    Args:
        journal: has the alarms and the feedback of before.
        devices: that the daemon has now, those of the present turn, too.
        classes: of the model.
        pending: feedback that is accepted and not in the journal yet.
    """

    def __init__(
        self, journal: Journal, devices: Container[str], classes: tuple[str, ...], pending: Sequence[Feedback]
    ) -> None:
        self._journal, self._devices, self._classes, self._pending = journal, devices, classes, pending

    def faults(self) -> list[str]:
        """The classes of the model, and what was published or named before."""
        named = {*self._classes, NORMAL, *self._journal.named_faults(), *(one.fault for one in self._pending)}
        return sorted(named - {UNKNOWN, NO_DATA, ""})

    def has_fault(self, name: str) -> bool:
        """Whether a fault is one of these."""
        return name in self._classes or name in self.faults()

    def current_alarm(self, device: str) -> str:
        """Id of the alarm that a device is in; RejectionError where it is in none."""
        latest = self._journal.latest_alarm(device)
        if latest is None or latest.state in {NORMAL, NO_DATA}:
            state = "it has had none" if latest is None else f"its state is {latest.state!r}"
            raise RejectionError(
                Reason.BAD_FEEDBACK, f"device {quote(device)} is in no alarm ({state}); name the alarm by its id"
            )
        return latest.id

    def problem(self, feedback: Feedback) -> str:
        """Why there is nothing that the feedback can refer to; empty where there is."""
        if feedback.alarm:
            alarm = self._journal.alarm(feedback.alarm)
            if alarm is None:
                return (
                    f"there is no alarm {quote(feedback.alarm)} in the journal; it is another daemon's, or older than "
                    "journal.keep_days"
                )
            if alarm.device != feedback.device:
                return f"the alarm is one of device {quote(alarm.device)}, the topic one of {quote(feedback.device)}"
        elif feedback.device not in self._devices and not self._journal.knows_device(feedback.device):
            return f"the journal has no device {quote(feedback.device)}"
        if feedback.answer == "retracted" and not self._stands(feedback):
            return "there is nothing to take back: no answer to that alarm, or of just that time, stands"
        return ""

    def _stands(self, feedback: Feedback) -> bool:
        """Whether there is an answer to the same."""
        same = [one.answer for one in self._pending if one.subject == feedback.subject]
        return same[-1] != "retracted" if same else self._journal.answered(feedback)


class FeedbackReader:
    """Reads feedback messages.

    Args:
        topic: template with ``{device}``; empty where there is no feedback.
    """

    def __init__(self, topic: str) -> None:
        self._template = Template(topic) if topic else None
        self._end = "/feedback"
        self._decoder = msgspec.json.Decoder(FeedbackPayload)

    def matches(self, topic: str) -> bool:
        """Whether a message is feedback."""
        # Nearly all messages are telemetry, which this recognises at once.
        return self._template is not None and topic.endswith(self._end) and self._template.matches(topic)

    def device(self, topic: str) -> str:
        """The device that a topic which :meth:`matches` is of, RejectionError where it is no device's name."""
        assert self._template is not None
        device = self._template.device(topic) or ""
        if problem := topic_level_problem(device):
            raise RejectionError(Reason.BAD_DEVICE, problem)
        return device

    def read(self, device: str, payload: bytes, arrived_ms: int, known: Known) -> Feedback:
        """Read a message.

        Args:
            device: that it is of.
            payload: of the message.
            arrived_ms: when it came.
            known: what it can refer to.

        Raises:
            RejectionError: it cannot be used.
            JournalError: the journal cannot be read.
        """
        if len(payload) > MAX_BYTES:
            raise RejectionError(Reason.TOO_LARGE, f"feedback of {len(payload)} bytes, the limit is {MAX_BYTES}")
        try:
            found = self._decoder.decode(payload)
            start_ms = None if found.start is None else parse_time_ms(found.start)
            end_ms = None if found.end is None else parse_time_ms(found.end)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise RejectionError(Reason.BAD_FEEDBACK, str(error)) from None
        if max(len(found.alarm), len(found.fault)) > MAX_NAME or len(found.note) > MAX_NOTE:
            raise RejectionError(Reason.TOO_LARGE, "'alarm', 'fault' or 'note' is too long")
        if problem := _problem(found, start_ms, end_ms):
            raise RejectionError(Reason.BAD_FEEDBACK, problem)
        alarm = known.current_alarm(device) if found.alarm == CURRENT else found.alarm
        feedback = Feedback(arrived_ms, device, alarm, found.answer, found.fault, start_ms, end_ms, found.note)
        if problem := known.problem(feedback):
            raise RejectionError(Reason.BAD_FEEDBACK, problem)
        if found.fault and not found.new and not known.has_fault(found.fault):
            raise UnknownFaultError(found.fault, known.faults())
        return feedback


def alarm_of(payload: bytes) -> str:
    """The alarm that a message names, whatever else is wrong with it; empty where it names none."""
    if len(payload) <= MAX_BYTES:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found = msgspec.json.decode(payload)
            name = found.get("alarm") if isinstance(found, dict) else None
            if isinstance(name, str) and len(name) <= MAX_NAME:
                return name
    return ""


def _problem(found: FeedbackPayload, start_ms: int | None, end_ms: int | None) -> str:
    """What is wrong with a message by itself."""
    whole = start_ms is not None and end_ms is not None
    if not found.alarm and not whole:
        return "neither 'alarm' nor 'start' and 'end'"
    if found.answer == "retracted" and (found.fault or (found.alarm and (found.start, found.end) != (None, None))):
        return "'retracted' takes back what was said of an alarm, or from 'start' to 'end'; leave out the rest"
    if not found.alarm and found.answer == "confirmed" and not found.fault:
        return "'fault' must say what was there from 'start' to 'end'"
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        return "'end' must be after 'start'"
    if found.fault in {UNKNOWN, NO_DATA} or (found.fault == NORMAL and found.answer == "confirmed"):
        return f"'fault' cannot be {found.fault!r}"
    return ""
