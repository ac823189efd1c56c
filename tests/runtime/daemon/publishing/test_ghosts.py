"""A device that is forgotten leaves no alarm behind at the broker."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

TOPIC = "rarefault/plant_1/alarm"
SECTIONS: dict[str, dict[str, Any]] = {
    "telemetry": {"max_age_s": float("inf"), "silent_after_s": 0.3},
    "limits": {"forget_after_s": 0.3},
}


def play(peer: "Peer", start_s: float) -> None:
    for i in range(20):
        values = {"c1.S1": 1.0, "c1.S2": -1.0, "z1.E1": start_s + i}
        payload = {"time": 1_300_000_000 + start_s + 10 * i, "values": values}
        peer.publish("telemetry/plant_1", json.dumps(payload))


@pytest.mark.parametrize("journal", [{}, {"path": "edge.journal", "snapshot_s": 0.2}])
def test_a_forgotten_device_leaves_no_alarm(
    mosquitto: "Mosquitto",
    peer: "Peer",
    new_peer: Callable[..., "Peer"],
    serving: Callable[..., Any],
    wait_until: Callable[..., None],
    journal: dict[str, Any],
) -> None:
    """Its retained alarm is cleared; who comes later sees nothing of it, until it is back and has an alarm again."""
    peer.subscribe(TOPIC)
    with serving(mosquitto.url, **SECTIONS, journal=journal) as service:
        play(peer, 0)
        wait_until(lambda: peer.payloads(TOPIC)[-1:] == [b""], "the alarm to be cleared")
        said = [json.loads(payload)["state"] for payload in peer.payloads(TOPIC)[:-1]]
        assert len(said) >= 2
        assert said[-1] == "no data"
        assert len(service.store.devices) == 0
        late = new_peer(mosquitto.port)
        late.subscribe(TOPIC)
        late.catch_up()
        assert late.payloads(TOPIC) == []
        play(peer, 1000)
        late.wait_for(TOPIC)
        assert json.loads(late.payloads(TOPIC)[0])["state"] == said[0]
        later = new_peer(mosquitto.port)
        later.subscribe(TOPIC)
        later.wait_for(TOPIC)


def test_the_clearing_survives_a_restart(
    mosquitto: "Mosquitto",
    new_peer: Callable[..., "Peer"],
    peer: "Peer",
    serving: Callable[..., Any],
    wait_until: Callable[..., None],
    tmp_path: "Path",
) -> None:
    """It is owed like a verdict: a daemon that cannot say it says it after its next start."""
    journal = {"path": str(tmp_path / "edge.journal"), "snapshot_s": 0.2}
    peer.subscribe(TOPIC)
    with serving(mosquitto.url, **SECTIONS | {"limits": {"forget_after_s": 3}}, journal=journal) as service:
        play(peer, 0)
        wait_until(lambda: b"no data" in b"".join(peer.payloads(TOPIC)), "silence")
        mosquitto.stop()
        wait_until(lambda: len(service.store.devices) == 0, "it to be forgotten")
    assert peer.payloads(TOPIC)[-1] != b""
    mosquitto.start()
    before = new_peer(mosquitto.port)
    before.subscribe(TOPIC)
    assert b"no data" in before.wait_for(TOPIC)[0]
    with serving(mosquitto.url, **SECTIONS, journal=journal):
        wait_until(lambda: before.payloads(TOPIC)[-1] == b"", "the alarm to be cleared")
        late = new_peer(mosquitto.port)
        late.subscribe(TOPIC)
        late.catch_up()
        assert late.payloads(TOPIC) == []
