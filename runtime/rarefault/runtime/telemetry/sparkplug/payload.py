"""Payloads of Sparkplug B: as much of their protobuf as is needed, read without a library.

Fields that are not needed are skipped. What cannot be protobuf is a ValueError; nothing else is raised, whatever the
bytes are. Nothing is read deeper than the properties of a metric, so there is no depth to bound.
"""

import re
import struct
from typing import Any, NamedTuple

from rarefault.runtime.telemetry.reasons import quote

#: What a field of protobuf is.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
#: Bits of the signed datatypes Int8, Int16, Int32 and Int64.
SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}
#: Name of the property that says how good a value is, in UTF-8.
QUALITY = b"Quality"
#: Properties of a metric that are looked through.
MOST_PROPERTIES = 100
#: Longest name of a metric, bytes.
MAX_NAME = 1024

#: A metric as most data have it, so that these are read several times faster: alias, time, perhaps a datatype, and a
#: number of double or single precision.
_USUAL = re.compile(
    rb"\x12[\x00-\x7f]\x10([\x00-\x7f]|[\x80-\xff][\x00-\x7f])\x18([\x80-\xff]{5}[\x00-\x7f])"
    rb"(?:\x20([\x00-\x7f]))?(?:\x69(.{8})|\x65(.{4}))",
    re.DOTALL,
)
_new = tuple.__new__
#: Place in a :class:`Metric` of each field that is needed: name, alias, timestamp, datatype, and so on; 16 to 18 are no
#: single value.
_PLACES = {0x0A: 0, 0x10: 1, 0x18: 2, 0x20: 3, 0x38: 5, 0x28: 6, 0x4A: 7} | dict.fromkeys(
    (0x50, 0x58, 0x65, 0x69, 0x70, 0x7A, 0x82, 0x8A, 0x92), 4
)
_BOOLEANS = frozenset({0x28, 0x38, 0x70})
_LARGEST = (1 << 64) - 1
_double, _float = struct.Struct("<d").unpack_from, struct.Struct("<f").unpack_from


class Unreadable:
    """Stands for a value that is no single number, Boolean or text."""

    def __repr__(self) -> str:
        """For the log."""
        return "a data set, a template, an array or bytes"


#: The only one.
UNREADABLE = Unreadable()


class Metric(NamedTuple):
    """A metric.

    Attributes:
        name, alias: one of them, or both; None where it is not there.
        timestamp: milliseconds since the epoch; None where it is not there.
        datatype: 0 where it is not there.
        value: as it stands in the payload, before the datatype says which of the numbers are negative; None where there
            is none.
        null: whether it is said to have no value.
        historical: whether it is not the present value.
        quality: its property ``Quality``; None where it is not there.
    """

    name: str | None
    alias: int | None
    timestamp: int | None
    datatype: int
    value: Any
    null: bool
    historical: bool
    quality: Any


class Payload(NamedTuple):
    """A payload.

    Attributes:
        timestamp: milliseconds since the epoch; None where it is not there.
        seq: number of the message; None where it is not there.
        metrics: in their order.
    """

    timestamp: int | None
    seq: int | None
    metrics: list[Metric]


def read_payload(data: bytes, most: int) -> Payload:
    """Read a payload.

    Args:
        data: the bytes.
        most: metrics that it may have.

    Raises:
        OverflowError: it has more metrics.
        ValueError: it is none.
    """
    timestamp = seq = None
    metrics: list[Metric] = []
    at, end = 0, len(data)
    stamp_bytes, stamp = b"", 0
    usual = _USUAL.match
    while at < end:
        if (found := usual(data, at)) is not None and found.end() - at - 2 == data[at + 1]:
            alias_, bytes_, datatype, double, single = found.groups()
            if bytes_ != stamp_bytes:
                stamp_bytes, stamp = bytes_, _varint(bytes_, 0, 6)[0]
            alias = alias_[0] if len(alias_) == 1 else alias_[0] & 0x7F | alias_[1] << 7
            value = _double(double)[0] if double is not None else _float(single)[0]
            if len(metrics) >= most:
                raise OverflowError(f"more than {most} metrics")
            metrics.append(
                _new(Metric, (None, alias, stamp, datatype[0] if datatype else 0, value, False, False, None))
            )
            at = found.end()
            continue
        tag, at = _varint(data, at, end)
        if tag == 0x12:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise ValueError("a metric ends too early")
            if len(metrics) >= most:
                raise OverflowError(f"more than {most} metrics")
            metrics.append(_metric(data, at, at + size))
            at += size
        elif tag == 0x08:
            timestamp, at = _varint(data, at, end)
        elif tag == 0x18:
            seq, at = _varint(data, at, end)
        elif tag == 0x22 and data[at + 1 : at + 19] == b"SPBV1.0_COMPRESSED":
            raise ValueError("it is compressed, which Sparkplug 3.0 does not know; have the edge node send it as it is")
        else:
            at = _skip(data, at, end, tag)
    return Payload(timestamp, seq, metrics)


