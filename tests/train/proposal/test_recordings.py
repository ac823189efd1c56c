"""Recordings of messages as files of ``rarefault init``: the mapping comes from the messages."""

import json
from pathlib import Path

import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.train.config import load_train_config
from rarefault.train.history import read_history

T0 = 1_767_323_000_000
MINUTE = 60_000


def line(topic: str, payload: object, at_ms: int) -> str:
    return json.dumps({"topic": topic, "payload": json.dumps(payload), "tst_ms": at_ms}) + "\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two kinds of senders in one recording, with a log of faults beside it."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(160):
        at = T0 + i * MINUTE
        for pump in ("Pump 1", "Pump 2"):
            payload = {"ts": at, "temp": 20 + float(rng.normal()), "rpm": 1480 + i % 7}
            lines.append(line(f"hall/{pump}/data", payload, at + 50))
        metrics = [{"fields": {"load": i % 11 / 2}, "tags": {"host": "gw"}, "timestamp": at // 1000}]
        lines.append(line("telegraf/gw/cpu", {"metrics": metrics}, at + 60))
    (tmp_path / "march.jsonl").write_text("".join(lines))
    (tmp_path / "orders.csv").write_text(
        "Asset,Reported,Closed,Code\nPump 1,2026-01-02T04:00:00Z,2026-01-02T05:00:00Z,LEAK\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_recording_and_its_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration that is written reads all messages, and the events are of their machines."""
    assert main(["init", "march.jsonl", "orders.csv", "--yes"]) == 0
    config = load_train_config(folder / "plant.toml")
    history = read_history(config.data, folder, channels=config.channels)
    assert history.devices == ("Pump 1", "Pump 2", "gw")
    assert set(history.channels) == {"temp", "rpm", "load"}
    assert len(history) == 3 * 160
    assert (history.classes[1:], len(history.events)) == (("LEAK",), 1)
    assert history.devices[history.events.device[0]] == "Pump 1"
    assert "[[data.telemetry]]" in (folder / "plant.toml").read_text()
    assert "160 of 160 messages are read" in " ".join((folder / "plant.toml").read_text().replace("# ", "").split())
    capsys.readouterr()


def test_a_recording_without_telemetry(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it holds is named."""
    (folder / "other.jsonl").write_text(line("camera/front", "a picture, some would say of a thousand words", T0))
    assert main(["init", "other.jsonl", "--yes"]) == 1
    said = capsys.readouterr().err
    assert "none looks like telemetry" in said
    assert "camera/front" in said


def test_machines_that_sections_name_alike_are_asked_about(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two machines of one name, on topics that nothing connects, would become one."""
    lines = [line(f"hall/{pump}/data", {"ts": T0, "temp": 20.5}, T0) for pump in ("P1", "P2")]
    lines += [line(f"yard/{pump}/state/now", {"at": T0, "load": 20.5}, T0) for pump in ("P1", "P3")]
    (folder / "two.jsonl").write_text("".join(lines))
    assert main(["init", "two.jsonl", "--yes", "-o", "two.toml"]) == 0
    assert "? P1 send on topics of several sections, such as hall/+/data, yard/+/state/now" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_files_of_a_recorder_are_a_pattern(folder: Path) -> None:
    """It compresses them later, and adds some."""
    (folder / "kept").mkdir()
    (folder / "march.jsonl").rename(folder / "kept" / "2026-01-02-000001.jsonl")
    (folder / "kept" / "recorder.json").write_text("{}")
    assert main(["init", "kept", "--yes"]) == 0
    assert 'recordings = ["kept/*.jsonl*"]' in (folder / "plant.toml").read_text()
