"""What ``benchmarks.tep_to_table`` writes is read back through the table reader."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from rarefault.runtime.inference.grid import Grid
from rarefault.train.config import TrainConfig, load_train_config
from rarefault.train.history import History, label_bins, read_history

ROOT = Path(__file__).parents[2]


def run_script(source: Path, target: Path) -> "subprocess.CompletedProcess[str]":
    """The command, as a person calls it."""
    command = [sys.executable, "-m", "benchmarks.tep_to_table", str(source), str(target)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def converted(source: Path, target: Path) -> tuple[TrainConfig, History]:
    """Convert a folder and read the result through its own configuration, strictly."""
    done = run_script(source, target)
    assert done.returncode == 0, done.stderr
    config = load_train_config(target / "tep.toml")
    return config, read_history(config.data, target, strict=True)


def labels(config: TrainConfig, history: History) -> dict[str, np.ndarray]:
    """Each device's label in each of its closed bins."""
    bins = Grid(config.grid, len(history.channels)).push(history.device, history.time_ms, history.values)
    label = label_bins(history, bins.device, bins.index, config.grid)
    return {name: label[bins.device == slot] for slot, name in enumerate(history.devices)}


def test_round_trip(tmp_path: Path) -> None:
    """Values and labels come back row by row; the transposed normal run is turned; faults begin at their row."""
    rng = np.random.default_rng(0)
    values = {"d00": rng.normal(size=(70, 52)), "d01": rng.normal(size=(60, 52)), "d01_te": rng.normal(size=(200, 52))}
    for name, table in values.items():
        np.savetxt(tmp_path / f"{name}.dat", table.T if name == "d00" else table)
    config, history = converted(tmp_path, tmp_path / "table")
    assert history.devices == ("test_01", "train_00", "train_01")
    assert history.classes == ("normal", "fault_01")
    assert history.channels[0] == "xmeas_1"
    assert history.channels[41] == "xmv_1"
    for device, name in (("train_00", "d00"), ("train_01", "d01"), ("test_01", "d01_te")):
        own = history.device == history.devices.index(device)
        np.testing.assert_allclose(history.values[own], values[name])
    label = labels(config, history)
    # The last bin of a run stays open: nothing comes after it.
    assert label["train_00"].tolist() == [0] * 69
    assert label["train_01"].tolist() == [1] * 59
    assert label["test_01"].tolist() == [0] * 160 + [1] * 39


def test_the_real_files(data_dir: Path, tmp_path: Path) -> None:
    """All 44 runs: 22 classes, 31,700 samples of 52 channels without a missing value, faults as long as they are."""
    config, history = converted(data_dir / "tep", tmp_path)
    assert len(history.devices) == 44
    assert len(history.classes) == 22
    assert history.values.shape == (31_700, 52)
    assert not np.isnan(history.values).any()
    label = labels(config, history)
    assert all((label[f"train_{n:02d}"] == history.classes.index(f"fault_{n:02d}")).all() for n in range(1, 22))
    assert all(np.count_nonzero(label[f"test_{n:02d}"]) == 799 for n in range(1, 22))
    assert not label["train_00"].any()


def test_a_folder_without_runs(tmp_path: Path) -> None:
    """A folder without such files, or with a file of another shape, ends with one sentence and exit code 1."""
    done = run_script(tmp_path, tmp_path / "table")
    assert (done.returncode, done.stderr) == (1, f"tep_to_table: {tmp_path}: holds no dNN.dat or dNN_te.dat\n")
    np.savetxt(tmp_path / "d03.dat", np.zeros((5, 7)))
    done = run_script(tmp_path, tmp_path / "table")
    assert done.returncode == 1
    assert "d03.dat: 5 x 7 values; 52 channels were expected" in done.stderr
