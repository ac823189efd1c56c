"""The daemon and what goes wrong around it: bad telemetry, brokers that refuse or vanish, stops, metrics."""

import logging
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.daemon.publishing.delivery import STALL_S
from rarefault.runtime.daemon.publishing.outbox import MemoryOutbox
from rarefault.runtime.daemon.service import Service
from rarefault.runtime.errors import ConfigError

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

#: Runs a service in a thread, subscribed: ``with serving(url, **sections) as service``.
Serving = Callable[..., Any]


def test_bad_messages_do_not_disturb_the_good_ones(
    mosquitto: "Mosquitto",
    free_port: int,
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: "Recording",
) -> None:
    """Between good messages every kind of bad one: each is counted, and the verdicts are as if it had not been."""
    bad = [
        ("telemetry/plant_1", b"\xff\xfe"),
        ("telemetry/plant_1", b"{"),
        ("telemetry/plant_1", b" " * 5000),
        ("telemetry/plant_1", b"[]"),
        ("telemetry/plant_1", b'{"time": 1298980803, "values": {"c1.S1": NaN}}'),
        ("telemetry/plant_1", b'{"time": 1298980803, "values": {"c1.S1": "one"}}'),
        ("telemetry/plant_1", b'{"time": "noon", "values": {"c1.S1": 1}}'),
        ("telemetry/plant_1", b'{"time": 4000000000, "values": {"c1.S1": 1}}'),
        ("telemetry/plant_1", b'{"time": 1298980803, "values": {"temperature": 1}}'),
        ("telemetry/" + "x" * 500, b'{"time": 1298980803, "values": {"c1.S1": 1}}'),
        ("telemetry/plant_4", b'{"time": 1298980803, "values": {"c1.S1": 1}}'),  # one device too many
    ]
    peer.subscribe("rarefault/+/verdict")
    with serving(
        mosquitto.url, telemetry={"max_payload_bytes": 4000}, limits={"max_devices": 3}, metrics={"port": free_port}
    ) as service:
        for i, message in enumerate(recording.messages):
            peer.publish(*message)
            if i % 40 == 20:
                for topic, payload in bad:
                    peer.publish(topic, payload)
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
        rounds = len([i for i in range(len(recording.messages)) if i % 40 == 20])
        page = metrics_page(service)
    recording.assert_equal(recording.verdicts_at(peer))
    counts = {str(reason): n / rounds for reason, n in service.intake.rejections.counts.items() if n}
    assert counts == {
        "not_utf8": 1, "not_json": 1, "too_large": 1, "wrong_shape": 1, "bad_value": 2, "bad_time": 1, "too_new": 1,
        "no_known_channel": 1, "bad_device": 1, "too_many_devices": 1,
    }  # fmt: skip
    assert page['rarefault_rejected_total{reason="bad_value"}'] == 2 * rounds
    assert page["rarefault_samples_total"] == len(recording.messages)
    assert page["rarefault_connected"] == 1
    assert page["rarefault_devices"] == 3
    by_fault = [v for name, v in page.items() if name.startswith("rarefault_verdicts_total{")]
    assert sum(by_fault) == len(recording.expected)
    assert page["rarefault_turn_seconds_count"] > 0


def metrics_page(service: Service) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.setup.config.metrics.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def test_the_port_of_the_metrics_is_taken(serving: Serving) -> None:
    """A port that another program has is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            serving("mqtt://127.0.0.1:9", start=False, metrics={"port": port}) as service,
            pytest.raises(ConfigError, match=rf"metrics\.port: cannot serve on 127\.0\.0\.1:{port}: Address already"),
        ):
            service._startup()


def test_a_broker_that_confirms_nothing_does_not_stop_the_daemon(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    recording: "Recording",
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where no confirmation comes, telemetry waits for a while, and then goes on at the cost of the oldest verdicts."""
    with serving(mosquitto.url, start=False, limits={"outbox_messages": 8, "pending_messages": 1}) as service:
        while not service.session.subscriptions.ever_granted:
            service._turn(0.05)
        recording.play(peer, slice(None, 400))

        def turn() -> None:
            hold = service._hold()
            service.session.poll(0.02, hold=hold)  # confirmations are let go: to the daemon none has come
            taken = [] if hold else service._take()
            service._deliver()
            service.session.acknowledge(taken)

        while not service.broker_delivery.outbox.crowded:
            turn()
        before = service.intake.rejections.samples
        for _ in range(5):
            turn()
        assert service.intake.rejections.samples == before
        service.broker_delivery._progress_at -= STALL_S + 1
        while service.intake.rejections.samples < 400:
            turn()
        assert service.broker_delivery.outbox.dropped > 0
        assert len(service.broker_delivery.outbox) <= 8 + len(recording.devices)
        service.store.outboxes = {"broker": MemoryOutbox(1)}  # nothing to wait for at the end
    assert "the broker has confirmed nothing for 30 s while" in caplog.text


def test_refused_verdicts_are_said(
    start_mosquitto: Callable[[str], "Mosquitto"],
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    wait_until: Callable[..., None],
    recording: "Recording",
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A broker that does not let the daemon write is named as the reason, and does not fill the outbox."""
    (tmp_path / "acl").write_text("topic readwrite telemetry/#\n")
    broker = start_mosquitto(f"allow_anonymous true\nacl_file {tmp_path / 'acl'}")
    peer = new_peer(broker.port)
    with serving(broker.url) as service:
        recording.play(peer, slice(None, 60))
        wait_until(lambda: service.broker.refused > 3 and len(service.broker_delivery.outbox) == 0, "refusals")
    assert "the broker refuses what is published below rarefault/ (Not authorized)" in caplog.text
    assert len([r for r in caplog.records if "refuses what is published" in r.message]) == 1


def test_a_stop_leaves_nothing_unconfirmed(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: Callable[..., None], recording: "Recording"
) -> None:
    """A stop waits for the confirmation of what has been decided, and says ``offline`` last."""
    peer.subscribe("rarefault/#")
    with serving(mosquitto.url) as service:
        recording.play(peer, slice(None, 200))
        wait_until(lambda: service.totals.verdicts.total() > 5, "verdicts")
    assert len(service.broker_delivery.outbox) == 0
    peer.wait_for("rarefault/edge/status", 2)
    assert peer.messages[-1].topic == "rarefault/edge/status"
    assert len(recording.verdicts_at(peer)) == service.totals.verdicts.total()


def test_a_broker_that_is_killed_is_no_end(
    mosquitto: "Mosquitto",
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    wait_until: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Killed without saving its sessions, the broker is subscribed to anew, and the next good message is served."""
    caplog.set_level(logging.INFO)
    with serving(mosquitto.url) as service:
        mosquitto.stop(signal.SIGKILL)
        wait_until(lambda: not service.session.connected, "the daemon to notice")
        mosquitto.start()
        wait_until(lambda: service.session.connected, "the daemon to return")
        again = new_peer(mosquitto.port)
        again.subscribe("rarefault/edge/status")
        assert again.wait_for("rarefault/edge/status") == [b"online"]
        while service.intake.rejections.samples == 0:  # the subscription follows the status
            again.publish("telemetry/plant_1", b'{"time": 1298980800, "values": {"c1.S1": 1}}')
            time.sleep(0.05)
