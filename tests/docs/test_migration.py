"""The guide for people who come from another tool: its configurations read files in the form of that tool."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarefault.runtime.arrays import Float64
from rarefault.runtime.cli import main
from rarefault.train.config import load_train_config
from rarefault.train.history import History, read_history

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "migration.md"
BLOCK = re.compile(r"^```\w+ title=\"([^\"]+)\"\n(.*?)^```$", re.DOTALL | re.MULTILINE)
START = datetime(2024, 3, 1, tzinfo=UTC)
STEP, DAYS = timedelta(minutes=5), 21
#: Smaller than by default, so that a training takes seconds; the guide leaves these keys as they are.
SMALL = """
[model]
network = false
[trees]
rounds = 30
extra_trees = 10
[training]
cross_fit = false
"""

Spans = list[tuple[datetime, datetime]]


@pytest.fixture(autouse=True)
def _configurations(tmp_path: Path) -> None:
    """The guide's own files."""
    for name, text in BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(text, encoding="utf-8")


def machine() -> tuple[list[datetime], Float64, Float64, Spans]:
    """Times, temperature, vibration, and anomalies that show in both."""
    rng = np.random.default_rng(4)
    times = [START + i * STEP for i in range(DAYS * 288)]
    temperature, vibration = rng.normal(60, 1, len(times)), rng.normal(2, 0.1, len(times))
    spans = []
    for day in range(DAYS):
        first = day * 288 + int(rng.integers(20, 200))
        temperature[first : first + 30] += 8
        vibration[first : first + 30] += 1
        spans.append((times[first] - STEP / 2, times[first + 29] + STEP / 2))
    return times, temperature.round(3), vibration.round(3), spans


def read(folder: Path, name: str) -> History:
    """The history of one of the guide's configurations."""
    config = load_train_config(folder / name)
    return read_history(config.data, folder, channels=config.channels)


def write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """A CSV file; an empty header is none."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows] if header else rows)


def written(times: Iterable[datetime], form: str) -> list[str]:
    """Times as a tool writes them."""
    return [time.strftime(form) for time in times]


def labels(folder: Path, spans: Spans) -> None:
    """Labels of Lookout for Equipment: no header, no class."""
    starts, ends = (written(side, "%Y-%m-%dT%H:%M:%S.%f") for side in zip(*spans, strict=True))
    write(folder / "labels.csv", (), zip(starts, ends, strict=True))


def sensors(folder: Path, times: list[datetime], **values: Float64) -> None:
    """Sensor data of Lookout for Equipment: a folder for each component."""
    stamps = written(times, "%Y-%m-%d %H:%M:%S.%f")
    for name, column in values.items():
        write(folder / "lookout" / name / "2024.csv", ("Timestamp", name), zip(stamps, column, strict=True))


def trained(folder: Path, name: str) -> dict[str, Any]:
    """The metrics of a training by the guide's configuration."""
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(SMALL)
    assert main(["describe", str(folder / name)]) == 0
    assert main(["train", str(folder / name), "--out", str(folder / "run")]) == 0
    found: dict[str, Any] = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.training
def test_lookout_for_equipment(tmp_path: Path) -> None:
    """Component folders and labels without header or class, from the files to a model that finds the anomaly."""
    times, temperature, vibration, spans = machine()
    sensors(tmp_path, times, temperature=temperature, vibration=vibration)
    labels(tmp_path, spans)
    history = read(tmp_path, "lookout.toml")
    assert (history.devices, set(history.channels)) == (("press-1",), {"temperature", "vibration"})
    assert history.classes == ("normal", "anomaly")
    assert len(history) == 2 * len(times)  # the grid brings together what files have of one time
    logged = zip(history.events.start_ms.tolist(), history.events.end_ms.tolist(), strict=True)
    assert [(a.timestamp() * 1000, b.timestamp() * 1000) for a, b in spans] == list(logged)
    metrics = trained(tmp_path, "lookout.toml")
    assert metrics["test"]["classes"]["anomaly"]["recall"] > 0.8
    assert metrics["log_shift"]["kind"] == "none"


