"""The daemon against a real broker with a real model: live verdicts are the offline ones, whatever happens between."""

import json
import logging
import math
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.outbox import MemoryOutbox
from rarefault.runtime.daemon.payloads import alarm_payload, verdict_payloads
from rarefault.runtime.daemon.service import STALL_S, Service
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.model_file import LoadedModel, load_model
from rarefault.runtime.pipeline import Pipeline
from rarefault.runtime.times import format_ms

if TYPE_CHECKING:
    from tests.conftest import Mosquitto, Peer

BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
BEGIN_MS = 1_298_980_800_000  # 2011-03-01T12:00:00Z
DEVICES = ("plant_1", "plant_2", "plant_3")
Messages = list[tuple[str, bytes]]
#: Runs a service in a thread: ``with serving(url, **sections) as service``.
Serving = Callable[..., Any]


class Expected(dict[str, dict[str, Any]]):
    """Verdicts by id, and alarms in order for each device."""

    alarms: list[dict[str, Any]]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> LoadedModel:
    return load_model(tiny_model)


@pytest.fixture(scope="module")
def recording(model: LoadedModel) -> Messages:
    """Telemetry of three devices in order of time, with partial updates, gaps and samples out of order."""
    rng = np.random.default_rng(11)
    rows = []
    for device in DEVICES:
        at = np.cumsum(rng.choice([3.0, 9.0, 11.0, 25.0, 200.0], 250, p=[0.3, 0.3, 0.3, 0.09, 0.01]))
        energy = np.cumsum(rng.random(250))
        for t, e in zip(at + rng.uniform(-9, 0, 250), energy, strict=True):
            values = {"c1.S1": rng.normal(), "c1.S2": float(rng.normal()) * 3, "z1.E1": e}
            kept = {name: value for name, value in values.items() if rng.random() < 0.8}
            rows.append((t, device, kept or {"c1.S1": 0.5}))
    rows.sort(key=lambda row: row[0])
    return [
        (
            f"telemetry/{device}",
            json.dumps({"time": format_ms(BEGIN_MS + round(t * 1000)), "values": values}).encode(),
        )
        for t, device, values in rows
    ]


@pytest.fixture(scope="module")
def expected(model: LoadedModel, recording: Messages) -> "Expected":
    """Verdicts and alarms of the recording by id, from one push of all of it."""
    pipeline = Pipeline(model.manifest, model.step, model.model_id)
    samples = [(topic.split("/")[1], json.loads(payload)) for topic, payload in recording]
    verdicts = pipeline.push(
        [pipeline.slot(device) for device, _ in samples],
        [round(_epoch_s(sample["time"]) * 1000) for _, sample in samples],
        [[sample["values"].get(name, math.nan) for name in model.manifest.channels] for _, sample in samples],
    )
    found = Expected((v.id, msgspec.to_builtins(v)) for v in verdict_payloads(verdicts, pipeline, 0))
    found.alarms = [msgspec.to_builtins(alarm_payload(change, pipeline)) for change in verdicts.alarms]
    assert len(found) > 200
    assert {v["fault"] for v in found.values()} == {"normal", "fault_1", "fault_2", "unknown"}
    return found


