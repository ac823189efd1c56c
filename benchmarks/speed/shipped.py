"""What is shipped for a real plant: plant 31 of PHM 2015, with 44 channels and 5 units.

The model is trained once, as it is by default, since the training chooses the parts that are shipped, and kept in
``benchmarks/.cache/speed``: some minutes.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmarks.harness.machine import cache, data_folder
from benchmarks.speed.verdict import measure_verdicts
from numpy.typing import NDArray

from rarefault.export.exporter import export_run
from rarefault.runtime.errors import ModelFileError
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig
from rarefault.train.history import read_history
from rarefault.train.runs.training import train

#: Devices that are due together.
DEVICES = 64


def available() -> bool:
    """Whether the plant's data is here."""
    return bool(os.environ.get("RAREFAULT_DATA"))


def measure_shipped() -> dict[str, float]:
    """Microseconds per verdict of the shipped file through the pipeline and through ONNX Runtime alone."""
    path = shipped_model()
    rows = read_history(_config().data, Path()).values
    chosen = np.linspace(0, len(rows) - 1, DEVICES).astype(int)
    values: NDArray[np.float64] = np.asarray(rows[chosen], np.float64)
    return measure_verdicts(path, DEVICES, telemetry=lambda: values)


def shipped_model() -> Path:
    """The model file; trained where there is none that this release reads."""
    path = cache("speed") / "plant31.onnx"
    try:
        load_model(path)
    except ModelFileError:
        with TemporaryDirectory(prefix="rarefault-speed-") as folder:
            training = train(_config(), Path(), Path(folder) / "run", name="plant31")
            export_run(training.run, path)
    return path


def _config() -> TrainConfig:
    data = {"format": "phm2015", "path": str(data_folder() / "phm2015"), "plants": [31]}
    return from_mapping({"data": data}, TrainConfig, "plant 31")