@pytest.mark.training
def test_lookout_labels_of_another_zone_are_noticed(tmp_path: Path) -> None:
    """Labels in local time beside sensors in UTC still train; report and metrics say what is wrong."""
    times, temperature, vibration, spans = machine()
    sensors(tmp_path, times, temperature=temperature, vibration=vibration)
    late = timedelta(hours=2)
    labels(tmp_path, [(a + late, b + late) for a, b in spans])
    metrics = trained(tmp_path, "lookout.toml")
    shift = metrics["log_shift"]
    assert (shift["kind"], shift["offset_s"]) == ("zone", -7200)
    assert "offset_s = -7200" in shift["text"]
    assert metrics["notes"][0] == shift["text"]
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    before, section = report.split("<h2>The log beside the telemetry</h2>")
    assert section[: section.index("</figure>")].count("<svg") == 1
    assert "about labels and leaks" in before


def test_azure_variables_as_files(tmp_path: Path) -> None:
    """Each file is a channel, as for the multivariate service."""
    times, temperature, vibration, spans = machine()
    stamps = written(times, "%Y-%m-%dT%H:%M:%SZ")
    for name, values in (("temperature", temperature), ("vibration", vibration)):
        write(tmp_path / "variables" / f"{name}.csv", ("timestamp", "value"), zip(stamps, values, strict=True))
    starts, ends = (written(side, "%Y-%m-%dT%H:%M:%SZ") for side in zip(*spans, strict=True))
    write(tmp_path / "anomalies.csv", ("start", "end"), zip(starts, ends, strict=True))
    history = read(tmp_path, "azure.toml")
    assert (history.devices, history.channels) == (("line-1",), ("temperature", "vibration"))
    assert (len(history), len(history.events)) == (len(times), len(spans))
    assert history.values[:, 1] == pytest.approx(vibration)


def test_azure_points(tmp_path: Path) -> None:
    """A request and its response become a table with labels, by the script of the guide."""
    series = [{"timestamp": f"2024-03-{day:02d}T00:00:00Z", "value": 10.0 + day} for day in range(1, 13)]
    wrong = [day in {4, 5, 9} for day in range(1, 13)]
    (tmp_path / "request.json").write_text(json.dumps({"series": series, "granularity": "daily"}))
    (tmp_path / "response.json").write_text(json.dumps({"isAnomaly": wrong, "period": 0}))
    script = [sys.executable, "points.py", "request.json", "response.json"]
    made = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    (tmp_path / "points.csv").write_text(made.stdout)
    history = read(tmp_path, "points.toml")
    assert (history.channels, history.classes) == (("value",), ("normal", "anomaly"))
    begin_ms, day_ms = round(START.timestamp() * 1000), 86_400_000
    assert len(history) == 12
    assert ((history.events.start_ms - begin_ms) // day_ms + 1).tolist() == [4, 9]


def test_node_red_topics(tmp_path: Path) -> None:
    """What a flow takes from its topics, recorded and read with the daemon's own configuration."""
    lines = []
    for minute in range(90):
        at = (START + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%S.000000Z+0000")
        for channel, value in (("temp", 40 + minute % 5), ("rpm", 1480 + minute)):
            line = {"tst": at, "topic": f"plant/pump1/{channel}", "payload": str(value), "retain": 0}
            lines.append(json.dumps(line))
    (tmp_path / "plant.jsonl").write_text("\n".join(lines) + "\n")
    event = ("pump1", "2024-03-01T00:10:00Z", "2024-03-01T00:20:00Z", "leak")
    write(tmp_path / "faults.csv", ("device", "start", "end", "fault"), [event])
    history = read(tmp_path, "plant.toml")
    assert (history.devices, set(history.channels)) == (("pump1",), {"temp", "rpm"})
    assert history.classes == ("normal", "leak")
    assert len(np.unique(history.time_ms)) == 90
