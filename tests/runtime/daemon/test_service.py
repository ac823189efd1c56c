"""The daemon against a real broker with a real model: live verdicts are the offline ones, whatever happens between."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
#: Runs a service in a thread, subscribed: ``with serving(url, **sections) as service``.
Serving = Callable[..., Any]


@BOTH
def test_live_verdicts_are_the_offline_ones(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: "Recording",
    protocol: str,
) -> None:
    """A recording played over MQTT gives the verdicts of its offline evaluation, one for one, each delivered once."""
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/+/alarm")
    with serving(mosquitto.url, broker={"protocol": protocol}) as service:
        recording.play(peer)
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
        wait_until(lambda: service.intake.messages >= len(recording.messages), "the last telemetry, which brings none")
    peer.catch_up()
    live = recording.verdicts_at(peer)
    assert len(live) == len(recording.expected)
    recording.assert_equal(live)
    assert service.intake.messages == len(recording.messages)
    assert service.intake.rejections.counts == dict.fromkeys(service.intake.rejections.counts, 0)
    for device in recording.devices:
        in_order = [json.loads(p)["end"] for p in peer.payloads(f"rarefault/{device}/verdict")]
        assert in_order == sorted(in_order)
        live_alarms = [json.loads(p) for p in peer.payloads(f"rarefault/{device}/alarm")]
        offline_alarms = [alarm for alarm in recording.alarms if alarm["device"] == device]
        assert len(live_alarms) == len(offline_alarms) > 3
        for live_alarm, offline_alarm in zip(live_alarms, offline_alarms, strict=True):
            of_class = offline_alarm["state"] not in {"unknown", "no data"}
            inexact = ("probability", "score") if of_class else ()
            assert live_alarm == offline_alarm | {
                name: pytest.approx(offline_alarm[name], rel=1e-5) for name in inexact
            }


def test_a_batch_gives_the_same_verdicts(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: "Recording",
) -> None:
    """The samples of a device sent as JSON arrays, larger than what a turn holds, make no difference."""
    peer.subscribe("rarefault/+/verdict")
    with serving(mosquitto.url, telemetry={"max_batch": 40}, limits={"pending_messages": 3}):
        for device in recording.devices:
            samples = [payload for topic, payload in recording.messages if topic.endswith(device)]
            for i in range(0, len(samples), 40):
                peer.publish(f"telemetry/{device}", b"[" + b",".join(samples[i : i + 40]) + b"]")
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
    recording.assert_equal(recording.verdicts_at(peer))


@BOTH
def test_a_restart_of_the_broker_loses_nothing(
    mosquitto: "Mosquitto",
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    wait_until: Callable[..., None],
    recording: "Recording",
    protocol: str,
) -> None:
    """The broker stops in the middle and comes back: the daemon returns by itself, and every verdict arrives."""
    watcher = new_peer(mosquitto.port, session="watcher")
    watcher.subscribe("rarefault/+/verdict")
    half = len(recording.messages) // 2
    with serving(mosquitto.url, broker={"protocol": protocol}) as service:
        recording.play(watcher, slice(None, half))
        mosquitto.stop()
        wait_until(lambda: not service.session.connected, "the daemon to notice")
        mosquitto.start()
        wait_until(lambda: service.session.connected, "the daemon to return")
        recording.play(new_peer(mosquitto.port), slice(half, None))
        wait_until(lambda: {v["id"] for v in recording.verdicts_at(watcher)} >= set(recording.expected), "all verdicts")
        assert service.session.connections >= 2
    recording.assert_equal(recording.verdicts_at(watcher))


@BOTH
def test_messages_sent_while_the_daemon_is_away_are_processed(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: "Recording",
    protocol: str,
) -> None:
    """The broker keeps the daemon's session: telemetry of its absence is waiting when it starts again."""
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/edge/status")
    with serving(mosquitto.url, broker={"protocol": protocol}):
        pass
    assert peer.wait_for("rarefault/edge/status", 2) == [b"online", b"offline"]
    recording.play(peer)
    with serving(mosquitto.url, broker={"protocol": protocol}):
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
    recording.assert_equal(recording.verdicts_at(peer))


def test_redelivered_messages_change_nothing(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    recording: "Recording",
) -> None:
    """Where the connection breaks after processing and before the acknowledgement, all comes twice and counts once."""
    peer.subscribe("rarefault/+/verdict")
    with serving(mosquitto.url, start=False) as service:
        while not service.session.subscriptions.ever_granted:
            service._turn(0.05)
        breaks = 0
        for begin in range(0, len(recording.messages), 50):
            recording.play(peer, slice(begin, begin + 50))
            target = min(begin + 50, len(recording.messages))
            while service.intake.rejections.samples < target:
                service._poll(0.05)
                taken = service._take()
                service._deliver()
                if taken and service.session._connection is not None and breaks < 5:
                    service.session._connection.abandon("broken before the acknowledgement")
                    breaks += 1
                    target += len(taken)
                else:
                    service.session.acknowledge(taken)
        while len(service.broker_delivery.outbox):
            service._turn(0.05)
        assert breaks == 5
        assert service.intake.rejections.samples > len(recording.messages)
    peer.wait_for("rarefault/plant_1/verdict")
    deadline = time.monotonic() + 20
    while {v["id"] for v in recording.verdicts_at(peer)} != set(recording.expected) and time.monotonic() < deadline:
        time.sleep(0.01)
    recording.assert_equal(recording.verdicts_at(peer))


@pytest.mark.parametrize(("outbox", "pending"), [(4, 1), (60, 20)])
def test_a_crowded_outbox_holds_up_telemetry_and_loses_nothing(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: "Recording",
    outbox: int,
    pending: int,
) -> None:
    """With room for few verdicts, a backlog waits at the broker until these are confirmed; none is dropped."""
    peer.subscribe("rarefault/+/verdict")
    with serving(mosquitto.url):
        pass  # leaves its session at the broker
    for device in recording.devices:
        peer.publish_all(f"telemetry/{device}", [p for topic, p in recording.messages if topic.endswith(device)])
    with serving(mosquitto.url, limits={"outbox_messages": outbox, "pending_messages": pending}) as service:
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
    assert service.broker_delivery.outbox.dropped == 0
    recording.assert_equal(recording.verdicts_at(peer))
