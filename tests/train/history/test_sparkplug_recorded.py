"""Sparkplug live over a real broker and from a recording of the same messages: the same verdicts, one for one."""

import base64
import json
import math
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from tests.harness.broker import Mosquitto
from tests.harness.daemon import Daemon
from tests.harness.sparkplug import EdgeNode
from tests.harness.tiny_model import MANIFEST, save_tiny_model

from rarefault.runtime.inference.grid import Grid
from rarefault.runtime.inference.manifest import MOST_HELD, GridSpec
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.telemetry.channels import ChannelSpec
from rarefault.runtime.times import parse_time_ms
from rarefault.train.config import TrainConfig
from rarefault.train.evaluation.evaluate import run_pipeline
from rarefault.train.history import History, read_history

if TYPE_CHECKING:
    from tests.harness.client import Peer

BEGIN_MS = 1_700_000_000_000
SPECS = {"c1.S1": ChannelSpec(scale=0.1, missing=(65535,))}
FIELDS = {"Motor/S1": "c1.S1", "Motor/S2": "c1.S2", "Energy": "z1.E1"}
Message = tuple[str, bytes]
GIVEN = {
    "format": "recording",
    "recordings": "plant.jsonl",
    "daemon": "edge.toml",
    "channels": list(MANIFEST.channels),
}


def holding(hold: str) -> Any:
    """The tiny model's manifest with a way to hold."""
    grid = msgspec.structs.replace(MANIFEST.grid, hold=hold)
    return msgspec.structs.replace(MANIFEST, grid=grid, channel_specs=SPECS)


def conversation() -> Iterator[Message]:
    """Two devices report by exception, turn bad and stale, die, come back, and are born again."""
    rng = np.random.default_rng(9)
    node = EdgeNode()
    first = {"Motor/S1": 5.0, "Motor/S2": -1.0, "Energy": 100.0}

    def born(at: int) -> Iterator[Message]:
        yield node.node_birth(at)
        for device in ("p1", "p2"):
            yield node.birth(device, at, {**first, **node.values.get(device, {})})

    yield from born(BEGIN_MS)
    for i in range(1, 300):
        at = BEGIN_MS + 10_000 * i
        if i == 100:
            yield node.death("p2", at)
        elif i == 130:
            yield node.birth("p2", at)
        elif i == 180:
            yield node.node_death()
        elif i == 200:
            node.connect()
            yield from born(at)
        elif i == 240:
            yield from born(at)  # a rebirth
        elif 180 < i < 200:
            continue
        else:
            yield node.data("p1", at, {"Energy": 100.0 + i})
        if rng.random() < 0.1 and not (100 <= i <= 130 or 180 <= i <= 200):
            value = 65535.0 if rng.random() < 0.3 else float(rng.normal()) * 10
            yield node.data("p2", at + 3, {"Motor/S1": value}, quality=None if rng.random() < 0.8 else 500)


@pytest.mark.parametrize("hold", ["until death", "max_hold_s"])
def test_a_recording_gives_the_verdicts_of_the_daemon(
    hold: str, mosquitto: Mosquitto, peer: "Peer", wait_until: Callable[..., None], tmp_path: Path
) -> None:
    """Births, deaths, steady and bad values; nothing is judged of what is dead."""
    save_tiny_model(tmp_path / "tiny.onnx", holding(hold))
    fields = "\n".join(f'"{name}" = "{channel}"' for name, channel in FIELDS.items())
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[model]\npath = "tiny.onnx"\n[broker]\nurl = "{mosquitto.url}"\n[telemetry]\npreset = "sparkplug"\n'
        f"max_age_s = inf\nalive_s = 10\n[telemetry.fields]\n{fields}\n[limits]\nsamples_per_s = inf\n"
        '[publish]\nruntime = "edge"\n[journal]\npath = "journal"\n'
    )
    messages = list(conversation())
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/edge/status")
    with Daemon(config):
        peer.wait_for("rarefault/edge/status")
        for topic, payload in messages:
            peer.publish(topic, payload)
        wait_until(lambda: max(end for _, end in [*_live(peer), ("", 0)]) > BEGIN_MS + 2_960_000, "the last verdicts")
        peer.catch_up()
    history = recorded(tmp_path, messages)
    model = load_model(tmp_path / "tiny.onnx")
    expected = _judged(history, model)
    journal = from_mapping({"data": {"format": "journal", "path": "journal"}}, TrainConfig, "train.toml")
    kept = _judged(read_history(journal.data, tmp_path, channels=SPECS), model)
    assert kept.keys() == expected.keys()
    assert all(kept[key] == pytest.approx(expected[key], abs=1e-6) for key in kept)
    live = _live(peer)
    assert len(live) > 200
    assert live.keys() <= expected.keys()
    assert len(expected) - len(live) <= 4  # the last bins of the history are closed by its end
    for key, probabilities in live.items():
        assert probabilities == pytest.approx(expected[key], abs=1e-6)
    dead = range(BEGIN_MS + 1_900_000, BEGIN_MS + 2_000_000)
    assert not [end for _, end in live if end in dead]


