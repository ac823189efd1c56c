"""Delivery: what an outbox holds goes to its sink, as fast as that takes it."""

import logging
import time
from collections.abc import Mapping
from typing import Protocol

from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.daemon.publishing.broker_sink import BrokerSink
from rarefault.runtime.daemon.publishing.outbox import Outbox
from rarefault.runtime.daemon.publishing.sink import Sink

log = logging.getLogger(__name__)

#: A crowded outbox of which the broker confirms nothing for so long does not hold up telemetry any more.
STALL_S = 30.0


class HasOutboxes(Protocol):
    """Whoever has the outboxes."""

    @property
    def outboxes(self) -> Mapping[str, Outbox]:
        """By the names of the sinks; others after a turn that could not be kept."""


class Delivery:
    """Brings one sink what its outbox holds.

    Args:
        sink: the sink.
        store: has the outbox under the sink's name.
    """

    def __init__(self, sink: Sink, store: HasOutboxes) -> None:
        self.sink = sink
        self._store = store
        self._generation = sink.generation

    @property
    def outbox(self) -> Outbox:
        """What the sink is owed."""
        return self._store.outboxes[self.sink.name]

    def run(self) -> None:
        """Publish what the sink takes now, and take note of what it has confirmed."""
        self.note_confirmations()
        if self._generation != self.sink.generation:
            self._generation = self.sink.generation
            self.outbox.resend()
        while self._publish() and self.note_confirmations():
            continue  # a sink that confirms at once has room again

    def _publish(self) -> bool:
        """Publish what the sink has room for; whether there was anything."""
        outbox, sink, published = self.outbox, self.sink, False
        while sink.room > 0 and (entry := outbox.next()) is not None:
            outbox.sent(entry.key, sink.publish(entry))
            published = True
        return published

    def note_confirmations(self) -> bool:
        """Forget what the sink has confirmed; whether it has confirmed anything."""
        confirmed = self.sink.confirmations()
        for number in confirmed:
            self.outbox.confirm(number)
        return bool(confirmed)


class BrokerDelivery(Delivery):
    """Delivery to the broker, which telemetry waits for where its verdicts would find no room.

    Attributes:
        stalled: whether the broker has confirmed nothing for so long that telemetry does not wait any more.
    """

    def __init__(self, sink: BrokerSink, store: HasOutboxes, session: BrokerSession) -> None:
        super().__init__(sink, store)
        self.stalled = False
        self._session = session
        self._progress_at = time.monotonic()

    def note_confirmations(self) -> bool:
        """Forget what the broker has confirmed; whether it has confirmed anything."""
        confirmed = super().note_confirmations()
        if confirmed or not self.outbox.crowded or not self._session.connected:
            self._progress_at = time.monotonic()
        return confirmed

    def holds_up(self) -> bool:
        """Whether telemetry must wait, unacknowledged, because its verdicts might find no room."""
        if not self.outbox.crowded:
            self.stalled = False
            return False
        stalled = time.monotonic() - self._progress_at > STALL_S
        if stalled and not self.stalled:
            log.error(
                "the broker has confirmed nothing for %.0f s while %d verdicts wait; telemetry is processed all the "
                "same, and the oldest verdicts are dropped where limits.outbox_messages is reached",
                STALL_S,
                len(self.outbox),
            )
        self.stalled = stalled
        return not stalled
