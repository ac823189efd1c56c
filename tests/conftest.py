"""Fixtures for all portions: the real data, a real MQTT broker, a client that looks on."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import rarefault.runtime  # noqa: F401 - nothing phones home, in tests neither

#: How long a test waits for what must happen, seconds; generous, because machines are shared.
PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data."""
    value = os.environ.get("RAREFAULT_DATA")
    if not value:
        pytest.skip("RAREFAULT_DATA is not set: no real data here")
    return Path(value)


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny run directory ``run`` and the file ``tiny.onnx`` that the real exporter made of it."""
    folder = tmp_path_factory.mktemp("tiny")
    script = Path(__file__).with_name("make_tiny_model.py")
    subprocess.run([sys.executable, "-W", "error", str(script), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; the test fails where it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_S:g} s in vain for: {what}")
        time.sleep(0.005)


class Mosquitto:
    """A Mosquitto broker on a free loopback port; the port stays the same over restarts."""

    def __init__(self, folder: Path, settings: str) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.fail("these tests need the broker Mosquitto: apt-get install mosquitto")
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        config = folder / "mosquitto.conf"
        # Without TCP_NODELAY every other small message would wait for the TCP acknowledgement of the one before.
        common = f"user root\nset_tcp_nodelay true\npersistence true\npersistence_location {folder}/"
        config.write_text(f"listener {self.port} 127.0.0.1\n{common}\n{settings}\n")
        self._command = [program, "-c", str(config)]

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(self._answers, f"Mosquitto on port {self.port}; its log: {self.folder / 'mosquitto.log'}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it: on SIGTERM it saves its sessions, on SIGKILL it does not."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


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


@pytest.fixture
def start_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Mosquitto]]:
    """Starts brokers with settings of the test's own."""
    brokers: list[Mosquitto] = []

    def start(settings: str) -> Mosquitto:
        broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"), settings)
        brokers.append(broker)
        broker.start()
        return broker

    yield start
    for broker in brokers:
        broker.stop()


@pytest.fixture
def mosquitto(start_mosquitto: Callable[[str], Mosquitto]) -> Mosquitto:
    """A broker that lets everybody in: ``.url``, ``.port``, ``.start()``, ``.stop()``."""
    return start_mosquitto("allow_anonymous true\nmax_queued_messages 100000")


@pytest.fixture
def new_peer() -> Iterator[Callable[..., Peer]]:
    """Connects clients that look on: ``new_peer(port, session="")``."""
    peers: list[Peer] = []

    def connect(port: int, *, session: str = "") -> Peer:
        peers.append(Peer(port, session=session))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture
def peer(mosquitto: Mosquitto, new_peer: Callable[..., Peer]) -> Peer:
    """A client of the broker ``mosquitto`` that looks on."""
    return new_peer(mosquitto.port)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[[Callable[[], object], str], None]:
    """Waits for a condition: ``wait_until(condition, what)``."""
    return wait_until
