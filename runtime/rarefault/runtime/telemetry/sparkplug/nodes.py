"""Edge nodes: what has to be remembered of each to read its messages, and to know whether it lives.

Births name what data only number. So the births of all nodes are remembered, with the sequence number of the last
message, in a form that a journal can keep: a restarted daemon reads on where it stopped.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from rarefault.runtime.telemetry.sparkplug.writing import BD_SEQ

#: Edge nodes that are remembered. A new one takes the place of one that is dead.
MAX_NODES = 5000
#: Devices of an edge node that are remembered, and what all births may take, about, in bytes.
MAX_DEVICES, MAX_BYTES = 10_000, 100_000_000
#: What a metric of a birth takes beside its name, about, in bytes.
ENTRY_BYTES = 300
#: Edge nodes that a rebirth is wanted of at one time.
MAX_WANTED = 1000

#: What the names of metrics begin with that command an edge node or a device.
CONTROLS = ("Node Control/", "Device Control/")

#: Group and id of an edge node.
Key = tuple[str, str]


class Entry(NamedTuple):
    """A metric of a birth."""

    name: str
    alias: int | None
    datatype: int


class Table:
    """The metrics of one birth; it never changes.

    Attributes:
        entries: in the order of the birth.
        by_name, by_alias: to find them.
        own: names of those that are Sparkplug's own, such as the number of the session, and no telemetry.
        bytes: that it takes, about.
    """

    __slots__ = ("by_alias", "by_name", "bytes", "entries", "own")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)
        self.by_name = {entry.name: entry for entry in self.entries}
        self.bytes = sum(ENTRY_BYTES + len(entry.name) for entry in self.entries)
        self.own = frozenset(name for name in self.by_name if name == BD_SEQ or name.startswith(CONTROLS))
        self.by_alias: dict[int | None, Entry] = {
            entry.alias: entry for entry in self.entries if entry.alias is not None
        }


class NodeState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What changes of an edge node from message to message.

    Attributes:
        group, edge: its names.
        alive: whether it was born and has not died since.
        seq: number of its last message; None where it is not known.
        bd_seq: number of its session, from its birth; None where the birth has none.
        offset_ms: how far its clock is ahead of the one that arrivals are timed by.
        newest_ms: latest time of its messages and of their values, by its own clock.
        born: devices that are born; the empty name is the node itself.
        wanted: why it should be born again; empty where it need not.
        expected: devices whose birth has to come again since the node was born, and since when.
    """

    group: str
    edge: str
    alive: bool = False
    seq: int | None = None
    bd_seq: int | None = None
    offset_ms: int = 0
    newest_ms: int = 0
    wanted: str = ""
    born: set[str] = msgspec.field(default_factory=set)
    expected: dict[str, int] = msgspec.field(default_factory=dict)


class Node:
    """An edge node.

    Attributes:
        state: what changes from message to message.
        tables: the last birth of each device.
        bytes: that they take, about.
        shown_ms: until when each device was shown to be alive, as far as that is known.
        look_ms: when to look again who has to be shown.
    """

    __slots__ = ("bytes", "look_ms", "shown_ms", "state", "tables")

    def __init__(self, state: NodeState) -> None:
        self.state = state
        self.tables: dict[str, Table] = {}
        self.bytes = 0
        self.shown_ms: dict[str, int] = {}
        self.look_ms = 0

    def copy(self) -> "Node":
        """As it is now."""
        state = self.state
        found = Node(msgspec.structs.replace(state, born=set(state.born), expected=dict(state.expected)))
        found.tables, found.shown_ms = dict(self.tables), dict(self.shown_ms)
        found.bytes, found.look_ms = self.bytes, self.look_ms
        return found

    def learn(self, device: str, table: Table) -> None:
        """Remember a birth."""
        before = self.tables.get(device)
        self.bytes += table.bytes - (before.bytes if before is not None else 0)
        self.tables[device] = table


