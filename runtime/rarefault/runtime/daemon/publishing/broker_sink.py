"""The broker as a sink: what the session has a place for goes out, and the broker's answers are confirmations."""

import logging

from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.journal.records import BROKER, Entry

log = logging.getLogger(__name__)


class BrokerSink:
    """Publishes through the session with the broker.

    Args:
        session: with the broker; :meth:`poll` serves it.
        prefix: of the topics.
        username: of the daemon at the broker.

    Attributes:
        refused: number of entries that the broker did not take; it will not take them later, so they are given up.
    """

    name = BROKER

    def __init__(self, session: BrokerSession, prefix: str, username: str) -> None:
        self.refused = 0
        self._session = session
        self._prefix, self._username = prefix, username
        self._confirmed: list[int] = []
        self._log = SampledLog(log)

    @property
    def generation(self) -> int:
        """Number of connections so far."""
        return self._session.connections

    @property
    def room(self) -> int:
        """Number of entries that the broker takes now."""
        return self._session.window

    def publish(self, entry: Entry) -> int:
        """Publish an entry on its topic."""
        return self._session.publish(entry.topic, entry.payload, retain=entry.retain)

    def poll(self, timeout_s: float, *, hold: bool = False, linger: bool = False) -> None:
        """Serve the session once; see :meth:`BrokerSession.poll`."""
        for mid, refusal in self._session.poll(timeout_s, hold=hold, linger=linger):
            self._confirmed.append(mid)
            if refusal is not None:
                self.refused += 1
                self._log.log(
                    "refused",
                    logging.ERROR,
                    "the broker refuses what is published below %s/ (%s): allow user %r to write there",
                    self._prefix,
                    refusal,
                    self._username,
                )

    def confirmations(self) -> list[int]:
        """Ids that the broker has answered."""
        confirmed, self._confirmed = self._confirmed, []
        return confirmed
