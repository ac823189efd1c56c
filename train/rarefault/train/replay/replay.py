"""History as live telemetry: one MQTT message per row, in order of time, in the form that a daemon takes."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.daemon.config import TelemetryConfig
from rarefault.runtime.errors import UsageError
from rarefault.runtime.telemetry.config import ARRIVAL
from rarefault.runtime.times import format_ms
from rarefault.train.history import History
from rarefault.train.replay.publisher import Publisher


@dataclass(frozen=True, slots=True)
class TelemetryMessage:
    """One row of the history as it goes over the wire."""

    time_ms: int
    device: int
    """Slot of the device in the history."""
    topic: str
    payload: bytes
    sender: str
    """Name of the device."""


#: What stands in a topic where the daemon takes any word.
ANY = "replay"


def telemetry_messages(history: History, telemetry: TelemetryConfig | str) -> Iterator[TelemetryMessage]:
    """The rows of a history as messages; values are written so that they read back as the very same numbers.

    Args:
        history: sorted by time.
        telemetry: how the daemon that takes them expects them, or just the template of the topic.

    Raises:
        UsageError: two channels of the history, or a channel and the time, would be at one place of the message, or
            messages of this kind cannot be written.
    """
    if isinstance(telemetry, str):
        telemetry = TelemetryConfig(topic=telemetry)
    _check_written(telemetry)
    encoder = msgspec.json.Encoder()
    paths = _paths(history.channels, telemetry)
    topic = "/".join(ANY if level == "+" else level for level in telemetry.topic.split("/"))
    topics = [topic.replace("{device}", name) for name in history.devices]
    return (
        TelemetryMessage(
            time_ms,
            device,
            topics[device],
            encoder.encode(_message(telemetry, paths, history.devices[device], format_ms(time_ms), row)),
            history.devices[device],
        )
        for device, time_ms, row in zip(history.device.tolist(), history.time_ms.tolist(), history.values, strict=True)
    )


def _check_written(telemetry: TelemetryConfig) -> None:
    """UsageError where the daemon expects others than JSON objects with a time and values, which are written."""
    plain = TelemetryConfig()
    given = [
        name
        for name in ("format", "records", "name", "value", "quality", "time_format")
        if getattr(telemetry, name) != getattr(plain, name)
    ]
    if set(telemetry.template.keys) - {"device"} or "{" in telemetry.device or telemetry.topic.endswith("#"):
        given.append("topic" if set(telemetry.template.keys) - {"device"} else "device")
    if ARRIVAL in telemetry.times[:1]:
        given.append("time")
    if telemetry.time_unit not in {None, "s", "ms"} or telemetry.compression in {"gzip", "zlib"}:
        given.append("time_unit or compression")
    if given:
        raise UsageError(
            f"history is played as JSON objects with a time and values; telemetry.{', '.join(given)} of the daemon "
            "expects others: give it a second [[telemetry]] with a topic of its own, and play to that with --topic"
        )


def _paths(channels: tuple[str, ...], telemetry: TelemetryConfig) -> list[tuple[str, ...]]:
    """Where each channel stands among the values: at the first foreign name that leads to it, or at its own name."""
    foreign: dict[str, str] = {}
    for field, channel in telemetry.fields.items():
        foreign.setdefault(channel, field)
    places: dict[tuple[str, ...], str] = {}
    inner: dict[tuple[str, ...], str] = {}

    def claim(path: tuple[str, ...], owner: str) -> None:
        outer = [path[:n] for n in range(1, len(path))]
        for place in (path, *outer):
            if other := places.get(place) or (inner.get(path) if place is path else None):
                raise UsageError(
                    f"{owner} and {other} would both be at {'.'.join(place)!r} of the message; change "
                    "[telemetry.fields], telemetry.time or telemetry.device"
                )
        places[path] = owner
        inner.update(dict.fromkeys(outer, owner))

    claim(tuple(telemetry.times[0].split(".")), "the time")
    if telemetry.device:
        claim(tuple(telemetry.device.split(".")), "the device's name")
    root = _root(telemetry)
    paths = []
    for name in channels:
        if name not in foreign and name in telemetry.fields:
            raise UsageError(
                f"the daemon would take channel {name!r} for {telemetry.fields[name]!r}, by telemetry.fields.{name}; "
                "give the former another name there, too"
            )
        path = tuple(foreign[name].split(".")) if name in foreign else (name,)
        claim((*root, *path), f"channel {name!r}")
        paths.append(path)
    return paths


def _message(
    telemetry: TelemetryConfig, paths: list[tuple[str, ...]], device: str, moment: str, row: np.ndarray
) -> dict[str, Any]:
    """One row as the object that the daemon reads."""
    message: dict[str, Any] = {}
    _put(message, telemetry.times[0].split("."), moment)
    if telemetry.device:
        _put(message, telemetry.device.split("."), device)
    values = message
    for name in _root(telemetry):
        values = values.setdefault(name, {})
    known = np.flatnonzero(np.isfinite(row))
    for column, value in zip(known.tolist(), row[known].tolist(), strict=True):
        _put(values, paths[column], value)
    return message


def _root(telemetry: TelemetryConfig) -> tuple[str, ...]:
    """Path of the object of values; empty where it is the message itself."""
    return tuple(telemetry.values.split(".")) if telemetry.values else ()


def _put(place: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = value


def play(
    messages: Iterator[TelemetryMessage],
    publisher: Publisher,
    *,
    speed: float = 0.0,
    per_s: float = 0.0,
    on_sent: Callable[[TelemetryMessage], None] | None = None,
) -> int:
    """Publish messages and return their number.

    Args:
        messages: in order of time.
        publisher: connected.
        speed: multiple of real time; 0 is as fast as the broker confirms.
        per_s: most messages per second, evenly spaced; 0 is no limit.
        on_sent: called with each message when it goes out.
    """
    started, first_ms, count = time.monotonic(), None, 0
    next_at = started
    for message in messages:
        if first_ms is None:
            first_ms = message.time_ms
        due = started + (message.time_ms - first_ms) / 1000 / speed if speed > 0 else started
        due = max(due, next_at)
        while (wait := due - time.monotonic()) > 0:
            time.sleep(min(wait, 1.0))
        if per_s > 0:  # what was late is not made up for
            next_at = time.monotonic() + 1 / per_s
        if on_sent is not None:
            on_sent(message)
        publisher.publish(message.topic, message.payload, message.sender)
        count += 1
    publisher.flush()
    return count
