"""A daemon takes messages over a real broker, mosquitto_sub records them, the trainer makes the same of both."""

import json
import math
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from tests.harness.broker import Mosquitto
from tests.harness.daemon import Daemon
from tests.harness.tiny_model import MANIFEST, save_tiny_model

from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.telemetry.channels import ChannelSpec
from rarefault.train.config import TrainConfig
from rarefault.train.evaluation.evaluate import run_pipeline
from rarefault.train.history import read_history

if TYPE_CHECKING:
    from tests.harness.client import Peer

SPECS = {"c1.S2": ChannelSpec(states={"AUTO": 2, "MAN": -1}), "c1.S1": ChannelSpec(scale=0.1, missing=(65535,))}
BEGIN_S = 1_700_000_000
#: A topic that is no telemetry.
PROBE = "probe"
Message = tuple[str, str]


def scalars() -> Iterator[Message]:
    """One value a topic, with a time in an object, some of them none."""
    rng = np.random.default_rng(5)
    for i in range(160):
        for device in ("p1", "p2"):
            values: dict[str, Any] = {"S1": round(float(rng.normal()) * 10, 3), "energy": i}
            values["S2"] = ["AUTO", "MAN", "n/a"][int(rng.integers(3))]
            values["S1"] = 65535 if i % 17 == 0 else values["S1"]
            for name, value in values.items():
                yield f"plant/{device}/{name}", json.dumps({"value": value, "ts": BEGIN_S + 10 * i})


def lists() -> Iterator[Message]:
    """Names and values, with times and qualities of their own, two bins in a message."""
    rng = np.random.default_rng(6)
    for i in range(0, 160, 2):
        for device in ("p1", "p2"):
            metrics = [
                {
                    "name": name,
                    "value": value,
                    "timestamp": (BEGIN_S + 10 * at) * 1000,
                    "q": 192 if rng.random() < 0.9 else 0,
                }
                for at in (i, i + 1)
                for name, value in (("S1", float(rng.normal()) * 10), ("S2", str(rng.normal())), ("energy", at))
            ]
            yield f"gw/{device}", json.dumps({"timestamp": 0, "metrics": metrics})


FIELDS = '[telemetry.fields]\nS1 = "c1.S1"\nS2 = "c1.S2"\nenergy = "z1.E1"\n'
SHAPES: dict[str, tuple[str, Callable[[], Iterator[Message]]]] = {
    "scalar topics": ('topic = "plant/{device}/{channel}"\nformat = "scalar"\ntime = "ts"\n', scalars),
    "lists of names and values": (
        """
topic = "gw/{device}"
records = "metrics"
name = "name"
value = "value"
quality = "q"
time = "timestamp"
""",
        lists,
    ),
}


@contextmanager
def recording(broker: Mosquitto, topics: str, path: Path) -> Iterator[None]:
    """mosquitto_sub writes down what comes on some topics."""
    with path.open("wb") as file:
        command = ["mosquitto_sub", "-p", str(broker.port), "-q", "1", "-F", "%j", "-t", topics, "-t", PROBE]
        process = subprocess.Popen(command, stdout=file)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.parametrize("name", SHAPES)
def test_a_recording_gives_the_verdicts_of_the_daemon(
    name: str, mosquitto: Mosquitto, peer: "Peer", wait_until: Callable[..., None], tmp_path: Path
) -> None:
    """One for one, with the same probabilities; what was dropped is dropped on both sides."""
    keys, make = SHAPES[name]
    save_tiny_model(tmp_path / "tiny.onnx", msgspec.structs.replace(MANIFEST, channel_specs=SPECS))
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[model]\npath = "tiny.onnx"\n[broker]\nurl = "{mosquitto.url}"\n[telemetry]\nmax_age_s = inf\n{keys}{FIELDS}'
        '[limits]\nsamples_per_s = inf\n[publish]\nruntime = "edge"\n'
    )
    messages = list(make())
    recorded = tmp_path / "plant.jsonl"
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/edge/status")
    topics = messages[0][0].partition("/")[0] + "/#"
    with recording(mosquitto, topics, recorded), Daemon(config):
        peer.wait_for("rarefault/edge/status")
        wait_until(lambda: _probe(peer, recorded), "a recorder that listens")
        for topic, payload in messages:
            peer.publish(topic, payload)
        wait_until(lambda: _recorded(recorded) >= len(messages), "all messages in the recording")
        wait_until(lambda: len(_verdicts(peer)) >= 140, "verdicts")
        peer.catch_up()
    given = {
        "format": "recording",
        "recordings": "plant.jsonl",
        "daemon": "edge.toml",
        "channels": list(MANIFEST.channels),
    }
    train = from_mapping({"data": given, "channels": msgspec.to_builtins(SPECS)}, TrainConfig, "train.toml")
    history = read_history(train.data, tmp_path, channels=train.channels)
    assert history.devices == ("p1", "p2")
    model = load_model(tmp_path / "tiny.onnx")
    offline = run_pipeline(history, model.manifest, model.step, model.model_id)
    expected = {
        (history.devices[slot], end): posterior
        for slot, end, posterior in zip(
            offline.device.tolist(), offline.end_ms.tolist(), offline.posterior.tolist(), strict=True
        )
    }
    live = _verdicts(peer)
    assert len(live) > 140
    assert live.keys() <= expected.keys()
    assert len(expected) - len(live) <= 2 * 2  # the last bins of the history are closed by its end
    for key, probabilities in live.items():
        assert probabilities == pytest.approx(expected[key], abs=1e-6)
    assert not math.isnan(sum(expected[min(live)]))


def _probe(peer: "Peer", recorded: Path) -> bool:
    """Whether the recorder has written something down; it does not say when it listens."""
    peer.publish(PROBE, "")
    return recorded.stat().st_size > 0


def _recorded(path: Path) -> int:
    """Number of messages in a recording that are no probes."""
    return sum(f'"topic":"{PROBE}"' not in line for line in path.read_text().splitlines())


def _verdicts(peer: "Peer") -> dict[tuple[str, int], list[float]]:
    """Probabilities by device and end of the window."""
    from rarefault.runtime.times import parse_time_ms

    found = {}
    for device in ("p1", "p2"):
        for payload in peer.payloads(f"rarefault/{device}/verdict"):
            verdict = json.loads(payload)
            found[device, parse_time_ms(verdict["end"])] = list(verdict["probabilities"].values())
    return found
