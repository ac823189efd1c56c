"""A publishing MQTT client with a bounded window: what plays history as live telemetry."""

import socket
import threading
import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from rarefault.runtime.errors import BrokerError, UsageError

#: Messages that may await the broker's confirmation.
WINDOW = 100
#: How long the broker may take to accept a connection, and to confirm a message.
CONNECT_S, CONFIRM_S = 3.0, 60.0


class Publisher:
    """Publishes with QoS 1 and never has more than a window of messages unconfirmed.

    Args:
        url: ``mqtt://host:port``.
        username, password: where the broker asks for them.
        window: messages that may await confirmation.
    """

    def __init__(self, url: str, *, username: str = "", password: str = "", window: int = WINDOW) -> None:
        parts = urlsplit(url)
        try:
            self._address = (parts.hostname or "", parts.port or 1883)
        except ValueError:
            self._address = ("", 0)
        if parts.scheme != "mqtt" or not self._address[0]:
            raise UsageError(f"broker {url!r} is not a broker's address; write it like mqtt://localhost:1883")
        self._url = url
        self._login = (username, password)
        self._window = threading.Semaphore(window)
        self._size = window
        self._lost: str | None = None
        self._client: mqtt.Client | None = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Connect with MQTT 5, or 3.1.1 where the broker does not know that.

        Raises:
            BrokerError: there is no broker, or it refuses.
        """
        reason = ""
        for version in (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311):
            answered = threading.Event()
            answer: list[Any] = []

            def on_connect(*arguments: Any, kept: list[Any] = answer, event: threading.Event = answered) -> None:
                kept.append(arguments[3])
                event.set()

            def on_disconnect(*_: Any, event: threading.Event = answered) -> None:
                event.set()

            client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=version)
            client.max_inflight_messages_set(self._size)
            client.on_socket_open = _send_at_once
            client.on_connect = on_connect
            client.on_disconnect = on_disconnect
            if self._login[0]:
                client.username_pw_set(*self._login)
            try:
                client.connect(*self._address)
            except OSError as error:
                raise BrokerError(f"no MQTT broker answers at {self._url}: {error}") from None
            client.loop_start()
            answered.wait(CONNECT_S)
            if answer and not answer[0].is_failure:
                client.on_disconnect = self._on_disconnect
                client.on_publish = self._on_publish
                self._client = client
                return
            reason = str(answer[0]) if answer else "it does not accept the connection"
            client.disconnect()
            client.loop_stop()
        raise BrokerError(f"the MQTT broker at {self._url} refuses the connection: {reason}")

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish one message, waiting while the window is full.

        Raises:
            BrokerError: the broker has gone, or confirms nothing.
        """
        assert self._client is not None
        if not self._window.acquire(timeout=CONFIRM_S):
            raise BrokerError(f"the MQTT broker at {self._url} has confirmed nothing for {CONFIRM_S:g} s")
        if self._lost is not None:
            raise BrokerError(f"the MQTT broker at {self._url} closed the connection: {self._lost}")
        self._client.publish(topic, payload, qos=1)

    def flush(self) -> None:
        """Wait until all messages are confirmed; BrokerError where they are not."""
        deadline = time.monotonic() + CONFIRM_S
        for _ in range(self._size):
            if not self._window.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise BrokerError(f"the MQTT broker at {self._url} has not confirmed the last messages")
        for _ in range(self._size):
            self._window.release()
        if self._lost is not None:
            raise BrokerError(f"the MQTT broker at {self._url} closed the connection: {self._lost}")

    def close(self) -> None:
        """Leave."""
        if self._client is not None:
            self._client.on_disconnect = None
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _on_publish(self, *_: Any) -> None:
        self._window.release()

    def _on_disconnect(self, *arguments: Any) -> None:
        self._lost = str(arguments[3])
        self._window.release()  # whoever waits shall see it


def _send_at_once(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    """Without this, the kernel holds small messages back until the one before is confirmed (Nagle)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
