"""``rarefault export`` and ``rarefault inspect`` as a person calls them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rarefault.runtime.cli import main
from rarefault.runtime.inference.model_file import load_model
from rarefault.train.runs.run_directory import RunDirectory


def test_export_prints_what_was_held_against_what(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every comparison with its difference, then the model's id, the file and its size."""
    output = tmp_path / "plant.onnx"
    assert main(["export", str(run.path), "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "file vs checkpoint, random, N = 64" in printed
    assert "checkpoint vs its training" in printed
    assert load_model(output).model_id in printed
    assert f"written   {output}, 0.0" in printed


def test_export_int8_tells_its_effect(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The changed share, the alarms and on what they were measured; the same as JSON on standard output."""
    output = tmp_path / "plant.onnx"
    words = ["export", str(run.path), "-o", str(output), "--int8", "--max-changed", "1", "--json", "-"]
    assert main(words) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["precision"] == "int8"
    assert result["size_bytes"] == output.stat().st_size != result["float32_bytes"]
    assert result["model"] == load_model(output).model_id
    assert {"of", "between", "measured", "allowed"} == set(result["checks"][0])
    assert f"{result['quantisation']['changed']:.2%} of 144 verdicts differ" in captured.err
    assert "on        reference windows of the run" in captured.err


def test_export_of_a_tampered_checkpoint_fails(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, one sentence with the difference, no traceback, no file."""
    model = run.load_model()
    with torch.no_grad():
        assert model.network is not None
        assert model.network.device is not None
        model.network.device.outer1.get_parameter("weight_hh_l0")[3, 1] += 0.1
    run.save_model(model)
    assert main(["export", str(run.path), "-o", str(tmp_path / "plant.onnx")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"rarefault: {run.checkpoint} is not what was trained (restore it, or train again): ")
    assert "differs by 0.0" in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["export", "nowhere", "-o", "plant.onnx", "--max-changed", "2"], "must be between 0 and 1, got '2'"),
        (["export", "nowhere", "-o", "plant.onnx", "--max-f1-loss", "x"], "must be between 0 and 1, got 'x'"),
        (["export", "nowhere"], "the following arguments are required: -o/--output"),
        (["inspect", "plant.onnx", "--threads", "0"], "must be at least 1, got '0'"),
        (["inspect", "plant.onnx", "--threads", "two"], "must be at least 1, got 'two'"),
    ],
)
def test_bad_usage(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Impossible arguments are refused with what is allowed, exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_export_of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is no run is called so."""
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "plant.onnx")]) == 1
    assert "is not a finished run directory: manifest.json is missing" in capsys.readouterr().err


def test_inspect_prints_the_manifest_and_the_cost(tiny_export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person wants to know before trusting a file, each fact on its line."""
    assert main(["inspect", str(tiny_export / "tiny.onnx")]) == 0
    printed = capsys.readouterr().out
    model = load_model(tiny_export / "tiny.onnx")
    for line in (
        f"model      {model.model_id}",
        " MB, float32, 3,137 parameters",
        "grid       bins of 1 min, values held 2 min",
        "0 s of lateness allowed, a gap over 10 min resets",
        "window     6 bins (6 min)",
        "verdict    every 2 bins (2 min)",
        "channels   4: c1.S1, c1.S2, c1.R1, z1.E1",
        "counters   z1.E1",
        "fault_2  0.2000        0.2",
        "experts    network: weight 1",
        "filter     none, each window is judged by itself",
        "training   created: 2026-01-01T00:00:00+00:00",
        "us per verdict at N = 64 (1 thread, this machine)",
    ):
        assert line in printed, line


def test_inspect_as_json(tiny_export: Path, tmp_path: Path) -> None:
    """The whole manifest and the measured cost, for programs."""
    result = tmp_path / "result.json"
    assert main(["inspect", str(tiny_export / "tiny.onnx"), "--threads", "2", "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    assert found["threads"] == 2
    assert min(found["verdict_cost_us"].values()) > 0
    assert found["manifest"]["classes"] == ["normal", "fault_1", "fault_2"]


def test_inspect_of_an_int8_file(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The measured effect of quantisation is shown."""
    output = tmp_path / "plant.onnx"
    assert main(["export", str(run.path), "-o", str(output), "--int8", "--max-changed", "1"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "int8, 3,137 parameters" in printed
    assert "int8       method: dynamic, LSTM weights per output channel in 7 bits" in printed
    assert "company.devices: 63" in printed


def test_inspect_refuses_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged file ends in exit code 1 and a sentence."""
    path = tmp_path / "plant.onnx"
    path.write_bytes(b"nothing of the kind")
    assert main(["inspect", str(path)]) == 1
    assert "plant.onnx: not an ONNX model, or damaged" in capsys.readouterr().err


def test_inspect_needs_nothing_of_the_workstation(tiny_export: Path) -> None:
    """It runs on the gateway, where torch, onnx and rich are not installed."""
    code = (
        "import sys\nfrom rarefault.runtime.cli import main\n"
        f"assert main(['inspect', {str(tiny_export / 'tiny.onnx')!r}]) == 0\n"
        "heavy = {'torch', 'onnx', 'rich', 'sklearn', 'polars'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, stdout=subprocess.DEVNULL)
