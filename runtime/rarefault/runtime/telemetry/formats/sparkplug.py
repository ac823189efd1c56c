"""Sparkplug B: births that name metrics, data that only number them, and deaths.

The time of a value is that of its metric, else that of the payload. A birth says what is true at its own time, however
long ago a value has changed. From a birth on, a value holds until it changes, is bad, or its device dies.
"""

from typing import Any

from rarefault.runtime.telemetry.config import ARRIVAL, MappingConfig
from rarefault.runtime.telemetry.formats.message import (
    ALIVE,
    ENDED,
    Birth,
    Groups,
    IgnoredMessage,
    Message,
    Unusable,
    distinct,
    good_qualities,
)
from rarefault.runtime.telemetry.paths import Found
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, quote
from rarefault.runtime.telemetry.sparkplug import Metric, Node, Nodes, Payload, SparkplugTopic, read_payload
from rarefault.runtime.telemetry.sparkplug.nodes import Entry, Key, Table
from rarefault.runtime.telemetry.sparkplug.payload import SIGNED, signed
from rarefault.runtime.telemetry.sparkplug.writing import BD_SEQ
from rarefault.runtime.telemetry.values import NO_VALUE, BadQuality
from rarefault.runtime.times import TIME_LIMIT_MS

#: Numbers that a message which comes again may be behind.
MOST_BEHIND = 64
#: A value's time may be so far ahead of its payload's and count as the time of its node.
AHEAD_MS = 60_000
#: A node that has been further ahead than this had a wrong clock.
WRONG_MS = 3_600_000
#: Names of devices that are remembered.
MAX_NAMES = 100_000


class Sparkplug:
    """Messages of edge nodes, see :class:`rarefault.runtime.telemetry.formats.GroupedFormat`.

    Attributes:
        nodes: what is remembered of edge nodes.
        wants: whether edge nodes are to be born again where that is needed.
    """

    def __init__(self, config: MappingConfig) -> None:
        self.nodes = Nodes()
        self._naming, self._node_naming = config.naming, config.node_naming
        self._most = config.max_batch
        self._good = good_qualities(config.good) | {None}
        self._by_arrival = ARRIVAL in config.times
        self.wants = config.rebirth
        self._tick_ms = round(config.alive_s * 1000)
        self._names: dict[tuple[str, str, str], str] = {}
        self._keys: dict[str, tuple[str, str, str]] = {}

    def groups(self, payload: bytes, message: Message) -> tuple[Groups, list[Unusable]]:
        """See :class:`rarefault.runtime.telemetry.formats.GroupedFormat`."""
        topic = SparkplugTopic.parse(message.topic)
        if topic is None:
            return {}, [IgnoredMessage(Ignored.TOPIC)]
        if message.retained:
            raise RejectionError(Reason.BAD_TIME, "a retained message may be of any age; Sparkplug retains none")
        try:
            found = read_payload(payload, self._most)
        except OverflowError as error:
            raise RejectionError(Reason.TOO_LARGE, f"{error}, the limit of telemetry.max_batch") from None
        except ValueError as error:
            raise RejectionError(Reason.NOT_JSON, f"no payload of Sparkplug B: {error}") from None
        try:
            return _Reading(self, topic, found, message).groups()
        except IgnoredMessage as ignored:
            return {}, [ignored]

    def name(self, group: str, edge: str, device: str) -> str:
        """What a device is called; RejectionError where another one has that name."""
        key = (group, edge, device)
        name = self._names.get(key)
        if name is None:
            naming = self._naming if device else self._node_naming
            parts = {"group": group, "edge": edge, "device": device}
            name = naming.name(parts, Found((parts,), None))
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
                self._keys.clear()
            if (other := self._keys.setdefault(name, key)) != key:
                raise RejectionError(
                    Reason.TWO_TOPICS,
                    f"{quote('/'.join(other).rstrip('/'))} and {quote('/'.join(key).rstrip('/'))} both are "
                    f"{quote(name)}: telemetry.device must tell them apart",
                )
            self._names[key] = name
        return name

    def time_of(self, value: int | None, message: Message) -> int:
        """A time that can be one; RejectionError where there is none."""
        if value is None:
            if self._by_arrival:
                return message.arrival_ms
            raise RejectionError(Reason.BAD_TIME, "neither the metric nor the payload has a timestamp")
        if not 0 < value < TIME_LIMIT_MS:
            raise RejectionError(Reason.BAD_TIME, f"the timestamp {value} is outside of 1970 to 2109")
        return value

    def value_of(self, metric: Metric, datatype: int) -> Any:
        """The value of a metric, as values of other formats are."""
        value = metric.value
        if metric.quality is not None and distinct(metric.quality) not in self._good:
            return BadQuality(metric.quality)
        if metric.null:
            return NO_VALUE
        if type(value) is int and datatype in SIGNED:
            return signed(value, datatype)
        return value

    @property
    def tick_ms(self) -> int:
        """Time after which a device of which nothing came is shown to be alive."""
        return self._tick_ms


