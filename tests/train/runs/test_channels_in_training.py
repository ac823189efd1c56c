"""From a recording of messages, Booleans and words and scaled values among it, to a model that takes them live."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from tests.train.conftest import CONFIG, write_plant

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import DaemonConfig, LimitsConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import load_train_config
from rarefault.train.evaluation.evaluate import run_pipeline
from rarefault.train.history import read_history

CHANNELS = """
[channels.temperature]
scale = 0.1
missing = [65535]

[channels.mode]
states = { AUTO = 1, MAN = 0 }
"""
KEYS = {"topic": "plant/{device}", "records": "m", "name": "n", "value": "v", "time": "t"}


def write_recording(folder: Path) -> list[tuple[str, bytes]]:
    """The small plant as messages: temperatures in tenths, a Boolean, a word; and as a recording."""
    write_plant(folder)
    messages = []
    with (folder / "samples.csv").open() as file:
        for i, row in enumerate(csv.DictReader(file)):
            values = {
                "flow": float(row["flow"]),
                "temperature": 65535 if i % 50 == 0 else round(float(row["temperature"]) * 10, 3),
                "meter": row["meter"],
                "pump": float(row["flow"]) > 45,
                "mode": "AUTO" if i % 3 else "MAN",
            }
            metrics = [{"n": name, "v": value} for name, value in values.items()]
            messages.append((f"plant/{row['device']}", json.dumps({"t": row["time"], "m": metrics}).encode()))
    lines = [json.dumps({"topic": topic, "payload": text.decode(), "tst_ms": 0}) for topic, text in messages]
    (folder / "plant.jsonl").write_text("\n".join(lines))
    section = CONFIG.replace(
        'format = "table"\nsamples = ["samples.csv"]', 'format = "recording"\nrecordings = "plant.jsonl"'
    )
    section = section.replace("[model]\n", "[model]\nnetwork = false\n")
    keys = "".join(f'{key} = "{value}"\n' for key, value in KEYS.items())
    (folder / "plant.toml").write_text(f"{section}\n[data.telemetry]\n{keys}{CHANNELS}")
    return messages


@pytest.mark.training
def test_from_a_recording_to_live_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon's decoder and pipeline give, of the same messages, the verdicts of the evaluation, one for one."""
    messages = write_recording(tmp_path)
    config, run, file = tmp_path / "plant.toml", tmp_path / "run", tmp_path / "plant.onnx"
    assert main(["describe", str(config)]) == 0, capsys.readouterr().err
    assert main(["train", str(config), "--out", str(run)]) == 0, capsys.readouterr().err
    assert main(["export", str(run), "-o", str(file)]) == 0, capsys.readouterr().err
    assert main(["evaluate", str(file), "--data", str(config), "--part", "all"]) == 0, capsys.readouterr().err
    assert main(["inspect", str(file)]) == 0
    assert "mode: AUTO = 1, MAN = 0" in capsys.readouterr().out
    model = load_model(file)
    manifest = model.manifest
    assert manifest.channels == ("flow", "temperature", "meter", "pump", "mode")
    assert dict(manifest.channel_specs) == load_train_config(config).channels

    live = from_mapping(
        {"model": {"path": "m"}, "telemetry": KEYS | {"max_age_s": math.inf, "max_future_s": math.inf}},
        DaemonConfig,
        "x",
    )
    table, limits, rejections = DeviceTable(), LimitsConfig(samples_per_s=math.inf), Rejections()
    decoder = TelemetryDecoder(
        live.sources, manifest.channels, manifest.channel_specs, table, limits, rejections, "edge.toml"
    )
    samples = SampleBuffer(len(messages) + live.max_batch, len(manifest.channels))
    for topic, payload in messages:
        decoder.decode(topic, payload, 0, samples)
    assert len(samples) == len(messages)
    pipeline = Pipeline(manifest, model.step, model.model_id)
    slots = np.array([pipeline.slot(name) for name in table.names])
    order = np.argsort(samples.time_ms, kind="stable")
    found = pipeline.push(slots[samples.device[order]], samples.time_ms[order], samples.values[order])
    history = read_history(load_train_config(config).data, tmp_path, channels=manifest.channel_specs)
    expected = run_pipeline(history, manifest, model.step, model.model_id)
    names = np.array(history.devices)[expected.device]
    assert len(found.posterior) > 500
    np.testing.assert_array_equal(np.array(pipeline.devices)[found.device], names)
    np.testing.assert_array_equal(found.end_ms, expected.end_ms)
    np.testing.assert_allclose(found.posterior, expected.posterior, atol=1e-9)

    # What the model has learned from is not to be read in another way later.
    text = config.read_text().replace("scale = 0.1", "scale = 0.2")
    (tmp_path / "other.toml").write_text(text)
    assert main(["train", str(tmp_path / "other.toml"), "--from", str(run), "--out", str(tmp_path / "again")]) == 1
    assert "[channels] are not those of" in capsys.readouterr().err
