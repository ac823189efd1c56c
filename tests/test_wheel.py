"""The wheel on a gateway: installed without extras into an empty virtual environment."""

import json
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
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
    ("command", "extra"),
    [
        (("train", "x.toml"), "train"),
        (("export", "x", "-o", "y"), "train"),
        (("demo",), "demo"),
        (("page", "x.toml"), "page"),
    ],
)
def test_the_missing_extra_is_named(gateway: Path, command: tuple[str, ...], extra: str, tmp_path: Path) -> None:
    """A command of the workstation says what to install."""
    config = tmp_path / "x.toml"
    config.write_text('[data]\nformat = "phm2015"\npath = "."\n', encoding="utf-8")
    result = call(gateway, *(str(config) if word == "x.toml" else word for word in command))
    assert result.returncode == 2
    assert f"pip install 'rarefault[{extra}]'" in result.stderr


def test_the_daemon_runs_there(gateway: Path, tiny_export: Path, tmp_path: Path, mosquitto: Any, peer: Any) -> None:
    """``rarefault run`` serves a model: telemetry in, verdicts out, a clean stop."""
    config = tmp_path / "daemon.toml"
    config.write_text(
        f'[model]\npath = "{tiny_export / "tiny.onnx"}"\n[broker]\nurl = "{mosquitto.url}"\n'
        '[publish]\nruntime = "gateway"\n',
        encoding="utf-8",
    )
    check = call(gateway, "run", str(config), "--check")
    assert check.returncode == 0, check.stderr
    peer.subscribe("rarefault/#")
    process = subprocess.Popen([gateway / "rarefault", "run", config], stderr=subprocess.PIPE, text=True)
    try:
        peer.wait_for("rarefault/gateway/status")
        begin = time.time() // 60 * 60 - 3600
        for minute in range(20):
            sample = {"time": begin + 60 * minute, "values": {"c1.S1": 700 + minute, "c1.S2": 650}}
            peer.publish("telemetry/pump", json.dumps(sample))
        verdict = json.loads(peer.wait_for("rarefault/pump/verdict", 5)[0])
        assert verdict["device"] == "pump"
        assert sum(verdict["probabilities"].values()) == pytest.approx(1.0)
    finally:
        process.terminate()
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert peer.wait_for("rarefault/gateway/status", 2)[-1] == b"offline"


def test_a_missing_configuration_is_named(gateway: Path, tmp_path: Path) -> None:
    """Exit code 2 and the file."""
    missing = call(gateway, "run", str(tmp_path / "missing.toml"))
    assert missing.returncode == 2
    assert "missing.toml" in missing.stderr


def test_help_works_there_for_every_command(gateway: Path) -> None:
    """Help needs no extra, so that one can see what there is."""
    listing = call(gateway, "--help")
    assert listing.returncode == 0, listing.stderr
    for name in ("train", "export", "demo", "run", "simulate", "page"):
        assert name in listing.stdout
        assert call(gateway, name, "--help").returncode == 0