def _epoch_s(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


@pytest.fixture
def serving(model: LoadedModel) -> Serving:
    def config(url: str, sections: dict[str, dict[str, Any]]) -> DaemonConfig:
        given: dict[str, dict[str, Any]] = {
            "model": {"path": str(model.path)},
            "broker": {"url": url, "reconnect_min_s": 0.1, "reconnect_max_s": 0.2},
            "telemetry": {"max_age_s": math.inf},
            "publish": {"runtime": "edge"},
        }
        merged = {name: given.get(name, {}) | sections.get(name, {}) for name in given | sections}
        return msgspec.convert(merged, DaemonConfig)

    @contextmanager
    def serve(url: str, *, start: bool = True, **sections: dict[str, Any]) -> Iterator[Service]:
        service = Service(config(url, sections), model, None, "edge.toml")
        failures: list[BaseException] = []

        def run() -> None:
            try:
                service.run()
            except BaseException as error:
                failures.append(error)
                raise

        thread = threading.Thread(target=run)
        if start:
            thread.start()
        try:
            yield service
        finally:
            service.stop()
            if start:
                thread.join()
            else:
                service._shutdown()
        assert failures == []

    return serve


def play(peer: "Peer", messages: Messages) -> None:
    for topic, payload in messages:
        peer.publish(topic, payload)


def verdicts_of(peer: "Peer") -> list[dict[str, Any]]:
    return [json.loads(p) for device in DEVICES for p in peer.payloads(f"rarefault/{device}/verdict")]


def assert_equal(live: list[dict[str, Any]], expected: "Expected") -> None:
    """The live verdicts are the expected ones, one for one."""
    assert {v["id"] for v in live} == set(expected)
    for verdict in live:
        offline = expected[verdict["id"]]
        assert {k: v for k, v in verdict.items() if k not in ("probability", "probabilities", "time")} == {
            k: v for k, v in offline.items() if k not in ("probability", "probabilities", "time")
        }
        for name, probability in offline["probabilities"].items():
            assert math.log(verdict["probabilities"][name]) == pytest.approx(math.log(probability), abs=1e-5)
        assert verdict["probability"] == pytest.approx(offline["probability"], rel=1e-5)


def online(peer: "Peer", wait_until: Callable[..., None], service: Service) -> None:
    """Wait until the service has subscribed."""
    wait_until(lambda: service.link._ever_subscribed and service.link.connected, "the daemon to subscribe")


@BOTH
def test_live_verdicts_are_the_offline_ones(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: Messages,
    expected: "Expected",
    protocol: str,
) -> None:
    """A recording played over MQTT gives the verdicts of its offline evaluation, one for one, each delivered once."""
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/+/alarm")
    with serving(mosquitto.url, broker={"protocol": protocol}) as service:
        online(peer, wait_until, service)
        play(peer, recording)
        wait_until(lambda: len(verdicts_of(peer)) >= len(expected), "all verdicts")
    live = verdicts_of(peer)
    assert len(live) == len(expected)
    assert_equal(live, expected)
    assert service.messages == len(recording)
    assert service.rejections.counts == dict.fromkeys(service.rejections.counts, 0)
    for device in DEVICES:
        in_order = [json.loads(p)["end"] for p in peer.payloads(f"rarefault/{device}/verdict")]
        assert in_order == sorted(in_order)
        live_alarms = [json.loads(p) for p in peer.payloads(f"rarefault/{device}/alarm")]
        offline_alarms = [alarm for alarm in expected.alarms if alarm["device"] == device]
        assert len(live_alarms) == len(offline_alarms) > 3
        for live_alarm, offline_alarm in zip(live_alarms, offline_alarms, strict=True):
            assert live_alarm == offline_alarm | {"probability": pytest.approx(offline_alarm["probability"], rel=1e-5)}


def test_a_batch_gives_the_same_verdicts(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: Messages,
    expected: "Expected",
) -> None:
    """The samples of a device sent as JSON arrays, larger than what a turn holds, make no difference."""
    peer.subscribe("rarefault/+/verdict")
    with serving(mosquitto.url, telemetry={"max_batch": 40}, limits={"pending_messages": 3}) as service:
        online(peer, wait_until, service)
        for device in DEVICES:
            samples = [payload for topic, payload in recording if topic.endswith(device)]
            for i in range(0, len(samples), 40):
                peer.publish(f"telemetry/{device}", b"[" + b",".join(samples[i : i + 40]) + b"]")
        wait_until(lambda: len(verdicts_of(peer)) >= len(expected), "all verdicts")
    assert_equal(verdicts_of(peer), expected)


def test_bad_messages_do_not_disturb_the_good_ones(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: Messages,
    expected: "Expected",
) -> None:
    """Between good messages every kind of bad one: each is counted, and the verdicts are as if it had not been."""
    bad: Messages = [
        ("telemetry/plant_1", b"\xff\xfe"),
        ("telemetry/plant_1", b"{"),
        ("telemetry/plant_1", b" " * 5000),
        ("telemetry/plant_1", b"[]"),
        ("telemetry/plant_1", b'{"values": {"c1.S1": NaN}}'),
        ("telemetry/plant_1", b'{"values": {"c1.S1": "1"}}'),
        ("telemetry/plant_1", b'{"time": "noon", "values": {"c1.S1": 1}}'),
        ("telemetry/plant_1", b'{"time": 4000000000, "values": {"c1.S1": 1}}'),
        ("telemetry/plant_1", b'{"values": {"temperature": 1}}'),
        ("telemetry/" + "x" * 500, b'{"values": {"c1.S1": 1}}'),
        ("telemetry/plant_4", b'{"values": {"c1.S1": 1}}'),  # one device too many
    ]
    peer.subscribe("rarefault/+/verdict")
    with serving(
        mosquitto.url, telemetry={"max_payload_bytes": 4000}, limits={"max_devices": 3}, metrics={"port": free_port()}
    ) as service:
        online(peer, wait_until, service)
        for i, message in enumerate(recording):
            peer.publish(*message)
            if i % 40 == 20:
                play(peer, bad)
        wait_until(lambda: len(verdicts_of(peer)) >= len(expected), "all verdicts")
        rounds = len([i for i in range(len(recording)) if i % 40 == 20])
        page = metrics_page(service)
    assert_equal(verdicts_of(peer), expected)
    counts = {str(reason): n / rounds for reason, n in service.rejections.counts.items() if n}
    assert counts == {
        "not_utf8": 1, "not_json": 1, "too_large": 1, "wrong_shape": 1, "bad_value": 2, "bad_time": 1, "too_new": 1,
        "no_known_channel": 1, "bad_device": 1, "too_many_devices": 1,
    }  # fmt: skip
    assert page['rarefault_rejected_total{reason="bad_value"}'] == 2 * rounds
    assert page["rarefault_samples_total"] == len(recording)
    assert page["rarefault_connected"] == 1
    assert page["rarefault_devices"] == 3
    by_fault = [v for name, v in page.items() if name.startswith("rarefault_verdicts_total{")]
    assert sum(by_fault) == len(expected)
    assert page["rarefault_turn_seconds_count"] > 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def metrics_page(service: Service) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.config.metrics.port}/metrics") as answer:
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


