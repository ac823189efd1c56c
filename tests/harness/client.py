"""An MQTT client that sends, and keeps all that it receives."""

import socket
import threading
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from tests.harness.waiting import PATIENCE_S, wait_until


class Peer:
    """Another client of the broker: sends, and keeps all that it receives.

    With the name of a ``session``, the broker keeps what arrives while it is away.
    """

    def __init__(self, port: int, *, session: str = "") -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self._subscribed: set[int] = set()
        self._arrived = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=session, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda _client, _data, mid, *_: self._subscribed.add(mid)
        self._client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600 if session else 0
        self._client.connect("127.0.0.1", port, clean_start=not session, properties=properties)
        sock = self._client.socket()
        assert isinstance(sock, socket.socket)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.loop_start()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    def subscribe(self, topic_filter: str) -> None:
        """Receive what fits the filter, from now on."""
        _, mid = self._client.subscribe(topic_filter, qos=1)
        assert mid is not None
        wait_until(lambda: mid in self._subscribed, f"subscription to {topic_filter}")

    def publish(self, topic: str, payload: bytes | str, qos: int = 1, *, retain: bool = False) -> None:
        """Send, and wait until the broker has it."""
        self._client.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE_S)

    def publish_all(self, topic: str, payloads: list[bytes], qos: int = 1) -> None:
        """Send many, and wait until the broker has the last."""
        sent = [self._client.publish(topic, payload, qos) for payload in payloads]
        for one in sent:
            one.wait_for_publish(PATIENCE_S)

    def payloads(self, topic: str) -> list[bytes]:
        """What has arrived on one topic."""
        return [bytes(message.payload) for message in list(self.messages) if message.topic == topic]

    def wait_for(self, topic: str, count: int = 1) -> list[bytes]:
        """The payloads of one topic, as soon as there are ``count``."""
        wait_until(lambda: len(self.payloads(topic)) >= count, f"{count} message(s) on {topic}")
        return self.payloads(topic)

    def catch_up(self) -> None:
        """Wait until all that the broker has taken so far has arrived here, as it keeps the order of what it delivers.

        That somebody's messages are confirmed says only that the broker has them, not that this client has.
        """
        topic = f"catch-up/{uuid.uuid4()}"
        self.subscribe(topic)
        self.publish(topic, b"")
        self.wait_for(topic)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()
