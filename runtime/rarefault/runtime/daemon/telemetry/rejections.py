"""Rejections: telemetry that cannot be used is counted by reason and logged at a bounded rate."""

import json
import logging
import time
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.journal.records import SetAside

log = logging.getLogger(__name__)

#: Longest piece of foreign text in a log line.
MAX_QUOTE = 80
#: Bytes of a rejected message that are set aside, and characters of its topic and of the reason.
MAX_KEPT, MAX_KEPT_TEXT = 16_384, 500
#: Rejections that are set aside in one turn; more are only counted.
MAX_SET_ASIDE = 200


class Reason(StrEnum):
    """Why telemetry was not used."""

    NOT_UTF8 = "not_utf8"
    """The message is not UTF-8 text."""
    NOT_JSON = "not_json"
    """The message is not JSON."""
    TOO_LARGE = "too_large"
    """The message has too many bytes, samples or values, or feedback has too much text."""
    WRONG_SHAPE = "wrong_shape"
    """The message is not an object of the expected form, or an array of them."""
    BAD_VALUE = "bad_value"
    """A channel's value is not a finite number."""
    BAD_TIME = "bad_time"
    """The sample's time cannot be read."""
    TOO_OLD = "too_old"
    """The sample is older than ``telemetry.max_age_s``."""
    TOO_NEW = "too_new"
    """The sample's time is more than ``telemetry.max_future_s`` ahead of the daemon's clock."""
    UNKNOWN_TOPIC = "unknown_topic"
    """The topic does not match ``telemetry.topic``."""
    BAD_DEVICE = "bad_device"
    """The device's name cannot be used in a topic, or is missing."""
    TOO_MANY_DEVICES = "too_many_devices"
    """There are ``limits.max_devices`` devices already."""
    NO_KNOWN_CHANNEL = "no_known_channel"
    """The sample has no value of any channel of the model."""
    WRONG_SENDER = "wrong_sender"
    """The message's device, the topic's device and the sender are not the same."""
    TOO_FAST = "too_fast"
    """The device sends more than ``limits.samples_per_s``. Counted, but not kept in the journal."""
    TWO_TOPICS = "two_topics"
    """The device's name already comes on another topic; see ``telemetry.several_topics``."""
    BAD_FEEDBACK = "bad_feedback"
    """The feedback cannot be used; the reply on ``feedback/result`` says why."""


#: What to do about it.
REMEDY = {
    Reason.NOT_UTF8: "send JSON in UTF-8",
    Reason.NOT_JSON: "send one JSON object, or an array of them",
    Reason.TOO_LARGE: "send smaller messages, or raise telemetry.max_payload_bytes, max_batch or max_values",
    Reason.WRONG_SHAPE: 'send {"time": ..., "values": {channel: number}}, or set telemetry.time and telemetry.values',
    Reason.BAD_VALUE: "send finite numbers, and leave out (or send null for) what was not measured",
    Reason.BAD_TIME: "send ISO 8601 with a time zone, or epoch seconds or milliseconds",
    Reason.TOO_OLD: "check the sender's clock, or raise telemetry.max_age_s",
    Reason.TOO_NEW: "check the sender's clock and this machine's, or raise telemetry.max_future_s; 'rarefault "
    "retake' takes back in what was set aside",
    Reason.UNKNOWN_TOPIC: "change telemetry.topic; if the subscription is that of an earlier configuration, choose "
    "another broker.client_id",
    Reason.BAD_DEVICE: "a device's name must have 1 to 128 printable characters and no '/', '+' or '#'",
    Reason.TOO_MANY_DEVICES: "raise limits.max_devices, lower limits.forget_after_s, or narrow telemetry.topic",
    Reason.NO_KNOWN_CHANNEL: "name channels as the model does ('rarefault inspect' lists them) or map them in "
    "[telemetry.fields]",
    Reason.WRONG_SENDER: "a device may report for itself only; see telemetry.device and telemetry.sender_property",
    Reason.TOO_FAST: "have the device send less often, or raise limits.samples_per_s and limits.burst_samples",
    Reason.TWO_TOPICS: "give each machine a name of its own where {device} stands in telemetry.topic, or each place a "
    "daemon with its own topic and publish.prefix; if it is one machine, set telemetry.several_topics = true",
    Reason.BAD_FEEDBACK: 'send {"alarm": id, "answer": "confirmed", "refuted" or "retracted"}, or "start" and '
    '"end" in place of "alarm"; the answer on the topic feedback/result says what is wrong',
}


