"""The reader: bytes and topic of a message to samples, by one mapping or several.

What cannot be used goes to a :class:`rarefault.runtime.telemetry.reasons.Report`. Nothing that a message may hold
raises out of here, a bad sample of a message does not take the good ones with it, and a bad value not its sample.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from rarefault.runtime.telemetry.columns import Cell, Cells, Columns, Dropped, column_tree
from rarefault.runtime.telemetry.config import ARRIVAL, MappingConfig, key_of
from rarefault.runtime.telemetry.formats import Format, GroupedFormat, format_of
from rarefault.runtime.telemetry.formats.influx import LineProtocol
from rarefault.runtime.telemetry.formats.message import ALIVE, ENDED, Birth, Groups, IgnoredMessage, Message, Unusable
from rarefault.runtime.telemetry.formats.sparkplug import Sparkplug
from rarefault.runtime.telemetry.payload import BEGINS_OF_JSON, check_size, unpack
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, Report, ValueReason, quote
from rarefault.runtime.telemetry.sparkplug import Node, Nodes
from rarefault.runtime.telemetry.topics import CHANNEL, MAX_REMEMBERED, MAX_TOPICS, Place, topic_filter
from rarefault.runtime.telemetry.values import ENDS_HERE

#: Device, milliseconds since the epoch, cells, and the sample in the message's own form where it can be read again
#: without the message, else None. A plain tuple, as one is made for each sample.
Sample = tuple[str, int, list[Cell], Any]


class SourceReader:
    """Reads the messages of one mapping.

    Args:
        config: the mapping.
        cells: sorts values into cells; see :func:`cells_of`.
        report: takes what cannot be used.
        nodes: edge nodes of Sparkplug; None for none that are known before.

    Attributes:
        config: the mapping.
        place: how its topics say where a device is.
        nodes: edge nodes of Sparkplug, where it reads that.
    """

    def __init__(self, config: MappingConfig, cells: Cells, report: Report, nodes: Nodes | None = None) -> None:
        self.config = config
        self._template = config.template
        self.place: Place = self._template.place_of(config.naming.of_topic)
        self._cells = cells
        self._report = report
        found = format_of(config)
        if isinstance(found, LineProtocol):
            found.measurements = frozenset(n for n, place in cells.columns.items() if type(place) is dict)
        self.nodes: Nodes | None = None
        self._sparkplug = found if isinstance(found, Sparkplug) else None
        if isinstance(found, Sparkplug):
            found.nodes = self.nodes = Nodes() if nodes is None else nodes
            cells.ends = True
        self._groups = found.groups if isinstance(found, GroupedFormat) else None
        self._format = cast("Format", found)  # only looked at where there are no groups
        self._ignored: list[re.Pattern[str]] = [topic_filter(text) for text in config.ignore_topics]
        # What begins like JSON is neither compressed nor empty.
        as_is = config.format in {"json", "senml"} and config.compression in {"auto", "none"}
        self._begins = BEGINS_OF_JSON if as_is else frozenset[bytes]()
        self._columns = cells.columns
        self._max_values = config.max_values
        self._max_bytes = config.max_payload_bytes
        self._prefixed = self._template.has_channel and config.format == "json"

    def fits(self, topic: str) -> bool:
        """Whether a message of the topic is for this mapping."""
        return self._template.matches(topic)

    def ignores(self, topic: str) -> bool:
        """Whether a message of the topic is known to be no telemetry."""
        return any(pattern.fullmatch(topic) for pattern in self._ignored)

    def born_of(self, node: Node) -> list[str]:
        """Names of the devices of an edge node of Sparkplug that are born."""
        if self._sparkplug is None:
            return []
        return [self._sparkplug.name(node.state.group, node.state.edge, device) for device in node.state.born]

    def read(self, topic: str, payload: bytes, arrived_ms: int, *, retained: bool = False) -> list[Sample]:
        """The samples of a message whose topic fits.

        Args:
            topic: of the message.
            payload: of the message.
            arrived_ms: when it arrived, milliseconds since the epoch.
            retained: whether the broker had kept it, so that its time of arrival means nothing.
        """
        report, format_ = self._report, self._format
        try:
            names = self._template.names(topic)
            if names is None:
                error = RejectionError(Reason.UNKNOWN_TOPIC, f"the topic does not fit {self._template.text!r}")
                report.add(topic, error, arrived_ms, payload)
                return []
            text = payload
            if self.nodes is not None:
                check_size(payload, self._max_bytes)
            elif payload[:1] not in self._begins or len(payload) > self._max_bytes:
                text = unpack(payload, self.config.compression, self._max_bytes)
                if not text:
                    report.add_ignored(Ignored.EMPTY)
                    return []
            message = Message(names, arrived_ms, retained, topic)
            if self._groups is not None:
                return self._grouped(topic, payload, self._groups(text, message), message)
            records = format_.records(text, message)
        except RejectionError as error:
            report.add(topic, error, arrived_ms, payload)
            return []
        except RecursionError:
            report.add(topic, RejectionError(Reason.WRONG_SHAPE, "nested too deep"), arrived_ms, payload)
            return []
        samples: list[Sample] = []
        sample, cells_of, alone = format_.sample, self._cells_of, format_.alone
        kept: object = payload  # a message is set aside once
        for record in records:
            try:
                usable = record if type(record) is dict else _usable(record)
                device, time_ms, values = sample(usable, message)
                samples.append((device, time_ms, cells_of(device, values, names), record if alone else None))
            except RejectionError as error:
                if alone and not isinstance(record, RejectionError):
                    report.add(topic, error, arrived_ms, record)
                    continue
                # Topics of channels that nobody wants would fill the journal.
                foreign = error.reason == Reason.NO_KNOWN_CHANNEL and self._template.has_channel
                report.add(topic, error, arrived_ms, None if foreign else kept)
                kept = None
            except IgnoredMessage as ignored:
                report.add_ignored(ignored.why)
        return samples

    def _grouped(
        self, topic: str, payload: bytes, found: tuple[Groups, list[Unusable]], message: Message
    ) -> list[Sample]:
        """Samples of single values."""
        groups, bad = found
        kept: object = payload  # a message is set aside once
        for one in bad:
            if isinstance(one, IgnoredMessage):
                self._report.add_ignored(one.why)
            else:
                self._report.add(topic, one, message.arrived_ms, kept)
                kept = None
        samples: list[Sample] = []
        empty: RejectionError | None = None
        for (device, time_ms), values in groups.items():
            try:
                samples.append((device, time_ms, self._cells_of_group(device, values, message.names), None))
            except RejectionError as error:
                if message.quiet and error.reason == Reason.NO_KNOWN_CHANNEL:
                    continue
                if error.reason in {Reason.NO_KNOWN_CHANNEL, Reason.BAD_VALUE}:
                    empty = error  # single values with times of their own: the others may be good
                    continue
                self._report.add(topic, error, message.arrived_ms, kept)
                kept = None
        if empty is not None and not samples:
            self._report.add(topic, empty, message.arrived_ms, kept)
        return samples

    def _cells_of_group(self, device: str, values: dict[str, Any], names: dict[str, str]) -> list[Cell]:
        """As :meth:`_cells_of`, also where the values say no more than whether a device lives."""
        if values is ALIVE:
            return []
        channels = range(len(self._cells.channels))
        if values is ENDED:
            return [(column, ENDS_HERE) for column in channels]
        cells = self._cells_of(device, values, names)
        if type(values) is Birth:
            given = {column for column, _ in cells}
            cells += [(column, ENDS_HERE) for column in channels if column not in given]
        return cells

    def _cells_of(self, device: str, values: dict[str, Any], names: dict[str, str]) -> list[Cell]:
        """The cells of a sample; RejectionError where there is none."""
        if len(values) > self._max_values:
            raise RejectionError(Reason.TOO_LARGE, f"a sample of {len(values)} values, the limit is {self._max_values}")
        cells: list[Cell] = []
        unknown: list[str] = []
        dropped: list[Dropped] = []
        if self._prefixed:
            self._cells.collect(values, cells, unknown, dropped, names[CHANNEL])
        else:
            self._cells.walk(values, self._columns, cells, unknown, dropped, "", 0)
        if unknown:
            self._report.add_unknown_channels(device, unknown)
        if dropped:
            for column, why, value in dropped:
                self._report.add_dropped_value(device, column, why, value)
        if not cells:
            if dropped:
                raise RejectionError(Reason.BAD_VALUE, _no_value(dropped, self._cells.channels))
            there = f"only unknown ones such as {quote(unknown[0])}" if unknown else "none at all"
            raise RejectionError(Reason.NO_KNOWN_CHANNEL, f"no value of a channel of the model, {there}")
        return cells


class MessageReader:
    """Reads the messages of several mappings: each is read by the first whose topic fits.

    Args:
        sources: a reader for each mapping.
        report: takes what cannot be used.

    Attributes:
        only: the mapping that reads all topics, where there is one.
    """

    def __init__(self, sources: Sequence[SourceReader], report: Report) -> None:
        self.sources = tuple(sources)
        self._report = report
        self.only = self.sources[0] if len(self.sources) == 1 and not self.sources[0].config.ignore_topics else None
        self._by_topic: dict[str, SourceReader | bool | None] = {}

    def source(self, topic: str) -> SourceReader | None:
        """The mapping that reads a topic; None for a topic that is known to be no telemetry, which is counted."""
        if self.only is not None:
            return self.only
        found = self._by_topic.get(topic, False)
        if found is False:
            found = self._find(topic)
            if len(self._by_topic) >= MAX_TOPICS:
                self._by_topic.clear()
            if len(topic) <= MAX_REMEMBERED:
                self._by_topic[topic] = found
        if found is True:
            self._report.add_ignored(Ignored.TOPIC)
            return None
        return found or None

    def _find(self, topic: str) -> SourceReader | bool | None:
        """The mapping of a topic; True where it is ignored, and the first one where none fits, which says so."""
        fitting = [source for source in self.sources if source.fits(topic)]
        for source in fitting:
            if not source.ignores(topic):
                return source
        return True if fitting else self.sources[0]

    def read(self, topic: str, payload: bytes, arrived_ms: int, *, retained: bool = False) -> list[Sample]:
        """The samples of a message; see :meth:`SourceReader.read`."""
        source = self.source(topic)
        return [] if source is None else source.read(topic, payload, arrived_ms, retained=retained)


def readers(
    configs: Sequence[MappingConfig],
    channels: Sequence[str],
    states: Sequence[Mapping[str, float] | None],
    report: Report,
    source: str,
    nodes: Nodes | None = None,
) -> MessageReader:
    """The reader of a configuration's mappings.

    Args:
        configs: the mappings.
        channels: names, [C].
        states: of each channel, None where it has none, [C].
        report: takes what cannot be used.
        source: the file of the configuration.
        nodes: edge nodes of Sparkplug; None for none that are known before.

    Raises:
        ConfigError: fields name no channel of the model, or contradict each other.
    """
    nodes = Nodes() if nodes is None else nodes
    made = [
        SourceReader(config, cells_of(config, columns, channels, states), report, nodes)
        for config, columns in zip(configs, column_trees(configs, channels, source), strict=True)
    ]
    return MessageReader(made, report)


def column_trees(configs: Sequence[MappingConfig], channels: Sequence[str], source: str) -> list[Columns]:
    """Where channels stand in the messages of each mapping; ConfigError where fields are wrong."""
    return [column_tree(channels, config.fields, source, key_of(configs, i)) for i, config in enumerate(configs)]


def cells_of(
    config: MappingConfig, columns: Columns, channels: Sequence[str], states: Sequence[Mapping[str, float] | None]
) -> Cells:
    """What sorts the values of a mapping's samples."""
    return Cells(columns, channels, states, frozenset(other_paths(config)))


def other_paths(config: MappingConfig) -> Iterator[str]:
    """Paths that hold no value of a channel, as they are among the values: the time, the device, the quality."""
    paths = [*(path for path in config.times if path != ARRIVAL), *config.naming.message_paths]
    paths += [path for path in (config.quality, *config.ignore) if path]
    for path in paths:
        if not config.values:
            yield path
        elif path.startswith(f"{config.values}."):
            yield path.removeprefix(f"{config.values}.")


def _usable(record: Any) -> Any:
    """A record that is one; raises what stands in the place of another."""
    if isinstance(record, (RejectionError, IgnoredMessage)):
        raise record
    return record


def _no_value(dropped: list[Dropped], channels: Sequence[str]) -> str:
    column, why, value = dropped[0]
    what = {
        ValueReason.NO_NUMBER: "not a number",
        ValueReason.NOT_FINITE: "not a finite number",
        ValueReason.BAD_QUALITY: "which is not in telemetry.good",
    }[why]
    return f"channel {quote(channels[column])} is {quote(value)}, {what}"