def signed(value: int, datatype: int) -> int:
    """A whole number of a datatype: those that may be negative are in two's complement.

    >>> signed(0xFFFFFFFF, 3), signed(0xFF, 1), signed(7, 7)
    (-1, -1, 7)
    """
    bits = SIGNED.get(datatype)
    if bits is None:
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _metric(data: bytes, at: int, end: int) -> Metric:
    """The metric between two places."""
    found: list[Any] = [None, None, None, 0, None, False, False, None]
    while at < end:
        tag, at = _varint(data, at, end)
        place = _PLACES.get(tag)
        if place is None:
            at = _skip(data, at, end, tag)
            continue
        kind = tag & 7
        if kind == VARINT:
            number, at = _varint(data, at, end)
            found[place] = number != 0 if tag in _BOOLEANS else number
        elif kind == BYTES:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise ValueError("a field ends too early")
            found[place] = _bytes_field(data, at, at + size, tag)
            at += size
        else:
            size, unpack = (4, _float) if kind == FIXED32 else (8, _double)
            if size > end - at:
                raise ValueError("a number ends too early")
            found[place] = unpack(data, at)[0]
            at += size
    return _new(Metric, found)


def _bytes_field(data: bytes, at: int, stop: int, tag: int) -> Any:
    """What a field of a metric between two places holds."""
    if tag == 0x0A:
        if stop - at > MAX_NAME:
            raise ValueError(f"a metric's name is longer than {MAX_NAME} bytes")
        return _text(data, at, stop)
    if tag == 0x7A:
        return _text(data, at, stop)
    return _quality(data, at, stop) if tag == 0x4A else UNREADABLE


def _quality(data: bytes, at: int, end: int) -> Any:
    """The property ``Quality`` of the properties between two places; None where it is not there."""
    place, keys, values = -1, 0, []
    while at < end:
        tag, at = _varint(data, at, end)
        if tag not in {0x0A, 0x12}:
            at = _skip(data, at, end, tag)
            continue
        size, at = _varint(data, at, end)
        if size > end - at:
            raise ValueError("a property ends too early")
        if tag == 0x0A:
            if data[at : at + size] == QUALITY:
                place = keys
            keys += 1
        else:
            values.append((at, at + size))
        if keys > MOST_PROPERTIES or len(values) > MOST_PROPERTIES:
            raise ValueError(f"a metric has more than {MOST_PROPERTIES} properties")
        at += size
    return _property(data, *values[place]) if 0 <= place < len(values) else None


def _property(data: bytes, at: int, end: int) -> Any:
    """The value of a property between two places."""
    datatype = 0
    value: Any = None
    while at < end:
        tag, at = _varint(data, at, end)
        if tag in {0x08, 0x18, 0x20, 0x38}:
            number, at = _varint(data, at, end)
            if tag == 0x08:
                datatype = number
            else:
                value = number != 0 if tag == 0x38 else number
        elif tag == 0x42:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise ValueError("a property ends too early")
            value = _text(data, at, at + size)
            at += size
        else:
            at = _skip(data, at, end, tag)
    return signed(value, datatype) if type(value) is int else value


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _LARGEST:
                break
            return value, at
        shift += 7
        if shift > 63:
            break
    raise ValueError("a number ends too early" if at >= end else "a number is longer than 64 bits")


def _skip(data: bytes, at: int, end: int, tag: int) -> int:
    """The place behind a field that is not needed."""
    kind = tag & 7
    if tag < 8:
        raise ValueError("there is no field 0")
    if kind == VARINT:
        return _varint(data, at, end)[1]
    if kind == FIXED64:
        at += 8
    elif kind == FIXED32:
        at += 4
    elif kind == BYTES:
        size, at = _varint(data, at, end)
        at += size
    else:
        raise ValueError(f"a field is of kind {kind}, which protobuf does not have any more")
    if at > end:
        raise ValueError("a field ends too early")
    return at


def _text(data: bytes, at: int, stop: int) -> str:
    try:
        return data[at:stop].decode()
    except UnicodeDecodeError:
        raise ValueError(f"{quote(repr(data[at : min(stop, at + 40)]))} is not UTF-8") from None
