"""Recordings of messages: lines of JSON with topic, payload and time of arrival, as ``mosquitto_sub -F '%j'`` writes.

They are read by the mapping of the daemon's ``[telemetry]``, with the same reader, so that a model learns from what the
daemon would make of the same messages. Lines are in order of arrival: late samples are normal. Of two samples of one
device and time the one that arrived last counts, as in the daemon.
"""

import base64
import binascii
import gzip
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
import numpy as np

from rarefault.runtime.daemon.config import TelemetryConfig
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.settings import from_mapping, read_toml
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.runtime.telemetry.columns import Cell, column_tree, says_something
from rarefault.runtime.telemetry.config import MappingConfig, key_of
from rarefault.runtime.telemetry.growing import MOST_CHANNELS, GrowingCells, GrowingChannels, TooManyChannelsError
from rarefault.runtime.telemetry.reader import MessageReader, SourceReader, other_paths
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, ValueReason, quote
from rarefault.runtime.telemetry.topics import topic_level_problem
from rarefault.runtime.telemetry.values import ENDS_HERE
from rarefault.runtime.times import parse_time_ms
from rarefault.train.history.assemble import Piece
from rarefault.train.history.data import History
from rarefault.train.history.events.log import read_events
from rarefault.train.history.keys import Name
from rarefault.train.history.named_reader import NamedReader
from rarefault.train.history.notes import (
    BAD_LINES,
    BAD_MESSAGES,
    BAD_QUALITY,
    FOREIGN_TOPICS,
    IGNORED_MESSAGES,
    NO_NUMBERS,
    TEXT_VALUES,
)
from rarefault.train.history.parsing.files import find_files, listed
from rarefault.train.history.source import NO_SPECS, NamedSourceConfig

#: Samples in a piece.
PIECE = 1 << 16

_SUFFIXES = (".jsonl", ".ndjson")
#: Mosquitto writes a Z before the offset, which is that of its local time.
_MOSQUITTO = re.compile(r"Z([+-]\d\d:?\d\d)$")


class RecordingConfig(NamedSourceConfig, frozen=True, kw_only=True, tag_field="format", tag="recording"):
    """Recordings of MQTT messages: lines of JSON as ``mosquitto_sub -F '%j'`` writes them."""

    recordings: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    """Files or glob patterns, relative to the configuration file; ``.gz`` is read, too. A line has ``topic``,
    ``payload``, and the time of arrival as ``tst_ms`` (milliseconds since the epoch) or ``tst`` (ISO 8601). Binary
    payloads are in ``payload_base64`` or ``payload_hex``."""
    daemon: str = ""
    """The daemon's configuration, whose ``[telemetry]`` says what the messages look like. Relative to this file."""
    telemetry: tuple[MappingConfig, ...] = ()
    """What the messages look like, in place of ``daemon``: the same keys as in the daemon's ``[telemetry]``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.daemon and self.telemetry:
            raise ValueError("daemon and telemetry both say what the messages look like; give one of them")

    @property
    def places(self) -> tuple[str, ...]:
        """Names and patterns of the files."""
        return self.recordings

    @classmethod
    def of_paths(cls, paths: Sequence[Path]) -> Self | None:
        """Files of lines of JSON, whose messages have the daemon's usual form."""
        fits = all(path.name.removesuffix(".gz").endswith(_SUFFIXES) for path in paths)
        return cls(recordings=tuple(map(str, paths))) if fits else None

    def absolute(self, base: Path) -> Self:
        """The section with its paths made absolute."""
        return msgspec.structs.replace(
            self,
            recordings=tuple(str(base.resolve() / name) for name in self.recordings),
            daemon=str(base.resolve() / self.daemon) if self.daemon else "",
            events=self.absolute_events(base),
        )

    def read(
        self,
        base: Path,
        *,
        allow_incomplete: bool = False,  # noqa: ARG002 - samples are always there
        specs: ChannelSpecs = NO_SPECS,
    ) -> History:
        """Read messages and events."""
        return _Reader(self, base, specs).read()

    def mappings(self, base: Path) -> tuple[MappingConfig, ...]:
        """What the messages look like.

        Raises:
            ConfigError: the daemon's configuration cannot be used.
        """
        if not self.daemon:
            return self.telemetry or (MappingConfig(),)
        path = base / self.daemon
        section = {key: value for key, value in read_toml(path).items() if key == "telemetry"}
        return from_mapping(section, _Telemetry, str(path)).telemetry