@BOTH
def test_a_restart_of_the_broker_loses_nothing(
    mosquitto: "Mosquitto",
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    wait_until: Callable[..., None],
    recording: Messages,
    expected: "Expected",
    protocol: str,
) -> None:
    """The broker stops in the middle and comes back: the daemon returns by itself, and every verdict arrives."""
    watcher = new_peer(mosquitto.port, session="watcher")
    watcher.subscribe("rarefault/+/verdict")
    half = len(recording) // 2
    with serving(mosquitto.url, broker={"protocol": protocol}) as service:
        online(watcher, wait_until, service)
        play(watcher, recording[:half])
        mosquitto.stop()
        wait_until(lambda: not service.link.connected, "the daemon to notice")
        mosquitto.start()
        wait_until(lambda: service.link.connected, "the daemon to return")
        play(new_peer(mosquitto.port), recording[half:])
        wait_until(lambda: {v["id"] for v in verdicts_of(watcher)} >= set(expected), "all verdicts")
        assert service.link.connections >= 2
    assert_equal(verdicts_of(watcher), expected)


@BOTH
def test_messages_sent_while_the_daemon_is_away_are_processed(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: Messages,
    expected: "Expected",
    protocol: str,
) -> None:
    """The broker keeps the daemon's session: telemetry of its absence is waiting when it starts again."""
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/edge/status")
    with serving(mosquitto.url, broker={"protocol": protocol}) as service:
        online(peer, wait_until, service)
    assert peer.wait_for("rarefault/edge/status", 2) == [b"online", b"offline"]
    play(peer, recording)
    with serving(mosquitto.url, broker={"protocol": protocol}) as service:
        wait_until(lambda: len(verdicts_of(peer)) >= len(expected), "all verdicts")
    assert_equal(verdicts_of(peer), expected)


def test_redelivered_messages_change_nothing(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    recording: Messages,
    expected: "Expected",
) -> None:
    """Where the connection breaks after processing and before the acknowledgement, all comes twice and counts once."""
    peer.subscribe("rarefault/+/verdict")
    with serving(mosquitto.url, start=False) as service:
        while not service.link._ever_subscribed:
            service._turn(0.05)
        breaks = 0
        for begin in range(0, len(recording), 50):
            part = recording[begin : begin + 50]
            play(peer, part)
            target = begin + len(part)
            while service.codec.samples < target:
                service._note_confirmations(service.link.poll(0.05))
                taken = service._take()
                service._send()
                if taken and service.link._connection is not None and breaks < 5:
                    service.link._connection.abandon("broken before the acknowledgement")
                    breaks += 1
                    target += len(taken)
                else:
                    service.link.acknowledge(taken)
        while len(service.outbox):
            service._turn(0.05)
        assert breaks == 5
        assert service.codec.samples > len(recording)
    peer.wait_for("rarefault/plant_1/verdict")
    deadline = time.monotonic() + 20
    while {v["id"] for v in verdicts_of(peer)} != set(expected) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert_equal(verdicts_of(peer), expected)


