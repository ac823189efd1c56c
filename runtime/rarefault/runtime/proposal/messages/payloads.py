"""What payloads look like: of which format they are, and where times, names and values may stand."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rarefault.runtime.proposal.messages.trial import Heard
from rarefault.runtime.telemetry.paths import at_path, find_records
from rarefault.runtime.telemetry.payload import parse_json, unpack
from rarefault.runtime.telemetry.reasons import RejectionError
from rarefault.runtime.telemetry.times import TimeReader

#: What a payload is.
Kind = Literal["empty", "scalar", "object", "array", "senml", "influx", "other"]
#: Bytes of a payload that is looked at; longer ones are looked at by trial only.
LIMIT = 1 << 20
#: Paths of one record that are looked at, and how deep.
MOST_PATHS, DEPTH = 400, 4
#: A time of a message is within so much of its arrival; local times may be 14 hours off.
NEAR_MS, LOCAL_MS = 6 * 3_600_000, 15 * 3_600_000

_LINE = re.compile(rb"^[^\s,=]+(,[^\s=]+=[^\s]+)* [^\s=]+=[^\n]+?( -?\d+)?$", re.MULTILINE)
_NAMES = ("name", "n", "tag", "id", "metric", "variable", "key", "channel", "displayName", "nodeId", "point", "signal")
#: Such a name holds channels only where it differs: it may also say what all messages are.
_KINDS = ("sensor", "parameter", "quantity", "measurand", "kind", "type")
_VALUES = ("value", "v", "val", "Value", "values")
_QUALITIES = ("quality", "q", "qc", "Quality", "statusCode", "StatusCode", "good")
_DEVICES = ("device", "deviceId", "device_id", "deviceName", "machine", "asset", "src", "host", "id", "sensor", "name")
#: Notations of times beside ISO 8601 and numbers; where two fit, the nearer to the arrival counts.
_FORMATS = tuple(
    f"{day} {clock}"
    for day in ("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d-%b-%Y", "%d %b %Y")
    for clock in ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M", "%I:%M:%S %p")
)
_TIME_WORDS = frozenset({"time", "ts", "timestamp", "date", "datetime", "at", "sent", "seen", "t", "zeit", "when"})


def text_of(message: Heard) -> bytes | None:
    """The text of a payload; None where it cannot be had."""
    try:
        return unpack(message.payload, "auto", LIMIT)
    except RejectionError:
        return None


def values_of(message: Heard) -> list[Any] | None:
    """The values of a payload in JSON; None where it is none."""
    text = text_of(message)
    try:
        return parse_json(text) if text else None
    except RejectionError:
        return None


def kind_of(message: Heard) -> Kind:
    """What a payload is."""
    text = text_of(message)
    if not text:
        return "other" if text is None else "empty"
    if text[:1] in {b"{", b"["}:
        values = values_of(message)
        if values is None:
            return "other"
        if text[:1] == b"[" and values and all(type(one) is dict for one in values):
            keys = {key for one in values[:10] for key in one}
            return "senml" if keys & {"n", "bn"} and keys & {"v", "vb", "vs", "bv"} else "array"
        return "array" if text[:1] == b"[" else "object"
    if len(text) <= 64 and b"\n" not in text and _is_value(text):
        return "scalar"
    return "influx" if _LINE.match(text) else "other"


def keys_of(messages: Sequence[Heard]) -> frozenset[str]:
    """The keys that objects in some payloads have."""
    objects = [one for message in messages for one in (values_of(message) or ())[:5] if type(one) is dict]
    return frozenset(key for one in objects for key in list(one)[:MOST_PATHS])


def _is_value(text: bytes) -> bool:
    """Whether text is a number, or one short word."""
    try:
        shown = text.decode().strip().strip('"')
    except UnicodeDecodeError:
        return False
    return bool(re.fullmatch(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?|[A-Za-z][\w .-]{0,30}", shown))


@dataclass(frozen=True, slots=True)
class TimePath:
    """A path at which times stand.

    Attributes:
        path: of the time.
        example: one of them.
        zoned: whether it has an offset, or is a number.
        offset_ms: median of the difference between it (read as UTC where it has no offset) and the arrival.
        format: for ``telemetry.time_format``; "" for ISO 8601 and numbers.
    """

    path: str
    example: Any
    zoned: bool
    offset_ms: float
    format: str = ""


def time_paths(records: Sequence[tuple[Any, int]]) -> list[TimePath]:
    """Paths of records at which times near their arrival stand, the likeliest first.

    Args:
        records: with the time of arrival of each, milliseconds.
    """
    found: list[tuple[float, TimePath]] = []
    utc, naive = TimeReader(), TimeReader(zone="UTC")
    for path in _common_paths([record for record, _ in records]):
        values = [(at_path(record, path), arrived_ms) for record, arrived_ms in records]
        times: list[float] = []
        zoned = True
        for value, arrived_ms in values:
            if type(value) not in {str, int, float}:
                continue
            try:
                times.append(utc.read(value, arrived_ms) - arrived_ms)
            except ValueError:
                try:
                    times.append(naive.read(value, arrived_ms) - arrived_ms)
                except ValueError:
                    continue
                zoned = False
        if len(times) < 0.8 * len(values):
            if (written := _written(path, values)) is not None:
                found.append((path.count(".") + 8, written))
            continue
        offset = sorted(times)[len(times) // 2]
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", path.rpartition(".")[2])
        named = any(word.lower() in _TIME_WORDS for word in words)
        if abs(offset) > (NEAR_MS if zoned else LOCAL_MS) and not named:
            continue
        rank = path.count(".") + 2 * (not named) + 4 * (not zoned) + min(abs(offset), 1e9) / 1e9
        found.append((rank, TimePath(path, values[0][0], zoned, offset)))
    return [one for _, one in sorted(found, key=lambda item: (item[0], item[1].path))]


def _written(path: str, values: Sequence[tuple[Any, int]]) -> TimePath | None:
    """Times in one of the other notations; None where they are in none, or not near their arrival."""
    found: list[TimePath] = []
    texts = [(value, arrived_ms) for value, arrived_ms in values if type(value) is str and value[:1].isdecimal()]
    if len(texts) < 0.8 * len(values):
        return None
    for notation in _FORMATS:
        reader = TimeReader(zone="UTC", format=notation)
        try:
            offsets = sorted(reader.read(value, arrived_ms) - arrived_ms for value, arrived_ms in texts)
        except ValueError:
            continue
        offset = offsets[len(offsets) // 2]
        if abs(offset) <= LOCAL_MS:
            found.append(TimePath(path, texts[0][0], zoned=False, offset_ms=offset, format=notation))
    return min(found, key=lambda one: abs(one.offset_ms), default=None)


def record_paths(messages: Sequence[Any]) -> list[str]:
    """Paths at which samples, or single values, stand in messages: the message itself, arrays, keys that are devices.

    Args:
        messages: values of payloads.
    """
    counts: Counter[str] = Counter()
    for message in messages:
        for path, value in _walk(message):
            if type(value) is list and value and all(type(item) is dict for item in value[:5]):
                counts[path] += 1
        if type(message) is dict and _keys_are_devices(message):
            counts["*"] += 1
    return ["", *(path for path, n in counts.most_common(6) if n >= 0.5 * len(messages))]


def _keys_are_devices(message: dict[str, Any]) -> bool:
    """Whether all that an object holds are samples, of the same form: then its keys are their devices."""
    inner = [item[0] if type(item) is list and item else item for item in message.values()]
    if not inner or not all(type(item) is dict and item for item in inner):
        return False
    first = set(inner[0])
    return all(set(item) & first for item in inner) and bool(first & {"ts", "time", "timestamp", "values"})


def records_at(messages: Sequence[tuple[Any, int]], path: str) -> list[tuple[Any, int]]:
    """The records at a path of messages, some of each, with the times of arrival."""
    found = []
    for message, arrived_ms in messages:
        try:
            for number, record in enumerate(find_records(message, path) or ()):
                if number >= 20:
                    break
                if type(record.chain[0]) is dict:
                    found.append((record.chain[0], arrived_ms))
        except RejectionError:
            continue
    return found


def name_value_keys(records: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Keys of a mapping by which records are single values with their names."""
    paths = _common_paths(records)
    names = [path for path in paths if path.rpartition(".")[2] in _NAMES + _KINDS]
    values = [path for path in paths if path.rpartition(".")[2] in _VALUES]
    for name in names:
        words = {at_path(record, name) for record in records if type(at_path(record, name)) in {str, int}}
        for value in values:
            scalars = sum(type(at_path(record, value)) in {int, float, bool, str} for record in records)
            if len(words) > (name.rpartition(".")[2] in _KINDS) and scalars >= 0.5 * len(records):
                yield {"name": name, "value": value}


