"""One connection to the broker, from CONNECT to its end.

paho-mqtt speaks the protocol; this module keeps everything bounded and in one thread. A new connection is a new paho
client, so that nothing but what the broker and the outbox keep goes on from one connection to the next.
"""

import select
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from rarefault.runtime.daemon.config import BrokerConfig
from rarefault.runtime.daemon.mqtt.inbox import Inbox, Message
from rarefault.runtime.daemon.mqtt.wire import FIRST_MID, LAST_MID, BufferedSocket

PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
#: Most messages of ours that may await the broker's confirmation; MQTT 5 brokers may ask for fewer.
IN_FLIGHT = 1000
#: Bytes that may wait for the socket before nothing more is published, of whatever QoS.
MOST_UNSENT = 1 << 20
#: Reason codes from here on mean that something failed.
FAILURE = 0x80
#: The reason that stands for a broker which does not know the protocol.
UNSUPPORTED_PROTOCOL = "Unsupported protocol version"


class Confirmation(NamedTuple):
    """The broker's answer to a message of ours."""

    mid: int
    refused: str | None
    """Why the broker did not take it, or None where it did."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who connects."""

    client_id: str
    password: str | None
    will_topic: str
    """Empty where there is no last will."""
    will_payload: bytes
    receive_maximum: int
    """Most telemetry messages that the broker may send before it has the acknowledgement of the first."""
    maximum_packet: int
    """Largest packet that the broker may send, bytes; larger ones it keeps to itself."""
    sender_property: str = ""
    """Name of the user property that names the sender of a message; empty where none does."""
    passing: bool = False
    """Whether the broker is to forget the session when the connection ends."""


class _Client(mqtt.Client):
    """paho on a buffered socket. The hook is the one by which paho itself puts WebSockets under its protocol."""

    wire: BufferedSocket | None = None

    def _create_socket(self) -> Any:
        sock = super()._create_socket()  # type: ignore[no-untyped-call, unused-ignore]
        assert isinstance(sock, socket.socket)
        # Acknowledgements and verdicts are small; none should wait for the next.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = BufferedSocket(sock)
        return self.wire


