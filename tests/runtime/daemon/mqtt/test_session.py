"""The session and a real Mosquitto: what arrives, what is acknowledged, what is said of the daemon's presence."""

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.session import Driven

SessionFactory = Callable[..., "Driven"]
BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@BOTH
def test_receives_and_acknowledges(
    mosquitto: "Mosquitto", peer: "Peer", new_session: SessionFactory, protocol: str
) -> None:
    """Telemetry arrives in order, and what was acknowledged does not come again in the next connection."""
    driven = new_session(mosquitto.url, protocol=protocol).connect()
    assert driven.session.protocol == protocol
    sent = [str(i).encode() for i in range(300)]
    peer.publish_all("telemetry/a", sent)

    def acknowledge_new() -> bool:
        driven.session.acknowledge(driven.messages[acknowledge_new.done :])  # type: ignore[attr-defined]
        acknowledge_new.done = len(driven.messages)  # type: ignore[attr-defined]
        return len(driven.messages) >= 300

    acknowledge_new.done = 0  # type: ignore[attr-defined]
    driven.until(acknowledge_new)
    assert driven.payloads == sent
    driven.session.close(5)
    again = new_session(mosquitto.url, protocol=protocol).connect()
    peer.publish("telemetry/a", b"next")
    again.until(lambda: again.messages)
    assert again.payloads == [b"next"]


@BOTH
def test_what_is_not_acknowledged_comes_again(
    mosquitto: "Mosquitto", peer: "Peer", new_session: SessionFactory, protocol: str
) -> None:
    """A message whose processing did not finish is delivered again at the next start, before newer ones."""
    driven = new_session(mosquitto.url, protocol=protocol).connect()
    for payload in (b"1", b"2", b"3"):
        peer.publish("telemetry/a", payload)
    driven.until(lambda: len(driven.messages) == 3)
    driven.session.acknowledge(driven.messages[:1])
    driven.session.close(5)
    peer.publish("telemetry/a", b"4")  # while nobody is there
    again = new_session(mosquitto.url, protocol=protocol)
    again.until(lambda: len(again.messages) == 3)
    assert again.payloads == [b"2", b"3", b"4"]


@BOTH
def test_status_is_online_then_offline(
    mosquitto: "Mosquitto", peer: "Peer", new_session: SessionFactory, protocol: str
) -> None:
    """``online`` on connecting, ``offline`` on leaving, both kept by the broker for those who come later."""
    peer.subscribe("rarefault/edge/status")
    driven = new_session(mosquitto.url, protocol=protocol).connect()
    assert peer.wait_for("rarefault/edge/status") == [b"online"]
    driven.session.close(5)
    assert peer.wait_for("rarefault/edge/status", 2) == [b"online", b"offline"]
    peer.subscribe("rarefault/+/status")
    assert peer.wait_for("rarefault/edge/status", 3)[2] == b"offline"
    assert peer.messages[2].retain


@BOTH
def test_the_last_will_says_offline(
    mosquitto: "Mosquitto", peer: "Peer", new_session: SessionFactory, protocol: str
) -> None:
    """When the connection breaks, the broker says ``offline`` in the daemon's stead; back again, it says ``online``."""
    peer.subscribe("rarefault/edge/status")
    driven = new_session(mosquitto.url, protocol=protocol).connect()
    peer.wait_for("rarefault/edge/status")
    connection = driven.session._connection
    assert connection is not None
    assert connection._client.wire is not None
    sock = connection._client.wire._sock
    sock.shutdown(socket.SHUT_RDWR)
    driven.until(lambda: driven.session.connections == 2)
    assert peer.wait_for("rarefault/edge/status", 3) == [b"online", b"offline", b"online"]


@BOTH
def test_held_telemetry_waits_while_confirmations_come(
    mosquitto: "Mosquitto", peer: "Peer", new_session: SessionFactory, protocol: str
) -> None:
    """While telemetry is held back, confirmations still arrive; held telemetry is handed out afterwards."""
    driven = new_session(mosquitto.url, protocol=protocol, pending=5).connect()
    peer.publish_all("telemetry/a", [str(i).encode() for i in range(50)])
    mids = [driven.session.publish("out", b"x", retain=False) for _ in range(min(10, driven.session.window))]
    driven.until(lambda: {c.mid for c in driven.confirmations} >= set(mids), hold=True)
    assert driven.messages == []
    assert (
        0 < len(driven.session._messages) <= (5 if protocol == "5" else 20)
    )  # as many as the broker sends unacknowledged
    while len(driven.messages) < 50:
        before = len(driven.messages)
        driven.poll()
        driven.session.acknowledge(driven.messages[before:])
    assert driven.payloads == [str(i).encode() for i in range(50)]


def test_qos_0_beyond_the_limit_is_dropped_and_counted(
    mosquitto: "Mosquitto", peer: "Peer", new_session: SessionFactory
) -> None:
    """Telemetry of QoS 0 has no acknowledgement to hold it back, yet its number is bounded while it waits."""
    driven = new_session(mosquitto.url, pending=5, qos=0).connect()
    peer.publish_all("telemetry/a", [b"x"] * 40, qos=0)
    driven.until(lambda: driven.session.dropped == 35, hold=True)
    driven.poll()
    assert len(driven.messages) == 5


def test_acknowledgements_of_a_lost_connection_are_not_sent_on_the_next(
    mosquitto: "Mosquitto", peer: "Peer", new_session: SessionFactory
) -> None:
    """Message ids belong to their connection: a late acknowledgement must not hit another message."""
    driven = new_session(mosquitto.url, protocol="5").connect()
    peer.publish("telemetry/a", b"1")
    driven.until(lambda: driven.messages)
    connection = driven.session._connection
    assert connection is not None
    connection.abandon("test")
    driven.until(lambda: len(driven.messages) == 2)  # sent again in the new connection
    driven.session.acknowledge(driven.messages[:1])
    driven.session.close(5)
    again = new_session(mosquitto.url, protocol="5")
    again.until(lambda: again.messages)
    assert again.payloads == [b"1"]


def test_wake_ends_a_wait(new_session: SessionFactory, free_port: int) -> None:
    """A long wait ends at once when another thread wakes the session, connected or not."""
    session = new_session(f"mqtt://127.0.0.1:{free_port}", reconnect_min_s=100, reconnect_max_s=100).session
    session.poll(0)
    threading.Timer(0.1, session.wake).start()
    begin = time.monotonic()
    session.poll(60)
    assert time.monotonic() - begin < 30
    for _ in range(100_000):
        session.wake()  # never blocks
    session.close(0)
    session.wake()  # a second signal may come while the daemon stops
