"""Trainings as processes of their own, and LightGBM on the same blocks."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What a reader of the tutorial would write for samples of each minute; all else is as it is by default.
CONFIG = """\
[data]
format = "table"
samples = ["samples.parquet"]
events = "events.csv"

[grid]
period_s = 60
max_hold_s = 300
max_gap_s = 1800
"""


@dataclass(frozen=True)
class Training:
    """What a training took, and its ``metrics.json``.

    Attributes:
        cpu_s: processor seconds, of all threads.
        wall_s: seconds by the clock.
        peak_mb: largest resident memory.
        metrics: of the run.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    metrics: dict[str, Any]


def train(config: Path, out: Path, *words: str) -> Training:
    """``rarefault train`` as a process of its own; ends the program where it fails.

    Args:
        config: the configuration file.
        out: the run directory.
        words: further ones of the command line.
    """
    command = [sys.executable, "-m", "rarefault.runtime.cli", "train", str(config), "--out", str(out), *words]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    if status:
        sys.exit(f"the training failed: {' '.join(command)}")
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    cpu = usage.ru_utime + usage.ru_stime
    return Training(round(cpu, 1), round(wall, 1), round(usage.ru_maxrss * 1024 / 1e6, 1), metrics)


def lightgbm(*words: str) -> dict[str, float]:
    """``python -m benchmarks.training.rival`` as a process of its own: ``cpu_s``, ``macro_f1``."""
    command = [sys.executable, "-m", "benchmarks.training.rival", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found
