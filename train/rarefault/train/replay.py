"""History as live telemetry: one MQTT message per row, in order of time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from rarefault.runtime.times import format_ms
from rarefault.train.history import History
from rarefault.train.publisher import Publisher


@dataclass(frozen=True, slots=True)
class TelemetryMessage:
    """One row of the history as it goes over the wire."""

    time_ms: int
    device: int
    """Slot of the device in the history."""
    topic: str
    payload: bytes


def telemetry_messages(history: History, topic: str) -> Iterator[TelemetryMessage]:
    """The rows of a history as messages; values are written so that they read back as the very same numbers.

    Args:
        history: sorted by time.
        topic: template with ``{device}``.
    """
    encoder = msgspec.json.Encoder()
    channels = np.asarray(history.channels)
    topics = [topic.replace("{device}", name) for name in history.devices]
    for device, time_ms, row in zip(history.device.tolist(), history.time_ms.tolist(), history.values, strict=True):
        known = np.flatnonzero(~np.isnan(row))
        values = dict(zip(channels[known].tolist(), row[known].tolist(), strict=True))
        payload = encoder.encode({"time": format_ms(time_ms), "values": values})
        yield TelemetryMessage(time_ms, device, topics[device], payload)


def play(
    messages: Iterator[TelemetryMessage],
    publisher: Publisher,
    *,
    speed: float = 0.0,
    on_sent: Callable[[TelemetryMessage], None] | None = None,
) -> int:
    """Publish messages and return their number.

    Args:
        messages: in order of time.
        publisher: connected.
        speed: multiple of real time; 0 is as fast as the broker confirms.
        on_sent: told of each message when it goes out.
    """
    started, first_ms, count = time.monotonic(), None, 0
    for message in messages:
        if first_ms is None:
            first_ms = message.time_ms
        if speed > 0:
            due = started + (message.time_ms - first_ms) / 1000 / speed
            while (wait := due - time.monotonic()) > 0:
                time.sleep(min(wait, 1.0))
        if on_sent is not None:
            on_sent(message)
        publisher.publish(message.topic, message.payload)
        count += 1
    publisher.flush()
    return count