@pytest.mark.parametrize(("outbox", "pending"), [(4, 1), (60, 20)])
def test_a_crowded_outbox_holds_up_telemetry_and_loses_nothing(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    wait_until: Callable[..., None],
    recording: Messages,
    expected: "Expected",
    outbox: int,
    pending: int,
) -> None:
    """With room for few verdicts, a backlog waits at the broker until these are confirmed; none is dropped."""
    peer.subscribe("rarefault/+/verdict")
    with serving(mosquitto.url) as service:
        online(peer, wait_until, service)
    for device in DEVICES:
        peer.publish_all(f"telemetry/{device}", [p for topic, p in recording if topic.endswith(device)])
    with serving(mosquitto.url, limits={"outbox_messages": outbox, "pending_messages": pending}) as service:
        wait_until(lambda: len(verdicts_of(peer)) >= len(expected), "all verdicts")
    assert service.outbox.dropped == 0
    assert_equal(verdicts_of(peer), expected)


def test_a_broker_that_confirms_nothing_does_not_stop_the_daemon(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    recording: Messages,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where no confirmation comes, telemetry waits for a while, and then goes on at the cost of the oldest verdicts."""
    with serving(mosquitto.url, start=False, limits={"outbox_messages": 8, "pending_messages": 1}) as service:
        while not service.link._ever_subscribed:
            service._turn(0.05)
        play(peer, recording[:400])

        def turn() -> None:
            hold = service._hold()
            service.link.poll(0.02, hold=hold)  # confirmations are let go: to the daemon none has come
            taken = [] if hold else service._take()
            service._send()
            service.link.acknowledge(taken)

        while not service.outbox.crowded:
            turn()
        before = service.codec.samples
        for _ in range(5):
            turn()
        assert service.codec.samples == before
        service._progress_at -= STALL_S + 1
        while service.codec.samples < 400:
            turn()
        assert service.outbox.dropped > 0
        assert len(service.outbox) <= 8 + len(DEVICES)
        service.outbox = MemoryOutbox(1)  # nothing to wait for at the end
    assert "the broker has confirmed nothing for 30 s while" in caplog.text


def test_refused_verdicts_are_said(
    start_mosquitto: Callable[[str], "Mosquitto"],
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    wait_until: Callable[..., None],
    recording: Messages,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A broker that does not let the daemon write is named as the reason, and does not fill the outbox."""
    (tmp_path / "acl").write_text("topic readwrite telemetry/#\n")
    broker = start_mosquitto(f"allow_anonymous true\nacl_file {tmp_path / 'acl'}")
    peer = new_peer(broker.port)
    with serving(broker.url) as service:
        online(peer, wait_until, service)
        play(peer, recording[:60])
        wait_until(lambda: service.refused > 3 and len(service.outbox) == 0, "refusals")
    assert "the broker refuses what is published below rarefault/ (Not authorized)" in caplog.text
    assert len([r for r in caplog.records if "refuses what is published" in r.message]) == 1


def test_a_stop_leaves_nothing_unconfirmed(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: Callable[..., None], recording: Messages
) -> None:
    """A stop waits for the confirmation of what has been decided, and says ``offline`` last."""
    peer.subscribe("rarefault/#")
    with serving(mosquitto.url) as service:
        online(peer, wait_until, service)
        play(peer, recording[:200])
        wait_until(lambda: service.verdicts.total() > 5, "verdicts")
    assert len(service.outbox) == 0
    peer.wait_for("rarefault/edge/status", 2)
    assert peer.messages[-1].topic == "rarefault/edge/status"
    assert len(verdicts_of(peer)) == service.verdicts.total()


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
        peer = new_peer(mosquitto.port)
        online(peer, wait_until, service)
        mosquitto.stop(signal.SIGKILL)
        wait_until(lambda: not service.link.connected, "the daemon to notice")
        mosquitto.start()
        wait_until(lambda: service.link.connected, "the daemon to return")
        again = new_peer(mosquitto.port)
        again.subscribe("rarefault/edge/status")
        assert again.wait_for("rarefault/edge/status") == [b"online"]
        while service.codec.samples == 0:  # the subscription follows the status
            again.publish("telemetry/plant_1", b'{"time": 1298980800, "values": {"c1.S1": 1}}')
            time.sleep(0.05)
