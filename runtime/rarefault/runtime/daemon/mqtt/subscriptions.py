"""Subscriptions: what the daemon listens to, and what of it the broker keeps from connection to connection."""

import logging
import time

from rarefault.runtime.daemon.config import EdgeConfig
from rarefault.runtime.daemon.mqtt.connection import Connection
from rarefault.runtime.daemon.mqtt.names import Session
from rarefault.runtime.telemetry.topics import Template

log = logging.getLogger(__name__)

#: How long it is a problem that the broker had lost the session.
LOST_S = 600.0


class Subscriptions:
    """Subscribes, and follows what the session at the broker is subscribed to.

    Args:
        config: of the daemon.
        client_id: names the session.
        before: the session that the broker should have, None where it should have none of this client.
        who: the user or client for whom the broker has rights, for the log.

    Attributes:
        filters: telemetry, and feedback where the daemon listens to it; each with its QoS.
        granted: whether the broker has granted telemetry in the session that it keeps.
        ever_granted: whether it has on any connection.
        kept: what the broker keeps, as far as it has confirmed it; None before.
        sessions_lost: how often it did not have the session that there was.
    """

    def __init__(self, config: EdgeConfig, client_id: str, before: Session | None, who: str) -> None:
        self.filters: list[tuple[str, int]] = [(text, config.telemetry.qos) for text in config.subscriptions]
        self._of_telemetry = len(self.filters)
        if config.feedback_topic:
            self.filters.append((Template(config.feedback_topic).subscription, 1))
        if config.home_assistant.enabled:
            self.filters.append((f"{config.home_assistant.prefix}/status", 0))
        self.granted = self.ever_granted = False
        self.kept: Session | None = None
        self.sessions_lost = 0
        self._config = config
        self._client_id = client_id
        self._who = who
        known = before is not None and (before.url, before.client_id) == (config.broker.url, client_id)
        self._before = before if known else None  # what the broker should have
        self._stale: tuple[str, ...] = ()  # what it is to leave
        self._lost, self._lost_at = "", -LOST_S

    @property
    def lost(self) -> str:
        """What the loss of the session means and what to do, for ``LOST_S`` after it was found; empty else."""
        return self._lost if time.monotonic() - self._lost_at < LOST_S else ""

    def begin(self, connection: Connection) -> None:
        """The broker has accepted a connection: subscribe where its session is not subscribed."""
        if not connection.session_present:
            self._miss_session(connection)
        # A session remembers its subscription, but that may be of an earlier configuration, or not have arrived.
        self.granted = self.granted and connection.session_present
        if not self.granted:
            connection.subscribe(self.filters)
        if connection.session_present:
            self._leave_others(connection)

    def take_answer(self, connection: Connection) -> str:
        """Take the broker's answer, once it is there; why the subscription to telemetry is refused, if so."""
        if connection.subscribed is not None:
            granted, others = connection.subscribed[: self._of_telemetry], connection.subscribed[self._of_telemetry :]
            connection.subscribed = None
            for (topic_filter, _), answer in zip(self.filters, granted, strict=False):
                if isinstance(answer, str):
                    return (
                        f"broker {self._config.broker.url} refuses the subscription to {topic_filter} ({answer}); "
                        f"allow {self._who} to read it, or change telemetry.topic"
                    )
                self._warn(topic_filter, answer)
            self._warn_of_others(others)
            self.ever_granted = self.granted = True
            self._remember(self._stale)
        if self._stale and connection.unsubscribed:
            self._stale = ()
            self._remember(())
        return ""

    def _warn(self, topic_filter: str, telemetry: int) -> None:
        """Warn where the broker grants less than was wanted."""
        if telemetry < self._config.telemetry.qos:
            log.warning(
                "broker %s grants QoS %d only for %s; telemetry may be lost while the daemon is away",
                self._config.broker.url,
                telemetry,
                topic_filter,
            )

    def _warn_of_others(self, answers: list[int | str]) -> None:
        """Warn where nobody can answer, or Home Assistant is not heard."""
        for (topic_filter, _), answer in zip(self.filters[self._of_telemetry :], answers, strict=False):
            if isinstance(answer, str):
                text = "broker %s refuses the subscription to %s (%s); "
                if topic_filter.endswith("/feedback"):
                    text += "nobody can answer alarms until %s may read it, or publish.feedback = false"
                else:
                    text += "restarts of Home Assistant are not noticed until %s may read it"
                log.warning(text, self._config.broker.url, topic_filter, answer, self._who)

    def _remember(self, stale: tuple[str, ...]) -> None:
        filters = tuple(filter_ for filter_, _ in self.filters)
        self.kept = self._before = Session(self._config.broker.url, self._client_id, filters + stale)

    def _leave_others(self, connection: Connection) -> None:
        """Leave what the session is subscribed to by an earlier configuration: it would bring telemetry twice.

        After the subscription to what is wanted, so that nothing falls between; and again on the next connection, where
        this one does not last until the broker has confirmed it.
        """
        wanted = {filter_ for filter_, _ in self.filters}
        self._stale = tuple(f for f in (self._before.filters if self._before else ()) if f not in wanted)
        if self._stale:
            names = ", ".join(self._stale)
            log.info("the session is still subscribed to %s, which is not wanted any more: unsubscribed", names)
            connection.unsubscribe(list(self._stale))

    def _miss_session(self, connection: Connection) -> None:
        """Warn where the broker does not have the session that there was."""
        forgetful = self._config.broker.session_expiry_s == 0 and connection.protocol == "5"
        if self._before is None or forgetful:
            return
        self._before = None
        self.sessions_lost += 1
        self._lost_at = time.monotonic()
        self._lost = (
            f"broker {self._config.broker.url} does not have the session of client {self._client_id!r} any more: "
            "telemetry that was sent meanwhile is lost; let the broker keep sessions (Mosquitto: persistence true), "
            "raise broker.session_expiry_s, or see whether another client uses that id"
        )
        log.warning("%s", self._lost)
