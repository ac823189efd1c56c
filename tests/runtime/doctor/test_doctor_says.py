"""What ``rarefault doctor`` sends is read by every consumer, and what it saw is named."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.publishing.payloads import AlarmPayload, VerdictPayload
from rarefault.runtime.inference.model_file import LoadedModel

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

Examine = Callable[..., tuple[int, str]]


@pytest.fixture
def examine(tmp_path: Path, model: LoadedModel, capsys: pytest.CaptureFixture[str]) -> Examine:
    """Runs the doctor for a second; gives the exit code and what it says."""

    def run(url: str, telemetry: str = "", journal: str = "") -> tuple[int, str]:
        config = tmp_path / "edge.toml"
        config.write_text(
            f'[model]\npath = "{model.path}"\n[broker]\nurl = "{url}"\n[publish]\nruntime = "edge"\n'
            f"[telemetry]\n{telemetry}\n[journal]\nmax_bytes = 1_048_576\n{journal}\n",
            encoding="utf-8",
        )
        code = main(["doctor", str(config), "--seconds", "1"])
        return code, capsys.readouterr().out

    return run


#: Stands in messages for the present time.
NOW = "<now>"


@contextmanager
def sending(peer: "Peer", *messages: tuple[str, Any]) -> Iterator[None]:
    """Messages that come ten times a second, at the present time where they name one."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.1):
            for topic, message in messages:
                text = message if isinstance(message, str) else json.dumps(message)
                peer.publish(topic, text.replace(f'"{NOW}"', str(time.time())))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_consumers_can_read_what_it_sends(mosquitto: "Mosquitto", peer: "Peer", examine: Examine) -> None:
    """Every message below the prefix is JSON with all the keys of a real one; nothing is left at the broker."""
    peer.subscribe("rarefault/#")
    peer.subscribe("$share/other/rarefault/#")
    with sending(peer, ("telemetry/a", {"time": NOW, "values": {"c1.S1": 1, "c1.S2": 1, "z1.E1": 1}})):
        _, said = examine(mosquitto.url, 'share = "site"', 'path = "edge.journal"')
    assert "[ok] publish:" in said
    assert "deals the messages of one topic" in said  # the group was tried with readable messages, too
    found = {m.topic: json.loads(m.payload) for m in peer.messages if m.topic.startswith("rarefault/")}
    assert len(found) == 3
    assert all(json.loads(m.payload)["test"] is True for m in peer.messages)
    verdict, alarm = found["rarefault/rarefault-doctor/verdict"], found["rarefault/rarefault-doctor/alarm"]
    assert set(verdict) - {"test"} == set(VerdictPayload.__struct_fields__) - {"overridden"}
    assert set(alarm) - {"test"} == set(AlarmPayload.__struct_fields__) - {"overridden", "unit"}
    assert (verdict["fault"], alarm["state"]) == ("normal", "normal")
    assert verdict["probabilities"] == {"normal": 1.0, "fault_1": 0.0, "fault_2": 0.0}
    assert found["rarefault/rarefault-doctor/feedback/result"]["accepted"] is False
    peer.messages.clear()
    peer.subscribe("rarefault/+/+")
    peer.catch_up()
    assert [m.topic for m in peer.messages if m.topic.startswith("rarefault/")] == []


def test_unknown_channels_are_named_with_what_they_may_be(
    mosquitto: "Mosquitto", peer: "Peer", examine: Examine
) -> None:
    """Those that look like a channel that did not come stand first; nested ones with their path."""
    values = {"c1.S1": 1, "C1_S2": 2, "plant": {"meter": {"Z1.E1": 3, "unit": "kWh"}}, "rssi": -70}
    with sending(peer, ("telemetry/a", {"time": NOW, "values": values})):
        code, said = examine(mosquitto.url)
    assert code == 1
    line = next(line for line in said.splitlines() if "that the model does not have" in line)
    names = ["'C1_S2' (", "'plant.meter.Z1.E1' (", "'plant.meter.unit' (", "'rssi' ("]
    at = [line.index(name) for name in names]
    assert at == sorted(at)
    assert 'write into [telemetry.fields]: "C1_S2" = "c1.S2", "plant.meter.Z1.E1" = "z1.E1"' in line


def test_names_that_are_all_unknown_are_named_and_bounded(
    mosquitto: "Mosquitto", peer: "Peer", examine: Examine
) -> None:
    """Telemetry of which nothing can be used; of many names the first few are named, and that there are more."""
    many = {f"x{i}": i for i in range(1000)}
    with sending(peer, ("telemetry/a", {"values": many}), ("telemetry/b", {"temp": 1})):
        code, said = examine(mosquitto.url, "values = ''\ntime = 'arrival'")
    assert code == 1
    line = next(line for line in said.splitlines() if "that the model does not have" in line)
    assert "of 1000 or more channels" in line
    assert line.endswith(", ...")
    assert len(line) < 400
    assert "(no_known_channel)" in said


def test_two_machines_of_one_name_are_told(mosquitto: "Mosquitto", peer: "Peer", examine: Examine) -> None:
    """Before the daemon runs."""
    message = {"time": NOW, "values": {"c1.S1": 1, "c1.S2": 1, "z1.E1": 1}}
    with sending(peer, ("siteA/pump1/data", message), ("siteB/pump1/data", message)):
        code, said = examine(mosquitto.url, 'topic = "+/{device}/data"')
    assert code == 1
    assert "(two_topics)" in said
    assert "siteA/pump1/data" in said
    assert "siteB/pump1/data" in said
    assert "telemetry.several_topics = true" in said


#: What comes on ``telemetry/a`` with the plain configuration, and what must be said.
FOREIGN = {
    "a list of names and values": (
        {"timestamp": NOW, "values": [{"id": "c1.S1", "v": 1, "q": True, "t": NOW}]},
        "would be read with telemetry.preset = \"kepware\" ('rarefault presets kepware' prints its keys)",
    ),
    "samples under a key": (
        {"metrics": [{"fields": {"c1.S1": 1}, "tags": {"host": "a"}, "timestamp": NOW}]},
        "would be read with telemetry.preset = \"telegraf\" ('rarefault presets telegraf' prints its keys)",
    ),
    "a bare value": ("41.2", 'telemetry.topic = "{device}/{channel}", telemetry.format = "scalar"'),
    "another key for the time": (
        {"ts": NOW, "values": {"c1.S1": 1}},
        'would be read with telemetry.time = "ts"',
    ),
    "values that are not in an object of their own": (
        {"time": NOW, "c1.S1": 1},
        'would be read with telemetry.values = ""',
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_messages_of_another_shape_are_told(name: str, mosquitto: "Mosquitto", peer: "Peer", examine: Examine) -> None:
    """What came, and which keys would read it."""
    message, expected = FOREIGN[name]
    with sending(peer, ("telemetry/a", message)):
        code, said = examine(mosquitto.url)
    assert code == 1
    assert expected in said
    assert "samples of device a" not in said


def test_the_time_of_arrival_says_nothing_of_clocks(mosquitto: "Mosquitto", peer: "Peer", examine: Examine) -> None:
    """And values that cost themselves are counted by channel and reason."""
    with sending(peer, ("telemetry/a", {"ts": 7, "values": {"c1.S1": 1, "c1.S2": "unknown", "z1.E1": 1}})):
        _, said = examine(mosquitto.url, 'time = "arrival"')
    assert "samples have the time of their arrival: of the devices' own clocks nothing is known" in said
    assert "differ by" not in said
    assert "values of channel 'c1.S2' are missing (no_number)" in said
