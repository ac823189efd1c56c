"""The programs in ``examples/`` run as they stand, each as a process of its own."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rarefault.runtime import format_ms, load_model

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *words: object) -> list[str]:
    """The lines that an example prints; warnings are errors."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def telemetry(tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of two devices, with holes."""
    model = load_model(tiny_export / "tiny.onnx")
    rng = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("telemetry") / "telemetry.csv"
    steps = rng.normal(scale=0.5, size=(120, 2, 3))
    walk = np.array([700, 650, 720]) + np.array([20, 15, 10]) * np.cumsum(steps, axis=0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["device", "time", *model.manifest.channels])
        for minute in range(120):
            for device in range(2):
                cells = [f"{value:.3f}" if rng.random() < 0.9 else "" for value in walk[minute, device]]
                writer.writerow([f"plant_{device}", format_ms(1_709_290_800_000 + 60_000 * minute), *cells, minute])
    return path


def test_embed_pipeline(tiny_export: Path, telemetry: Path) -> None:
    """It prints a verdict for each window, and alarms of both devices."""
    lines = run("embed_pipeline.py", tiny_export / "tiny.onnx", telemetry)
    verdicts = [line for line in lines if "ALARM" not in line]
    assert len(verdicts) == 2 * len(range(6, 120, 2))
    assert verdicts[0].startswith("2024-03-01 11:06:00 plant_")
    assert {line.split(": ")[0].split()[-1] for line in lines if "ALARM" in line} == {"plant_0", "plant_1"}


def test_own_decision(tiny_export: Path, telemetry: Path) -> None:
    """It prints one line for each threshold, and a higher one raises no more faults."""
    lines = run("own_decision.py", tiny_export / "tiny.onnx", telemetry)
    assert [line.split()[1] for line in lines] == ["0.5", "0.7", "0.9", "0.99"]
    counts = [json.loads(line.split(maxsplit=2)[2].replace("'", '"')) for line in lines]
    faults = [sum(n for state, n in count.items() if state.startswith("fault")) for count in counts]
    assert faults[0] > faults[-1]


@pytest.mark.training
def test_train_in_python(tmp_path: Path) -> None:
    """It leaves a run directory and a model file that loads."""
    lines = run("train_in_python.py", tmp_path / "new")
    assert lines[0].startswith("macro-F1 on held-out blocks: 0.")
    assert load_model(tmp_path / "new" / "plant.onnx").manifest.name == "plant"
    assert (tmp_path / "new" / "run" / "report.html").is_file()


def test_mqtt_consumer(mosquitto: "Mosquitto", peer: "Peer", wait_until: Callable[..., None], tmp_path: Path) -> None:
    """It prints each verdict of a fault and each alarm once, however often the broker delivers them."""
    out = tmp_path / "out"
    verdict: dict[str, object] = {
        "id": "a1",
        "device": "d",
        "end": "2024-03-01T12:00:00.000Z",
        "fault": "fault_1",
        "probability": 0.75,
    }
    alarm: dict[str, object] = {"id": "a1", "device": "d", "state": "fault_1", "since": "2024-03-01T12:00:00.000Z"}
    peer.publish("rarefault/d/alarm", json.dumps(alarm), retain=True)  # what a new subscriber gets at once
    with out.open("w") as file:
        command = [sys.executable, "-W", "error", str(EXAMPLES / "mqtt_consumer.py"), "127.0.0.1", str(mosquitto.port)]
        process = subprocess.Popen(command, stdout=file)
    try:
        wait_until(lambda: out.read_text().count("\n") == 1, "the retained alarm")
        for payload in (alarm, alarm):
            peer.publish("rarefault/d/alarm", json.dumps(payload))
        peer.publish("rarefault/e/alarm", b"")
        for payload in (verdict, verdict, verdict | {"id": "a2", "fault": "normal"}, verdict | {"id": "a3"}):
            peer.publish("rarefault/d/verdict", json.dumps(payload))
        wait_until(lambda: out.read_text().count("\n") == 3, "two verdicts")
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()
    line = "2024-03-01T12:00:00.000Z d: fault_1 (0.75)"
    assert out.read_text().splitlines() == ["ALARM d: fault_1 since 2024-03-01T12:00:00.000Z", line, line]


def test_every_example_has_a_test() -> None:
    """An example that nothing runs is soon wrong."""
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    tested.add("pumps")  # the tutorial's, which tests/docs/test_tutorial.py runs
    assert {file.stem for file in EXAMPLES.glob("*.py")} <= tested
