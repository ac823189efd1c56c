"""Reasons: why a message, a sample or a single value was not used, and what to do about it."""

from enum import StrEnum
from typing import Protocol

#: Longest piece of foreign text in a message.
MAX_QUOTE = 80
#: Keys that a message names of those that are there.
MAX_KEYS = 8


class Reason(StrEnum):
    """Why telemetry was not used."""

    NOT_UTF8 = "not_utf8"
    """The message is not UTF-8 text."""
    NOT_JSON = "not_json"
    """The message is not of the configured format."""
    TOO_LARGE = "too_large"
    """The message has too many bytes, samples or values, or feedback has too much text."""
    WRONG_SHAPE = "wrong_shape"
    """The message is not an object of the expected form, or an array of them."""
    BAD_VALUE = "bad_value"
    """None of the sample's values is a finite number, or a known state of its channel."""
    BAD_TIME = "bad_time"
    """The sample has no time where ``telemetry.time`` says, or it cannot be read."""
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
    BAD_COMPRESSION = "bad_compression"
    """The message is compressed and damaged, or not compressed as ``telemetry.compression`` says."""
    NO_BIRTH = "no_birth"
    """Sparkplug: the message is of an edge node or device whose birth has not been received."""
    UNKNOWN_METRIC = "unknown_metric"
    """Sparkplug: the metric has an alias or a name that the birth does not have."""
    BAD_FEEDBACK = "bad_feedback"
    """The feedback cannot be used; the reply on ``feedback/result`` says why."""


#: What to do about it.
REMEDY = {
    Reason.NOT_UTF8: "send text in UTF-8",
    Reason.NOT_JSON: "send what telemetry.format says (JSON: an object, an array, or one object a line), or change it",
    Reason.TOO_LARGE: "send smaller messages, or raise telemetry.max_payload_bytes, max_batch or max_values",
    Reason.WRONG_SHAPE: 'send {"time": ..., "values": {channel: number}}, or say in [telemetry] where they stand: '
    "time, values, records, name and value",
    Reason.BAD_VALUE: "send finite numbers, name a channel's words in its states, and leave out (or send null for) "
    "what was not measured",
    Reason.BAD_TIME: "send ISO 8601 with a time zone, or epoch numbers; or say where and how the time stands: "
    'telemetry.time, time_zone, time_unit and time_format; telemetry.time = "arrival" takes the time of arrival',
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
    Reason.BAD_COMPRESSION: "see the sender, and telemetry.compression",
    Reason.NO_BIRTH: "it is asked to be born again, unless telemetry.rebirth is false; see that the daemon may publish "
    "on spBv1.0/+/NCMD/#, or restart the edge node",
    Reason.UNKNOWN_METRIC: "it is asked to be born again, unless telemetry.rebirth is false; metrics must be in the "
    "birth of their device",
    Reason.BAD_FEEDBACK: 'send {"alarm": id, "answer": "confirmed", "refuted" or "retracted"}, or "start" and '
    '"end" in place of "alarm"; the answer on the topic feedback/result says what is wrong',
}


class RejectionError(Exception):
    """One sample or message that cannot be used; never leaves the intake."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)


class ValueReason(StrEnum):
    """Why a single value of a sample was taken as missing; the sample's other values are used."""

    NO_NUMBER = "no_number"
    """It is text that is neither a number nor one of the channel's ``states``, or no single value at all."""
    NOT_FINITE = "not_finite"
    """It is not a finite number, or one that no float32 holds."""
    BAD_QUALITY = "bad_quality"
    """Its quality is not in ``telemetry.good``."""
    NAMED_MISSING = "named_missing"
    """It is a number that stands for no value."""
    OUT_OF_RANGE = "out_of_range"
    """It is outside of the channel's ``valid`` range."""


class Ignored(StrEnum):
    """Why a message, or a value of one, is no telemetry, and nothing is wrong with it."""

    EMPTY = "empty"
    """It has no payload: it clears a retained message."""
    CONTENT = "content"
    """``telemetry.ignore`` names what it holds."""
    TOPIC = "topic"
    """``telemetry.ignore_topics`` names its topic, or it is none of telemetry, such as a command of Sparkplug."""
    REPEATED = "repeated"
    """It is a birth or death of Sparkplug that has been received before."""
    NAME = "name"
    """A value whose name fits no ``telemetry.name_pattern``."""


class Report(Protocol):
    """Takes what a reader could not use."""

    def add(self, topic: str, error: RejectionError, arrived_ms: int, rejected: object) -> None:
        """A message (its bytes) or a sample of it (as plain values) cannot be used; None where it was given before."""

    def add_ignored(self, why: Ignored) -> None:
        """A message, or a value of one, is no telemetry."""

    def add_dropped_value(self, device: str, column: int, why: ValueReason, value: object) -> None:
        """A value of a channel is taken as missing."""

    def add_unknown_channels(self, device: str, names: list[str]) -> None:
        """Values of a sample are of channels that nobody wants."""


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


def keys_of(message: object) -> str:
    """The keys of an object, for a message that misses one: what is there instead."""
    if not isinstance(message, dict):
        return f"it is {quote(message)}"
    if not message:
        return "it has no keys at all"
    more = ", ..." if len(message) > MAX_KEYS else ""
    return f"its keys are {', '.join(quote(key) for key in list(message)[:MAX_KEYS])}{more}"
