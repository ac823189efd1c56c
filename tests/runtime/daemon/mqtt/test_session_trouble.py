"""The session and brokers that are away, old, or refuse what is asked of them."""

import logging
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.daemon.mqtt.connection import Confirmation
from rarefault.runtime.errors import BrokerError

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.session import Driven

SessionFactory = Callable[..., "Driven"]
BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def test_broker_absent_at_start_and_gone_later(
    mosquitto: "Mosquitto",
    new_peer: Callable[..., "Peer"],
    new_session: SessionFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The session keeps trying, says so, comes back by itself, and serves again."""
    caplog.set_level(logging.INFO)
    mosquitto.stop()
    driven = new_session(mosquitto.url)
    for _ in range(3):
        driven.poll()
    assert f"broker {mosquitto.url} cannot be reached (Connection refused); trying again in" in caplog.text
    assert not driven.session.connected
    mosquitto.start()
    driven.connect()
    mosquitto.stop(signal.SIGKILL)
    driven.until(lambda: not driven.session.connected)
    mosquitto.start()
    driven.until(lambda: driven.session.connections == 2)
    driven.until(lambda: driven.session._connection is not None and driven.session._connection._client.is_connected())
    assert "(new session)" in "".join(
        caplog.messages[-2:]
    )  # killed, the broker has forgotten it; the session subscribed again
    for _ in range(5):
        driven.poll(0.02)
    new_peer(mosquitto.port).publish("telemetry/a", b"back")
    driven.until(lambda: driven.messages)
    assert driven.payloads == [b"back"]


def test_delays_grow_and_are_bounded(new_session: SessionFactory, free_port: int) -> None:
    """Delays double up to the maximum, each between a half and the whole of its value."""
    driven = new_session(f"mqtt://127.0.0.1:{free_port}", reconnect_min_s=1.0, reconnect_max_s=8.0)
    delays = [driven.session._retries.later() for _ in range(2000)]
    for delay, whole in zip(delays, (1, 2, 4, 8, 8, 8), strict=False):
        assert whole / 2 <= delay <= whole
    assert 4 <= min(delays[3:]) <= max(delays) <= 8


def test_auto_falls_back_to_an_old_broker(
    start_amqtt: Callable[..., str], new_session: SessionFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that refuses MQTT 5 is spoken to in 3.1.1, with telemetry in and verdicts out."""
    caplog.set_level(logging.INFO, "rarefault")
    driven = new_session(start_amqtt()).connect()
    assert driven.session.protocol == "3.1.1"
    assert "does not speak MQTT 5; trying 3.1.1" in caplog.text
    mid = driven.session.publish("telemetry/self", b"echo", retain=False)
    driven.until(lambda: driven.messages and driven.confirmations)
    assert Confirmation(mid, None) in driven.confirmations
    assert driven.payloads == [b"echo"]
    driven.session.acknowledge(driven.messages)


def test_auto_falls_back_where_the_broker_hangs_up(new_session: SessionFactory) -> None:
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
        driven = new_session(f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        driven.until(lambda: len(versions) >= 3)
        thread.join()
    assert versions[:3] == [5, 4, 5]


def test_a_broker_that_never_answers_is_given_up(new_session: SessionFactory, caplog: pytest.LogCaptureFixture) -> None:
    """A port that takes connections and says nothing does not hold the session for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        driven = new_session(url, protocol="5", connect_timeout_s=0.2)
        driven.until(lambda: "no answer within 0.2 s" in caplog.text)
        assert 'a broker without MQTT 5 needs broker.protocol = "auto"); trying again in' in caplog.text


def test_pinned_protocol_that_the_broker_does_not_speak(new_session: SessionFactory) -> None:
    """Told to speak MQTT 5 only, the session stops at a broker that says it does not know it, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _address = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"\x20\x02\x00\x01")  # what MQTT 3.1.1 brokers must answer

        thread = threading.Thread(target=refuse)
        thread.start()
        driven = new_session(f"mqtt://127.0.0.1:{server.getsockname()[1]}", protocol="5")
        with pytest.raises(BrokerError, match=r'Unsupported protocol version; set broker\.protocol = "auto"'):
            driven.connect()
        thread.join()


@BOTH
def test_a_broker_that_talks_nonsense_is_left(new_session: SessionFactory, protocol: str) -> None:
    """Whatever a broker sends after it has accepted the connection, the session survives it and connects anew."""
    accepted = b"\x20\x03\x00\x00\x00" if protocol == "5" else b"\x20\x02\x00\x00"
    nonsense = [
        b"\x90\x02\x00\x02",  # SUBACK without an answer
        b"\x90\x06\x00\x02\x00\x00\x01\x80",  # SUBACK with several
        b"\x32\x03\x00\x09x",  # PUBLISH shorter than its topic
        b"\x30\x06\x00\x02\xff\xfe\x00x",  # PUBLISH to a topic that is not UTF-8
        b"\x36\x00",  # QoS 3
        b"\x40\x00",  # PUBACK of nothing
        b"\xe0\x05hello",
        b"\xff\xff\xff\xff\xff\xff",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            for packet in nonsense:
                connection, _address = server.accept()
                with connection:
                    connection.recv(500)
                    connection.sendall(accepted + packet)

        thread = threading.Thread(target=talk)
        thread.start()
        driven = new_session(
            f"mqtt://127.0.0.1:{server.getsockname()[1]}",
            protocol=protocol,
            reconnect_min_s=0.01,
            reconnect_max_s=0.02,
            connect_timeout_s=0.5,
        )
        driven.until(lambda: not thread.is_alive())
        driven.until(lambda: not driven.session.connected)
    assert driven.session.connections == len(nonsense)
    assert all(message.topic == "" for message in driven.messages)


@BOTH
def test_wrong_password_is_said(
    start_mosquitto: Callable[[str], "Mosquitto"], new_session: SessionFactory, tmp_path: Any, protocol: str
) -> None:
    """At start, bad credentials end the daemon with the user's name and the mend; the right ones are let in."""
    (tmp_path / "passwords").write_text("edge:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "passwords")], check=True)
    broker = start_mosquitto(f"password_file {tmp_path / 'passwords'}\nallow_anonymous false")
    driven = new_session(broker.url, "wrong", protocol=protocol, username="edge")
    with pytest.raises(BrokerError, match=r"refuses the connection of user 'edge': Not authorized; check broker\."):
        driven.connect()
    with pytest.raises(BrokerError, match="no user name"):
        new_session(broker.url, protocol=protocol).connect()
    new_session(broker.url, "secret", protocol=protocol, username="edge").connect()


def test_refused_subscription_is_said(start_amqtt: Callable[..., str], new_session: SessionFactory) -> None:
    """A subscription that the broker refuses ends the start with the topic and the mend."""
    url = start_amqtt(**{"amqtt.plugins.topic_checking.TopicTabooPlugin": {}})
    driven = new_session(url, protocol="3.1.1")
    driven.session.subscriptions.filters = [("prohibited", 1)]  # the one topic that the plugin of amqtt forbids
    with pytest.raises(BrokerError, match=r"refuses the subscription to prohibited .*change telemetry\.topic"):
        driven.connect()


def test_another_client_of_the_same_id_is_named(
    mosquitto: "Mosquitto", new_session: SessionFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Two daemons with one client id push each other out; the log says so."""
    first = new_session(mosquitto.url).connect()
    second = new_session(mosquitto.url).connect()
    hint = "another client uses the id rarefault-edge, give each its own broker.client_id"

    def fight() -> bool:
        second.poll()
        return hint in caplog.text

    first.until(fight)