def value_paths(records: Sequence[Any]) -> list[str]:
    """Paths of objects in records that hold values, those with most of them first; "" is the record itself."""
    counts: Counter[str] = Counter()
    for record in records:
        for path, value in _walk(record):
            if type(value) is dict:
                counts[path] += sum(type(inner) in {int, float, bool} for inner in value.values()) + 1
        if type(record) is dict:
            counts[""] += sum(type(inner) in {int, float, bool} for inner in record.values())
    return [path for path, _ in counts.most_common(8)]


def inner_value_key(records: Sequence[Any], path: str) -> str:
    """The key under which each value of the object at a path stands, as ``Value`` in OPC UA; "" where none does."""
    counts: Counter[str] = Counter()
    objects = total = 0
    for record in records:
        values = at_path(record, path) if path else record
        for inner in values.values() if type(values) is dict else ():
            total += 1
            if type(inner) is dict:
                objects += 1
                counts.update(key for key in inner if key in _VALUES)
    if not counts or objects < 0.5 * total:
        return ""
    key, n = counts.most_common(1)[0]
    return key if n >= 0.8 * objects else ""


def quality_keys(records: Sequence[Any]) -> dict[str, Any]:
    """Where the quality of values stands, and which are good; empty where they have none."""
    for path in _common_paths(records, share=0.3):
        if path.rpartition(".")[2] in _QUALITIES:
            seen = Counter(
                value for record in records if type(value := at_path(record, path)) in {int, float, bool, str}
            )
            if seen:
                return {"quality": path, "seen": seen}
    return {}


def device_paths(messages: Sequence[Any]) -> list[str]:
    """Paths of messages at which a name of a device may stand, the likeliest first."""
    paths = [path for path in _common_paths(messages) if path.rpartition(".")[2] in _DEVICES]
    texts = [path for path in paths if all(type(at_path(one, path)) in {str, int, type(None)} for one in messages)]
    return sorted(texts, key=lambda path: (_DEVICES.index(path.rpartition(".")[2]), path.count(".")))


def _common_paths(records: Sequence[Any], share: float = 0.8) -> list[str]:
    """Paths of single values that most records have."""
    counts = Counter(path for record in records for path, value in _walk(record) if type(value) not in {dict, list})
    return [path for path, n in counts.items() if n >= share * len(records)][:MOST_PATHS]


def _walk(value: Any, path: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Any]]:
    """The paths in an object, some levels down, and what stands there; of arrays none."""
    if type(value) is not dict or not depth:
        return
    for number, (key, inner) in enumerate(value.items()):
        if number >= MOST_PATHS:
            return
        name = f"{path}.{key}" if path else str(key)
        yield name, inner
        yield from _walk(inner, name, depth - 1)
