"""A publishing MQTT client with a bounded window: what plays history as live telemetry."""

import socket
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from rarefault.runtime.daemon.config import BrokerConfig
from rarefault.runtime.daemon.mqtt.tls import tls_context, tls_problem
from rarefault.runtime.errors import BrokerError, UsageError

#: Messages that may await the broker's confirmation.
WINDOW = 100
#: How long the broker may take to accept a connection, and to confirm a message.
CONNECT_S, CONFIRM_S = 3.0, 60.0
VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


class Publisher:
    """Publishes with QoS 1 and never has more than a window of messages unconfirmed.

    Args:
        broker: its settings, as of the daemon, or just ``mqtt://host:port``.
        password: of the user that they name.
        source: the configuration file, which the paths of certificates are relative to.
        sender_property: MQTT 5: name of the user property that names the sender of a message; empty for none.
        window: messages that may await confirmation.
    """

    def __init__(
        self,
        broker: BrokerConfig | str,
        *,
        password: str | None = None,
        source: Path = Path(),
        sender_property: str = "",
        window: int = WINDOW,
    ) -> None:
        try:
            self._broker = BrokerConfig(url=broker) if isinstance(broker, str) else broker
        except ValueError as error:
            raise UsageError(f"broker: {error}") from None
        self._url = self._broker.url
        self._password, self._source, self._sender_property = password, source, sender_property
        self._window = threading.Semaphore(window)
        self._size = window
        self._lost: str | None = None
        self._refused: str | None = None
        self._client: mqtt.Client | None = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Connect with MQTT 5, or 3.1.1 where the broker does not know that and the settings allow it.

        Raises:
            BrokerError: there is no broker, or it refuses.
            ConfigError: a certificate cannot be read.
        """
        tls = tls_context(self._broker, self._source)
        refusal: Any = None
        for protocol in self._protocols():
            client = self._new_client(protocol, tls)
            answer = self._connected(client)
            if answer is not None and not answer.is_failure:
                client.on_disconnect = self._on_disconnect
                client.on_publish = self._on_publish
                self._client = client
                return
            refusal = answer
            client.disconnect()
            client.loop_stop()
        raise BrokerError(f"the MQTT broker at {self._url} refuses the connection: {refusal or self._silence()}")

    def _protocols(self) -> tuple[str, ...]:
        """Versions of MQTT to try, in order."""
        if self._sender_property:
            return ("5",)  # the other one has no user properties
        return ("5", "3.1.1") if self._broker.protocol == "auto" else (self._broker.protocol,)

    def _new_client(self, protocol: str, tls: ssl.SSLContext | None) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=VERSIONS[protocol])
        client.max_inflight_messages_set(self._size)
        client.on_socket_open = _send_at_once
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._password)
        if tls is not None:
            client.tls_set_context(tls)
        return client

    def _connected(self, client: mqtt.Client) -> Any:
        """Connect, and start the client's thread; the broker's reason code, None where it gives none.

        Raises:
            BrokerError: nobody answers there, or the TLS handshake fails.
        """
        ended, answers = threading.Event(), list[Any]()

        def on_connect(*arguments: Any) -> None:
            answers.append(arguments[3])
            ended.set()

        client.on_connect = on_connect
        client.on_disconnect = lambda *_: ended.set()
        try:
            client.connect(*self._broker.address)
        except ssl.SSLError as error:
            raise BrokerError(f"broker {self._url}: {tls_problem(error, self._broker)}") from None
        except OSError as error:
            raise BrokerError(f"no MQTT broker answers at {self._url}: {error}") from None
        client.loop_start()
        ended.wait(CONNECT_S)
        return answers[0] if answers else None

    def _silence(self) -> str:
        """What it may mean that the broker gives no reason."""
        if not self._broker.tls:
            return "it does not accept the connection"
        own = "another client certificate" if self._broker.certificate_file else "a client certificate"
        return f"it ends it without an answer, as brokers do that want {own} (broker.certificate_file)"

    def publish(self, topic: str, payload: bytes, sender: str = "") -> None:
        """Publish one message in the name of a sender, waiting while the window is full.

        Raises:
            BrokerError: the broker has gone, confirms nothing, or does not allow this user to publish there.
        """
        assert self._client is not None
        if not self._window.acquire(timeout=CONFIRM_S):
            raise BrokerError(f"the MQTT broker at {self._url} has confirmed nothing for {CONFIRM_S:g} s")
        self._check()
        properties = None
        if self._sender_property:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.UserProperty = [(self._sender_property, sender)]
        self._client.publish(topic, payload, qos=1, properties=properties)

    def flush(self) -> None:
        """Wait until all messages are confirmed; BrokerError where they are not."""
        deadline = time.monotonic() + CONFIRM_S
        for _ in range(self._size):
            if not self._window.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise BrokerError(f"the MQTT broker at {self._url} has not confirmed the last messages")
        for _ in range(self._size):
            self._window.release()
        self._check()

    def close(self) -> None:
        """Leave."""
        if self._client is not None:
            self._client.on_disconnect = None
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _check(self) -> None:
        """BrokerError where the broker has gone, or has refused a message."""
        if self._lost is not None:
            raise BrokerError(f"the MQTT broker at {self._url} closed the connection: {self._lost}")
        if self._refused is not None:
            raise BrokerError(
                f"the MQTT broker at {self._url} does not take a message ({self._refused}): allow "
                f"{self._broker.username or 'clients without a user name'} to write to its topic, or name another user"
            )

    def _on_publish(self, *arguments: Any) -> None:
        if arguments[3].is_failure:
            self._refused = str(arguments[3])
        self._window.release()

    def _on_disconnect(self, *arguments: Any) -> None:
        self._lost = str(arguments[3])
        self._window.release()  # whoever waits shall see it


def _send_at_once(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    """Without this, the kernel holds small messages back until the one before is confirmed (Nagle)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
