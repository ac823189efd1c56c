"""What a journal holds: batches of samples, alarms, people's feedback, messages that wait, and what was set aside."""

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rarefault.runtime.arrays import Float64, Int32, Int64
from rarefault.runtime.times import TIME_LIMIT_MS

#: What a batch is: samples of one turn, or devices that fell silent.
SAMPLES, SILENCE = 0, 1
#: Name of the broker among the sinks.
BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Batch:
    """What one turn brought.

    Attributes:
        seq: its number.
        received_ms: when it was committed, milliseconds since the epoch.
        kind: ``SAMPLES``, or ``SILENCE`` where the devices fell silent; it has then no times and values.
        device: numbers of the devices in the journal, [M].
        time_ms: [M].
        values: in the order of the journal's channels, NaN = not reported, [M, C].
    """

    seq: int
    received_ms: int
    kind: int
    device: Int32
    time_ms: Int64
    values: Float64


@dataclass(frozen=True, slots=True)
class Entry:
    """A message that waits.

    Attributes:
        key: its place in the order.
        topic: where it goes.
        payload: its content.
        retain: whether the broker keeps it as the last message of its topic; so it is with alarms.
        sink: which it is for.
    """

    key: int
    topic: str
    payload: bytes
    retain: bool
    sink: str = BROKER


@dataclass(frozen=True, slots=True)
class SetAside:
    """Telemetry, or a part of it, that could not be used.

    Attributes:
        received_ms: when it arrived.
        topic: where.
        reason: why it could not be used, one of a fixed set.
        detail: the same in words.
        payload: the message, or the sample of it; cut where it is very long.
    """

    received_ms: int
    topic: str
    reason: str
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class AlarmRecord:
    """An alarm state of a device, as it was published.

    Attributes:
        said_ms: when.
        id: as published.
        device: its name.
        state: a class of the model, ``unknown`` or ``no data``.
        since_ms, end_ms: see :class:`~rarefault.runtime.inference.decision.AlarmChange`.
        model: that it follows from.
        detail: the rest of what was published, as JSON: probability, score, channels, unit; "" from earlier releases.
    """

    published_ms: int
    id: str
    device: str
    state: str
    since_ms: int
    end_ms: int
    model: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """A person's answer to an alarm, or label of a stretch of time.

    Attributes:
        received_ms: when.
        device: its name.
        alarm: id of the alarm that is meant; empty where a stretch of time is.
        answer: whether the fault was there; ``retracted`` takes back what was answered before.
        fault: which it was; empty for the one of the alarm.
        start_ms, end_ms: when it was there, None where the alarm has that.
        note: free text.
    """

    received_ms: int
    device: str
    alarm: str
    answer: Literal["confirmed", "refuted", "retracted"]
    fault: str
    start_ms: int | None
    end_ms: int | None
    note: str

    @property
    def subject(self) -> tuple[str, str] | tuple[str, int | None, int | None]:
        """What it refers to: of several answers with the same one the last counts."""
        return (self.device, self.alarm) if self.alarm else (self.device, self.start_ms, self.end_ms)


def pack(device: Int32, time_ms: Int64, values: Float64) -> bytes:
    """Samples as bytes: devices, times, which values are there (one bit each), these, and a CRC-32; little-endian."""
    known = ~np.isnan(values)
    parts = (device.astype("<i4"), time_ms.astype("<i8"), np.packbits(known), values[known].astype("<f8"))
    data = b"".join(part.tobytes() for part in parts)
    return data + zlib.crc32(data).to_bytes(4, "little")


def unpack(data: bytes, samples: int, n_channels: int) -> tuple[Int32, Int64, Float64]:
    """What :func:`pack` packed; ValueError where it cannot be that."""
    bits = -(-samples * n_channels // 8)
    if len(data) < 12 * samples + bits:
        raise ValueError(f"{len(data)} bytes are too few for {samples} samples of {n_channels} channels")
    device = np.frombuffer(data, "<i4", samples).astype(np.int32)
    time_ms = np.frombuffer(data, "<i8", samples, 4 * samples).astype(np.int64)
    packed = np.frombuffer(data, np.uint8, bits, 12 * samples)
    known = np.unpackbits(packed, count=samples * n_channels).astype(bool).reshape(samples, n_channels)
    values = np.full((samples, n_channels), np.nan)
    n_known = int(known.sum())
    end = 12 * samples + bits + 8 * n_known
    # Early journals have no checksum.
    if len(data) not in (end, end + 4) or data[end:] not in (b"", zlib.crc32(data[:end]).to_bytes(4, "little")):
        raise ValueError("its checksum or its length is wrong")
    values[known] = np.frombuffer(data, "<f8", n_known, 12 * samples + bits)
    if samples and (device.min() < 0 or time_ms.min() < 0 or time_ms.max() >= TIME_LIMIT_MS):
        raise ValueError("it has devices or times that there cannot be")
    return device, time_ms, values