class RejectionError(Exception):
    """One sample or message that cannot be used; never leaves the intake."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)


class Mark(NamedTuple):
    """The counts at one moment."""

    samples: int
    counts: dict[Reason, int]
    unknown_channels: int


class Rejections:
    """Counts samples that can be used; counts, logs and sets aside what cannot.

    Args:
        keep: whether they are set aside.
        clock: gives seconds.

    Attributes:
        samples: read so far.
        counts: rejected so far, by reason.
        unknown_channels: values of channels that the model does not have, ignored so far.
        set_aside: what was rejected since it was taken last, no more than ``MAX_SET_ASIDE``.
    """

    def __init__(self, *, keep: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.samples = 0
        self.counts = dict.fromkeys(Reason, 0)
        self.unknown_channels = 0
        self.set_aside: list[SetAside] = []
        self._keep = keep
        self._log = SampledLog(log, clock)

    def add(self, topic: str, error: RejectionError, arrived_ms: int, rejected: object) -> None:
        """Count one rejection.

        Args:
            topic: that it came on.
            error: why it is rejected.
            arrived_ms: when it came.
            rejected: the message's bytes, or the sample of it as plain values.
        """
        reason = error.reason
        self.counts[reason] += 1
        # What comes too fast is not set aside: that would be slower than to take it.
        if self._keep and reason != Reason.TOO_FAST and len(self.set_aside) < MAX_SET_ASIDE:
            self.set_aside.append(
                SetAside(arrived_ms, _printable(topic), reason, _printable(error.detail), _as_bytes(rejected))
            )
        self._log.log(
            reason,
            logging.WARNING,
            "rejected telemetry on %s (%s): %s; %s",
            quote(topic),
            reason,
            error.detail,
            REMEDY[reason],
        )

    def take_aside(self) -> list[SetAside]:
        """What was set aside since the last call."""
        taken, self.set_aside = self.set_aside, []
        return taken

    def mark(self) -> Mark:
        """The counts, to go back to."""
        return Mark(self.samples, dict(self.counts), self.unknown_channels)

    def go_back(self, mark: Mark) -> None:
        """Messages will be read again: count as before them."""
        self.samples, self.counts, self.unknown_channels = mark.samples, dict(mark.counts), mark.unknown_channels

    def add_unknown_channels(self, device: str, names: list[str]) -> None:
        """Count the values of a sample that are ignored because the model has no channel of their names."""
        self.unknown_channels += len(names)
        self._log.log(
            "unknown_channel",
            logging.INFO,
            "telemetry of %s names channels that the model does not have, such as %s (ignored)",
            quote(device),
            quote(names[0]),
        )


def quote(value: object) -> str:
    """A foreign value for a log line: one line, printable, of bounded length."""
    if isinstance(value, str):
        return ascii(value) if len(value) <= MAX_QUOTE else ascii(value[:MAX_QUOTE]) + "..."
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def _printable(text: str) -> str:
    """Text that a database takes: a topic may hold halves of surrogate pairs."""
    return text[:MAX_KEPT_TEXT].encode("utf-8", "backslashreplace").decode()


def _as_bytes(rejected: object) -> bytes:
    if isinstance(rejected, (bytes, bytearray)):
        return bytes(rejected[:MAX_KEPT])
    try:
        return json.dumps(rejected).encode("utf-8", "backslashreplace")[:MAX_KEPT]
    except (RecursionError, ValueError):
        return b""  # nested too deep, or an integer of too many digits