class _Telemetry(msgspec.Struct, frozen=True):
    """The one section of the daemon's configuration that is needed."""

    telemetry: tuple[TelemetryConfig, ...] = (TelemetryConfig(),)


class _Reader(NamedReader):
    """One reading, which is also the report of what could not be used."""

    config: RecordingConfig

    def __init__(self, config: RecordingConfig, base: Path, specs: ChannelSpecs) -> None:
        super().__init__(config, base)
        mappings = config.mappings(base)
        wanted = [*config.channels, *(name for mapping in mappings for name in mapping.fields.values())]
        names = list(dict.fromkeys(config.channels or wanted))
        self._columns = GrowingChannels(specs, names, fixed=bool(config.channels))
        self._met: set[int] = set()  # the columns that hold a number somewhere
        self._sources: list[SourceReader] = []
        for i, mapping in enumerate(mappings):
            fields = {field: name for field, name in mapping.fields.items() if name in names}
            tree = column_tree(names, fields, config.describe(), f"data.{key_of(mappings, i)}")
            cells = GrowingCells(tree, self._columns, frozenset(other_paths(mapping)))
            self._sources.append(SourceReader(mapping, cells, self))
        self._reader = MessageReader(self._sources, self)
        self._topics: dict[tuple[int, str], str] = {}
        self._unknown: Counter[str] = Counter()
        self._unknown_at: dict[str, str] = {}
        self._place = ""
        self._path = base
        self._begin()

    def _begin(self) -> None:
        """An empty piece."""
        self._device, self._time, self._line = array("i"), array("q"), array("q")
        self._row, self._column, self._value = array("q"), array("q"), array("d")

    def read(self) -> History:
        paths = list(dict.fromkeys(path for name in self.config.recordings for path in find_files(self.base, name)))
        try:
            for path in paths:
                self._take_file(path)
        except TooManyChannelsError as error:
            raise HistoryError(
                f"data.recordings: more than {MOST_CHANNELS} channels, such as {quote(error.name)}: these are no "
                "names; see data.telemetry.records and data.telemetry.values"
            ) from None
        for name, count in self._unknown.items():
            kind = NO_NUMBERS if name in self.channels else TEXT_VALUES
            self.notes.add(kind, count, self._unknown_at[name], problem=False, at=name)
        names = listed([path.name for path in paths])
        if not self.channels:
            problems = f"; {self.notes}" if len(self.notes) else ""
            raise HistoryError(f"data.recordings: no usable message in {names}{problems}")
        self.check_channels(names)
        read_events(self)
        return self.finish()

    def _take_file(self, path: Path) -> None:
        self._path = path
        for number, line in _lines(path):
            self._place = f"{path.name}:{number}"
            message = self._message(line)
            if message is None:
                continue
            topic, payload, arrived_ms, retained = message
            source = self._reader.source(topic)
            if source is None:
                continue
            for device, time_ms, cells, _ in source.read(topic, payload, arrived_ms, retained=retained):
                if problem := topic_level_problem(device):
                    error = RejectionError(Reason.BAD_DEVICE, f"device {quote(device)}: {problem}")
                    self.add(topic, error, arrived_ms, None)
                    continue
                if device not in self.devices and not says_something(cells):
                    continue  # as in the daemon, it is no device before it has a value
                self._check_place(source, device, topic)
                self._append(device, time_ms, cells, number)
        self._end_piece()

    def _message(self, line: bytes) -> tuple[str, bytes, int, bool] | None:
        """Topic, payload, arrival and whether it was retained; None for a line that is none."""
        try:
            return _message_of(line)
        except ValueError as error:
            self.notes.add(BAD_LINES, 1, f"{self._place}: {error}")
            return None

    def _check_place(self, source: SourceReader, device: str, topic: str) -> None:
        """HistoryError where a device comes from two places: two machines of one name."""
        if source.config.from_anywhere or not source.place.ambiguous:
            return
        first = self._topics.setdefault((self._sources.index(source), device), topic)
        if first != topic and source.place.of(first) != source.place.of(topic):
            raise HistoryError(
                f"{self._place}: device {quote(device)} comes on {quote(topic)}, and came on {quote(first)} before: "
                'give each machine a name of its own by telemetry.device, such as "{site}-{device}"; if it is one '
                "machine, set telemetry.several_topics = true"
            )

    def _append(self, device: str, time_ms: int, cells: list[Cell], line: int) -> None:
        row = len(self._time)
        self._device.append(self.devices.code(device))
        self._time.append(time_ms)
        self._line.append(line)
        for column, value in cells:
            if column not in self._met:
                if value == ENDS_HERE:
                    continue
                self._met.add(column)
                self.channels[self._columns.names[column]] = None
            self._row.append(row)
            self._column.append(column)
            self._value.append(value)
        if row + 1 >= PIECE:
            self._end_piece()

    def _end_piece(self) -> None:
        """Add the samples so far as one piece, in the columns that they have."""
        if not self._time:
            return
        there, place = np.unique(np.frombuffer(self._column, np.int64), return_inverse=True)
        values = np.full((len(self._time), len(there)), np.nan)
        values[np.frombuffer(self._row, np.int64), place.ravel()] = np.frombuffer(self._value)
        self.draft.pieces.append(
            Piece(
                np.array(self._device, np.int32),
                np.array(self._time, np.int64),
                [self._columns.names[column] for column in there.tolist()],
                values,
                self._path,
                np.array(self._line, np.int64),
                journal=True,
                numbered="line",
            )
        )
        self._begin()

    def add(self, topic: str, error: RejectionError, arrived_ms: int, rejected: object) -> None:  # noqa: ARG002
        """Note a message or sample that cannot be used."""
        place = f"{self._place}: {quote(topic)}: {error.detail}"
        if error.reason == Reason.UNKNOWN_TOPIC:
            self.notes.add(FOREIGN_TOPICS, 1, place, problem=False)
        elif error.reason == Reason.TWO_TOPICS:
            raise HistoryError(place)
        else:
            known = error.reason == Reason.NO_KNOWN_CHANNEL
            self.notes.add(BAD_MESSAGES, 1, place, problem=not known, at=str(error.reason))

    def add_ignored(self, why: Ignored) -> None:
        """Note a message that is no telemetry."""
        self.notes.add(IGNORED_MESSAGES, 1, self._place, problem=False, at=str(why))

    def add_dropped_value(self, device: str, column: int, why: ValueReason, value: object) -> None:
        """Note a value that is taken as missing."""
        bad = why == ValueReason.BAD_QUALITY
        place = f"{self._place}: {device}: {quote(value)}"
        self.notes.add(BAD_QUALITY if bad else NO_NUMBERS, 1, place, problem=not bad, at=self._columns.names[column])

    def add_unknown_channels(self, device: str, names: list[str]) -> None:
        """Note values that are of no channel."""
        for name in names:
            self._unknown[name] += 1
            self._unknown_at.setdefault(name, f"{self._place}: {device}")


