"""A connection beside the daemon's session, in a thread of its own: for roles that need a will of their own.

A broker that does not answer holds up nobody but this thread. It connects again and again, with growing delays.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from rarefault.runtime.daemon.config import BrokerConfig, read_password
from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.daemon.mqtt.tls import tls_context
from rarefault.runtime.errors import ConfigError

log = logging.getLogger(__name__)

#: Longest wait of the thread, and between two attempts to connect at first and at last, seconds.
WAIT_S, RETRY_S, MOST_RETRY_S = 0.1, 1.0, 60.0
#: How long the end may take, seconds.
LEAVE_S = 3.0


class OwnConnection(ABC):
    """Keeps a connection; what it is for, a subclass says.

    Args:
        what: it is for, in messages.
        client_id: at the broker; the session is clean.
        topic: that is subscribed before anything is published.
        broker: the daemon's.
        source: the configuration file.

    Attributes:
        problem: why there is no connection at present; empty where there is one. Other threads read it.
        failures: number of connections that ended or were not to be had.
    """

    def __init__(self, what: str, client_id: str, topic: str, broker: BrokerConfig, source: Path) -> None:
        self.problem = ""
        self.failures = 0
        self._what, self._client_id, self._topic = what, client_id, topic
        self._broker, self._source = broker, source
        self._password = read_password(broker, source)
        self._up = False
        self._accepted = False
        self._refusal = ""
        self._stopping = threading.Event()
        self._log = SampledLog(log)
        self._client: mqtt.Client | None = None
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def close(self) -> None:
        """Take leave, and end the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(LEAVE_S)

    @abstractmethod
    def _will(self) -> tuple[str, bytes, bool]:
        """Topic and payload of the will of the next connection, and whether it is retained."""

    @abstractmethod
    def _serve(self) -> None:
        """What is done now and then while there is a connection."""

    @abstractmethod
    def _leave(self) -> None:
        """What is done before it ends in good order."""

    @abstractmethod
    def _take(self, payload: bytes) -> None:
        """A message on the topic."""

    def _send(self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False) -> None:
        """Publish; OSError where there is no connection any more."""
        assert self._client is not None
        found = self._client.publish(topic, payload, qos, retain)
        if found.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise OSError(f"the broker cannot be reached ({mqtt.error_string(found.rc)})")

    def _run(self) -> None:
        """Connect, serve, and connect again; where that ends by an error of ours, it is a problem that stays."""
        try:
            self._connect_and_serve()
        finally:
            self._up = False
            if not self._stopping.is_set():
                self.problem = f"{self._what}: it has ended, the log has the error; restart the daemon"

    def _connect_and_serve(self) -> None:
        delay_s = RETRY_S
        while not self._stopping.is_set():
            begin = time.monotonic()
            try:
                self._serve_connection()
                why = self._refusal or "the connection ended"
            except OSError as error:
                why = error.strerror or str(error) or type(error).__name__
            except ConfigError as error:
                why = error.problems[0]
            self._up = False
            if self._stopping.is_set():
                return
            self.failures += 1
            self.problem = f"{self._what}: {self._broker.url}: {why}"
            delay_s = RETRY_S if time.monotonic() - begin > MOST_RETRY_S else min(2 * delay_s, MOST_RETRY_S)
            self._log.log("down", logging.WARNING, "%s; trying again in %.0f s", self.problem, delay_s)
            self._stopping.wait(delay_s)

    def _serve_connection(self) -> None:
        """One connection, from its beginning to its end."""
        self._accepted, self._refusal = False, ""
        client = self._client = self._new_client()
        host, port = self._broker.address
        client.connect(host, port, self._broker.keepalive_s)
        deadline = time.monotonic() + 2 * self._broker.connect_timeout_s
        try:
            while client.loop(WAIT_S) == MQTTErrorCode.MQTT_ERR_SUCCESS and not self._refusal:
                if self._accepted:
                    self._serve()
                    self.problem = ""
                elif time.monotonic() > deadline:
                    raise TimeoutError("the broker does not answer")
                if self._stopping.is_set():
                    if self._accepted:
                        self._leave()
                    return
        finally:
            client.disconnect()
            client.loop(WAIT_S)

    def _new_client(self) -> mqtt.Client:
        broker = self._broker
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, self._client_id, clean_session=True, protocol=MQTTProtocolVersion.MQTTv311
        )
        client.connect_timeout = broker.connect_timeout_s
        if broker.username:
            client.username_pw_set(broker.username, self._password)
        if (context := tls_context(broker, self._source)) is not None:
            client.tls_set_context(context)
        topic, payload, retain = self._will()
        client.will_set(topic, payload, qos=1, retain=retain)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _on_connect(
        self,
        client: mqtt.Client,
        _data: object,
        _flags: mqtt.ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if code.is_failure:
            self._refusal = f"the broker refuses the connection: {code}; see broker.username and the password"
            return
        client.subscribe(self._topic, qos=1)

    def _on_subscribe(
        self, _client: mqtt.Client, _data: object, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            self._refusal = f"the broker refuses the subscription to {self._topic}: allow it"
            return
        self._accepted = True

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._take(bytes(message.payload))
