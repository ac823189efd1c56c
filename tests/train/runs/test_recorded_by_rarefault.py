"""``rarefault record`` records a plant, killed in the midst; the trainer reads it, trains on it and evaluates."""

import csv
import gzip
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tests.harness.broker import Mosquitto
from tests.harness.client import Peer
from tests.harness.daemon import Daemon
from tests.harness.waiting import wait_until

from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig
from rarefault.train.history import History, read_history
from rarefault.train.history.notes import DUPLICATES

EDGE = """
[broker]
url = "{url}"
reconnect_min_s = 0.05

[telemetry]
topic = "plant/{{device}}"

[record]
file_bytes = 65536
max_bytes = 10_000_000
"""


def messages(samples: Path) -> list[tuple[str, bytes]]:
    """The samples of a plant as its devices would send them, in order of time."""
    with samples.open(encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["time"]))
    return [
        (
            f"plant/{row.pop('device')}",
            json.dumps({"time": int(row.pop("time")), "values": {k: float(v) for k, v in row.items()}}).encode(),
        )
        for row in rows
    ]


def recorded_payloads(folder: Path) -> list[bytes]:
    """The payloads of all whole lines of a recording, also while it goes on; some may be there twice."""
    found: list[bytes] = []
    for path in folder.glob("*.jsonl*"):
        with suppress(FileNotFoundError):  # its compressed form has taken its place
            data = path.read_bytes()
            whole = gzip.decompress(data) if path.suffix == ".gz" else data[: data.rfind(b"\n") + 1]
            found += [json.loads(line)["payload"].encode() for line in whole.splitlines()]
    return found


def command(*arguments: object) -> str:
    """The output of a command that must succeed."""
    words = [sys.executable, "-m", "rarefault.runtime.cli", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.training
def test_a_recording_is_trained_on(
    write_plant: Callable[..., Path], mosquitto: Mosquitto, peer: Peer, tmp_path: Path
) -> None:
    """Every sample is there, what came twice is counted, and the printed section is all that is needed."""
    plant = write_plant(tmp_path)
    edge = tmp_path / "edge.toml"
    edge.write_text(EDGE.format(url=mosquitto.url), "utf-8")
    folder = tmp_path / "recording"
    recorder = Daemon(edge, command=("record", "-o", folder))
    recorder.start()
    state = folder / "recorder.json"
    wait_until(lambda: state.exists() and "filters" in state.read_text("utf-8"), "the recorder to subscribe")
    sent = messages(tmp_path / "samples.csv")
    for first in range(0, len(sent), 700):
        for device in ("plant/d0", "plant/d1"):
            peer.publish_all(device, [payload for topic, payload in sent[first : first + 700] if topic == device])
        recorder.kill()
        recorder.start()
    wait_until(lambda: len(set(recorded_payloads(folder))) >= len(sent), "all messages")
    assert recorder.stop() == 0
    assert list(folder.glob("*.gz"))
    assert "connected to broker" in recorder.text()
    payloads = recorded_payloads(folder)
    assert {payload for _, payload in sent} == set(payloads)

    section = recorder.text()[recorder.text().index("[data]") :]
    given = plant.read_text("utf-8")
    rest = given[given.index("[grid]") :]
    recorded = tmp_path / "recorded.toml"
    recorded.write_text(f'{section}events = "events.csv"\ncounters = ["meter"]\n{rest}', "utf-8")

    def history(path: Path) -> History:
        config = from_mapping(tomllib.loads(path.read_text("utf-8")), TrainConfig, str(path))
        return read_history(config.data, path.parent)

    live, table = history(recorded), history(plant)
    assert live.devices == table.devices
    assert live.classes == table.classes
    assert live.counters == table.counters
    order = [live.channels.index(name) for name in table.channels]
    for name in ("device", "time_ms"):
        np.testing.assert_array_equal(getattr(live, name), getattr(table, name))
    np.testing.assert_array_equal(live.values[:, order], table.values)

    assert live.notes.count(DUPLICATES) == len(payloads) - len(sent)
    assert not live.notes.problems()
    command("train", recorded, "--out", tmp_path / "run")
    assert "balanced accuracy" in command("evaluate", tmp_path / "run")
