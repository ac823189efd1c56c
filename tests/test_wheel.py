"""The wheel on a gateway: installed without extras into an empty virtual environment."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an empty environment in which only the wheel and its base dependencies are."""
    folder = tmp_path_factory.mktemp("gateway")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    venv.create(folder / "venv", with_pip=True)
    bin_ = folder / "venv" / "bin"
    subprocess.run(
        [bin_ / "pip", "install", "-q", "-c", ROOT / "constraints.txt", *folder.glob("*.whl")],
        check=True,
        capture_output=True,
    )
    return bin_


def call(gateway: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([gateway / "rarefault", *arguments], capture_output=True, text=True, check=False)


def test_neither_torch_nor_onnx_is_there(gateway: Path) -> None:
    """The base dependencies bring no training library."""
    for module in ("torch", "onnx", "polars", "rich", "sklearn"):
        result = subprocess.run([gateway / "python", "-c", f"import {module}"], capture_output=True, check=False)
        assert result.returncode == 1, module


@pytest.mark.parametrize(
    ("command", "extra"), [(("train", "x.toml"), "train"), (("export", "x", "-o", "y"), "train"), (("demo",), "demo")]
)
def test_the_missing_extra_is_named(gateway: Path, command: tuple[str, ...], extra: str, tmp_path: Path) -> None:
    """A command of the workstation says what to install."""
    config = tmp_path / "x.toml"
    config.write_text('[data]\nformat = "phm2015"\npath = "."\n', encoding="utf-8")
    result = call(gateway, *(str(config) if word == "x.toml" else word for word in command))
    assert result.returncode == 2
    assert f"pip install 'rarefault[{extra}]'" in result.stderr


def test_the_daemon_runs_there(gateway: Path, tiny_model: Path, tmp_path: Path) -> None:
    """``rarefault run --check`` loads a model; what is wrong with a configuration is said."""
    config = tmp_path / "daemon.toml"
    config.write_text(f'[model]\npath = "{tiny_model}"\n', encoding="utf-8")
    result = call(gateway, "run", str(config), "--check")
    assert result.returncode == 0, result.stderr
    missing = call(gateway, "run", str(tmp_path / "missing.toml"))
    assert missing.returncode == 2
    assert "missing.toml" in missing.stderr


def test_help_works_there_for_every_command(gateway: Path) -> None:
    """Help needs no extra, so that one can see what there is."""
    listing = call(gateway, "--help")
    assert listing.returncode == 0, listing.stderr
    for name in ("train", "export", "demo", "run", "simulate"):
        assert name in listing.stdout
        assert call(gateway, name, "--help").returncode == 0