class _Reading:
    """The reading of one message.

    Args:
        format_: whose it is.
        topic: of the message.
        payload: of the message.
        message: what else is known of it.
    """

    def __init__(self, format_: Sparkplug, topic: SparkplugTopic, payload: Payload, message: Message) -> None:
        self.format, self.topic, self.payload, self.message = format_, topic, payload, message
        self.nodes = format_.nodes
        self.key: Key = (topic.group, topic.edge)
        self.found: Groups = {}
        self.bad: list[Unusable] = []
        self.newest_ms = 0
        self.latest_ms = TIME_LIMIT_MS

    def groups(self) -> tuple[Groups, list[Unusable]]:
        """The values of the message by device and time, and what is wrong with the others."""
        type_ = self.topic.type
        if type_ == "NBIRTH":
            self._node_birth()
            return self.found, self.bad
        node = self.nodes.node(self.key)
        if type_ == "NDEATH":
            self._node_death(node)
            return self.found, self.bad
        if node is None or not node.state.alive:
            self._want("nothing is known of it")
            raise RejectionError(Reason.NO_BIRTH, f"edge node {quote(self._where)} has not been born here")
        if self._is_repeated(node):
            if type_ in {"DBIRTH", "DDEATH"}:
                raise IgnoredMessage(Ignored.REPEATED)
        else:
            self._follow(node)
        if type_ == "DBIRTH":
            self._birth(node)
        elif type_ == "DDEATH":
            self._device_death(node)
        else:
            self._data(node)
        node.state.newest_ms = max(node.state.newest_ms, self.newest_ms)
        return self.found, self.bad

    def _want(self, why: str) -> None:
        if self.format.wants:
            self.nodes.want(self.key, why)

    @property
    def _where(self) -> str:
        return "/".join((*self.key, self.topic.device)).rstrip("/")

    def _name(self, device: str) -> str:
        return self.format.name(*self.key, device)

    def _is_repeated(self, node: Node) -> bool:
        """Whether the broker has sent the message again, as it does after QoS 1: it is older than the last one."""
        state, seq, stamp = node.state, self.payload.seq, self.payload.timestamp
        if seq is None or state.seq is None or stamp is None:
            return False
        return (state.seq - seq) % 256 < MOST_BEHIND and stamp <= state.newest_ms

    def _follow(self, node: Node) -> None:
        """Compare the number of the message with the last one."""
        state, seq = node.state, self.payload.seq
        if seq is None:
            return
        if state.seq is not None and seq != (state.seq + 1) % 256:
            self.nodes.counts["gaps"] += 1
            self._want("some of its messages are missing")
        state.seq = seq % 256

    def _now(self, node: Node) -> int:
        """Time of the message by the clock of its node."""
        state, stamp, arrived_ms = node.state, self.payload.timestamp, self.message.arrived_ms
        if stamp is not None and 0 < stamp < TIME_LIMIT_MS:
            state.offset_ms = stamp - arrived_ms
        now_ms = min(max(arrived_ms + state.offset_ms, 1), TIME_LIMIT_MS - 1)
        state.newest_ms = max(state.newest_ms, now_ms)
        self.latest_ms = now_ms + AHEAD_MS
        return now_ms

    def _node_birth(self) -> None:
        bd_seq = next((m.value for m in self.payload.metrics if m.name == BD_SEQ and type(m.value) is int), None)
        node = self.nodes.born(self.key)
        if node is None:
            raise RejectionError(Reason.TOO_MANY_DEVICES, "too many edge nodes are alive")
        table = self._table()
        if not self.nodes.learn(self.key, "", table):
            raise RejectionError(Reason.TOO_LARGE, f"edge node {quote(self._where)}: no room for more births")
        state = node.state
        now_ms = self._now(node)
        before = (state.born | state.expected.keys()) - {""}
        if state.alive and bd_seq != state.bd_seq:
            # It died, and that was not received.
            for device in sorted(before):
                self.found[self._name(device), now_ms] = ENDED
                self.nodes.events.append((self._name(device), None))
            before = set()
        self.nodes.events += [(self._name(device), None) for device in sorted(before)]
        since = {device: state.expected.get(device, now_ms) for device in before if state.alive}
        state.alive, state.bd_seq, state.newest_ms = True, bd_seq, now_ms
        state.seq = None if self.payload.seq is None else self.payload.seq % 256
        state.born, state.expected = {""}, since
        self.nodes.wanted.pop(self.key, None)
        state.wanted = ""
        self._take_birth(node, "", now_ms, table)

    def _birth(self, node: Node) -> None:
        device, state = self.topic.device, node.state
        table = self._table()
        if not self.nodes.learn(self.key, device, table):
            raise RejectionError(Reason.TOO_LARGE, f"edge node {quote('/'.join(self.key))}: no room for more births")
        now_ms = self._now(node)
        since = state.expected.pop(device, now_ms)
        if now_ms - since > self.format.tick_ms:
            self.found[self._name(device), since] = ENDED  # nobody knows how long it was away
        state.born.add(device)
        self._take_birth(node, device, now_ms, table)

    def _table(self) -> Table:
        """The metrics of a birth; RejectionError where they contradict each other."""
        entries = []
        for metric in self.payload.metrics:
            if metric.name is None:
                raise RejectionError(Reason.WRONG_SHAPE, "a metric of a birth has no name")
            entries.append(Entry(metric.name, metric.alias, metric.datatype))
        table = Table(entries)
        aliases = sum(entry.alias is not None for entry in entries)
        if len(table.by_name) != len(entries) or len(table.by_alias) != aliases:
            raise RejectionError(Reason.WRONG_SHAPE, "two metrics of a birth have one name or one alias")
        return table

    def _take_birth(self, node: Node, device: str, now_ms: int, table: Table) -> None:
        """The values of a birth, whose metrics stand in the order of its table."""
        self.nodes.counts["births"] += 1
        name = self._name(device)
        at_birth = Birth()
        for metric, entry in zip(self.payload.metrics, table.entries, strict=True):
            if entry.name in table.own:
                continue
            value = self.format.value_of(metric, entry.datatype)
            if metric.historical:
                self._put(name, metric, entry.name, value)
            elif value is not None:
                at_birth[entry.name] = value
        self.found[name, now_ms] = at_birth
        self.nodes.events.append((name, True))
        self._show_others(node, device, now_ms)

    def _data(self, node: Node) -> None:
        device, state = self.topic.device, node.state
        table = node.tables.get(device)
        if table is None or device not in state.born:
            self._want(f"data of {quote(self._where)} came before a birth")
            raise RejectionError(Reason.NO_BIRTH, f"{quote(self._where)} has not been born here")
        now_ms = self._now(node)
        name = self._name(device)
        by_alias, by_name, own = table.by_alias, table.by_name, table.own
        value_of, put, found = self.format.value_of, self._put, self.found
        unknown = 0
        stamp: int | None = None  # of the metric before, which most have the time of
        group: dict[str, Any] | None = None
        for metric in self.payload.metrics:
            entry = by_alias.get(metric.alias) if metric.name is None else by_name.get(metric.name)
            if entry is None:
                unknown += 1
                what = f"alias {metric.alias}" if metric.name is None else quote(metric.name)
                self.bad.append(RejectionError(Reason.UNKNOWN_METRIC, f"the birth of {self._where} has no {what}"))
                continue
            if entry.name in own:
                continue
            value = metric.value
            if type(value) is not float or metric.quality is not None or metric.null:
                value = value_of(metric, metric.datatype or entry.datatype)
                if value is None:
                    continue
            if metric.timestamp == stamp and group is not None:
                group[entry.name] = value
            else:
                put(name, metric, entry.name, value)
                stamp = metric.timestamp
                group = None if stamp is None else found.get((name, stamp))
        if unknown:
            self._want("it sends metrics that its birth does not have")
        self._show_others(node, device, now_ms)

    def _put(self, name: str, metric: Metric, channel: str, value: Any) -> None:
        stamp = metric.timestamp if metric.timestamp is not None else self.payload.timestamp
        try:
            time_ms = self.format.time_of(stamp, self.message)
        except RejectionError as error:
            self.bad.append(error)
            return
        if self.newest_ms < time_ms <= self.latest_ms:
            self.newest_ms = time_ms
        self.found.setdefault((name, time_ms), {})[channel] = value

    def _node_death(self, node: Node | None) -> None:
        if node is None or not node.state.alive:
            return
        state = node.state
        bd_seq = next((m.value for m in self.payload.metrics if m.name == BD_SEQ and type(m.value) is int), None)
        if state.bd_seq is not None and bd_seq != state.bd_seq:
            self.nodes.counts["old_deaths"] += 1
            return
        # The payload was made when the node connected; it has no time of the death.
        now_ms = self.message.arrived_ms + state.offset_ms
        for device in sorted(state.born | state.expected.keys()):
            self._dies(node, device, now_ms)
        state.alive, state.seq, state.born, state.expected = False, None, set(), {}
        self.nodes.wanted.pop(self.key, None)

    def _device_death(self, node: Node) -> None:
        device, state = self.topic.device, node.state
        now_ms = self._now(node)
        if device in state.born or device in state.expected:
            self._dies(node, device, now_ms)
        state.born.discard(device)
        state.expected.pop(device, None)
        node.shown_ms.pop(device, None)
        self._show_others(node, device, now_ms)

    def _dies(self, node: Node, device: str, now_ms: int) -> None:
        self.nodes.counts["deaths"] += 1
        name, newest_ms = self._name(device), node.state.newest_ms
        # Not before its last value; but a clock that was wrong before does not count.
        died_ms = newest_ms if now_ms < newest_ms <= now_ms + WRONG_MS else now_ms
        self.found[name, min(max(died_ms, 1), TIME_LIMIT_MS - 1)] = ENDED
        self.nodes.events.append((name, False))

    def _show_others(self, node: Node, device: str, now_ms: int) -> None:
        """A message of a node shows that its other devices are alive, too, with the values that they had."""
        self.message.quiet = not self.topic.device
        tick_ms, shown = self.format.tick_ms, node.shown_ms
        shown[device] = now_ms
        if node.look_ms - 2 * tick_ms <= now_ms < node.look_ms:
            return
        oldest = now_ms
        for other in node.state.born:
            last = shown.get(other)
            if other != device and (last is None or last + tick_ms < now_ms):
                shown[other] = now_ms
                self.found.setdefault((self._name(other), now_ms), ALIVE)
            oldest = min(oldest, shown[other])
        # So seldom that the work for each message does not grow with the number of devices.
        node.look_ms = max(oldest + tick_ms + 1, now_ms + tick_ms // 8)
