"""The session with the broker, across connections.

Keeps one connection at a time and makes a new one with growing, jittered delays when it is lost. Telemetry is
acknowledged only when the caller does so; the broker keeps what is not. Everything happens in
:meth:`BrokerSession.poll`, in the caller's thread.
"""

import logging
import ssl
import time
from collections import deque
from pathlib import Path

from rarefault.runtime.daemon.config import EdgeConfig
from rarefault.runtime.daemon.mqtt.connection import UNSUPPORTED_PROTOCOL, Confirmation, Connection, Identity
from rarefault.runtime.daemon.mqtt.inbox import Inbox, Message
from rarefault.runtime.daemon.mqtt.names import Names, Session
from rarefault.runtime.daemon.mqtt.own_topics import OFFLINE, OwnTopics
from rarefault.runtime.daemon.mqtt.retries import Retries
from rarefault.runtime.daemon.mqtt.subscriptions import Subscriptions
from rarefault.runtime.daemon.mqtt.tls import tls_context, tls_problem
from rarefault.runtime.daemon.mqtt.wake import Waker
from rarefault.runtime.errors import BrokerError, ConfigError

log = logging.getLogger(__name__)

#: How long a broker may take to answer MQTT 5 before 3.1.1 is tried; some old ones wait for more, and never answer.
AUTO_ANSWER_S = 2.0

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
        subscriptions: what the daemon listens to, and what of it the broker keeps.
        connections: number of connections that the broker has accepted so far.
        resumed: whether the broker had kept the session for the last of them.
        connecting: whether a connection is being made at this moment, which may take as long as ``connect_timeout_s``;
            a signal handler may raise an OSError then, which ends it.
    """

    def __init__(self, config: EdgeConfig, password: str | None, source: Path = Path()) -> None:
        self.connections = 0
        self.connecting = False
        self._config = config
        self._source = source
        self._password = password
        self.introduce(Names(config.publish.runtime_name, config.client_id), None)
        both = config.broker.protocol == "auto" and not config.telemetry.share  # which MQTT 3.1.1 does not have
        self._protocols = deque(["5", "3.1.1"] if both else [config.broker.protocol.replace("auto", "5")])
        self._connection: Connection | None = None
        self._number = 0  # of the present connection, accepted or not
        self._retries = Retries(config.broker)
        self.resumed = False
        self._settled = False  # whether the present connection has been accepted and subscribed
        self._messages = Inbox(config.limits.pending_messages)  # received and not taken
        self._dropped = 0
        self._waker = Waker()

    def introduce(self, names: Names, session: Session | None, *, listens_only: bool = False) -> None:
        """Set who connects, before the first connection.

        Args:
            names: of the daemon.
            session: that the broker should have, as an earlier process left it; None where there was none.
            listens_only: publish no status, and leave no last will.
        """
        config = self._config
        self._id_key = "record.client_id" if listens_only else "broker.client_id"
        self._topics = OwnTopics("" if listens_only else f"{config.publish.prefix}/{names.runtime}")
        self._identity = Identity(
            names.client_id,
            self._password,
            self._topics.status_topic,
            OFFLINE,
            config.limits.pending_messages,
            4 * config.max_payload_bytes + (1 << 16),
            config.telemetry.sender_property,
        )
        self.subscriptions = Subscriptions(config, names.client_id, session, self._who)

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
        return self.connected and self.subscriptions.granted

    def poll(self, timeout_s: float, *, hold: bool = False, linger: bool = False) -> list[Confirmation]:
        """Connect where that is due, wait for the broker, read what there is, and return the confirmations.

        Args:
            timeout_s: longest wait; none where there are messages to take.
            hold: messages will not be taken now; they wait, and confirmations come all the same.
            linger: wait for more although there are messages to take.

        Raises:
            BrokerError: the first connection was refused for a reason that waiting does not mend.
        """
        if self._connection is None and not self._retries.wait_s:
            self._connect()
        connection = self._connection
        if connection is None:
            self._waker.sleep(min(timeout_s, self._retries.wait_s))
        else:
            no_wait = bool(self._messages) and not (hold or linger)
            connection.serve(0.0 if no_wait else timeout_s, self._waker.socket, hold=hold)
            if connection.up:
                self._settle(connection)
                connection.flush()
            if connection.overflowed and not self._messages:
                self._connect_anew(connection)
            elif connection.ended is not None:
                self._end(connection)
        self._waker.clear()
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

    def publish(self, topic: str, payload: bytes, *, retain: bool, qos: int | None = None) -> int:
        """Publish while :attr:`window` > 0 and return the id that its confirmation will have.

        Args:
            topic: where to.
            payload: the message.
            retain: whether the broker keeps it as the last of its topic.
            qos: None for that of the configuration.
        """
        assert self._connection is not None
        return self._connection.publish(
            topic, payload, qos=self._config.publish.qos if qos is None else qos, retain=retain
        )

    def publish_state(self, *, impaired: bool, health: bytes) -> None:
        """Publish on the daemon's own topics how it is, where that has changed, and after every new connection."""
        self._topics.set_status(impaired=impaired)
        self._topics.set_health(health)
        if self._connection is not None and self._settled and self._connection.up:
            self._topics.publish(self._connection)

    def shift(self, step_ms: int, now_ms: int) -> None:
        """The clock was set: correct the arrival of the messages that wait."""
        self._messages.shift(step_ms, now_ms)

    def acknowledge(self, messages: list[Message]) -> None:
        """Acknowledge messages that have been processed, so that the broker forgets them.

        Those of a connection that has ended cannot be acknowledged; the broker sends them again.
        """
        if self._connection is not None:
            self._connection.acknowledge(messages)

    def wake(self) -> None:
        """End a wait at once; may be called from a signal handler or another thread, and after :meth:`close`."""
        self._waker.wake()

    def close(self, timeout_s: float, farewell: bytes = b"") -> None:
        """Publish ``offline`` (and ``farewell`` on the health topic), leave, and give back the sockets.

        What was not acknowledged stays with the broker.
        """
        connection = self._connection
        if connection is not None and connection.up:
            mid = self._topics.farewell(connection, farewell)
            deadline = time.monotonic() + timeout_s
            while mid is not None and connection.up and all(c.mid != mid for c in connection.confirmations):
                if (left := deadline - time.monotonic()) <= 0:
                    break
                connection.serve(left, self._waker.socket, hold=True)
                self._waker.clear()
            if connection.up:
                connection.disconnect()
        if connection is not None:
            connection.abandon("the daemon stopped")
            self._connection = None
        self._waker.close()

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
            problem = tls_problem(error, self._config.broker)
            log.error("broker %s: %s; trying again in %.1f s", url, problem, self._retries.later())  # noqa: TRY400
        except ConfigError as error:
            log.error("%s; trying again in %.1f s", error.problems[0], self._retries.later())  # noqa: TRY400
        except OSError as error:
            delay_s = self._retries.later()
            log.warning("broker %s cannot be reached (%s); trying again in %.1f s", url, _reason(error), delay_s)
        else:
            self._connection, self._settled = connection, False
        finally:
            self.connecting = False

    def _settle(self, connection: Connection) -> None:
        """Publish ``online`` and subscribe, as soon as the broker has accepted the connection."""
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
            self.resumed = connection.session_present
            if connection.session_present:
                # What the broker has no acknowledgement of comes again; without a session it would not.
                number = connection.number
                self._messages.keep(lambda message: message.connection == number or not message.qos)
            self.subscriptions.begin(connection)
            # After the subscription, so that whoever waits for ``online`` may send telemetry at once.
            self._topics.begin(connection)
        if refusal := self.subscriptions.take_answer(connection):
            if not self.subscriptions.ever_granted:
                raise BrokerError(refusal)
            log.error("%s", refusal)
            connection.abandon("the subscription was refused")

    def _connect_anew(self, connection: Connection) -> None:
        """Connect anew, at once, so that the broker sends what could not be kept."""
        log.info("telemetry came faster than it could be taken; connecting anew to be sent the rest again")
        connection.disconnect()
        connection.abandon("there was too much to keep")
        self._connection = None
        self._retries.now()
        self._dropped += connection.dropped

    def _end(self, connection: Connection) -> None:
        """The connection ended: find out why, and when to try again."""
        self._connection = None
        self._dropped += connection.dropped
        if connection.accepted:
            self._end_accepted(connection)
        elif len(self._protocols) > 1 and connection.refused in (None, UNSUPPORTED_PROTOCOL):
            # Old brokers refuse MQTT 5 with a word, or just hang up.
            self._protocols.rotate()
            if self.protocol == "3.1.1":
                log.info("broker %s does not speak MQTT 5; trying 3.1.1", self._config.broker.url)
                self._retries.now()
            else:
                self._end_refused(connection)
        else:
            self._end_refused(connection)

    def _end_accepted(self, connection: Connection) -> None:
        self.connections += not self._settled  # accepted and ended at once
        self._retries.note_end(connection.opened_at)
        # Brokers end the older of two connections with one id, and not all of them give the reason.
        taken_over = "Session taken over" in str(connection.ended)
        hint = (
            f"; if another client uses the id {self._identity.client_id}, give each its own {self._id_key}"
            if taken_over or self._retries.unstable
            else ""
        )
        # Two that take turns would only keep each other from working.
        delay_s = self._retries.later(longest=taken_over)
        url = self._config.broker.url
        log.warning("broker %s: %s%s; trying again in %.1f s", url, connection.ended, hint, delay_s)

    def _end_refused(self, connection: Connection) -> None:
        remedy = PERMANENT.get(connection.refused or "")
        if connection.refused is None and self.protocol == "5" and len(self._protocols) == 1:
            connection.ended = f'{connection.ended} (a broker without MQTT 5 needs broker.protocol = "auto")'
        reason = connection.refused or connection.ended
        sentence = f"broker {self._config.broker.url} refuses the connection of {self._who}: {reason}"
        if remedy is not None and self.connections == 0:
            raise BrokerError(f"{sentence}; {remedy}")
        delay_s = self._retries.later()
        log.warning("%s%s; trying again in %.1f s", sentence, f"; {remedy}" if remedy else "", delay_s)

    @property
    def _who(self) -> str:
        user = self._config.broker.username
        return f"user {user!r}" if user else f"client {self._identity.client_id!r} (no user name)"


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
