"""The line protocol of InfluxDB: ``measurement,tag=text field=1.5,other=2i 1767323044000000000``."""

from typing import Any

from rarefault.runtime.telemetry.config import ARRIVAL, MappingConfig
from rarefault.runtime.telemetry.formats.message import Groups, Message, Unusable
from rarefault.runtime.telemetry.paths import Found
from rarefault.runtime.telemetry.payload import parse_text
from rarefault.runtime.telemetry.reasons import Reason, RejectionError, keys_of, quote
from rarefault.runtime.telemetry.times import TimeReader

#: Devices and fields whose measurement is remembered; more are forgotten.
MAX_FIELDS = 100_000
#: Most characters of a device, a field and a measurement together.
LONGEST = 500

#: Measurement, tags, fields and time of a line; the time is empty where it has none.
Line = tuple[str, dict[str, str], dict[str, Any], str]


class LineProtocol:
    """Lines, see :class:`rarefault.runtime.telemetry.formats.GroupedFormat`.

    A field is a channel of its name, or of ``measurement.field`` where a channel or ``telemetry.fields`` has that.
    """

    def __init__(self, config: MappingConfig) -> None:
        self._naming = config.naming
        self._max_batch = config.max_batch
        self._reader = TimeReader(config.time_unit)
        self._by_arrival = ARRIVAL in config.times
        self._measurement: dict[tuple[str, str], str] = {}
        self._checked: dict[tuple[str, str], set[str]] = {}
        #: Measurements whose fields are named with them.
        self.measurements: frozenset[str] = frozenset()

    def groups(self, payload: bytes, message: Message) -> tuple[Groups, list[Unusable]]:
        """See :class:`rarefault.runtime.telemetry.formats.GroupedFormat`."""
        lines = [line for line in _lines(parse_text(payload)) if line and not line.startswith("#")]
        if not lines:
            raise RejectionError(Reason.WRONG_SHAPE, "no line with values")
        if len(lines) > self._max_batch:
            raise RejectionError(Reason.TOO_LARGE, f"{len(lines)} lines, the limit is {self._max_batch}")
        groups: Groups = {}
        bad: list[Unusable] = []
        for line in lines:
            try:
                self._take(line, message, groups)
            except RejectionError as error:
                bad.append(error)
        return groups, bad

    def _take(self, line: str, message: Message, groups: Groups) -> None:
        """Take a line, or raise RejectionError."""
        try:
            measurement, tags, fields, time = _parse(line)
        except ValueError as error:
            raise RejectionError(Reason.NOT_JSON, f"no line protocol: {error}: {quote(line)}") from None
        device = self._device(measurement, tags, message)
        if time:
            try:
                time_ms = self._reader.read(int(time), message.arrived_ms)
            except (ValueError, OverflowError) as error:
                raise RejectionError(Reason.BAD_TIME, f"the time of the line: {error}") from None
        elif self._by_arrival:
            time_ms = message.arrival_ms
        else:
            raise RejectionError(Reason.BAD_TIME, "the line has no time")
        if measurement in self.measurements:
            groups.setdefault((device, time_ms), {}).setdefault(measurement, {}).update(fields)
            return
        if not fields.keys() <= self._checked.get((device, measurement), set()):
            for field in fields:
                self._check(device, field, measurement)
        groups.setdefault((device, time_ms), {}).update(fields)

    def _device(self, measurement: str, tags: dict[str, str], message: Message) -> str:
        found = Found(({**tags, "measurement": measurement, "tags": tags},), None)
        try:
            return self._naming.name(message.names, found)
        except RejectionError as error:
            if error.reason == Reason.BAD_DEVICE:
                detail = f"{error.detail.partition(';')[0]}; of the tags {keys_of(tags)}"
                raise RejectionError(error.reason, detail) from None
            raise

    def _check(self, device: str, field: str, measurement: str) -> None:
        """Refuse a field that another measurement of the device has as well."""
        if len(device) + len(field) + len(measurement) > LONGEST:
            raise RejectionError(Reason.TOO_LARGE, f"names of more than {LONGEST} characters")
        first = self._measurement.get((device, field))
        if first is None:
            if len(self._measurement) >= MAX_FIELDS:
                self._measurement.clear()
                self._checked.clear()
            self._measurement[device, field] = measurement
            self._checked.setdefault((device, measurement), set()).add(field)
        elif first != measurement:
            raise RejectionError(
                Reason.WRONG_SHAPE,
                f"device {quote(device)} has a field {quote(field)} of the measurements {quote(first)} and "
                f"{quote(measurement)}: name them as {quote(f'{first}.{field}')} and so on in [telemetry.fields]",
            )


