"""Outboxes whose messages are in the journal, too."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from rarefault.runtime.daemon.publishing.outbox import MemoryOutbox
from rarefault.runtime.journal.records import Entry
from rarefault.runtime.journal.writer import Journal

log = logging.getLogger(__name__)

#: Confirmations wait for the next telemetry this long, or until there are so many, before they are kept.
SETTLE_S, SETTLE = 1.0, 200


class DurableOutbox(MemoryOutbox):
    """What one sink is owed; to be changed within a turn of the journal only."""

    def __init__(self, capacity: int, sink: str, keys: Iterator[int], journal: Journal) -> None:
        super().__init__(capacity, sink, keys)
        self._journal = journal
        self._done: list[int] = []  # keys that the journal still has
        self._settled_at = 0.0

    @property
    def restless(self) -> bool:
        """Whether confirmations have waited for a turn long enough."""
        return len(self._done) >= SETTLE or (bool(self._done) and time.monotonic() - self._settled_at > SETTLE_S)

    def load(self, entry: Entry) -> None:
        """Take a message that the journal has."""
        super()._add(entry)

    def flush(self) -> None:
        """Have the journal forget what has been confirmed or given up."""
        if self._done:
            self._journal.forget(self._done)
            self._done.clear()

    def _add(self, entry: Entry) -> None:
        super()._add(entry)
        self._journal.put(entry)

    def _forget(self, key: int) -> None:
        super()._forget(key)
        if not self._done:
            self._settled_at = time.monotonic()
        self._done.append(key)


def load_outboxes(journal: Journal, sinks: Iterable[str], capacity: int) -> dict[str, DurableOutbox]:
    """The outboxes of all sinks, with what the journal owes them.

    What is owed to a sink that is not there any more stays in the journal, for a start with it.

    Args:
        journal: the journal.
        sinks: their names.
        capacity: of each.
    """
    entries = list(journal.owed())
    keys = itertools.count(max((entry.key for entry in entries), default=0) + 1)
    outboxes = {sink: DurableOutbox(capacity, sink, keys, journal) for sink in sinks}
    left: Counter[str] = Counter()
    for entry in entries:
        if entry.sink in outboxes:
            outboxes[entry.sink].load(entry)
        else:
            left[entry.sink] += 1
    for sink, count in left.items():
        log.warning(
            "the journal keeps %d messages for the sink %s, which is not configured any more; configure it again to "
            "have them",
            count,
            sink,
        )
    return outboxes