class Nodes:
    """The edge nodes.

    Attributes:
        counts: what came of them so far, by what it was: ``gaps`` in the sequence, ``births``, ``deaths``, and
            ``old_deaths``, of a session that has been over for long.
        wanted: edge nodes that should be born again, and why.
        events: devices that were born (True), died (False), or have to be born again for anybody to know (None), since
            they were taken last, in order.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wanted: dict[Key, str] = {}
        self.events: list[tuple[str, bool | None]] = []
        self._nodes: dict[Key, Node] = {}
        self._before: dict[Key, Node | None] = {}  # as they were before this turn
        self._counts_before: Counter[str] = Counter()
        self._learned: set[tuple[Key, str]] = set()
        self._forgotten: set[Key] = set()

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def node(self, key: Key) -> Node | None:
        """A node that may be changed now."""
        node = self._nodes.get(key)
        if node is not None and key not in self._before:
            self._before[key] = node.copy()
        return node

    def born(self, key: Key) -> Node | None:
        """As :meth:`node`, for one that is born; a new one where there is room, else None."""
        node = self.node(key)
        if node is not None:
            return node
        if len(self._nodes) >= MAX_NODES:
            dead = next((key for key, node in self._nodes.items() if not node.state.alive), None)
            if dead is None:
                return None
            self.node(dead)
            del self._nodes[dead]
            self._forgotten.add(dead)
        node = self._nodes[key] = Node(NodeState(group=key[0], edge=key[1]))
        self._before.setdefault(key, None)
        return node

    def learn(self, key: Key, device: str, table: Table) -> bool:
        """Remember the birth of a device; False where that would be too much."""
        node = self._nodes[key]
        if device not in node.tables and len(node.tables) >= MAX_DEVICES:
            return False
        if table.bytes + sum(node.bytes for node in self._nodes.values()) > MAX_BYTES:
            return False
        node.learn(device, table)
        self._learned.add((key, device))
        return True

    def want(self, key: Key, why: str) -> None:
        """Have a node be born again."""
        if (node := self.node(key)) is not None:
            node.state.wanted = why
        if key in self.wanted or len(self.wanted) < MAX_WANTED:
            self.wanted.setdefault(key, why)

    def take_events(self) -> list[tuple[str, bool | None]]:
        """Devices that were born or died since the last call."""
        events, self.events = self.events, []
        return events

    def changed(self) -> list[Node]:
        """Nodes whose state has changed since the last turn that was kept."""
        return [self._nodes[key] for key in self._before if key in self._nodes]

    def lives(self) -> Iterator[tuple[Key, str]]:
        """Devices that were born or died, or are expected, since the last turn that was kept."""
        for key, before in self._before.items():
            node = self._nodes.get(key)
            if node is None:
                continue
            now, old = node.state, before.state if before is not None else NodeState(group="", edge="")
            if now.born != old.born or now.expected != old.expected:
                expected = {device for device, _ in now.expected.items() ^ old.expected.items()}
                yield from ((key, device) for device in (now.born ^ old.born) | expected)

    def state(self, key: Key) -> NodeState:
        """The state of a node that there is."""
        return self._nodes[key].state

    def learned(self) -> Iterator[tuple[Key, str, Table]]:
        """Births since the last turn that was kept."""
        for key, device in self._learned:
            if key in self._nodes:
                yield key, device, self._nodes[key].tables[device]

    def forgotten(self) -> list[Key]:
        """Nodes that are remembered no longer since the last turn that was kept."""
        return [key for key in self._forgotten if key not in self._nodes]

    def kept(self) -> None:
        """The turn is kept."""
        self._before.clear()
        self._learned.clear()
        self._forgotten.clear()
        self._counts_before = Counter(self.counts)

    def go_back(self) -> None:
        """The messages of the turn will be read again: be as before them."""
        for key, node in self._before.items():
            if node is None:
                self._nodes.pop(key, None)
            else:
                self._nodes[key] = node
        self.counts = Counter(self._counts_before)
        self.events = []
        self.kept()

    def restore(self, nodes: Iterable[tuple[NodeState, Iterable[tuple[str, Table]]]]) -> None:
        """Go on with these nodes and no others."""
        self._nodes.clear()
        self.events = []
        for state, tables in nodes:
            node = self._nodes[state.group, state.edge] = Node(state)
            for device, table in tables:
                node.learn(device, table)
            if state.wanted and state.alive:
                self.wanted[state.group, state.edge] = state.wanted
        self.counts = Counter(self._counts_before)
        self.kept()
