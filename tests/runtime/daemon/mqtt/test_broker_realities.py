"""What brokers do in real life: they hang, forget sessions, keep old telemetry, and send no more than they may."""

import json
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording
    from tests.harness.session import Driven

Serving = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object], str], None]


def test_a_half_open_connection_is_noticed_by_its_keep_alive(
    mosquitto: "Mosquitto", peer: "Peer", new_session: Callable[..., "Driven"], caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that hangs while the connection stands is left after the keep-alive, and found again."""
    driven = new_session(mosquitto.url, keepalive_s=5, connect_timeout_s=1).connect()
    with mosquitto.frozen():
        driven.until(lambda: not driven.session.connected)
        assert "the connection was lost" in caplog.text
        # The machine still accepts connections for the frozen broker, which says nothing on them.
        driven.until(lambda: "no answer within 1 s" in caplog.text)
    driven.connect()
    peer.publish("telemetry/a", b"back")
    driven.until(lambda: driven.messages)
    assert driven.payloads == [b"back"]


def test_a_session_that_the_broker_has_forgotten(
    mosquitto: "Mosquitto",
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    recording: "Recording",
    wait_until: WaitUntil,
) -> None:
    """The daemon subscribes anew, and what is owed is sent again over the new session."""
    with serving(mosquitto.url) as service:
        first = new_peer(mosquitto.port)
        recording.play(first, slice(0, 300))
        wait_until(lambda: service.intake.messages == 300, "the first part")
        first.close()
        mosquitto.stop(signal.SIGKILL)
        (mosquitto.folder / "mosquitto.db").unlink(missing_ok=True)
        wait_until(lambda: not service.session.connected, "the loss")
        mosquitto.start()
        wait_until(lambda: service.session.ready, "the new session")
        second = new_peer(mosquitto.port)
        second.subscribe("rarefault/+/verdict")
        recording.play(second, slice(300, None))
        wait_until(lambda: service.intake.messages == len(recording.messages), "the rest")
        wait_until(lambda: len(service.broker_delivery.outbox) == 0, "all verdicts to be confirmed")
        assert service.totals.verdicts.total() == len(recording.expected)
        second.catch_up()
        late = [v for v in recording.verdicts_at(second) if v["id"] in recording.expected]
        assert len(late) > 100


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_backlog_from_a_broker_that_sends_twenty_at_a_time(
    start_mosquitto: Callable[[str], "Mosquitto"],
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    recording: "Recording",
    wait_until: WaitUntil,
    protocol: str,
) -> None:
    """With group commit and Mosquitto's own limit, a queue of hundreds of messages comes through whole."""
    broker = start_mosquitto("allow_anonymous true\nmax_inflight_messages 20\nmax_queued_messages 0")
    peer = new_peer(broker.port)
    peer.subscribe("rarefault/+/verdict")
    sections: dict[str, Any] = {
        "broker": {"protocol": protocol},
        "limits": {"pending_messages": 20},
        "journal": {"path": "edge.journal"},
    }
    with serving(broker.url, **sections):
        pass
    recording.play(peer)
    with serving(broker.url, **sections) as service:
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
        wait_until(lambda: service.intake.messages >= len(recording.messages), "the last telemetry, which brings none")
    recording.assert_equal(recording.verdicts_at(peer))


def test_a_backlog_does_not_fill_the_memory_while_nothing_can_be_taken(
    mosquitto: "Mosquitto", peer: "Peer", new_session: Callable[..., "Driven"]
) -> None:
    """A broker with a backlog sends more than it may; what is too much is asked for again, whole and in order."""
    new_session(mosquitto.url, pending=20).connect().session.close(5)
    sent = [str(i).encode() for i in range(2000)]
    peer.publish_all("telemetry/a", sent)
    driven = new_session(mosquitto.url, pending=20)
    # Mosquitto keeps to the receive maximum until its first acknowledgement only.
    driven.until(lambda: len(driven.messages) >= 20)
    acknowledged = len(driven.messages)
    driven.session.acknowledge(driven.messages)
    for _ in range(100):
        driven.poll(0.02, hold=True)
        assert driven.session.waiting <= 20 + 10 * 20
    assert driven.session._connection is not None
    assert driven.session._connection.overflowed

    def take() -> bool:
        nonlocal acknowledged
        driven.session.acknowledge(driven.messages[acknowledged:])
        acknowledged = len(driven.messages)
        return driven.payloads[-1:] == sent[-1:]

    driven.until(take)
    assert list(dict.fromkeys(driven.payloads)) == sent  # each at least once, the first time in order


def test_retained_telemetry_is_taken_by_its_own_time(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: WaitUntil
) -> None:
    """What the broker had kept counts where it says when it is from; where it does not, it may be of any age."""
    peer.publish("telemetry/a", json.dumps({"time": time.time() - 5, "values": {"c1.S1": 1}}), retain=True)
    peer.publish("telemetry/b", json.dumps({"values": {"c1.S1": 1}}), retain=True)
    with serving(mosquitto.url) as service:
        wait_until(lambda: service.intake.messages == 2, "both")
        assert service.intake.rejections.samples == 1
        assert service.intake.rejections.counts["bad_time"] == 1
