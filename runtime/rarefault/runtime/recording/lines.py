"""Lines: a message as one line of JSON, in the form of ``mosquitto_sub -F '%j'`` that the trainer reads."""

import msgspec

from rarefault.runtime.daemon.mqtt.inbox import Message


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message."""

    tst_ms: int
    """When it arrived, milliseconds since the epoch."""
    topic: str
    qos: int
    retain: bool = False
    """Whether the broker had kept it from before the subscription."""
    sender: str | None = None
    """Who sent it, where ``telemetry.sender_property`` is set and the broker names the sender."""
    payload: str | None = None
    """The payload, where it is UTF-8 text."""
    payload_base64: bytes | None = None
    """Any other payload."""


_encoder = msgspec.json.Encoder()


def line_of(message: Message) -> bytes:
    r"""A message as a line, with its end.

    >>> line_of(Message("t/p1", b"\xff\x00", 12, False, 1, 7, 1))
    b'{"tst_ms":12,"topic":"t/p1","qos":1,"payload_base64":"/wA="}\n'
    """
    try:
        text, binary = message.payload.decode(), None
    except UnicodeDecodeError:
        text, binary = None, message.payload
    line = Line(message.arrived_ms, message.topic, message.qos, bool(message.retained), message.sender, text, binary)
    return _encoder.encode(line) + b"\n"


def is_line(text: bytes) -> bool:
    """Whether bytes are a whole line of a recording, its end left out."""
    try:
        msgspec.json.decode(text, type=Line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True
