"""Outbox: verdicts and alarms wait here until their sink has confirmed them.

They are published in the order in which they were put, again after a new connection to a broker or a failure of a file,
and are forgotten when confirmed. A repeated delivery does no harm, because each message carries an id that is the same
every time.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from rarefault.runtime.journal.records import BROKER, Entry


class Outbox(Protocol):
    """Keeps what one sink is owed until it is confirmed.

    Attributes:
        dropped: number of messages given up because there was no room.
    """

    dropped: int

    def __len__(self) -> int:
        """Number of messages that are not confirmed."""

    @property
    def unsent(self) -> int:
        """Number of messages that have not been published, or are to be published again."""

    @property
    def restless(self) -> bool:
        """Whether confirmations have waited for a turn long enough."""

    @property
    def crowded(self) -> bool:
        """Whether it is half full; the other half is room for what one turn may bring."""

    def put(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Take a message."""

    def next(self) -> Entry | None:
        """The oldest message that has not been published, or is to be published again."""

    def sent(self, key: int, mid: int) -> None:
        """The message has been published; ``mid`` is what the sink will confirm."""

    def confirm(self, mid: int) -> None:
        """The sink has confirmed; unknown ids are no matter."""

    def resend(self) -> None:
        """All that is not confirmed is to be published again; confirmations of before do not count."""

    def flush(self) -> None:
        """Have the journal forget what has been confirmed or given up; within a turn of the journal only."""


class MemoryOutbox:
    """An outbox that lives as long as the process.

    When it is full, the oldest verdict makes room for the next message. Where there are only alarms, the newest of a
    topic is replaced by the next of the same topic, and no other goes: the last state of each device always arrives.

    Args:
        capacity: most messages that it keeps, save one alarm per topic that may come on top.
        sink: whose it is.
        keys: numbers its messages; all outboxes of a journal share one.
    """

    def __init__(self, capacity: int, sink: str = BROKER, keys: Iterator[int] | None = None) -> None:
        self.capacity = capacity
        self.sink = sink
        self.dropped = 0
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._verdicts: OrderedDict[int, None] = OrderedDict()
        self._latest: dict[str, int] = {}  # key of each topic's newest alarm
        self._unsent: OrderedDict[int, None] = OrderedDict()
        self._key_of: dict[int, int] = {}  # by mid
        self._keys = itertools.count(1) if keys is None else keys

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def unsent(self) -> int:
        """Number of messages that have not been published, or are to be published again."""
        return len(self._unsent)

    @property
    def restless(self) -> bool:
        """Confirmations wait for nothing."""
        return False

    @property
    def crowded(self) -> bool:
        """Whether it is half full; the other half is room for what one turn may bring."""
        return 2 * len(self._entries) >= self.capacity

    @property
    def full(self) -> bool:
        """Whether the next message costs another one."""
        return len(self._entries) >= self.capacity

    def put(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Take a message."""
        while self.full and self._verdicts:
            self._drop(next(iter(self._verdicts)))
        if self.full and not retain:
            self.dropped += 1  # nothing but alarms, which stay
            return
        if self.full and topic in self._latest:
            self._drop(self._latest[topic])
        self._add(Entry(next(self._keys), topic, payload, retain, self.sink))

    def _add(self, entry: Entry) -> None:
        self._entries[entry.key] = entry
        if entry.retain:
            self._latest[entry.topic] = entry.key
        else:
            self._verdicts[entry.key] = None
        self._unsent[entry.key] = None

    def next(self) -> Entry | None:
        """The oldest message that has not been published, or is to be published again."""
        key = next(iter(self._unsent), None)
        return None if key is None else self._entries[key]

    def sent(self, key: int, mid: int) -> None:
        """The message has been published; ``mid`` is what the sink will confirm."""
        del self._unsent[key]
        self._key_of[mid] = key

    def confirm(self, mid: int) -> None:
        """The sink has confirmed; unknown ids are no matter."""
        key = self._key_of.pop(mid, None)
        if key is not None and key in self._entries:
            self._forget(key)

    def resend(self) -> None:
        """All that is not confirmed is to be published again; confirmations of before do not count."""
        self._key_of.clear()
        self._unsent = OrderedDict.fromkeys(self._entries)

    def flush(self) -> None:
        """There is no journal."""

    def _drop(self, key: int) -> None:
        self._forget(key)
        self.dropped += 1

    def _forget(self, key: int) -> None:
        entry = self._entries.pop(key)
        self._verdicts.pop(key, None)
        self._unsent.pop(key, None)
        if self._latest.get(entry.topic) == key:
            del self._latest[entry.topic]
