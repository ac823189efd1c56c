"""Fixtures for all portions: the real data, a real MQTT broker, a client that looks on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness.broker import Mosquitto
from tests.harness.client import Peer
from tests.harness.waiting import wait_until

import rarefault.runtime  # noqa: F401 - nothing phones home, in tests neither


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
