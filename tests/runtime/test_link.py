"""The link against a real Mosquitto and, for brokers of old, amqtt."""

import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.connection import Confirmation, Message
from rarefault.runtime.daemon.link import Link
from rarefault.runtime.errors import BrokerError

if TYPE_CHECKING:
    from tests.conftest import Mosquitto, Peer

LinkFactory = Callable[..., "Driven"]
BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


class Driven:
    """A link and what it has brought so far."""

    def __init__(self, config: DaemonConfig, password: str | None = None) -> None:
        self.link = Link(config, password)
        self.messages: list[Message] = []
        self.confirmations: list[Confirmation] = []

    def until(self, condition: Callable[[], object], *, hold: bool = False, patience_s: float = 20) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            self.poll(hold=hold)

    def poll(self, timeout_s: float = 0.05, *, hold: bool = False) -> None:
        self.confirmations += self.link.poll(timeout_s, hold=hold)
        while not hold and (message := self.link.next()) is not None:
            self.messages.append(message)

    def connect(self) -> "Driven":
        """Connect and subscribe."""
        self.until(lambda: self.link._ever_subscribed and self.link.connected)
        return self

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]


def settings(url: str, *, protocol: str = "auto", pending: int = 1000, qos: int = 1, **broker: Any) -> DaemonConfig:
    return msgspec.convert(
        {
            "model": {"path": "unused.onnx"},
            "broker": {"url": url, "protocol": protocol, "reconnect_min_s": 0.05, "reconnect_max_s": 0.2} | broker,
            "publish": {"runtime": "edge"},
            "telemetry": {"qos": qos},
            "limits": {"pending_messages": pending},
        },
        DaemonConfig,
    )


@pytest.fixture
def new_link() -> Iterator[LinkFactory]:
    """Makes links that are closed after the test."""
    made: list[Driven] = []

    def make(url: str, password: str | None = None, **options: Any) -> Driven:
        made.append(Driven(settings(url, **options), password))
        return made[-1]

    yield make
    for driven in made:
        driven.link.close(5)


@contextmanager
def amqtt(port: int, **options: Any) -> Iterator[None]:
    """An embedded broker that speaks MQTT 3.1.1 only, in a thread of its own."""
    from amqtt.broker import Broker  # type: ignore[import-not-found, unused-ignore]

    loop = asyncio.new_event_loop()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}} | options,
    }
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Any:
        broker = Broker(config)
        await broker.start()
        return broker

    broker = asyncio.run_coroutine_threadsafe(start(), loop).result(20)

    async def stop() -> None:
        await broker.shutdown()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@BOTH
def test_receives_and_acknowledges(mosquitto: "Mosquitto", peer: "Peer", new_link: LinkFactory, protocol: str) -> None:
    """Telemetry arrives in order, and what was acknowledged does not come again in the next connection."""
    driven = new_link(mosquitto.url, protocol=protocol).connect()
    assert driven.link.protocol == protocol
    sent = [str(i).encode() for i in range(300)]
    peer.publish_all("telemetry/a", sent)

    def acknowledge_new() -> bool:
        driven.link.acknowledge(driven.messages[acknowledge_new.done :])  # type: ignore[attr-defined]
        acknowledge_new.done = len(driven.messages)  # type: ignore[attr-defined]
        return len(driven.messages) >= 300

    acknowledge_new.done = 0  # type: ignore[attr-defined]
    driven.until(acknowledge_new)
    assert driven.payloads == sent
    driven.link.close(5)
    again = new_link(mosquitto.url, protocol=protocol).connect()
    peer.publish("telemetry/a", b"next")
    again.until(lambda: again.messages)
    assert again.payloads == [b"next"]


@BOTH
def test_what_is_not_acknowledged_comes_again(
    mosquitto: "Mosquitto", peer: "Peer", new_link: LinkFactory, protocol: str
) -> None:
    """A message whose processing did not finish is delivered again at the next start, before newer ones."""
    driven = new_link(mosquitto.url, protocol=protocol).connect()
    for payload in (b"1", b"2", b"3"):
        peer.publish("telemetry/a", payload)
    driven.until(lambda: len(driven.messages) == 3)
    driven.link.acknowledge(driven.messages[:1])
    driven.link.close(5)
    peer.publish("telemetry/a", b"4")  # while nobody is there
    again = new_link(mosquitto.url, protocol=protocol)
    again.until(lambda: len(again.messages) == 3)
    assert again.payloads == [b"2", b"3", b"4"]


@BOTH
def test_status_is_online_then_offline(
    mosquitto: "Mosquitto", peer: "Peer", new_link: LinkFactory, protocol: str
) -> None:
    """``online`` on connecting, ``offline`` on leaving, both kept by the broker for those who come later."""
    peer.subscribe("rarefault/edge/status")
    driven = new_link(mosquitto.url, protocol=protocol).connect()
    assert peer.wait_for("rarefault/edge/status") == [b"online"]
    driven.link.close(5)
    assert peer.wait_for("rarefault/edge/status", 2) == [b"online", b"offline"]
    peer.subscribe("rarefault/+/status")
    assert peer.wait_for("rarefault/edge/status", 3)[2] == b"offline"
    assert peer.messages[2].retain