def recorded(folder: Path, messages: list[Message]) -> History:
    """The history of a recording of messages, which arrive a moment after the last time that one of them has."""
    arrived, lines = BEGIN_MS, []
    for i, (topic, payload) in enumerate(messages):
        if "NDEATH" not in topic:
            arrived = BEGIN_MS + i
        lines.append({"topic": topic, "payload_base64": base64.b64encode(payload).decode(), "tst_ms": arrived})
    (folder / "plant.jsonl").write_text("\n".join(map(json.dumps, lines)))
    train = from_mapping({"data": GIVEN, "channels": msgspec.to_builtins(SPECS)}, TrainConfig, "train.toml")
    return read_history(train.data, folder, channels=train.channels)


def _judged(history: History, model: LoadedModel) -> dict[tuple[str, int], list[float]]:
    """Probabilities by device and end of the window."""
    offline = run_pipeline(history, model.manifest, model.step, model.model_id)
    ends = zip(offline.device.tolist(), offline.end_ms.tolist(), offline.posterior.tolist(), strict=True)
    return {(history.devices[slot], end): posterior for slot, end, posterior in ends}


def _probe(peer: "Peer", path: Path) -> bool:
    """Whether a recorder has written something down."""
    peer.publish("probe", "")
    return path.stat().st_size > 0


def _live(peer: "Peer") -> dict[tuple[str, int], list[float]]:
    """Probabilities by device and end of the window."""
    found = {}
    for device in ("hall.gw.p1", "hall.gw.p2"):
        for payload in peer.payloads(f"rarefault/{device}/verdict"):
            verdict = json.loads(payload)
            found[device, parse_time_ms(verdict["end"])] = list(verdict["probabilities"].values())
    return found


def _grid(messages: list[Message], spec: GridSpec, folder: Path) -> tuple[History, np.ndarray, np.ndarray]:
    """A recording, and the device and the values of its bins."""
    (folder / "edge.toml").write_text(
        '[telemetry]\npreset = "sparkplug"\n[telemetry.fields]\n'
        + "\n".join(f'"{name}" = "{channel}"' for name, channel in FIELDS.items())
    )
    history = recorded(folder, messages)
    bins = Grid(spec, 3).push(history.device, history.time_ms, history.values)
    return history, bins.device, bins.values


def test_a_steady_value_is_not_missing_for_a_day(tmp_path: Path) -> None:
    """p1 has nothing to report for a day, p2 has. Each minute of p1 is judged, with the value of old."""
    node = EdgeNode()
    messages = [node.node_birth(BEGIN_MS)]
    messages += [
        node.birth(device, BEGIN_MS, {"Motor/S1": 41.0, "Motor/S2": 7.0, "Energy": 1.0}) for device in ("p1", "p2")
    ]
    messages += [node.data("p2", BEGIN_MS + 30_000 * i, {"Motor/S1": float(i)}) for i in range(1, 2 * 1440)]
    spec = GridSpec(period_s=60, max_hold_s=120, max_gap_s=600, hold="until death")
    history, device, values = _grid(messages, spec, tmp_path)
    mine = values[device == history.devices.index("hall.gw.p1")]
    assert len(mine) >= 1438
    assert (mine[:, 0] == np.float32(4.1)).all()  # scaled by 0.1
    assert (mine[:, 1] == 7.0).all()


