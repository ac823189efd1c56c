"""Feedback: what people say of alarms, on ``{prefix}/{device}/feedback``."""

from typing import Literal

import msgspec

from rarefault.runtime.daemon.records import Feedback
from rarefault.runtime.daemon.rejections import Reason, RejectionError
from rarefault.runtime.daemon.topics import Template, topic_level_problem
from rarefault.runtime.manifest import NO_DATA, NORMAL, UNKNOWN
from rarefault.runtime.times import parse_time_ms

#: Longest feedback, bytes.
MAX_BYTES = 10_000
MAX_NOTE = 2000


class FeedbackPayload(msgspec.Struct, frozen=True):
    """The message: of an alarm by its id, or of a stretch of time."""

    answer: Literal["confirmed", "refuted"]
    alarm: str = ""
    """Id of the alarm."""
    fault: str = ""
    """Which fault it was, where it was another one than the alarm said, or where there was no alarm."""
    start: str | float | int | None = None
    end: str | float | int | None = None
    """When it was there, where that is known better; ISO 8601 or epoch seconds or milliseconds."""
    note: str = ""


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
        # Nearly all messages are telemetry, which this tells at once.
        return self._template is not None and topic.endswith(self._end) and self._template.matches(topic)

    def read(self, topic: str, payload: bytes, arrived_ms: int) -> Feedback:
        """A message that :meth:`matches`.

        Raises:
            RejectionError: it cannot be used.
        """
        assert self._template is not None
        device = self._template.device(topic) or ""
        if problem := topic_level_problem(device):
            raise RejectionError(Reason.BAD_DEVICE, problem)
        if len(payload) > MAX_BYTES:
            raise RejectionError(Reason.TOO_LARGE, f"feedback of {len(payload)} bytes, the limit is {MAX_BYTES}")
        try:
            found = self._decoder.decode(payload)
            start_ms = None if found.start is None else parse_time_ms(found.start)
            end_ms = None if found.end is None else parse_time_ms(found.end)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise RejectionError(Reason.BAD_FEEDBACK, str(error)) from None
        if not found.alarm and (start_ms is None or end_ms is None):
            raise RejectionError(Reason.BAD_FEEDBACK, "neither 'alarm' nor 'start' and 'end'")
        if not found.alarm and found.answer == "confirmed" and not found.fault:
            raise RejectionError(Reason.BAD_FEEDBACK, "'fault' must say what was there from 'start' to 'end'")
        if start_ms is not None and end_ms is not None and end_ms <= start_ms:
            raise RejectionError(Reason.BAD_FEEDBACK, "'end' must be after 'start'")
        if found.fault in {UNKNOWN, NO_DATA} or (found.fault == NORMAL and found.answer == "confirmed"):
            raise RejectionError(Reason.BAD_FEEDBACK, f"'fault' cannot be {found.fault!r}")
        if max(len(found.alarm), len(found.fault)) > 200 or len(found.note) > MAX_NOTE:
            raise RejectionError(Reason.TOO_LARGE, "'alarm', 'fault' or 'note' is too long")
        return Feedback(arrived_ms, device, found.alarm, found.answer, found.fault, start_ms, end_ms, found.note)