@BOTH
def test_the_last_will_says_offline(mosquitto: "Mosquitto", peer: "Peer", new_link: LinkFactory, protocol: str) -> None:
    """When the connection breaks, the broker says ``offline`` in the daemon's stead; back again, it says ``online``."""
    peer.subscribe("rarefault/edge/status")
    driven = new_link(mosquitto.url, protocol=protocol).connect()
    peer.wait_for("rarefault/edge/status")
    connection = driven.link._connection
    assert connection is not None
    sock = connection._client.socket()
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)
    driven.until(lambda: driven.link.connections == 2)
    assert peer.wait_for("rarefault/edge/status", 3) == [b"online", b"offline", b"online"]


def test_broker_absent_at_start_and_gone_later(
    mosquitto: "Mosquitto", new_peer: Callable[..., "Peer"], new_link: LinkFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """The link keeps trying, says so, comes back by itself, and serves again."""
    caplog.set_level(logging.INFO)
    mosquitto.stop()
    driven = new_link(mosquitto.url)
    for _ in range(3):
        driven.poll()
    assert f"broker {mosquitto.url} cannot be reached (Connection refused); trying again in" in caplog.text
    assert not driven.link.connected
    mosquitto.start()
    driven.connect()
    mosquitto.stop(signal.SIGKILL)
    driven.until(lambda: not driven.link.connected)
    mosquitto.start()
    driven.until(lambda: driven.link.connections == 2)
    driven.until(lambda: driven.link._connection is not None and driven.link._connection._client.is_connected())
    assert "(new session)" in caplog.messages[-1]  # killed, the broker has forgotten it; the link subscribed again
    for _ in range(5):
        driven.poll(0.02)
    new_peer(mosquitto.port).publish("telemetry/a", b"back")
    driven.until(lambda: driven.messages)
    assert driven.payloads == [b"back"]


def test_delays_grow_and_are_bounded(new_link: LinkFactory) -> None:
    """Delays double up to the maximum, each between a half and the whole of its value."""
    driven = new_link(f"mqtt://127.0.0.1:{free_port()}", reconnect_min_s=1.0, reconnect_max_s=8.0)
    delays = [driven.link._retry_later() for _ in range(2000)]
    for delay, whole in zip(delays, (1, 2, 4, 8, 8, 8), strict=False):
        assert whole / 2 <= delay <= whole
    assert 4 <= min(delays[3:]) <= max(delays) <= 8


def test_auto_falls_back_to_an_old_broker(new_link: LinkFactory, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that refuses MQTT 5 is spoken to in 3.1.1, with telemetry in and verdicts out."""
    caplog.set_level(logging.INFO, "rarefault")
    port = free_port()
    with amqtt(port):
        driven = new_link(f"mqtt://127.0.0.1:{port}").connect()
        assert driven.link.protocol == "3.1.1"
        assert "does not answer MQTT 5; trying 3.1.1" in caplog.text
        mid = driven.link.publish("telemetry/self", b"echo", retain=False)
        driven.until(lambda: driven.messages and driven.confirmations)
        assert Confirmation(mid, None) in driven.confirmations
        assert driven.payloads == [b"echo"]
        driven.link.acknowledge(driven.messages)
        driven.link.close(5)


def test_auto_falls_back_where_the_broker_hangs_up(new_link: LinkFactory) -> None:
    """A broker that closes the connection at an MQTT 5 CONNECT, and one that never answers it, are tried with 3.1.1."""
    versions: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(3):
                connection, _address = server.accept()
                with connection:
                    versions.append(connection.recv(100)[8])

        thread = threading.Thread(target=hang_up)
        thread.start()
        driven = new_link(f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        driven.until(lambda: len(versions) >= 3)
        thread.join()
    assert versions[:3] == [5, 4, 5]


def test_a_broker_that_never_answers_is_given_up(new_link: LinkFactory, caplog: pytest.LogCaptureFixture) -> None:
    """A port that takes connections and says nothing does not hold the link for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        driven = new_link(url, protocol="5", connect_timeout_s=0.2)
        driven.until(lambda: "no answer within 0.2 s" in caplog.text)
        assert 'a broker without MQTT 5 needs broker.protocol = "auto"); trying again in' in caplog.text


def test_pinned_protocol_that_the_broker_does_not_speak(new_link: LinkFactory) -> None:
    """Told to speak MQTT 5 only, the link stops at a broker that says it does not know it, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _address = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"\x20\x02\x00\x01")  # what MQTT 3.1.1 brokers must answer

        thread = threading.Thread(target=refuse)
        thread.start()
        driven = new_link(f"mqtt://127.0.0.1:{server.getsockname()[1]}", protocol="5")
        with pytest.raises(BrokerError, match=r'Unsupported protocol version; set broker\.protocol = "auto"'):
            driven.connect()
        thread.join()


@BOTH
def test_wrong_password_is_said(
    start_mosquitto: Callable[[str], "Mosquitto"], new_link: LinkFactory, tmp_path: Any, protocol: str
) -> None:
    """At start, bad credentials end the daemon with the user's name and the mend; the right ones are let in."""
    (tmp_path / "passwords").write_text("edge:secret\n")
    import subprocess

    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "passwords")], check=True)
    broker = start_mosquitto(f"password_file {tmp_path / 'passwords'}\nallow_anonymous false")
    driven = new_link(broker.url, "wrong", protocol=protocol, username="edge")
    with pytest.raises(BrokerError, match=r"refuses the connection of user 'edge': Not authorized; check broker\."):
        driven.connect()
    with pytest.raises(BrokerError, match="no user name"):
        new_link(broker.url, protocol=protocol).connect()
    new_link(broker.url, "secret", protocol=protocol, username="edge").connect()


