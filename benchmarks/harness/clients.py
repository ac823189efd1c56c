"""MQTT clients: one that loses nothing, and what all of them set."""

import socket
import threading
from collections.abc import Iterable
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


def send_at_once(client: mqtt.Client) -> None:
    """Have a connected client send small messages without waiting for the TCP acknowledgement of the one before."""
    sock = client.socket()
    if isinstance(sock, socket.socket):  # else the broker has gone just now
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Publisher:
    """Sends at QoS 1 and loses nothing; a context that leaves the broker."""

    def __init__(self, port: int) -> None:
        self._unconfirmed = 0
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.max_inflight_messages_set(1000)
        self._client.on_publish = self._on_publish
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Send topics and payloads, and wait until the broker has them."""
        for topic, content in messages:
            with self._changed:
                self._changed.wait_for(lambda: self._unconfirmed < 1000)
                self._unconfirmed += 1
            self._client.publish(topic, content, qos=1)
        with self._changed:
            self._changed.wait_for(lambda: self._unconfirmed == 0)

    def _on_publish(self, *_: object) -> None:
        with self._changed:
            self._unconfirmed -= 1
            if self._unconfirmed % 100 == 0:
                self._changed.notify_all()
