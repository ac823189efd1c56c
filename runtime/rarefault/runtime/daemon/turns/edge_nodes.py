"""Edge nodes of Sparkplug in the journal: what changes of them with each turn, and their births."""

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from rarefault.runtime.errors import DamagedJournalError
from rarefault.runtime.journal.reader import JournalTables
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.telemetry.sparkplug import Nodes, NodeState
from rarefault.runtime.telemetry.sparkplug.nodes import Entry, Table

_encoder = msgspec.msgpack.Encoder()
_state = msgspec.msgpack.Decoder(NodeState)
_table = msgspec.msgpack.Decoder(list[tuple[str, int | None, int]])


def keep_nodes(nodes: Nodes, journal: Journal) -> None:
    """Keep what has changed of edge nodes since the last turn."""
    changed = nodes.changed()
    forgotten = nodes.forgotten()
    if not changed and not forgotten:
        return
    lives = []
    for key, device in nodes.lives():
        state = nodes.state(key)
        lives.append((device in state.born, state.expected.get(device), *key, device))
    journal.keep_edge_nodes(
        # Who lives stands with the births: it changes seldom, and a node may have thousands of devices.
        [
            (node.state.group, node.state.edge, _encoder.encode(replace(node.state, born=set(), expected={})))
            for node in changed
        ],
        [(*key, device, _encoder.encode(table.entries)) for key, device, table in nodes.learned()],
        lives,
        forgotten,
    )


def load_nodes(journal: JournalTables) -> Iterator[tuple[NodeState, list[tuple[str, Table]]]]:
    """The edge nodes that the journal has; DamagedJournalError where they cannot be read."""
    for data in journal.edge_nodes():
        try:
            state = _state.decode(data)
        except msgspec.MsgspecError as error:
            raise DamagedJournalError(f"{journal.path}: an edge node cannot be read: {error}") from None
        yield state, _births(state, journal)


def _births(state: NodeState, journal: JournalTables) -> list[tuple[str, Table]]:
    """The births of a node; who lives goes into its state."""
    tables = []
    for device, data, born, expected_ms in journal.births(state.group, state.edge):
        if born:
            state.born.add(device)
        if expected_ms is not None:
            state.expected[device] = expected_ms
        try:
            tables.append((device, Table(Entry(*entry) for entry in _table.decode(data))))
        except msgspec.MsgspecError as error:
            raise DamagedJournalError(f"{journal.path}: a birth cannot be read: {error}") from None
    return tables
