"""A user's own data needs no code: one CSV, one TOML file, and the commands."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.harness.daemon import Daemon

from rarefault.runtime.cli import main
from rarefault.runtime.inference.model_file import load_model

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

#: Test runs of Tennessee Eastman, with names of a user's own; the fault begins at row 160.
REACTORS = {"00": "ok", "01": "feed ratio", "04": "cooling water", "06": "loss of feed A"}
FAULT_ROW = 160
#: A row is three minutes; 1 May 2024, in epoch seconds.
PERIOD_S, START_S = 180, 1_714_521_600

CONFIG = """\
[data]
format = "table"
samples = ["reactors.csv"]
separator = ";"
device_column = "reactor"
time_column = "at"
label_column = "condition"
normal = ["ok"]

[grid]
period_s = 180
max_hold_s = 540
max_gap_s = 900

[window]
length = 16
stride = 2

[split]
by = "time"
block_s = 14400

[training]
epochs = 4

[trees]
rounds = 15
extra_trees = 20
"""


def write_csv(folder: Path, path: Path) -> list[str]:
    """The runs as a user would keep them; the names of the channels."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        for number, fault in REACTORS.items():
            values = np.loadtxt(folder / f"d{number}_te.dat")
            channels = [f"sensor {i}" for i in range(values.shape[1])]
            if number == "00":
                writer.writerow(("reactor", "at", *channels, "condition"))
            for row, cells in enumerate(values):
                at = START_S + PERIOD_S * row + PERIOD_S // 2
                writer.writerow((f"R{number}", at, *cells.tolist(), fault if row >= FAULT_ROW else "ok"))
    return channels


@pytest.mark.training
def test_own_channels_classes_and_period(
    data_dir: Path,
    tmp_path: Path,
    mosquitto: "Mosquitto",
    peer: "Peer",
    wait_until: Callable[[Callable[[], object], str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From a CSV to a daemon that recognises its faults: what it says is what the offline evaluation says."""
    channels = write_csv(data_dir / "tep", tmp_path / "reactors.csv")
    config, run, file = tmp_path / "reactors.toml", tmp_path / "run", tmp_path / "reactors.onnx"
    config.write_text(CONFIG, encoding="utf-8")
    assert main(["train", str(config), "--out", str(run), "--set", "training.parts=all"]) == 0, capsys.readouterr().err
    assert main(["export", str(run), "-o", str(file), "--int8"]) == 0, capsys.readouterr().err
    manifest = load_model(file).manifest
    assert list(manifest.channels) == channels
    assert manifest.classes == ("normal", "cooling water", "feed ratio", "loss of feed A")
    assert manifest.grid.period_ms == 1000 * PERIOD_S

    scores = tmp_path / "scores.json"
    assert main(["evaluate", str(file), "--data", str(config), "--part", "all", "--json", str(scores)]) == 0
    offline = json.loads(scores.read_text(encoding="utf-8"))
    edge = tmp_path / "edge.toml"
    edge.write_text(
        f'[model]\npath = "{file}"\n[broker]\nurl = "{mosquitto.url}"\n[telemetry]\nmax_age_s = inf\n'
        '[publish]\nruntime = "edge"\n',
        encoding="utf-8",
    )
    peer.subscribe("rarefault/#")

    def verdicts() -> list[dict[str, str]]:
        return [json.loads(p) for number in REACTORS for p in peer.payloads(f"rarefault/R{number}/verdict")]

    with Daemon(edge):
        peer.wait_for("rarefault/edge/status")
        assert main(["replay", str(config), "--broker", mosquitto.url, "--speed", "max"]) == 0
        wait_until(lambda: len(verdicts()) >= offline["windows"], f"{offline['windows']} verdicts")
    said = [verdict["fault"] for verdict in verdicts()]
    assert len(said) == offline["windows"]
    counted = {name: row["predicted"] for name, row in offline["classes"].items()}
    assert {name: said.count(name) for name in counted} == counted
    # The held-out blocks alone, which training did not see.
    test = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert test["macro_f1"] > 0.8 > 2 * test["always_normal_macro_f1"]
    assert min(row["recall"] for row in test["classes"].values() if row["recall"] is not None) > 0.5
