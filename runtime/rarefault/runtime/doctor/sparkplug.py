"""Checks of edge nodes of Sparkplug: which were heard, what of them cannot be read, and whether the model fits."""

from pathlib import Path

from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.turns.edge_nodes import load_nodes
from rarefault.runtime.doctor.findings import Findings
from rarefault.runtime.errors import JournalError
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.telemetry.reasons import quote
from rarefault.runtime.telemetry.sparkplug import Nodes

#: Edge nodes that a finding names.
NAMED = 5


def known_nodes(setup: Setup) -> Nodes:
    """The edge nodes whose births the daemon's journal has; none where there is no journal that can be read."""
    nodes = Nodes()
    journal = setup.config.journal.path
    path = setup.source.parent / journal if journal else None
    if path is not None and path.is_file() and _reads_sparkplug(setup):
        _restore(nodes, path)
    return nodes


def check_sparkplug(setup: Setup, nodes: Nodes, found: Findings) -> None:
    """What of the messages depends on births, and whether values that are reported by exception will be missing."""
    if not _reads_sparkplug(setup):
        return
    heard = [f"{node.state.group}/{node.state.edge}" for node in nodes if node.state.alive]
    if heard:
        devices = sum(len(node.state.born - {""}) for node in nodes)
        found.good("sparkplug", f"{len(heard)} edge nodes with {devices} devices are born: {_some(heard)}")
    if nodes.wanted:
        names = ["/".join(key) for key in nodes.wanted]
        why = next(iter(nodes.wanted.values()))
        found.warning(
            "sparkplug",
            f"{len(names)} edge nodes have to be born again ({_some(names)}; {why}): data has no names before a birth. "
            "The running daemon asks for it, if telemetry.rebirth is true and it may publish on spBv1.0/+/NCMD/#; else "
            "restart the edge node, or listen longer",
        )
    if gaps := nodes.counts["gaps"]:
        found.warning("sparkplug", f"{gaps} gaps in the numbers of messages: some were lost, as they are of QoS 0")
    grid = setup.model.manifest.grid
    if not grid.ends:
        found.warning(
            "sparkplug",
            f"the model holds a value for max_hold_s = {grid.max_hold_s:g} s, but Sparkplug sends it only when it "
            'changes: a steady value will be missing; train with grid.hold = "until death", on a recording of the '
            "messages",
        )


def _reads_sparkplug(setup: Setup) -> bool:
    return any(source.format == "sparkplug" for source in setup.config.sources)


def _restore(nodes: Nodes, path: Path) -> None:
    """Take over the nodes of a journal; nothing where it is an older one, or damaged, which other checks tell."""
    try:
        with JournalReader(path) as journal:
            nodes.restore(load_nodes(journal))
    except JournalError:
        nodes.restore([])


def _some(names: list[str]) -> str:
    return ", ".join(map(quote, names[:NAMED])) + (", ..." if len(names) > NAMED else "")
