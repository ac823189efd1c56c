"""Verdicts as the journal keeps them: compactly, all of a turn in one row."""

import zlib
from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Float32, Float64, Int32, Int64
from rarefault.runtime.times import TIME_LIMIT_MS


@dataclass(frozen=True, slots=True)
class VerdictBatch:
    """The verdicts of one turn.

    Attributes:
        key: its place in the order.
        made_ms: when it was committed, milliseconds since the epoch.
        model: id of the model.
        device: numbers of the devices in the journal, [W].
        end_ms: ends of the windows, [W].
        fault: index of each verdict's class, [W].
        posterior: calibrated probabilities to three digits, [W, K].
    """

    key: int
    made_ms: int
    model: str
    device: Int32
    end_ms: Int64
    fault: Int64
    posterior: Float32


def pack_verdicts(device: Int32, end_ms: Int64, fault: Int64, posterior: Float64) -> bytes:
    """Verdicts as bytes: devices, ends, classes, probabilities as half-precision numbers, a CRC-32; little-endian."""
    parts = (device.astype("<i4"), end_ms.astype("<i8"), fault.astype("<u2"), posterior.astype("<f2"))
    data = b"".join(part.tobytes() for part in parts)
    return data + zlib.crc32(data).to_bytes(4, "little")


def unpack_verdicts(data: bytes, verdicts: int) -> tuple[Int32, Int64, Int64, Float32]:
    """What :func:`pack_verdicts` packed; ValueError where it cannot be that.

    Args:
        data: as it was packed.
        verdicts: their number, W.
    """
    rest = len(data) - 4 - 14 * verdicts
    if verdicts < 1 or rest < 2 * verdicts or rest % (2 * verdicts):
        raise ValueError(f"{len(data)} bytes do not fit {verdicts} verdicts")
    if data[-4:] != zlib.crc32(data[:-4]).to_bytes(4, "little"):
        raise ValueError("its checksum is wrong")
    n_classes = rest // (2 * verdicts)
    device = np.frombuffer(data, "<i4", verdicts).astype(np.int32)
    end_ms = np.frombuffer(data, "<i8", verdicts, 4 * verdicts).astype(np.int64)
    fault = np.frombuffer(data, "<u2", verdicts, 12 * verdicts).astype(np.int64)
    posterior = np.frombuffer(data, "<f2", verdicts * n_classes, 14 * verdicts).astype(np.float32)
    if device.min() < 0 or end_ms.min() < 0 or end_ms.max() >= TIME_LIMIT_MS or fault.max() >= n_classes:
        raise ValueError("it has devices, times or classes that there cannot be")
    return device, end_ms, fault, posterior.reshape(verdicts, n_classes)