def test_a_node_with_nothing_to_say_for_weeks_takes_bounded_work(tmp_path: Path) -> None:
    """No more than MOST_HELD bins are filled; the values go on, as nobody has died."""
    node = EdgeNode()
    weeks = 6 * 7 * 86_400_000
    messages = [
        node.node_birth(BEGIN_MS),
        node.birth("p1", BEGIN_MS, {"Motor/S1": 41.0, "Motor/S2": 7.0, "Energy": 1.0}),
    ]
    messages += [node.data("p1", BEGIN_MS + weeks + 60_000 * i, {"Motor/S2": float(i)}) for i in range(5)]
    spec = GridSpec(period_s=60, max_hold_s=120, max_gap_s=600, hold="until death")
    _, _, values = _grid(messages, spec, tmp_path)
    assert len(values) < 10
    assert (values[:, 0] == np.float32(4.1)).all()
    day = [node.birth("p1", BEGIN_MS)]
    messages = [node.node_birth(BEGIN_MS), *day]
    messages += [node.data("p1", BEGIN_MS + 86_400_000 + 60_000 * i, {"Motor/S2": float(i)}) for i in range(5)]
    _, _, values = _grid(messages, spec, tmp_path)
    assert 1440 <= len(values) <= MOST_HELD
    assert (values[:, 0] == np.float32(4.1)).all()


def test_deaths_of_a_recording_end_values(tmp_path: Path) -> None:
    """From the bin of the death on, until the birth, nothing is known; a long time dead is a gap."""
    node = EdgeNode()
    messages = [
        node.node_birth(BEGIN_MS),
        node.birth("p1", BEGIN_MS, {"Motor/S1": 41.0, "Motor/S2": 7.0, "Energy": 1.0}),
    ]
    messages += [node.death("p1", BEGIN_MS + 300_000), node.birth("p1", BEGIN_MS + 600_000)]
    messages += [node.death("p1", BEGIN_MS + 900_000), node.birth("p1", BEGIN_MS + 9_000_000)]
    messages += [node.data("p1", BEGIN_MS + 9_060_000 * 1 + 60_000 * i, {"Motor/S2": float(i)}) for i in range(3)]
    spec = GridSpec(period_s=60, max_hold_s=120, max_gap_s=600, hold="until death")
    _, _, values = _grid(messages, spec, tmp_path)
    known = np.isfinite(values[:, 0])
    assert known.tolist()[:16] == [True] * 5 + [False] * 5 + [True] * 5 + [False]
    assert len(known) < 25
    assert not math.isnan(values[-1, 0])


def test_mosquitto_sub_records_what_can_be_read(
    mosquitto: Mosquitto, peer: "Peer", wait_until: Callable[..., None], tmp_path: Path
) -> None:
    """With the format of the guide, in hexadecimal digits: the same history as of the messages themselves."""
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "sparkplug.md").read_text()
    (form,) = set(re.findall(r"mosquitto_sub .*-F '(.*)' > plant.jsonl", guide))
    messages = [message for message in conversation() if "NDEATH" not in message[0]]
    (tmp_path / "edge.toml").write_text(
        '[telemetry]\npreset = "sparkplug"\n[telemetry.fields]\n'
        + "\n".join(f'"{name}" = "{channel}"' for name, channel in FIELDS.items())
    )
    expected = recorded(tmp_path, messages)
    lines = tmp_path / "plant.jsonl"
    with lines.open("wb") as file:
        command = ["mosquitto_sub", "-p", str(mosquitto.port), "-F", form, "-t", "spBv1.0/#", "-t", "probe"]
        with subprocess.Popen(command, stdout=file) as process:
            wait_until(lambda: _probe(peer, lines), "a recorder that listens")
            for topic, payload in messages:
                peer.publish(topic, payload)
            wait_until(lambda: lines.read_text().count("spBv1.0") == len(messages), "all messages")
            process.terminate()
    train = from_mapping({"data": GIVEN, "channels": msgspec.to_builtins(SPECS)}, TrainConfig, "train.toml")
    history = read_history(train.data, tmp_path, channels=train.channels)
    np.testing.assert_array_equal(history.time_ms, expected.time_ms)
    np.testing.assert_array_equal(history.values, expected.values)
