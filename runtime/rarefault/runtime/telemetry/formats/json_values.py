"""JSON whose records are single values: lists of names and values, or objects of values with details of their own.

Values of one device and time make one sample. What is written plainly is read in short loops; the rest, and all that is
wrong, by the general way.
"""

from itertools import islice
from typing import Any

from rarefault.runtime.telemetry.config import ARRIVAL, MappingConfig
from rarefault.runtime.telemetry.formats.json_records import RecordPaths
from rarefault.runtime.telemetry.formats.json_samples import no_values
from rarefault.runtime.telemetry.formats.message import (
    Groups,
    IgnoredMessage,
    IgnoreRule,
    Message,
    SampleTime,
    Unusable,
    distinct,
    good_qualities,
)
from rarefault.runtime.telemetry.formats.name_parts import LONGEST_NAME, MOST_NAMES, NameParts
from rarefault.runtime.telemetry.paths import Found, at_path
from rarefault.runtime.telemetry.payload import parse_json
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, keys_of, quote
from rarefault.runtime.telemetry.topics import DEVICE
from rarefault.runtime.telemetry.values import BadQuality

_ABSENT = object()


class JsonValues:
    """Single values, see :class:`rarefault.runtime.telemetry.formats.GroupedFormat`."""

    def __init__(self, config: MappingConfig) -> None:
        self._config = config
        self._records = RecordPaths(config.record_paths)
        self._time = SampleTime(config)
        self._ignore = IgnoreRule(config.ignore) if config.ignore else None
        self._naming = config.naming
        self._good = good_qualities(config.good)
        self._names = NameParts(config.name_patterns) if config.name_pattern else None
        self._times = tuple(path for path in config.times if path != ARRIVAL)
        keys = (*self._times, config.name, config.value, config.quality)
        self._plain = not any("." in key for key in keys)
        path = config.record_paths[0]
        named = self._names is not None
        #: Device and channel by the name of a value, where nothing else has a part in the device's name.
        self._places: dict[str, tuple[str, str]] | None = (
            {} if named and not self._naming.message_paths and not self._naming.of_topic else None
        )
        by_device = self._places is not None or (self._naming.by_topic_alone and not named)
        by_key = "." not in path and path not in {"", "*"}
        #: Key of the list whose items are read in a short loop; empty where there is none.
        self._list = (
            path
            if self._plain and by_device and by_key and config.name and self._ignore is None and len(self._times) > 0
            else ""
        )

    def groups(self, payload: bytes, message: Message) -> tuple[Groups, list[Unusable]]:
        """See :class:`rarefault.runtime.telemetry.formats.GroupedFormat`."""
        groups: Groups = {}
        bad: list[Unusable] = []
        left = self._config.max_batch
        for root in parse_json(payload):
            if isinstance(root, RejectionError):
                bad.append(root)
            elif self._ignore is not None and self._ignore.fits(root):
                bad.append(IgnoredMessage(Ignored.CONTENT))
            elif self._list and type(root) is dict and type(items := root.get(self._list)) is list:
                left = self._fewer(left, len(items))
                self._take_list(items, root, message, groups, bad)
            else:
                for found in islice(self._records.find(root), left + 1):
                    left = self._fewer(left, self._take(found, message, groups, bad))
        if not groups:
            self._refuse(bad)
        return groups, bad

    def _refuse(self, bad: list[Unusable]) -> None:
        """Raise where a message has nothing, or only values whose names fit no pattern."""
        if not bad:
            raise RejectionError(Reason.WRONG_SHAPE, "an empty array")
        names = self._names
        if names is not None and all(type(one) is IgnoredMessage and one.why == Ignored.NAME for one in bad):
            patterns = " or ".join(repr(pattern.text) for pattern in names.patterns)
            raise RejectionError(
                Reason.WRONG_SHAPE, f"no name of its {len(bad)} values fits {patterns}: {names.foreign}"
            )

    def _fewer(self, left: int, count: int) -> int:
        """How many more values there may be; RejectionError where there are too many."""
        if count > left:
            raise RejectionError(Reason.TOO_LARGE, f"more than {self._config.max_batch} values")
        return left - count

    def _take_list(
        self, items: list[Any], root: dict[str, Any], message: Message, groups: Groups, bad: list[Unusable]
    ) -> None:
        """Take a list of names and values; each item that is not plain goes the general way."""
        config, places, device = self._config, self._places, message.names.get(DEVICE, "")
        name_key, value_key, quality_key = config.name, config.value, config.quality
        times = [(key, root.get(key)) for key in self._times]
        first_key, around = times[0]
        last: Any = _ABSENT
        group: dict[str, Any] = {}
        for item in items:
            name: Any = item.get(name_key) if type(item) is dict else None
            value = item.get(value_key, _ABSENT) if type(name) is str else _ABSENT
            place = None if places is None or value is _ABSENT else places.get(name)
            if value is _ABSENT or (place is None and places is not None):
                self._take(Found((item, root), None), message, groups, bad)
                continue
            if place is not None:
                device, name = place
            time = item.get(first_key, around)
            if time is None:
                time = next((t for key, outer in times if (t := item.get(key, outer)) is not None), None)
            if time is not last and time != last:
                try:
                    ms = (
                        self._time.without(item, message) if time is None else self._time.read(time, first_key, message)
                    )
                except RejectionError as error:
                    bad.append(error)
                    continue
                last = time
                group = groups.setdefault((device, ms), {})
            elif place is not None:
                group = groups.setdefault((device, ms), {})
            if quality_key and distinct(quality := item.get(quality_key, root.get(quality_key))) not in self._good:
                value = BadQuality(quality)
            if value is not None or name not in group:
                group[name] = value

    def _take(self, found: Found, message: Message, groups: Groups, bad: list[Unusable]) -> int:
        """Take a record; how many values it has."""
        try:
            if self._ignore is not None and self._ignore.fits(found.chain[0]):
                bad.append(IgnoredMessage(Ignored.CONTENT))
                return 1
            if not self._config.name:
                return self._take_object(found, message, groups, bad)
            self._take_named(found, message, groups)
        except (RejectionError, IgnoredMessage) as error:
            bad.append(error)
        return 1

    def _take_named(self, found: Found, message: Message, groups: Groups) -> None:
        """Take a record with a name and a value, or raise RejectionError."""
        item, config = found.chain[0], self._config
        if type(item) is not dict:
            raise RejectionError(Reason.WRONG_SHAPE, f"a record must be an object, got {quote(item)}")
        name = at_path(item, config.name)
        if type(name) is int and name.bit_length() <= 64:
            name = str(name)
        if type(name) is not str:
            detail = f"{config.name!r} must be the channel's name, got {quote(name)}; {keys_of(item)}"
            raise RejectionError(Reason.WRONG_SHAPE, detail)
        value = at_path(item, config.value)
        if value is None and config.value not in item:
            raise RejectionError(Reason.WRONG_SHAPE, f"there is no {config.value!r} with the value; {keys_of(item)}")
        if config.quality and distinct(quality := found.get(config.quality)) not in self._good:
            value = BadQuality(quality)
        names = message.names
        whole = name
        if self._names is not None:
            parts, name = self._names.of(whole)
            names = {**names, **parts}
        device = self._naming.name(names, found)
        if self._places is not None and len(whole) <= LONGEST_NAME:
            if len(self._places) >= MOST_NAMES:
                self._places.clear()
            self._places[whole] = (device, name)
        group = groups.setdefault((device, self._time.of(found.get, item, message)), {})
        if value is not None or name not in group:
            group[name] = value

    def _take_object(self, found: Found, message: Message, groups: Groups, bad: list[Unusable]) -> int:
        """Take an object of values, each an object with details or a plain value; how many there are."""
        config, record = self._config, found.chain[0]
        if type(record) is not dict:
            raise RejectionError(Reason.WRONG_SHAPE, f"a record must be an object, got {quote(record)}")
        values = at_path(record, config.values) if config.values else record
        if type(values) is not dict:
            raise no_values(config.values, values, record)
        if len(values) > config.max_values:
            raise RejectionError(
                Reason.TOO_LARGE, f"a sample of {len(values)} values, the limit is {config.max_values}"
            )
        device = "" if self._names is not None else self._naming.name(message.names, found)
        outer = [(key, found.get(key)) for key in self._times]
        plain, value_key, first_key = self._plain and bool(outer), config.value, self._times[0] if outer else ""
        last: Any = _ABSENT
        group: dict[str, Any] = {}
        for key, item in values.items():
            name = key
            try:
                if self._names is not None:
                    parts, name = self._names.of(key)
                    device, last = self._naming.name({**message.names, **parts}, found), _ABSENT
                value = item.get(value_key, _ABSENT) if plain and type(item) is dict else _ABSENT
                if value is _ABSENT:
                    value = self._value_of(item)
                time = item.get(first_key) if plain and type(item) is dict else None
                if time is None:
                    time = self._time_of(item, outer)
                if time is not last and time != last:
                    last, ms = (
                        _ABSENT,
                        (
                            self._time.without(record, message)
                            if time is None
                            else self._time.read(time, self._times[0], message)
                        ),
                    )
                    last = time
                    group = groups.setdefault((device, ms), {})
            except (RejectionError, IgnoredMessage) as error:
                bad.append(error)
                continue
            if config.quality:
                quality = at_path(item, config.quality) if type(item) is dict else None
                quality = found.get(config.quality) if quality is None else quality
                value = value if distinct(quality) in self._good else BadQuality(quality)
            group[name] = value
        return len(values)

    def _value_of(self, item: Any) -> Any:
        """The value of an object with details, or of what stands in its place."""
        key = self._config.value
        if type(item) is not dict or not key:
            return item
        value = item.get(key) if self._plain else at_path(item, key)
        if value is None and key not in item:
            raise RejectionError(Reason.WRONG_SHAPE, f"there is no {key!r} with the value; {keys_of(item)}")
        return value

    def _time_of(self, item: Any, outer: list[tuple[str, Any]]) -> Any:
        """The time of a value, as it is written; None where there is none."""
        inner = type(item) is dict
        for key, around in outer:
            time = (item.get(key) if self._plain else at_path(item, key)) if inner else None
            if time is None:
                time = around
            if time is not None:
                return time
        return None