class Connection:
    """One connection.

    Args:
        number: of the connection; marks its messages.
        config: of the broker.
        identity: who connects.
        protocol: ``5`` or ``3.1.1``.
        answer_s: how long the broker may take to accept the connection.
        tls: what secures it, None where nothing does.
        messages: where telemetry is put; the caller takes it from there.

    Attributes:
        accepted: whether the broker has accepted the connection.
        up: whether it has, and the connection has not ended.
        session_present: whether the broker kept the session of before.
        refused: why the broker did not accept the connection, if so.
        ended: why the connection ended, None while it has not.
        subscribed: QoS granted for each topic filter, or why it was refused; None before the answer.
        unsubscribed: whether the broker has confirmed that topics were left.
        confirmations: received and not yet taken.
        dropped: QoS 0 messages that were dropped because nobody took them in time.
        overflowed: whether messages of QoS 1 came that could not be kept; they come again on another connection.
    """

    def __init__(
        self,
        number: int,
        config: BrokerConfig,
        identity: Identity,
        protocol: str,
        answer_s: float,
        tls: ssl.SSLContext | None,
        messages: Inbox,
    ) -> None:
        self.number = number
        self.protocol = protocol
        self.up = False
        self.accepted = False
        self.session_present = False
        self.refused: str | None = None
        self.ended: str | None = None
        self.subscribed: list[int | str] | None = None
        self.unsubscribed = False
        self._messages = messages
        self.confirmations: list[Confirmation] = []
        self.dropped = 0
        self.overflowed = False
        self.opened_at = 0.0
        self._filters = 0
        self._window = IN_FLIGHT
        self._in_flight: set[int] = set()
        self._mid = FIRST_MID - 1
        self._limit = identity.receive_maximum
        self._answer_s = answer_s
        self._config = config
        self._identity = identity
        self._client = self._new_client(tls)

    def _new_client(self, tls: ssl.SSLContext | None) -> _Client:
        five = self.protocol == "5"
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._identity.client_id,
            clean_session=None if five else self._identity.passing,
            protocol=PROTOCOLS[self.protocol],
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = self._config.connect_timeout_s
        if tls is not None:
            client.tls_set_context(tls)
        client.max_inflight_messages = 0  # paho's own queue stays empty; the window below is ours
        if self._config.username:
            client.username_pw_set(self._config.username, self._identity.password)
        if self._identity.will_topic:
            client.will_set(self._identity.will_topic, self._identity.will_payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_message = self._on_message
        return client

    def open(self) -> None:
        """Connect and send CONNECT; the answer comes with :meth:`serve`. OSError where the broker is not there."""
        host, port = self._config.address
        self.opened_at = time.monotonic()
        if self.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0 if self._identity.passing else self._config.session_expiry_s
            properties.ReceiveMaximum = self._identity.receive_maximum
            properties.MaximumPacketSize = self._identity.maximum_packet
            self._client.connect(
                host, port, self._config.keepalive_s, clean_start=self._identity.passing, properties=properties
            )
        else:
            self._client.connect(host, port, self._config.keepalive_s)
        self.flush()

    def serve(self, timeout_s: float, wake: socket.socket, *, hold: bool) -> None:
        """Wait for the broker or for ``wake``, then read and write what there is.

        Args:
            timeout_s: longest wait.
            wake: ends the wait when it becomes readable.
            hold: nobody takes messages at present. Confirmations come on the same connection, so it is read all the
                same: messages of QoS 1 are kept, of which there should be no more than the broker may send
                unacknowledged, and those of QoS 0 beyond the limit are dropped.
        """
        if self.ended is not None:
            return
        self.flush()
        if self._wait(timeout_s, wake):
            self._read(hold=hold)
        if self.ended is None and self._client.want_write():
            self._client.loop_write()
        if self.ended is None:
            self._client.loop_misc()
        self.flush()
        if self.ended is None and not self.up and time.monotonic() - self.opened_at > self._answer_s:
            self.abandon(f"no answer within {self._answer_s:g} s")

    def _wait(self, timeout_s: float, wake: socket.socket) -> bool:
        """Wait for the broker or for ``wake``; whether there may be something to read."""
        wire = self._client.wire
        if wire is None or wire.readable:
            return wire is not None
        poller = select.poll()
        poller.register(wire.fileno(), select.POLLIN | (select.POLLOUT if wire.unsent else 0))
        poller.register(wake.fileno(), select.POLLIN)
        ready = dict(poller.poll(timeout_s * 1000)).get(wire.fileno(), 0)
        return bool(ready & (select.POLLIN | select.POLLHUP | select.POLLERR)) or wire.over

    def _read(self, *, hold: bool) -> None:
        """Read packets until there are none, or as many messages as may be pending."""
        wire = self._client.wire
        assert wire is not None
        left, five = self._limit, self.protocol == "5"
        while left > 0 and (hold or not self._messages.full):
            most = left if hold else min(left, self._messages.room)
            publishes = wire.publishes(most, five=five, properties=bool(self._identity.sender_property))
            if publishes:
                left -= len(publishes)
                arrived_ms = time.time_ns() // 1_000_000
                for topic, payload, qos, mid, retain in publishes:
                    try:
                        name = topic.decode()
                    except UnicodeDecodeError:
                        name = ""  # fits no template
                    self._keep(Message(name, payload, arrived_ms, retain, qos, mid, self.number))
                continue
            confirmed = wire.confirmations()
            if confirmed:
                left -= len(confirmed)
                self._in_flight.difference_update(mid for mid, _ in confirmed)
                self.confirmations += [Confirmation(mid, _refusal(reason)) for mid, reason in confirmed]
                continue
            if not wire.grant():
                if wire.fill():
                    continue
                if not wire.over:
                    return
            left -= 1
            self._client.loop_read()
            if self.ended is not None or self._client.socket() is None:
                return

    def flush(self) -> None:
        """Write what waits; it is done with every :meth:`serve` as well."""
        if self._client.wire is not None:
            self._client.wire.flush()

    @property
    def window(self) -> int:
        """Number of messages that may be published now."""
        wire = self._client.wire
        if not self.up or wire is None or wire.unsent > MOST_UNSENT:
            return 0
        return self._window - len(self._in_flight)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> int:
        """Publish while :attr:`window` > 0 and return the id that its confirmation will have."""
        self._mid = self._mid + 1 if self._mid < LAST_MID else FIRST_MID
        wire = self._client.wire
        if self.up and wire is not None:
            wire.publish(topic, payload, qos, self._mid, retain=retain, five=self.protocol == "5")
            if qos:
                self._in_flight.add(self._mid)
            else:
                # Confirmed as soon as it is handed over; nobody will answer.
                self.confirmations.append(Confirmation(self._mid, None))
        return self._mid

    def subscribe(self, topic_filters: list[tuple[str, int]]) -> None:
        """Ask for topics, each with its QoS; the answer will be in :attr:`subscribed`."""
        self.subscribed = None
        self._filters = len(topic_filters)
        self._client.subscribe(topic_filters)

    def unsubscribe(self, topic_filters: list[str]) -> None:
        """Leave topics."""
        self.unsubscribed = False
        self._client.unsubscribe(topic_filters)

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Acknowledge messages, so that the broker forgets them."""
        wire = self._client.wire
        if self.up and wire is not None:
            wire.acknowledge([m.mid for m in messages if m.qos > 0 and m.connection == self.number])
            wire.flush()

    def disconnect(self) -> None:
        """Leave in good order, so that the broker does not publish the last will."""
        self._client.disconnect()

    def abandon(self, reason: str) -> None:
        """Drop the connection; the broker will publish the last will."""
        self.up = False
        if self.ended is None:
            self.ended = reason
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _on_connect(
        self,
        _client: mqtt.Client,
        _data: Any,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.refused = str(reason)
            return
        self.up = self.accepted = True
        self.session_present = flags.session_present
        # One place is kept for the status.
        self._window = max(1, min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT)) - 1)

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: Any,
        flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.up = False
        if self.ended is None:
            by_broker = flags.is_disconnect_packet_from_server
            self.ended = f"the broker ended the connection: {reason}" if by_broker else "the connection was lost"

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties
    ) -> None:
        if len(reasons) != self._filters:
            self.abandon("the broker's answer to the subscription is malformed")
            return
        self.subscribed = [str(reason) if reason.is_failure else reason.value for reason in reasons]

    def _on_unsubscribe(self, *_: Any) -> None:
        self.unsubscribed = True

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        """What was left to paho."""
        sender = _user_property(message, self._identity.sender_property) if self._identity.sender_property else None
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # fits no template
        arrived_ms = time.time_ns() // 1_000_000
        self._keep(
            Message(
                topic, bytes(message.payload), arrived_ms, message.retain, message.qos, message.mid, self.number, sender
            )
        )

    def _keep(self, message: Message) -> None:
        if message.qos == 0 and self._messages.full:
            self.dropped += 1
            return
        # Some brokers send more than they may. What cannot be kept is not acknowledged, and neither is what follows
        # it, so that all of it comes again, in order, on the next connection.
        if message.qos > 0 and (self.overflowed or self._messages.overfull):
            self.overflowed = True
            return
        self._messages.append(message)


def _refusal(reason: int) -> str | None:
    """In words, why a broker did not take a message (MQTT 5.0, section 3.4.2.1); None where it did."""
    if reason < FAILURE:
        return None
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=reason))
    except KeyError:
        return f"reason {reason:#x}"


def _user_property(message: mqtt.MQTTMessage, name: str) -> str | None:
    """Value of an MQTT 5 user property; None where there is none, or several that contradict each other."""
    pairs: list[tuple[str, str]] = getattr(message.properties, "UserProperty", [])
    values = {value for key, value in pairs if key == name}
    return values.pop() if len(values) == 1 else None
