"""The mapping from messages to samples: the keys of ``[telemetry]`` that the daemon and the trainer share."""

import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import msgspec

from rarefault.runtime.settings import Section
from rarefault.runtime.telemetry.naming import Naming
from rarefault.runtime.telemetry.paths import ANY_KEY
from rarefault.runtime.telemetry.pattern import Pattern
from rarefault.runtime.telemetry.payload import Compression
from rarefault.runtime.telemetry.presets import PRESETS
from rarefault.runtime.telemetry.sparkplug.topics import NAMESPACE
from rarefault.runtime.telemetry.times import Unit
from rarefault.runtime.telemetry.topics import CHANNEL, DEVICE, Template, topic_filter

Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Path = Annotated[str, msgspec.Meta(min_length=1)]
Scalar = bool | int | float | str
Format = Literal["json", "scalar", "senml", "influx", "sparkplug"]

#: Where formats name the device by themselves: the base name of SenML, a tag of the line protocol, levels of the topic.
DEVICE_OF_FORMAT = {"senml": "bn", "influx": "device", "sparkplug": "{group}.{edge}.{device}"}
#: Stands in ``time`` for the time of arrival.
ARRIVAL = "arrival"


_DEVICE_PART = re.compile(r"[^{}]*\{device\}")


class MappingConfig(Section, frozen=True):
    """``[telemetry]``: what messages look like. ``[[telemetry]]`` may stand several times, for several kinds of them.

    A path is a key of the message, or keys of nested objects with dots between them, such as ``tags.host``.
    """

    preset: str = ""
    """Name of a kind of sender whose keys are filled in where they are not given: ``rarefault presets`` lists them."""
    topic: str = "telemetry/{device}"
    """Topic of the telemetry. A level is fixed text, ``+`` (any text), or text around one name in braces: ``{device}``,
    ``{channel}``, or one that ``device`` uses, such as ``{site}``. The last level may be ``#``, or a name such as
    ``{device...}`` that takes all further levels, with ``.`` in place of ``/``."""
    ignore_topics: tuple[str, ...] = ()
    """Topic filters whose messages are no telemetry, such as ``zigbee2mqtt/bridge/#``. They are counted, no more."""
    device: str = ""
    """Name of the device. A path in the message; or text with names of the topic and paths in braces, such as
    ``{site}-{device}`` or ``{tags.host}``. Default: ``{device}`` of the topic. If the topic has ``{device}`` and this
    is a path, the two names must be equal."""
    several_topics: bool = False
    """Accept a device on topics that differ before ``{device}`` (or on any topic, if only the message names the
    device). If false, the second topic counts as another machine of the same name, and its telemetry is rejected."""
    format: Format = "json"
    """Format of the payload. ``scalar``: one value, whose channel is ``{channel}`` of the topic. ``senml``: SenML in
    JSON. ``influx``: the line protocol of InfluxDB. ``sparkplug``: Sparkplug B; ``device`` is made of ``{group}``,
    ``{edge}`` and ``{device}``, which are levels of the topic."""
    records: str | tuple[str, ...] = ""
    """JSON only: path of the samples in the message, such as ``metrics``; arrays are gone through. ``*`` stands for
    every key of an object, whose keys are the devices. Several paths: the first that is there. Empty: the message
    itself, or the items of its array, or of its lines."""
    name: str = ""
    """JSON only: the records are single values, and this is the path of the channel's name. Values of the same device
    and time become one sample."""
    value: str = ""
    """Path of the value in a record with ``name``. Without ``name``: path of the value in each object of ``values``.
    ``scalar``: path of the value where the payload is an object; ``value`` by default."""
    name_pattern: str | tuple[str, ...] = ()
    """JSON only: how the names of values are made of device and channel, such as ``{device}.{channel}`` or
    ``Line 3/{device}/{channel}``; of several patterns the first that fits. The names are those at ``name`` or, without
    it, the keys of ``values``. A part holds none of the marks beside it, unless it is written ``{channel+}``; ``*`` is
    anything. Values whose name fits none are counted and left out. Default: the name is the channel's."""
    values: str = "values"
    """JSON only: path of the object with the channel values in the record. Empty: the record itself is that object."""
    quality: str = ""
    """Path of a value's or sample's quality. Values of another quality than ``good``, or without one, are missing."""
    good: tuple[Scalar, ...] = (192, "good", "Good", True)
    """The qualities of good values. ``""`` stands for a value without a quality, which OPC UA leaves out where it is
    good."""
    time: Path | Annotated[tuple[Path, ...], msgspec.Meta(min_length=1)] = "time"
    """Path of the time, in the record or in an object around it; or several paths, the first that is there counts.
    ``arrival`` stands for the time of arrival. A message without its time is rejected. SenML and line protocol bring
    their own times; ``arrival`` also takes lines without one."""
    time_unit: Unit | None = None
    """Unit of times that are numbers. Default: by their size."""
    time_zone: str = ""
    """IANA name of the zone of times without an offset, such as ``Europe/Berlin``. Without it such times are
    rejected."""
    time_format: str = ""
    """Format of times that are text, as for Python's ``strptime``, such as ``%d.%m.%Y %H:%M:%S``. Default: ISO 8601."""
    ignore: dict[str, tuple[Scalar, ...]] = msgspec.field(default_factory=dict)
    """Messages that are no telemetry, by path and values, such as ``{method = ["NotifyEvent"]}``. They are counted, no
    more."""
    alive_s: Positive = 60.0
    """Sparkplug only: a message of an edge node shows that its other devices are alive with the values that they had.
    This is written down for each of them at most so often, seconds."""
    rebirth: bool = True
    """Sparkplug only: ask an edge node to be born again where messages are missing or cannot be read without, at most
    every 30 s."""
    compression: Compression = "auto"
    """Compression of the payload. ``auto`` recognises gzip and zlib."""
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    """Maps foreign names to channels of the model. A name may be a path into nested objects, such as
    ``sensors.inlet.value``."""
    max_payload_bytes: Count = 1 << 20
    """Largest message, bytes, also after inflating. Larger messages are rejected."""
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    """Most samples, or single values, in one message. Messages with more are rejected."""
    max_values: Count = 1000
    """Most values in one sample, unknown channels included. Larger samples are rejected."""

    @classmethod
    def completed(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keys of a section with those of its preset; those of the section count, and ``fields`` are joined."""
        name = given.get("preset")
        preset = PRESETS.get(name) if isinstance(name, str) else None
        if preset is None:
            return given
        keys = {**preset.keys, **given}
        if isinstance(given.get("fields"), Mapping):
            keys["fields"] = {**preset.keys.get("fields", {}), **given["fields"]}
        return keys

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise ValueError("\n".join(problems))

    @property
    def template(self) -> Template:
        """Of the topics."""
        return Template(self.topic)

    @property
    def times(self) -> tuple[str, ...]:
        """The paths of the time."""
        return (self.time,) if isinstance(self.time, str) else self.time

    @property
    def record_paths(self) -> tuple[str, ...]:
        """The paths of the records."""
        return (self.records,) if isinstance(self.records, str) else self.records

    @property
    def naming(self) -> Naming:
        """How devices are named."""
        template = self.template
        text = self.device or ("" if template.has_device else DEVICE_OF_FORMAT.get(self.format, ""))
        keyed = any(ANY_KEY in path.split(".") for path in self.record_paths)
        return Naming(text, template, keyed=keyed, of_names=self.parts_of_names)

    @property
    def name_patterns(self) -> tuple[Pattern, ...]:
        """How the names of values are made; ValueError where that cannot be."""
        texts = (self.name_pattern,) if isinstance(self.name_pattern, str) else self.name_pattern
        return tuple(map(Pattern, texts))

    @property
    def parts_of_names(self) -> frozenset[str]:
        """What the names of values hold beside the channel."""
        return frozenset(name for pattern in self.name_patterns for name in pattern.names) - {CHANNEL}

    @property
    def node_naming(self) -> Naming:
        """How edge nodes of Sparkplug are named: as their devices, without ``{device}`` and the text before it."""
        text = _DEVICE_PART.sub("", self.device or DEVICE_OF_FORMAT["sparkplug"], count=1).lstrip(" .-_:@|")
        return Naming(text or "{edge}", self.template)

    @property
    def from_anywhere(self) -> bool:
        """Whether a device may come on topics that differ before its name."""
        return self.several_topics or self.format == "sparkplug"

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Self:
        """A section of plain values, with its preset; msgspec.ValidationError where it cannot be used."""
        return msgspec.convert(dict(cls.completed(given)), cls)

    def _problems(self) -> Iterator[str]:
        """All that contradicts itself, each with its keys."""
        if self.preset and self.preset not in PRESETS:
            yield f"preset: there is no {self.preset!r}; there are {', '.join(PRESETS)}"
        try:
            template = self.template
        except ValueError as error:
            yield str(error)
        else:
            try:
                patterns = self.name_patterns
            except ValueError as error:
                yield f"name_pattern: {error}"
            else:
                yield from self._problems_of_names(template)
                yield from self._problems_of_patterns(patterns, template)
        for text in self.ignore_topics:
            try:
                topic_filter(text)
            except ValueError as error:
                yield f"ignore_topics: {error}"
        yield from self._problems_of_format()
        yield from self._problems_of_time()

    def _problems_of_names(self, template: Template) -> Iterator[str]:
        try:
            naming = self.naming
        except ValueError as error:
            yield str(error)
            return
        if self.format in {"json", "scalar"} and not naming.sources:
            yield (
                f"topic {self.topic!r} has no {{device}}; write it where the device's name stands, such as "
                "telemetry/{device}, or name the message's key for it in telemetry.device"
            )
        if self.format == "scalar" and not template.has_channel:
            yield (
                f"format 'scalar' has one value a message, but topic {self.topic!r} has no {{channel}} that names it; "
                "write it where the channel's name stands, such as plant/{device}/{channel}"
            )
        if template.has_channel and (self.format in {"senml", "influx", "sparkplug"} or self.name):
            yield f"topic {self.topic!r} has {{channel}}, but the message names the channels; write '+' there"

    def _problems_of_patterns(self, patterns: Sequence[Pattern], template: Template) -> Iterator[str]:
        """What is wrong with ``name_pattern``; a part that is used for nothing would make two machines one."""
        try:
            used = {DEVICE, *self.naming.sources}
        except ValueError:  # said already
            return
        parts = [set(pattern.names) - {CHANNEL} for pattern in patterns]
        for pattern, own in zip(patterns, parts, strict=True):
            if CHANNEL not in pattern.names:
                yield f"name_pattern {pattern.text!r} has no {{channel}}"
            elif own != parts[0]:
                yield f"name_pattern: {pattern.text!r} does not have the same parts as {patterns[0].text!r}"
            elif unused := sorted(own - used):
                yield (
                    f"name_pattern {pattern.text!r} has {{{unused[0]}}}, which device does not use: two machines that "
                    "differ in it would be one; use it in device, or write '*' if it is the same everywhere"
                )
        for part in sorted(self.parts_of_names & set(template.keys)):
            yield f"topic and name_pattern both have {{{part}}}: write '+' or another name in the topic"
        if patterns and template.has_channel:
            yield f"topic {self.topic!r} has {{channel}}, but name_pattern says where the channel's name is; write '+'"

    def _problems_of_format(self) -> Iterator[str]:
        if self.format != "json":
            default = {field.name: field.default for field in msgspec.structs.fields(type(self))}
            keys = ("records", "name", "name_pattern", "values", "quality") + (
                () if self.format == "scalar" else ("value",)
            )
            if given := [key for key in keys if getattr(self, key) != default[key]]:
                yield f"{' and '.join(given)} can be given with format 'json' only, but format is {self.format!r}"
        if self.format == "sparkplug":
            yield from self._problems_of_sparkplug()
        if self.name and not self.value:
            yield "name is given without value: name the path of a record's value, too"
        if self.name and self.values not in {"values", ""}:
            yield "name and values are both given: records are either single values (name, value) or samples (values)"
        if self.format == "json" and self.value and not self.name and not self.values and self.quality == self.value:
            yield "value and quality are the same path"
        if self.quality and not self.good:
            yield "quality is given, but good is empty: no value would be good"
        if not self.record_paths:
            yield 'records must name a path, or "" for the message itself'

    def _problems_of_sparkplug(self) -> Iterator[str]:
        if not self.topic.startswith(f"{NAMESPACE}/") or len(self.topic.split("/")) < 4:
            yield (
                f"topic {self.topic!r} is none of Sparkplug: write it like {NAMESPACE}/{{group}}/+/{{edge}}/#, with a "
                "name in place of a level for that group or edge node only"
            )
        text = self.device or DEVICE_OF_FORMAT["sparkplug"]
        if not self.device or "{" in text:
            names = set(re.findall(r"\{([^{}]*)\}", text))
            if foreign := sorted(names - {"group", "edge", "device", "type"}) or ("type" in names and ["type"]):
                yield f"device {text!r} has {{{foreign[0]}}}: there are {{group}}, {{edge}} and {{device}}"
            elif not names & {"edge", "device"}:
                yield f"device {text!r} must have {{edge}} or {{device}}"
        else:
            whole = "{group}.{edge}.{device}"
            yield f"device {text!r} must be made of {{group}}, {{edge}} and {{device}}, such as {whole}"
        if self.times[0] not in {"time", ARRIVAL}:
            yield "time can only be 'arrival' with format 'sparkplug', for values without a timestamp"
        if given := [key for key in ("time_unit", "time_zone", "time_format", "ignore") if getattr(self, key)]:
            yield f"{' and '.join(given)} cannot be given with format 'sparkplug'"

    def _problems_of_time(self) -> Iterator[str]:
        if ARRIVAL in self.times[:-1]:
            yield "time: 'arrival' must be the last, as it is always there"
        if self.time_zone not in {"", "UTC"}:
            try:
                zoneinfo.ZoneInfo(self.time_zone)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                yield (
                    f"time_zone: no time zone {self.time_zone!r} is known; write it like 'Europe/Zurich' or 'UTC' "
                    "(on a system without time zones, install the package tzdata)"
                )
        if self.times == (ARRIVAL,) and (
            given := [key for key in ("time_unit", "time_zone", "time_format") if getattr(self, key)]
        ):
            yield f"{' and '.join(given)} can be given for times of the message only, but time is 'arrival'"
        if self.time_format and "%z" in self.time_format and self.time_zone:
            yield "time_zone is given, but time_format has the offset (%z)"
        if self.time_format and "%" not in self.time_format:
            yield f"time_format {self.time_format!r} has no directive such as %Y; write it like '%d.%m.%Y %H:%M:%S'"


def key_of(configs: Sequence[MappingConfig], number: int) -> str:
    """What a message calls a mapping's section."""
    return "telemetry" if len(configs) == 1 else f"telemetry[{number}]"
