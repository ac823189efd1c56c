"""Edge nodes of Sparkplug in the journal: what changes of them with each turn, and their births."""

from collections.abc import Iterator

import msgspec

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
    journal.keep_edge_nodes(
        [(node.state.group, node.state.edge, _encoder.encode(node.state)) for node in changed],
        [(*key, device, _encoder.encode(table.entries)) for key, device, table in nodes.learned()],
        forgotten,
    )


def load_nodes(journal: JournalTables) -> Iterator[tuple[NodeState, Iterator[tuple[str, Table]]]]:
    """The edge nodes that the journal has; DamagedJournalError where they cannot be read."""
    for data in journal.edge_nodes():
        try:
            state = _state.decode(data)
        except msgspec.MsgspecError as error:
            raise DamagedJournalError(f"{journal.path}: an edge node cannot be read: {error}") from None
        yield state, _births(state, journal)


def _births(state: NodeState, journal: JournalTables) -> Iterator[tuple[str, Table]]:
    for device, data in journal.births(state.group, state.edge):
        try:
            yield device, Table(Entry(*entry) for entry in _table.decode(data))
        except msgspec.MsgspecError as error:
            raise DamagedJournalError(f"{journal.path}: a birth cannot be read: {error}") from None
