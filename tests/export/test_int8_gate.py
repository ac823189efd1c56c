"""An int8 file whose alarms are not float32's is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rarefault.export.exporter import export_run
from rarefault.export.int8_effect import Int8Limits, alarm_difference, limit_checks
from rarefault.export.parity import require
from rarefault.export.quantize import quantise
from rarefault.runtime.cli import main
from rarefault.runtime.errors import ParityError
from rarefault.train.runs.run_directory import RunDirectory

Changes = frozenset[tuple[int, int, int]]


def said(*changes: tuple[int, int, int]) -> Changes:
    """Changes of alarm states: device, time, state."""
    return frozenset(changes)


TWO = said((0, 10, 1), (0, 20, 0), (1, 10, 2), (1, 50, 0))


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (TWO, (2, 2, 0, 0)),
        # A window sooner or later, it is the same alarm.
        (said((0, 12, 1), (0, 18, 0), (1, 8, 2), (1, 60, 0)), (2, 2, 0, 0)),
        # Another fault, another device, another time.
        (said((0, 10, 2), (0, 20, 0), (1, 10, 2), (1, 50, 0)), (2, 2, 1, 1)),
        (said((2, 10, 1), (2, 20, 0), (1, 10, 2), (1, 50, 0)), (2, 2, 1, 1)),
        (said((0, 20, 1), (0, 30, 0), (1, 10, 2), (1, 50, 0)), (2, 2, 1, 1)),
        # One that falls to pieces is one of them; the others are new.
        (said((0, 10, 1), (0, 20, 0), *((1, t, 2 * (t // 10 % 2)) for t in range(10, 70, 10))), (2, 4, 0, 2)),
        # What never ends stands for ever; no data ends it.
        (said((0, 15, 1), (1, 10, 2), (1, 11, -1)), (2, 2, 0, 0)),
        (said(), (2, 0, 2, 0)),
    ],
)
def test_alarms_are_matched_by_the_time_that_they_stand(after: Changes, found: tuple[int, int, int, int]) -> None:
    """One for one, by device, state and time."""
    difference = alarm_difference(TWO, after)
    counts = (difference["before"], difference["after"], difference["only_before"], difference["only_after"])
    assert counts == found
    assert difference["changed"] == min(1.0, (found[2] + found[3]) / 2)


def effect(changed: float, before: int = 100) -> dict[str, Any]:
    none = {"before": before, "changed": 0.0}
    return {
        "changed": 0.0,
        "alarms": {"before": before, "changed": changed},
        "company": {"changed": 0.0, "alarms": none},
        "macro_f1": {"float32": None, "int8": None},
    }


def test_changed_alarms_are_refused() -> None:
    """Beyond the limit, and where there are few of them beyond a single one; with a limit of 0 at all."""
    require(limit_checks(effect(0.05), Int8Limits()), "refused")
    with pytest.raises(ParityError, match=r"share of alarms, int8 vs float32: differs by 0\.06, allowed 0\.05"):
        require(limit_checks(effect(0.06), Int8Limits()), "refused")
    require(limit_checks(effect(0.25, before=4), Int8Limits()), "refused")
    with pytest.raises(ParityError, match=r"differs by 0\.5, allowed 0\.25"):
        require(limit_checks(effect(0.5, before=4), Int8Limits()), "refused")
    with pytest.raises(ParityError, match=r"differs by 0\.01, allowed 0"):
        require(limit_checks(effect(0.01), Int8Limits(alarms_changed=0.0)), "refused")
    crowded = effect(0.0)
    crowded["company"]["alarms"] = {"before": 100, "changed": 0.2}
    with pytest.raises(ParityError, match=r"share of alarms, int8 among 63 others vs alone: differs by 0\.2"):
        require(limit_checks(crowded, Int8Limits()), "refused")


def roughly(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantised so badly that the alarms differ: the last layer is too weak."""
    quantised = quantise(model)
    tensor = next(t for t in quantised.graph.initializer if t.name.startswith("device_head_weight"))
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * np.float32(0.7), tensor.name))
    return quantised


def test_an_export_whose_alarms_change_leaves_no_file(
    run_with_history: RunDirectory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no alarm may differ and some do, nothing is written."""
    monkeypatch.setattr("rarefault.export.exporter.quantise", roughly)
    anything = Int8Limits(changed=1.0, macro_f1_loss=1.0, alarms_changed=1.0)
    effect = export_run(
        run_with_history, tmp_path / "int8.onnx", int8=True, limits=anything
    ).model.manifest.quantisation
    assert effect is not None
    alarms = effect["alarms"]
    assert alarms["before"] > 5
    assert 0 < alarms["changed"] == (alarms["only_before"] + alarms["only_after"]) / alarms["before"]
    output = tmp_path / "other.onnx"
    words = ["export", str(run_with_history.path), "-o", str(output), "--int8", "--max-changed", "1"]
    assert main([*words, "--max-f1-loss", "1", "--max-alarms-changed", "0"]) == 1
    assert "int8 changes too much" in (error := capsys.readouterr().err)
    assert f"share of alarms, int8 vs float32: differs by {alarms['changed']:.3g}, allowed 0" in error
    assert not output.exists()
    assert main([*words, "--max-f1-loss", "1", "--max-alarms-changed", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"alarms {alarms['before']} in float32, {alarms['after']} in int8: {alarms['only_before']} in" in shown
