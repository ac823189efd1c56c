"""Fixtures of the exporter: a tiny run directory that each test may spoil, what was exported from it, and a demo."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rarefault.runtime.cli import main
from rarefault.runtime.model_file import LoadedModel, load_model
from rarefault.train.run_directory import RunDirectory


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


@pytest.fixture(scope="session")
def exported(tiny_export: Path) -> LoadedModel:
    """The tiny model file, loaded as the daemon does."""
    return load_model(tiny_export / "tiny.onnx")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, object], Path]:
    """Exit code, ``--json`` result and folder of a small demo; who changes the folder takes a copy."""
    folder = tmp_path_factory.mktemp("demo")
    words = ["--plants", "2", "--days", "30", "--epochs", "3", "--out", str(folder / "out")]
    code = main(["demo", *words, "--json", str(folder / "demo.json")])
    return code, json.loads((folder / "demo.json").read_text(encoding="utf-8")), folder / "out"
