"""Devices that fall silent, vanish, come back, babble, or speak for others."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rarefault.runtime.daemon.config import LimitsConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.telemetry.presence import Presence
from rarefault.runtime.daemon.telemetry.rate_limit import RateLimit
from rarefault.runtime.inference.pipeline import verdict_id
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.times import parse_time_ms

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

Serving = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object], str], None]


def last_alarm(peer: "Peer", device: str) -> dict[str, Any]:
    payloads = peer.payloads(f"rarefault/{device}/alarm")
    found: dict[str, Any] = json.loads(payloads[-1]) if payloads else {"state": "", "id": ""}
    return found


def sample(seconds: float, value: float = 1.0) -> bytes:
    time_s = 1_300_000_000 + seconds
    return json.dumps({"time": time_s, "values": {"c1.S1": value, "c1.S2": -value, "z1.E1": seconds}}).encode()


@pytest.mark.parametrize("journal", [{}, {"path": "edge.journal"}])
def test_silence_is_said_without_another_message(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Serving,
    recording: "Recording",
    wait_until: WaitUntil,
    journal: dict[str, Any],
    tmp_path: "Path",
) -> None:
    """A device of which nothing comes has `no data`, once, and says its state again when it is back."""
    peer.subscribe("rarefault/#")
    telemetry = {"max_age_s": float("inf"), "silent_after_s": 0.5}
    with serving(mosquitto.url, telemetry=telemetry, journal=journal) as service:
        recording.play(peer)
        wait_until(lambda: service.intake.messages >= len(recording.messages), "all telemetry")
        wait_until(
            lambda: all(last_alarm(peer, device)["state"] == "no data" for device in recording.devices), "silence"
        )
        alarm = last_alarm(peer, "plant_1")
        slot = service.store.pipeline.slots["plant_1"]
        newest_ms = int(service.store.pipeline.grid.newest_ms(np.array([slot]))[0])
        assert parse_time_ms(alarm["since"]) == newest_ms
        assert "probability" not in alarm
        assert alarm["id"] == verdict_id("plant_1\0no data", newest_ms, service.setup.model.model_id)
        assert service.presence.silent == 3
        said = len(peer.payloads("rarefault/plant_1/alarm"))
        time.sleep(1.5)
        peer.catch_up()
        assert len(peer.payloads("rarefault/plant_1/alarm")) == said
        # It goes on, a minute later by its own clock.
        for i in range(30):
            peer.publish("telemetry/plant_1", sample(newest_ms / 1000 - 1_300_000_000 + 10 * (i + 1)))
        wait_until(lambda: last_alarm(peer, "plant_1")["state"] != "no data", "a state of plant_1")
    if journal:
        with JournalReader(tmp_path / "edge.journal") as reader:
            states = [a.state for a in reader.alarms() if a.device == "plant_1"]
            assert states.count("no data") >= 1
            assert states[-1] == last_alarm(peer, "plant_1")["state"]


def test_silence_survives_a_restart(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, recording: "Recording", wait_until: WaitUntil
) -> None:
    """Restarted from its journal, the daemon knows what it said: the state that comes back is said again."""
    peer.subscribe("rarefault/+/alarm")
    quiet = {"max_age_s": float("inf"), "silent_after_s": 0.5}
    journal = {"path": "edge.journal", "snapshot_s": 3600}
    with serving(mosquitto.url, telemetry=quiet, journal=journal) as service:
        recording.play(peer)
        wait_until(lambda: service.intake.messages >= len(recording.messages), "all telemetry")
        wait_until(lambda: last_alarm(peer, "plant_1")["state"] == "no data", "silence")
        before = {name: array.copy() for name, array in service.store.pipeline.decision.state().items()}
        service.store.close = service.store.journal.close  # as a kill: no last snapshot
    with serving(mosquitto.url, telemetry={"max_age_s": float("inf")}, journal=journal) as service:
        after = service.store.pipeline.decision.state()
        for name, array in before.items():
            np.testing.assert_array_equal(after[name][:3], array[:3])


def test_devices_that_vanish_make_room(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: WaitUntil, tmp_path: "Path"
) -> None:
    """Silent devices are forgotten, their slots serve others, and one that returns is not judged twice."""
    peer.subscribe("rarefault/+/verdict")
    sections = {
        "telemetry": {"max_age_s": float("inf"), "silent_after_s": 0.3},
        "limits": {"max_devices": 20, "forget_after_s": 0.3},
        "journal": {"path": "edge.journal", "snapshot_s": 0.2},
    }
    with serving(mosquitto.url, **sections) as service:
        for generation in range(4):
            for i in range(20):
                for seconds in range(0, 120, 10):
                    peer.publish(f"telemetry/g{generation}-{i}", sample(seconds))
            sent = (generation + 1) * 20 * 12
            wait_until(lambda sent=sent: service.intake.messages >= sent, "all telemetry")  # type: ignore[misc]
            wait_until(lambda: len(service.store.devices) == 0, "all to be forgotten")
        assert service.intake.messages == 4 * 20 * 12
        assert service.intake.rejections.counts["too_many_devices"] == 0
        assert len(service.store.pipeline.devices) == 20
        assert all(len(array) <= 32 for array in service.store.pipeline.decision.state().values())
        peer.catch_up()
        verdicts = len(peer.payloads("rarefault/g0-0/verdict"))
        assert verdicts > 3
        peer.publish("telemetry/g0-0", sample(50))  # an old one again
        wait_until(lambda: service.intake.messages == 4 * 20 * 12 + 1, "the old sample")
        assert service.store.pipeline.grid.late == 1
        wait_until(lambda: len(service.store.devices) == 0, "a device with nothing but old samples to be forgotten")
    # After a restart it still knows.
    with serving(mosquitto.url, **sections) as service:
        peer.publish("telemetry/g1-0", sample(50))
        wait_until(lambda: service.intake.messages == 1, "another old sample")
        assert service.store.pipeline.grid.late == 2
    peer.catch_up()
    assert len(peer.payloads("rarefault/g0-0/verdict")) == verdicts
    with JournalReader(tmp_path / "edge.journal") as reader:
        assert len(reader.devices()) == 80


def test_a_broker_that_is_away_silences_nobody() -> None:
    """Silence counts from the moment on at which the daemon listens again; a silent device stays silent."""
    table = DeviceTable()
    presence = Presence(table, silent_after_s=10, forget_after_s=100)
    presence.heard(np.array([table.slot("a"), table.slot("b"), 1]), 0.0)
    assert presence.fallen_silent(9.0).tolist() == []
    presence.heard(np.array([0]), 9.0)
    assert presence.fallen_silent(11.0).tolist() == [1]
    presence.note_silent(np.array([1]))
    presence.listen(50.0)
    assert presence.fallen_silent(59.0).tolist() == []
    assert presence.fallen_silent(60.0).tolist() == [0]
    assert presence.gone(109.0).tolist() == []
    assert presence.gone(110.0).tolist() == [1]
    table.forget([1])
    assert presence.gone(1e9).tolist() == []


def test_rates_of_a_babbler_and_of_a_backlog() -> None:
    """A backlog passes at any speed, as its samples span the time; samples of one moment do not."""
    table = DeviceTable()
    assert [table.slot("a"), table.slot("b")] == [0, 1]
    rates = RateLimit(table, LimitsConfig(samples_per_s=2, burst_samples=10))
    day = [rates.allow(0, second * 1000, arrived_ms=50_000) for second in range(86_400)]
    assert all(day)
    babble = [rates.allow(1, 1000 + i % 2, arrived_ms=50_000) for i in range(1000)]
    assert sum(babble) == 10
    assert sum(rates.allow(1, 1000, arrived_ms=50_000 + i) for i in range(5000)) == pytest.approx(10, abs=1)
    # Neither going back and forth in time, nor a clock of ours that steps back, brings more.
    assert sum(rates.allow(1, 1000 - (i % 2) * 900, arrived_ms=54_999 - i) for i in range(1000)) <= 1
    table.forget([1])
    assert table.slot("c") == 1
    assert rates.allow(1, 1000, 60_000)
    free = RateLimit(table, LimitsConfig(samples_per_s=float("inf"), burst_samples=1))
    assert all(free.allow(0, 0, 0) for _ in range(100))


def test_a_babbling_device_is_throttled_and_the_others_are_served(
    mosquitto: "Mosquitto",
    peer: "Peer",
    new_peer: Callable[..., "Peer"],
    serving: Serving,
    recording: "Recording",
    wait_until: WaitUntil,
) -> None:
    """Thousands of samples of one moment are rejected by name; the verdicts of the others are the offline ones."""
    peer.subscribe("rarefault/+/verdict")
    babbler = new_peer(mosquitto.port)
    with serving(mosquitto.url, limits={"samples_per_s": 1, "burst_samples": 300}) as service:
        for start in range(0, len(recording.messages), 50):
            babbler.publish_all("telemetry/babbler", [sample(i / 1e4) for i in range(300)])
            recording.play(peer, slice(start, start + 50))
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
        assert service.intake.rejections.counts["too_fast"] > 3000
        recording.assert_equal(recording.verdicts_at(peer))


def test_a_device_may_report_for_itself_only(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: WaitUntil
) -> None:
    """The name in the message must be that of the topic, and so must what the broker says of the sender."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    def named(device: str) -> bytes:
        return json.dumps({"id": device, "time": time.time(), "values": {"c1.S1": 1}}).encode()

    with serving(mosquitto.url, telemetry={"device": "id"}) as service:
        peer.publish("telemetry/a", named("a"))
        peer.publish("telemetry/a", named("b"))
        wait_until(lambda: service.intake.messages == 2, "both")
        assert service.intake.rejections.counts["wrong_sender"] == 1
        assert len(service.store.devices) == 1
    with serving(mosquitto.url, telemetry={"sender_property": "client"}, publish={"runtime": "edge2"}) as service:
        client: mqtt.Client = peer._client
        for sender in ("a", "b", None):
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if sender:
                properties.UserProperty = ("client", sender)
            client.publish("telemetry/a", named("x"), 1, properties=properties).wait_for_publish(10)
        wait_until(lambda: service.intake.messages == 3, "all three")
        assert service.intake.rejections.counts["wrong_sender"] == 2
        assert service.intake.rejections.samples == 1
