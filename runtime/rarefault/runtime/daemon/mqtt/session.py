"""The session with the broker, across connections.

Keeps one connection at a time and makes a new one with growing, jittered delays when it is lost. Telemetry is
acknowledged only when the caller says so; the broker keeps what is not. Everything happens in :meth:`Link.poll`, in the
caller's thread.
"""

import logging
import random
import socket
import ssl
import time
from collections import deque
from pathlib import Path

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.mqtt.connection import UNSUPPORTED_PROTOCOL, Confirmation, Connection, Identity
from rarefault.runtime.daemon.mqtt.inbox import Inbox, Message
from rarefault.runtime.daemon.mqtt.names import Names, Session
from rarefault.runtime.daemon.mqtt.tls import tls_context, tls_problem
from rarefault.runtime.daemon.topics import Template
from rarefault.runtime.errors import BrokerError, ConfigError

log = logging.getLogger(__name__)

#: What the status topic says; impaired is a daemon that is up and cannot take or keep telemetry, or use any of it.
ONLINE, OFFLINE, IMPAIRED = b"online", b"offline", b"impaired"
#: How long a broker may take to answer MQTT 5 before 3.1.1 is tried; some of old wait for more, and never answer.
AUTO_ANSWER_S = 2.0
#: How long it is a problem that the broker had lost the session.
LOST_S = 600.0
#: A connection that lasted this long ends the growth of the delays.
STABLE_S = 10.0

#: Refusals that waiting does not mend, and what does.
PERMANENT = {
    "Not authorized": "check broker.username and the password",
    "Bad user name or password": "check broker.username and the password",
    "Bad authentication method": "check broker.username and the password",
    "Banned": "ask the broker's administrator",
    "Client identifier not valid": "choose another broker.client_id",
    "Retain not supported": "the broker must allow retained messages",
    "QoS not supported": "the broker must allow QoS 1",
    UNSUPPORTED_PROTOCOL: 'set broker.protocol = "auto"',
}