def _lines(text: str) -> list[str]:
    """The lines of a text; a string in quotes may hold line breaks."""
    if '"' not in text:
        return [line.strip("\r ") for line in text.split("\n")]
    lines, _ = _cut(text, "\n")
    return [line.strip("\r ") for line in lines]


def _cut(text: str, at: str) -> tuple[list[str], bool]:
    """What lies between a character where it is neither escaped nor in quotes, and whether a quote does not end."""
    parts, begin, quoted, escaped = [], 0, False, False
    for i, letter in enumerate(text):
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif letter == at and not quoted:
            parts.append(text[begin:i])
            begin = i + 1
    parts.append(text[begin:])
    return parts, quoted


def _parse(line: str) -> Line:
    """Take a line apart; ValueError where it is none."""
    if "\\" in line or '"' in line or not line.isascii():
        return _parse_escaped(line)
    series, *parts = line.split()
    measurement, *pairs = series.split(",")
    if not 1 <= len(parts) <= 2 or not measurement:
        raise ValueError("it must be a measurement with its tags, fields, and perhaps a time")
    fields: dict[str, Any] = {}
    for pair in parts[0].split(","):
        key, _, text = pair.partition("=")
        if not key or not text:
            raise ValueError(f"{quote(pair)} is no key with a value")
        try:
            # Most are numbers; what Python takes for one beyond that is left to the reader of values.
            fields[key] = float(text) if "_" not in text else text
        except ValueError:
            fields[key] = _value(text)
    return measurement, dict(map(_pair, pairs)), fields, _checked_time(parts[1] if len(parts) == 2 else "")


def _parse_escaped(line: str) -> Line:
    """A line with escapes, or with text in quotes."""
    series, *parts = _split(line, " ")
    parts = [part for part in parts if part]
    if not 1 <= len(parts) <= 2:
        raise ValueError("it must be a measurement with its tags, fields, and perhaps a time")
    measurement, *pairs = _split(series, ",")
    if not measurement:
        raise ValueError("no measurement")
    tags = dict(_pair(pair) for pair in pairs)
    fields = {key: _value(text) for key, text in map(_pair, _split(parts[0], ","))}
    time = _checked_time(parts[1] if len(parts) == 2 else "")
    return _plain(measurement), {key: _plain(text) for key, text in tags.items()}, fields, time


def _checked_time(time: str) -> str:
    """The digits of a time; ValueError for anything else."""
    if time and not (time.isascii() and time.isdecimal() and len(time) < 25):
        raise ValueError(f"the time is {quote(time)}")
    return time


def _split(text: str, at: str) -> list[str]:
    """Split at a character that is neither escaped nor in quotes."""
    if "\\" not in text and '"' not in text:
        return text.split(at)
    parts, unended = _cut(text, at)
    if unended:
        raise ValueError("a quote that does not end")
    return parts


def _pair(text: str) -> tuple[str, str]:
    """Key and value."""
    key, *value = _split(text, "=")
    if not key or not value or not value[0]:
        raise ValueError(f"{quote(text)} is no key with a value")
    return _plain(key), "=".join(value)


def _plain(text: str) -> str:
    """A name without its escapes."""
    if "\\" not in text:
        return text
    for letter in (",", "=", " "):
        text = text.replace(f"\\{letter}", letter)
    return text


def _value(text: str) -> Any:
    """A field's value: a number, a Boolean or text; a number that is none stays text, and costs only itself."""
    if text[0] == '"':
        if len(text) < 2 or text[-1] != '"':
            raise ValueError(f"{quote(text)} is no text in quotes")
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if text in {"t", "T", "true", "True", "TRUE"}:
        return True
    if text in {"f", "F", "false", "False", "FALSE"}:
        return False
    return text[:-1] if text[-1] in "iu" and text[:-1].lstrip("-").isdecimal() else text
