"""Several daemons share a fleet: by disjoint topics on any broker, and by a shared subscription."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.daemon.config import DaemonConfig, load_config
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.settings import from_mapping

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording

Serving = Callable[..., Any]


def test_two_daemons_say_what_one_says(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: Callable[..., None], recording: "Recording"
) -> None:
    """A fleet on two topics, a daemon for each: the verdicts are those of one daemon for all, one for one."""
    peer.subscribe("rarefault/+/verdict")
    halves = {"north": recording.devices[:1], "south": recording.devices[1:]}

    def part(half: str) -> dict[str, dict[str, Any]]:
        return {
            "telemetry": {"topic": f"{half}/telemetry/{{device}}", "max_age_s": math.inf},
            "publish": {"runtime": f"edge_{half}"},
        }

    with serving(mosquitto.url, **part("north")) as north, serving(mosquitto.url, **part("south")) as south:
        for topic, payload in recording.messages:
            half = next(half for half, devices in halves.items() if topic.split("/")[1] in devices)
            peer.publish(f"{half}/{topic}", payload)
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
        wait_until(lambda: north.intake.messages + south.intake.messages == len(recording.messages), "all telemetry")
        assert len(north.store.devices) == 1
        assert len(south.store.devices) == 2
    peer.catch_up()
    live = recording.verdicts_at(peer)
    assert len(live) == len(recording.expected)
    recording.assert_equal(live)


def test_a_group_shares_the_telemetry(
    mosquitto: "Mosquitto", peer: "Peer", serving: Serving, wait_until: Callable[..., None], recording: "Recording"
) -> None:
    """Members of a group get each message once between them; a member that is alone gets all, as by itself."""
    peer.subscribe("rarefault/+/verdict")
    with serving(mosquitto.url, telemetry={"share": "site", "max_age_s": math.inf}) as alone:
        recording.play(peer)
        wait_until(lambda: alone.intake.messages == len(recording.messages), "all telemetry")
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
        recording.assert_equal(recording.verdicts_at(peer))
        other = {"telemetry": {"share": "site", "max_age_s": math.inf}, "publish": {"runtime": "other"}}
        with serving(mosquitto.url, **other) as second:
            before = alone.intake.messages
            for number in range(100):
                peer.publish(
                    f"telemetry/new_{number}", json.dumps({"time": time.time(), "values": {"c1.S1": 1}}).encode()
                )
            wait_until(lambda: alone.intake.messages - before + second.intake.messages == 100, "each message once")
            assert second.intake.messages > 0


@pytest.mark.parametrize(
    ("broker", "telemetry", "message"),
    [
        ("", 'share = "a/b"', "must not hold '/'"),
        ('protocol = "3.1.1"', 'share = "site"', "telemetry.share needs MQTT 5"),
        ("", 'topic = "$share/site/telemetry/{device}"', "has its group in telemetry.share"),
    ],
)
def test_a_group_that_cannot_be_is_refused(tmp_path: Path, broker: str, telemetry: str, message: str) -> None:
    """The configuration says what is wrong with it."""
    path = tmp_path / "edge.toml"
    path.write_text(f'[model]\npath = "plant.onnx"\n[broker]\n{broker}\n[telemetry]\n{telemetry}\n')
    with pytest.raises(ConfigError, match=message.replace(".", "\\.")):
        load_config(path)


def test_the_group_is_in_the_subscription() -> None:
    """As MQTT 5.0, section 4.8.2, has it."""
    config = from_mapping({"model": {"path": "m"}, "telemetry": {"share": "site"}}, DaemonConfig, "edge.toml")
    assert config.telemetry.subscription == "$share/site/telemetry/+"
