"""Rebirths: edge nodes of Sparkplug whose messages cannot be read, or are missing, are asked to be born again."""

import logging
import time

from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.telemetry.reasons import quote
from rarefault.runtime.telemetry.sparkplug import NAMESPACE, Nodes
from rarefault.runtime.telemetry.sparkplug.nodes import Key
from rarefault.runtime.telemetry.sparkplug.writing import rebirth_command

log = logging.getLogger(__name__)

#: Least time between two requests to one edge node, and how often one is asked that is not born.
EVERY_S, TRIES = 30.0, 5
#: Requests that go out at one time, and edge nodes of which it is remembered that they were asked.
AT_ONCE, MOST_REMEMBERED = 20, 2000


class Rebirths:
    """Asks for births.

    Args:
        nodes: which of them are wanted.
        session: where requests go out.

    Attributes:
        requested: number of requests so far.
    """

    def __init__(self, nodes: Nodes, session: BrokerSession) -> None:
        self.requested = 0
        self._nodes = nodes
        self._session = session
        self._requests: dict[Key, tuple[float, int]] = {}  # when last, and how often
        self._log = SampledLog(log)

    def run(self, now: float) -> None:
        """Ask those that are due.

        Args:
            now: monotonic clock, seconds.
        """
        wanted = self._nodes.wanted
        if not wanted or not self._session.ready:
            return
        left = AT_ONCE
        for key, why in list(wanted.items()):
            requested_at, tries = self._requests.get(key, (-EVERY_S, 0))
            if now - requested_at < EVERY_S:
                continue
            if tries >= TRIES:
                del wanted[key]  # it will be wanted again should it send anything that needs it
                self._requests[key] = (now, 0)
                continue
            if left <= 0 or self._session.window <= 0 or not self._room(key, now):
                return
            left -= 1
            self._requests[key] = (now, tries + 1)
            self._ask(key, why)

    def _room(self, key: Key, now: float) -> bool:
        """Whether it can be remembered that a node is asked, as it must be."""
        if key not in self._requests and len(self._requests) >= MOST_REMEMBERED:
            self._requests = {key: request for key, request in self._requests.items() if now - request[0] < EVERY_S}
        return key in self._requests or len(self._requests) < MOST_REMEMBERED

    def _ask(self, key: Key, why: str) -> None:
        topic = f"{NAMESPACE}/{key[0]}/NCMD/{key[1]}"
        self._session.publish(topic, rebirth_command(time.time_ns() // 1_000_000), retain=False, qos=0)
        self.requested += 1
        self._log.log("rebirth", logging.WARNING, "asked edge node %s to be born again: %s", quote("/".join(key)), why)
