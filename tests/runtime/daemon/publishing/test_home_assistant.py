"""Discovery by Home Assistant: every device appears, and is gone when it is forgotten; buttons answer alarms."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.daemon.publishing.home_assistant import Topics, device_message
from rarefault.runtime.journal.reader import JournalReader

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

Serving = Callable[..., Any]
WaitUntil = Callable[[Callable[[], object], str], None]
ON = {"enabled": True}
SILENT = {"telemetry": {"silent_after_s": 0.3}, "limits": {"forget_after_s": 0.3}}
TOPICS = Topics("homeassistant", "rarefault", "edge")


def send(peer: "Peer", device: str, first: int = 0, samples: int = 40) -> None:
    for i in range(first, first + samples):
        values = {"c1.S1": float(i % 5), "c1.S2": -1.0, "z1.E1": float(i)}
        peer.publish(f"telemetry/{device}", json.dumps({"time": 1_300_000_000 + 60 * i, "values": values}))


def found(peer: "Peer") -> dict[str, Any]:
    """By topic, the discovery messages that are retained."""
    last = {message.topic: bytes(message.payload) for message in list(peer.messages)}
    return {topic: json.loads(payload) for topic, payload in last.items() if topic.endswith("/config") and payload}


def test_devices_appear_and_go(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """One message for each device and one for the daemon; names with blanks, dots and braces are kept apart."""
    peer.subscribe("homeassistant/#")
    names = ["Pump 1", "Pump.1", "pümpe {{ 7*7 }}"]
    sections: dict[str, Any] = {"home_assistant": ON, "journal": {"path": str(tmp_path / "edge.journal")}}
    with serving(mosquitto.url, **sections):
        for name in names:
            send(peer, name)
        wait_until(lambda: len(found(peer)) == 4, "four devices")
        assert {message["dev"]["name"] for message in found(peer).values()} == {*names, "rarefault edge"}
        ids = [entity["unique_id"] for message in found(peer).values() for entity in message["cmps"].values()]
        assert len(ids) == len(set(ids)) == 3 * 5 + 6
    sections["journal"]["snapshot_s"] = 0.2
    with serving(mosquitto.url, **sections, **SILENT):
        wait_until(lambda: len(found(peer)) == 1, "forgotten devices to be cleared")


def test_it_is_told_again(mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: WaitUntil) -> None:
    """When Home Assistant says that it is online."""
    peer.subscribe("homeassistant/#")
    with serving(mosquitto.url, home_assistant=ON):
        send(peer, "p")
        wait_until(lambda: len(found(peer)) == 2, "two devices")
        peer.messages.clear()
        peer.publish("homeassistant/status", "online")
        wait_until(lambda: len(found(peer)) == 2, "both again")


def test_switched_off_it_leaves_no_ghosts(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """Nor under another prefix."""
    peer.subscribe("homeassistant/#")
    peer.subscribe("ha/#")
    journal = {"path": str(tmp_path / "edge.journal")}
    with serving(mosquitto.url, home_assistant=ON, journal=journal):
        send(peer, "p")
        wait_until(lambda: len(found(peer)) == 2, "two devices")
    with serving(mosquitto.url, home_assistant={**ON, "prefix": "ha"}, journal=journal):
        wait_until(lambda: [t.split("/")[0] for t in found(peer)] == ["ha", "ha"], "the new prefix alone")
    with serving(mosquitto.url, journal=journal):
        wait_until(lambda: not found(peer), "no ghosts")


def test_buttons_answer_the_current_alarm(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """What a button sends is an answer to the alarm that the device is in; where there is none, the answer says so."""
    peer.subscribe("rarefault/+/alarm")
    peer.subscribe("rarefault/+/feedback/result")
    message = json.loads(device_message(TOPICS, "p", ("normal", "leak")))
    button = message["cmps"]["refute"]

    def results() -> list[Any]:
        return [json.loads(payload) for payload in peer.payloads("rarefault/p/feedback/result")]

    with serving(mosquitto.url, journal={"path": str(tmp_path / "edge.journal")}) as service:
        peer.publish(button["cmd_t"], button["pl_prs"])
        wait_until(lambda: len(results()) == 1, "a refusal")
        assert not results()[0]["accepted"]
        send(peer, "p", samples=400)

        def alarms() -> list[Any]:
            return [json.loads(payload) for payload in peer.payloads("rarefault/p/alarm")]

        wait_until(lambda: service.intake.messages >= 401, "all samples")
        peer.catch_up()
        peer.publish(button["cmd_t"], button["pl_prs"])
        wait_until(lambda: len(results()) == 2, "an answer")
        latest = alarms()[-1]
        if latest["state"] == "normal":
            pytest.fail("the simulated device must end in a fault for this test")
        assert results()[1] | {"time": ""} == {
            "alarm": latest["id"],
            "accepted": True,
            "reason": "",
            "runtime": "edge",
            "time": "",
        }
    with JournalReader(tmp_path / "edge.journal") as journal:
        assert [one.alarm for one in journal.feedback()] == [latest["id"]]


def test_names_from_outside_are_data() -> None:
    """A device's name is in no template, and its topic is as it is."""
    message = json.loads(device_message(TOPICS, "a{{ evil }}", ("normal", "x' or '", "unknown")))
    templates = [value for entity in message["cmps"].values() for key, value in entity.items() if key.endswith("_tpl")]
    assert templates
    assert not [one for one in templates if "evil" in one or "x' or '" in one]
    assert message["cmps"]["fault"]["ops"] == ["normal", "x' or '", "undetermined", "no data"]
    assert message["stat_t"] == "rarefault/a{{ evil }}/alarm"