def test_refused_subscription_is_said(new_link: LinkFactory, tmp_path: Any) -> None:
    """A subscription that the broker refuses ends the start with the topic and the mend."""
    port = free_port()
    with amqtt(port, **{"amqtt.plugins.topic_checking.TopicTabooPlugin": {}}):
        driven = new_link(f"mqtt://127.0.0.1:{port}", protocol="3.1.1")
        driven.link._subscription = "prohibited"
        with pytest.raises(BrokerError, match=r"refuses the subscription to prohibited .*change telemetry\.topic"):
            driven.connect()


def test_another_client_of_the_same_id_is_named(
    mosquitto: "Mosquitto", new_link: LinkFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Two daemons with one client id push each other out; the log says so."""
    first = new_link(mosquitto.url).connect()
    second = new_link(mosquitto.url).connect()
    hint = "another client uses the id rarefault-edge, give each its own broker.client_id"

    def fight() -> bool:
        second.poll()
        return hint in caplog.text

    first.until(fight)


@BOTH
def test_held_telemetry_waits_while_confirmations_come(
    mosquitto: "Mosquitto", peer: "Peer", new_link: LinkFactory, protocol: str
) -> None:
    """While telemetry is held back, confirmations still arrive; held telemetry is handed out afterwards."""
    driven = new_link(mosquitto.url, protocol=protocol, pending=5).connect()
    peer.publish_all("telemetry/a", [str(i).encode() for i in range(50)])
    mids = [driven.link.publish("out", b"x", retain=False) for _ in range(min(10, driven.link.window))]
    driven.until(lambda: {c.mid for c in driven.confirmations} >= set(mids), hold=True)
    assert driven.messages == []
    assert (
        0 < len(driven.link._messages) <= (5 if protocol == "5" else 20)
    )  # as many as the broker sends unacknowledged
    while len(driven.messages) < 50:
        before = len(driven.messages)
        driven.poll()
        driven.link.acknowledge(driven.messages[before:])
    assert driven.payloads == [str(i).encode() for i in range(50)]


def test_qos_0_beyond_the_limit_is_dropped_and_counted(
    mosquitto: "Mosquitto", peer: "Peer", new_link: LinkFactory
) -> None:
    """Telemetry of QoS 0 has no acknowledgement to hold it back, yet its number is bounded while it waits."""
    driven = new_link(mosquitto.url, pending=5, qos=0).connect()
    peer.publish_all("telemetry/a", [b"x"] * 40, qos=0)
    driven.until(lambda: driven.link.dropped == 35, hold=True)
    driven.poll()
    assert len(driven.messages) == 5


def test_acknowledgements_of_a_lost_connection_are_not_sent_on_the_next(
    mosquitto: "Mosquitto", peer: "Peer", new_link: LinkFactory
) -> None:
    """Message ids belong to their connection: a late acknowledgement must not hit another message."""
    driven = new_link(mosquitto.url, protocol="5").connect()
    peer.publish("telemetry/a", b"1")
    driven.until(lambda: driven.messages)
    connection = driven.link._connection
    assert connection is not None
    connection.abandon("test")
    driven.until(lambda: len(driven.messages) == 2)  # sent again in the new connection
    driven.link.acknowledge(driven.messages[:1])
    driven.link.close(5)
    again = new_link(mosquitto.url, protocol="5")
    again.until(lambda: again.messages)
    assert again.payloads == [b"1"]


def test_wake_ends_a_wait() -> None:
    """A long wait ends at once when another thread wakes the link, connected or not."""
    link = Link(settings(f"mqtt://127.0.0.1:{free_port()}", reconnect_min_s=100, reconnect_max_s=100), None)
    link.poll(0)
    threading.Timer(0.1, link.wake).start()
    begin = time.monotonic()
    link.poll(60)
    assert time.monotonic() - begin < 30
    for _ in range(100_000):
        link.wake()  # never blocks
    link.close(0)
