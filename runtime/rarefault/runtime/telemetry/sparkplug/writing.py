"""Payloads of Sparkplug B that are written: the few fields that a host application and an edge node need."""

import struct
from collections.abc import Iterable
from typing import NamedTuple

#: Datatypes of metrics.
INT32, INT64, DOUBLE, BOOLEAN, STRING, DATETIME = 3, 4, 10, 11, 12, 13

#: Name of the metric by which an edge node is asked to be born again.
REBIRTH = "Node Control/Rebirth"
#: Name of the metric that numbers the sessions of an edge node.
BD_SEQ = "bdSeq"


class Value(NamedTuple):
    """A metric that is written.

    Attributes:
        name: of the metric.
        datatype: one of those above.
        value: None where there is none.
        time_ms: milliseconds since the epoch; None for that of the payload.
        historical: whether it is not the present value.
    """

    name: str
    datatype: int
    value: float | str | bool | None
    time_ms: int | None = None
    historical: bool = False


def write_payload(values: Iterable[Value], time_ms: int, seq: int | None) -> bytes:
    """A payload.

    Args:
        values: its metrics.
        time_ms: milliseconds since the epoch.
        seq: number of the message; None for a message that has none.
    """
    out = bytearray()
    _number(out, 1, time_ms)
    for value in values:
        _bytes(out, 2, _metric(value, time_ms))
    if seq is not None:
        _number(out, 3, seq)
    return bytes(out)


def rebirth_command(time_ms: int) -> bytes:
    """What asks an edge node to be born again."""
    return write_payload([Value(REBIRTH, BOOLEAN, True)], time_ms, None)


def _metric(metric: Value, time_ms: int) -> bytes:
    name, datatype, value, at_ms, historical = metric
    out = bytearray()
    _bytes(out, 1, name.encode())
    _number(out, 3, time_ms if at_ms is None else at_ms)
    _number(out, 4, datatype)
    if historical:
        _number(out, 5, 1)
    if value is None:
        _number(out, 7, 1)
    elif datatype == STRING:
        _bytes(out, 15, str(value).encode())
    elif datatype == BOOLEAN:
        _number(out, 14, int(value))
    elif datatype == DOUBLE:
        out += b"\x69" + struct.pack("<d", value)  # field 13
    else:
        _number(out, 10 if datatype == INT32 else 11, int(value) & (0xFFFFFFFF if datatype == INT32 else (1 << 64) - 1))
    return bytes(out)


def _number(out: bytearray, field: int, number: int) -> None:
    _varint(out, field << 3)
    _varint(out, number)


def _bytes(out: bytearray, field: int, data: bytes) -> None:
    _varint(out, field << 3 | 2)
    _varint(out, len(data))
    out += data


def _varint(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