class BrokerSession:
    """The session with the broker.

    Args:
        config: of the daemon.
        password: of ``config.broker.username``, if there is one.
        source: the configuration file, which the paths of certificates are relative to.

    Attributes:
        kept: the session that the broker keeps, once it has granted the subscription; None before.
        sessions_lost: how often it did not have the session that there was.
        lost: what that means and what to do, for ``LOST_S`` after it was found; empty else.
        connections: number of connections that the broker has accepted so far.
        connecting: whether a connection is being made at this moment, which may take as long as ``connect_timeout_s``;
            a signal handler may raise an OSError then, which ends it.
    """

    def __init__(self, config: DaemonConfig, password: str | None, source: Path = Path()) -> None:
        self.connections = 0
        self.connecting = False
        self._config = config
        self._source = source
        self._password = password
        self._status_topic = self._health_topic = ""
        self.kept: Session | None = None
        self.sessions_lost = 0
        self._lost, self._lost_at = "", -LOST_S
        self._before: Session | None = None  # what the broker should have
        self._stale: tuple[str, ...] = ()  # what it is to leave
        self.introduce(Names(config.publish.runtime_name, config.client_id), None)
        # Telemetry, and feedback where the daemon listens to it.
        self._filters: list[tuple[str, int]] = [(config.telemetry.subscription, config.telemetry.qos)]
        if config.feedback_topic:
            self._filters.append((Template(config.feedback_topic).subscription, 1))
        both = config.broker.protocol == "auto" and not config.telemetry.share  # which MQTT 3.1.1 does not have
        self._protocols = deque(["5", "3.1.1"] if both else [config.broker.protocol.replace("auto", "5")])
        self._connection: Connection | None = None
        self._number = 0  # of the present connection, accepted or not
        self._attempts = 0  # since the last stable connection
        self._short_lived = 0  # accepted connections in a row that were lost at once
        self._next_attempt_at = 0.0
        self._ever_subscribed = False
        self._subscribed = False  # in the session that the broker keeps
        self._settled = False  # whether the present connection has been told of and subscribed
        self._messages = Inbox(config.limits.pending_messages)  # received and not taken
        self._status = self._said = ONLINE
        self._health = self._health_said = b""
        self._dropped = 0
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def introduce(self, names: Names, session: Session | None) -> None:
        """Say who connects, before the first connection.

        Args:
            names: of the daemon.
            session: that the broker should have, as an earlier process left it; None where there was none.
        """
        config = self._config
        own = f"{config.publish.prefix}/{names.runtime}"
        self._status_topic, self._health_topic = f"{own}/status", f"{own}/health"
        self._identity = Identity(
            names.client_id,
            self._password,
            self._status_topic,
            OFFLINE,
            config.limits.pending_messages,
            4 * config.telemetry.max_payload_bytes + (1 << 16),
            config.telemetry.sender_property,
        )
        known = session is not None and (session.url, session.client_id) == (config.broker.url, names.client_id)
        self._before = session if known else None

    @property
    def lost(self) -> str:
        """See the class."""
        return self._lost if time.monotonic() - self._lost_at < LOST_S else ""

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the present connection."""
        connection = self._connection  # metrics are read from another thread
        return connection is not None and connection.up

    @property
    def protocol(self) -> str:
        """MQTT version of the present or the next connection."""
        return self._protocols[0]

    @property
    def dropped(self) -> int:
        """Telemetry of QoS 0 that was dropped because it could not be processed in time."""
        connection = self._connection
        return self._dropped + (connection.dropped if connection is not None else 0)

    @property
    def window(self) -> int:
        """Number of messages that may be published now."""
        return self._connection.window if self._connection is not None and self._settled else 0

    @property
    def waiting(self) -> int:
        """Number of telemetry messages that are received and not taken."""
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether nothing more is read until telemetry has been taken."""
        return self._messages.full

    @property
    def ready(self) -> bool:
        """Whether telemetry comes in: connected and subscribed."""
        return self.connected and self._subscribed

    def poll(self, timeout_s: float, *, hold: bool = False, linger: bool = False) -> list[Confirmation]:
        """Connect where that is due, wait for the broker, read what there is, and return the confirmations.

        Args:
            timeout_s: longest wait; none where there are messages to take.
            hold: messages will not be taken now; they wait, and confirmations come all the same.
            linger: wait for more although there are messages to take.

        Raises:
            BrokerError: the first connection was refused for a reason that waiting does not mend.
        """
        if self._connection is None and time.monotonic() >= self._next_attempt_at:
            self._connect()
        connection = self._connection
        if connection is None:
            self._sleep(min(timeout_s, max(0.0, self._next_attempt_at - time.monotonic())))
        else:
            no_wait = bool(self._messages) and not (hold or linger)
            connection.serve(0.0 if no_wait else timeout_s, self._wake_read, hold=hold)
            if connection.up:
                self._settle(connection)
                connection.flush()
            if connection.overflowed and not self._messages:
                self._ask_again(connection)
            elif connection.ended is not None:
                self._end(connection)
        self._drain_wake()
        if connection is None:
            return []
        confirmations, connection.confirmations = connection.confirmations, []
        return confirmations

    def next(self) -> Message | None:
        """Take the oldest telemetry message, None where there is none."""
        return self._messages.next()

    def give_back(self, messages: list[Message]) -> None:
        """Put messages back that could not be kept, to be taken again."""
        self._messages.give_back(messages)

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """Publish while :attr:`window` > 0 and return the id that its confirmation will have."""
        assert self._connection is not None
        return self._connection.publish(topic, payload, qos=self._config.publish.qos, retain=retain)

    def say_status(self, *, impaired: bool) -> None:
        """Say on the status topic how the daemon is, where that has changed."""
        self._status = IMPAIRED if impaired else ONLINE
        if self._status != self._said and self._connection is not None and self._settled and self._connection.up:
            self._said = self._status
            self._connection.publish(self._status_topic, self._status, qos=1, retain=True)
            self._connection.flush()

    def say_health(self, payload: bytes) -> None:
        """Say on the health topic how the daemon is in detail; again after every connection."""
        self._health = payload
        connection = self._connection
        if payload != self._health_said and connection is not None and self._settled and connection.up:
            self._health_said = payload
            connection.publish(self._health_topic, payload, qos=1, retain=True)
            connection.flush()

    def shift(self, step_ms: int, now_ms: int) -> None:
        """The clock was set: correct the arrival of the messages that wait."""
        self._messages.shift(step_ms, now_ms)

    def acknowledge(self, messages: list[Message]) -> None:
        """Tell the broker that messages have been processed, so that it forgets them.

        Those of a connection that has ended cannot be acknowledged; the broker sends them again.
        """
        if self._connection is not None:
            self._connection.acknowledge(messages)

    def wake(self) -> None:
        """End a wait at once; may be called from a signal handler or another thread, and after :meth:`close`."""
        try:
            self._wake_write.send(b"\0")
        except OSError:
            return  # full of wake-ups already, or closed

    def close(self, timeout_s: float, farewell: bytes = b"") -> None:
        """Say ``offline`` (and ``farewell`` on the health topic), leave, and give back the sockets.

        What was not acknowledged stays with the broker.
        """
        connection = self._connection
        if connection is not None and connection.up:
            if farewell:
                connection.publish(self._health_topic, farewell, qos=1, retain=True)
            mid = connection.publish(self._status_topic, OFFLINE, qos=1, retain=True)
            deadline = time.monotonic() + timeout_s
            while connection.up and all(c.mid != mid for c in connection.confirmations):
                if (left := deadline - time.monotonic()) <= 0:
                    break
                connection.serve(left, self._wake_read, hold=True)
                self._drain_wake()
            if connection.up:
                connection.disconnect()
        if connection is not None:
            connection.abandon("the daemon stopped")
            self._connection = None
        self._wake_read.close()
        self._wake_write.close()

    def _connect(self) -> None:
        url = self._config.broker.url
        answer_s = self._config.broker.connect_timeout_s
        if len(self._protocols) > 1 and self.protocol == "5":
            answer_s = min(answer_s, AUTO_ANSWER_S)
        self._number += 1
        try:
            # Made anew each time, as certificates are renewed while the daemon runs.
            tls = tls_context(self._config.broker, self._source)
            connection = Connection(
                self._number, self._config.broker, self._identity, self.protocol, answer_s, tls, self._messages
            )
            self.connecting = True
            connection.open()
        except (ssl.SSLError, ConnectionResetError) as error:
            delay_s = self._retry_later()
            problem = tls_problem(error, self._config.broker)
            log.error("broker %s: %s; trying again in %.1f s", url, problem, delay_s)  # noqa: TRY400
        except ConfigError as error:
            delay_s = self._retry_later()
            log.error("%s; trying again in %.1f s", error.problems[0], delay_s)  # noqa: TRY400
        except OSError as error:
            delay_s = self._retry_later()
            log.warning("broker %s cannot be reached (%s); trying again in %.1f s", url, _reason(error), delay_s)
        else:
            self._connection, self._settled = connection, False
        finally:
            self.connecting = False

    def _settle(self, connection: Connection) -> None:
        """Say ``online`` and subscribe, as soon as the broker has accepted the connection."""
        if not self._settled:
            self._settled = True
            self.connections += 1
            log.info(
                "connected to broker %s over MQTT %s as %s (%s session)",
                self._config.broker.url,
                connection.protocol,
                self._identity.client_id,
                "resumed its" if connection.session_present else "new",
            )
            if connection.session_present:
                # What the broker has no acknowledgement of comes again; without a session it would not.
                number = connection.number
                self._messages.keep(lambda message: message.connection == number or not message.qos)
            else:
                self._miss_session()
            # A session remembers its subscription, but that may be of an earlier configuration, or not have arrived.
            self._subscribed = self._subscribed and connection.session_present
            if not self._subscribed:
                connection.subscribe(self._filters)
            if connection.session_present:
                self._unsubscribe(connection)
            # After the subscription, so that whoever waits for ``online`` may send telemetry at once.
            self._said = self._status
            connection.publish(self._status_topic, self._status, qos=1, retain=True)
            self._health_said = b""
        if connection.subscribed is not None:
            telemetry, *feedback = connection.subscribed
            connection.subscribed = None
            if isinstance(telemetry, str):
                self._subscription_refused(connection, telemetry)
                return
            if telemetry < self._config.telemetry.qos:
                log.warning(
                    "broker %s grants QoS %d only for %s; telemetry may be lost while the daemon is away",
                    self._config.broker.url,
                    telemetry,
                    self._filters[0][0],
                )
            if feedback and isinstance(feedback[0], str):
                log.warning(
                    "broker %s refuses the subscription to %s (%s); nobody can answer alarms until %s may read it, or "
                    "publish.feedback = false",
                    self._config.broker.url,
                    self._filters[1][0],
                    feedback[0],
                    self._who,
                )
            self._ever_subscribed = self._subscribed = True
            self._remember(self._stale)
        if self._stale and connection.unsubscribed:
            self._stale = ()
            self._remember(())

    def _remember(self, stale: tuple[str, ...]) -> None:
        """What the broker keeps, as far as it has confirmed it."""
        filters = tuple(filter_ for filter_, _ in self._filters)
        self.kept = self._before = Session(self._config.broker.url, self._identity.client_id, filters + stale)

    def _unsubscribe(self, connection: Connection) -> None:
        """Leave what the session is subscribed to by an earlier configuration: it would bring telemetry twice.

        After the subscription to what is wanted, so that nothing falls between; and again on the next connection, where
        this one does not last until the broker has confirmed it.
        """
        wanted = {filter_ for filter_, _ in self._filters}
        self._stale = tuple(f for f in (self._before.filters if self._before else ()) if f not in wanted)
        if self._stale:
            names = ", ".join(self._stale)
            log.info("the session is still subscribed to %s, which is not wanted any more: unsubscribed", names)
            connection.unsubscribe(list(self._stale))

    def _miss_session(self) -> None:
        """Say it where the broker does not have the session that there was."""
        forgetful = self._config.broker.session_expiry_s == 0 and self.protocol == "5"
        if self._before is None or forgetful:
            return
        self._before = None
        self.sessions_lost += 1
        self._lost_at = time.monotonic()
        self._lost = (
            f"broker {self._config.broker.url} does not have the session of client {self._identity.client_id!r} any "
            "more: telemetry that was sent meanwhile is lost; let the broker keep sessions (Mosquitto: persistence "
            "true), raise broker.session_expiry_s, or see whether another client uses that id"
        )
        log.warning("%s", self._lost)

    def _subscription_refused(self, connection: Connection, reason: str) -> None:
        sentence = (
            f"broker {self._config.broker.url} refuses the subscription to {self._filters[0][0]} ({reason}); "
            f"allow {self._who} to read it, or change telemetry.topic"
        )
        if not self._ever_subscribed:
            raise BrokerError(sentence)
        log.error("%s", sentence)
        connection.abandon("the subscription was refused")

    def _ask_again(self, connection: Connection) -> None:
        """Connect anew, at once, so that the broker sends what could not be kept."""
        log.info("telemetry came faster than it could be taken; connecting anew to be sent the rest again")
        connection.disconnect()
        connection.abandon("there was too much to keep")
        self._connection, self._next_attempt_at = None, 0.0
        self._dropped += connection.dropped

    def _end(self, connection: Connection) -> None:
        """The connection ended: find out why, and when to try again."""
        self._connection = None
        self._dropped += connection.dropped
        url = self._config.broker.url
        if connection.accepted:
            self.connections += not self._settled  # accepted and ended at once
            stable = time.monotonic() - connection.opened_at > STABLE_S
            self._short_lived = 0 if stable else self._short_lived + 1
            if stable:
                self._attempts = 0
            # Brokers end the older of two connections with one id, and not all of them say why.
            taken_over = "Session taken over" in str(connection.ended) or self._short_lived >= 3
            if "Session taken over" in str(connection.ended):
                self._attempts = 64  # the longest delay: two that take turns would only keep each other from working
            delay_s = self._retry_later()
            hint = (
                f"; if another client uses the id {self._identity.client_id}, give each its own broker.client_id"
                if taken_over
                else ""
            )
            log.warning("broker %s: %s%s; trying again in %.1f s", url, connection.ended, hint, delay_s)
            return
        # Brokers of old refuse MQTT 5 with a word, or just hang up.
        if len(self._protocols) > 1 and connection.refused in (None, UNSUPPORTED_PROTOCOL):
            self._protocols.rotate()
            if self.protocol == "3.1.1":
                log.info("broker %s does not speak MQTT 5; trying 3.1.1", url)
                self._next_attempt_at = 0.0
                return
        mend = PERMANENT.get(connection.refused or "")
        if connection.refused is None and self.protocol == "5" and len(self._protocols) == 1:
            connection.ended = f'{connection.ended} (a broker without MQTT 5 needs broker.protocol = "auto")'
        sentence = f"broker {url} refuses the connection of {self._who}: {connection.refused or connection.ended}"
        if mend is not None and self.connections == 0:
            raise BrokerError(f"{sentence}; {mend}")
        delay_s = self._retry_later()
        log.warning("%s%s; trying again in %.1f s", sentence, f"; {mend}" if mend else "", delay_s)

    @property
    def _who(self) -> str:
        user = self._config.broker.username
        return f"user {user!r}" if user else f"client {self._identity.client_id!r} (no user name)"

    def _retry_later(self) -> float:
        """Set the time of the next attempt; the delay doubles up to the maximum, with jitter against stampedes."""
        broker = self._config.broker
        # The exponent is bounded, as 2.0 ** 1024 is not a number.
        longest_s = min(broker.reconnect_max_s, broker.reconnect_min_s * 2.0 ** min(self._attempts, 64))
        delay_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        self._attempts += 1
        self._next_attempt_at = time.monotonic() + delay_s
        return delay_s

    def _sleep(self, timeout_s: float) -> None:
        self._wake_read.settimeout(timeout_s)
        try:
            self._wake_read.recv(1)
        except (TimeoutError, BlockingIOError):
            return
        finally:
            self._wake_read.setblocking(False)

    def _drain_wake(self) -> None:
        try:
            while self._wake_read.recv(4096):
                pass
        except BlockingIOError:
            return


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
