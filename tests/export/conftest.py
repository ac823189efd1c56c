"""Fixtures of the exporter: a tiny run directory that each test may spoil, what was exported from it, and a demo."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rarefault.runtime.cli import main
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.train.config import load_train_config
from rarefault.train.dataset.split import describe_blocks, split_history
from rarefault.train.history import read_history
from rarefault.train.runs.run_directory import RunDirectory


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Torch on one thread: two that wait for each other on a busy machine make these small networks 60 times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tiny_export: Path, tmp_path: Path) -> RunDirectory:
    """A copy of the tiny run directory, the test's own."""
    return RunDirectory(Path(shutil.copytree(tiny_export / "run", tmp_path / "run")))


@pytest.fixture
def run_with_history(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """The tiny run with a history of its own: two plants over six days, a sample a minute, two kinds of events."""
    rng = np.random.default_rng(3)
    minutes = 6 * 24 * 60
    center, scale = np.array([700, 650, 720, 0]), np.array([20, 15, 10, 1])
    rows = []
    for device in ("a", "b"):
        values = center + scale * np.cumsum(rng.normal(scale=0.2, size=(minutes, 4)), axis=0)
        values[:, 3] = np.cumsum(rng.uniform(1, 5, minutes))
        rows += [
            f"{device},{60 * i},{','.join(f'{x:.3f}' for x in row)}"
            for i, row in enumerate(values)
            if rng.random() > 0.02
        ]
    (tmp_path / "samples.csv").write_text("\n".join(["device,time,c1.S1,c1.S2,c1.R1,z1.E1", *rows]) + "\n")
    events = [f"{d},{3600 * h},{3600 * h + 2400},fault_{1 + h % 2}" for d in "ab" for h in range(2, 140, 5)]
    (tmp_path / "events.csv").write_text("\n".join(["device,start,end,fault", *events]) + "\n")
    (tmp_path / "tiny.toml").write_text(
        f'[data]\nformat = "table"\nsamples = ["{tmp_path}/samples.csv"]\nevents = "{tmp_path}/events.csv"\n'
        'counters = ["z1.E1"]\n[grid]\nperiod_s = 60\nmax_hold_s = 120\nmax_gap_s = 600\n'
        "[window]\nlength = 6\nstride = 2\n[model]\nkernel = 3\n[split]\nblock_s = 14400\n"
    )
    config = load_train_config(tmp_path / "tiny.toml")
    history = read_history(config.data, tmp_path)
    split = split_history(history, config.split, config.grid)
    run.save_config(config)
    run.save_json(run.data, {"fingerprint": history.fingerprint})
    run.save_json(run.split, {"blocks": describe_blocks(split), "notes": []})
    return run


@pytest.fixture(scope="session")
def exported(tiny_export: Path) -> LoadedModel:
    """The tiny model file, loaded as the daemon does."""
    return load_model(tiny_export / "tiny.onnx")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, object], Path]:
    """Exit code, ``--json`` result and folder of a small demo; who changes the folder takes a copy."""
    folder = tmp_path_factory.mktemp("demo")
    words = ["--plants", "2", "--days", "15", "--epochs", "2", "--rounds", "10", "--out", str(folder / "out")]
    code = main(["demo", *words, "--json", str(folder / "demo.json")])
    return code, json.loads((folder / "demo.json").read_text(encoding="utf-8")), folder / "out"