def messages_of(path: Path) -> Iterator[tuple[str, bytes, int, bool]]:
    """Topic, payload, arrival and whether it was retained of each message of a file; bad lines are left out."""
    for _, line in _lines(path):
        try:
            yield _message_of(line)
        except ValueError:
            continue


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.strip(b"\xef\xbb\xbf \t\r\n") if number == 1 else line.strip()
                if text:
                    yield number, text
    except (OSError, EOFError) as error:
        raise HistoryError(f"data.recordings: {path} cannot be read: {error}") from error


def _message_of(line: bytes) -> tuple[str, bytes, int, bool]:
    """Topic, payload, arrival in milliseconds since the epoch, and whether it was retained; ValueError."""
    try:
        found = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if type(found) is not dict or type(found.get("topic")) is not str:
        raise ValueError("no object with a topic")
    arrived = found.get("tst_ms", found.get("tst"))
    if arrived is None:
        raise ValueError("no time of arrival, tst or tst_ms")
    if type(arrived) is str:
        arrived = _MOSQUITTO.sub(r"\1", arrived)
    elif type(arrived) not in {int, float}:
        raise ValueError(f"the time of arrival is {quote(arrived)}")
    return found["topic"], _payload(found), parse_time_ms(arrived), bool(found.get("retain"))


def _payload(found: dict[str, Any]) -> bytes:
    """The bytes of a payload; ValueError where there are none."""
    try:
        if "payload_base64" in found:
            return base64.b64decode(found["payload_base64"], validate=True)
        if "payload_hex" in found:
            return bytes.fromhex(found["payload_hex"])
    except (binascii.Error, ValueError, TypeError) as error:
        raise ValueError(f"the payload: {error}") from None
    if "payload" not in found:
        raise ValueError("no payload")
    payload = found["payload"]
    # Mosquitto's %J has JSON as it is.
    return payload.encode("utf-8", "surrogatepass") if type(payload) is str else msgspec.json.encode(payload)
