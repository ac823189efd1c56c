"""A small plant whose faults can be learnt in seconds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

DAY_MS = 86_400_000
START_MS = 1_704_067_200_000  # 2024-01-01

CONFIG = """
[data]
format = "table"
samples = ["samples.csv"]
events = "events.csv"
counters = ["meter"]

[grid]
period_s = 600
max_hold_s = 1200
max_gap_s = 3600

[window]
length = 10
stride = 2

[split]
block_s = 28800

[model]
filters = 4
kernel = 3
inner = [8, 4]
outer = [12, 8]

[trees]
rounds = 40
extra_trees = 20

[training]
epochs = 10
sequence_length = 6
batch_size = 32
learning_rate = 0.02
cross_fit = false
parts = "all"
"""


def write_plant(folder: Path, *, days: int = 12, devices: int = 2, faults: tuple[str, ...] = ("stuck", "hot")) -> Path:
    """Write samples, events and configuration; returns the configuration's path.

    ``stuck`` freezes the flow, ``hot`` lifts the temperature; every device has each about once a day, ``hot`` rarely.
    """
    rng = np.random.default_rng(3)
    samples, events = ["device,time,flow,temperature,meter"], ["device,start,end,fault"]
    for d in range(devices):
        time_ms = START_MS + np.arange(days * 144) * 600_000 + 60_000 * d
        flow = 50 + 10 * np.sin(time_ms / DAY_MS * 2 * np.pi) + rng.normal(0, 1, len(time_ms))
        temperature = 20 + rng.normal(0, 0.5, len(time_ms))
        for day in range(days):
            for fault, every, hours in (("stuck", 1, 3), ("hot", 2, 2)):
                if fault not in faults or day % every:
                    continue
                start = START_MS + day * DAY_MS + int(rng.integers(2, 18)) * 3_600_000
                end = start + hours * 3_600_000
                inside = (time_ms >= start) & (time_ms <= end)
                if fault == "stuck":
                    flow[inside] = flow[inside][0]
                else:
                    temperature[inside] += 8
                events.append(f"d{d},{start},{end},{fault}")
        meter = np.cumsum(np.abs(flow)) / 10
        samples += [
            f"d{d},{t},{f:.3f},{c:.3f},{m:.3f}" for t, f, c, m in zip(time_ms, flow, temperature, meter, strict=True)
        ]
    (folder / "samples.csv").write_text("\n".join(samples) + "\n", encoding="utf-8")
    (folder / "events.csv").write_text("\n".join(events) + "\n", encoding="utf-8")
    config = folder / "plant.toml"
    config.write_text(CONFIG, encoding="utf-8")
    return config


@pytest.fixture(name="write_plant")
def write_plant_fixture() -> Callable[..., Path]:
    """Writes a small plant: ``write_plant(folder, days=12, devices=2, faults=(...))``."""
    return write_plant


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small plant."""
    return write_plant(tmp_path_factory.mktemp("plant"))
