"""Dynamic int8: every LSTM is reached, and what it changes is measured, kept and limited."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from tests.export.test_graph import manifest_of

from rarefault.export.exporter import INT8_STAGES, STAGES, Export, export_run, scales_of
from rarefault.export.graph import step_graph
from rarefault.export.int8_effect import COMPANY, InCompany, Int8Limits, limit_checks
from rarefault.export.parity import random_sequence, require
from rarefault.export.quantize import METHOD, count_operators, quantise
from rarefault.runtime.errors import ParityError, RarefaultError
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import PRESETS
from rarefault.train.runs.run_directory import RunDirectory

ANYTHING = Int8Limits(changed=1.0, macro_f1_loss=1.0, alarms_changed=1.0)


@pytest.fixture
def small_graph() -> onnx.ModelProto:
    """The step graph of the small preset."""
    torch.manual_seed(0)
    model = Experts(NetworkExpert(PRESETS["small"], 9, 4, 16).eval(), None)
    return step_graph(model, manifest_of(model, 9, 16))


def test_quantisation_reaches_all_four_lstm_layers(small_graph: onnx.ModelProto) -> None:
    """Four DynamicQuantizeLSTM nodes, no LSTM left, all else still in float32; of their weights a quarter is left."""
    sizes = {tensor.name: onnx.numpy_helper.to_array(tensor).nbytes for tensor in small_graph.graph.initializer}
    layers = [node for node in small_graph.graph.node if node.op_type == "LSTM"]
    weights = sum(sizes[name] for node in layers for name in node.input[1:3])
    before = count_operators(small_graph)
    quantised = quantise(small_graph)
    after = count_operators(quantised)
    assert (before.pop("LSTM"), after.pop("DynamicQuantizeLSTM")) == (4, 4)
    assert before["Conv"] == after["Conv"] == 2
    assert not [name for name in after if "Integer" in name or "QLinear" in name]
    assert small_graph.ByteSize() - quantised.ByteSize() > 0.7 * weights > 0.1 * small_graph.ByteSize()
    assert not quantised.graph.value_info


def test_weights_have_seven_bits(small_graph: onnx.ModelProto) -> None:
    """No weight exceeds 64, so that two products with an unsigned byte never overflow 16 bits on any processor."""
    weights = [onnx.numpy_helper.to_array(t) for t in quantise(small_graph).graph.initializer if t.data_type == 3]
    largest = max(int(np.abs(w.astype(int)).max()) for w in weights)
    assert largest <= 64
    assert 2 * 255 * largest <= 2**15 - 1


def test_a_layer_that_cannot_be_reached_is_an_error(small_graph: onnx.ModelProto) -> None:
    """Weights that are computed in the graph are not skipped in silence."""
    node = next(node for node in small_graph.graph.node if node.name == "device_inner1_all")
    position = list(small_graph.graph.node).index(node)
    small_graph.graph.node.insert(position, helper.make_node("Identity", [node.input[1]], ["computed"]))
    node.input[1] = "computed"
    with pytest.raises(RarefaultError, match="int8 reached 3 of 4 LSTM layers"):
        quantise(small_graph)


def test_held_out_blocks_judge_the_effect(run_with_history: RunDirectory, tmp_path: Path) -> None:
    """Verdicts, alarms and macro-F1 in both precisions, alone and in company, are in the file's manifest."""
    stages: list[str] = []
    output = tmp_path / "int8.onnx"
    made = export_run(run_with_history, output, int8=True, limits=ANYTHING, on_stage=stages.append)
    assert tuple(stages) == STAGES + INT8_STAGES
    manifest = load_model(output).manifest
    effect = manifest.quantisation
    assert manifest.precision == "int8"
    assert effect is not None
    assert effect["method"] == METHOD
    assert effect["measured on"] == "held-out test blocks of the run"
    assert effect["verdicts"] > 1000
    assert 0 < effect["changed"] < 0.1
    assert effect["posterior_difference"] > 0
    assert all(0 < effect["macro_f1"][precision] < 1 for precision in ("float32", "int8"))
    assert effect["company"]["devices"] == COMPANY
    assert 0 < effect["company"]["changed"] < 0.1
    assert effect["alarm_changes"]["before"] > 0
    assert effect["limits"] == {"changed": 1.0, "macro_f1_loss": 1.0, "alarms_changed": 1.0}
    assert {check.of for check in made.checks} == {
        "opinions", "next_state", "share of verdicts", "share of alarms", "loss of macro-F1",
    }  # fmt: skip
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".csv", ".csv", ".onnx", ".toml"]


def test_a_changed_history_does_not_judge(run_with_history: RunDirectory, tmp_path: Path) -> None:
    """Blocks of another history may hold what was trained on; the reference windows are used, and it is said why."""
    with (tmp_path / "samples.csv").open("a") as file:
        file.write("a,9999999,700,650,720,1\n")
    effect = quantisation(export_run(run_with_history, tmp_path / "int8.onnx", int8=True, limits=ANYTHING))
    assert effect["measured on"] == "reference windows of the run (the history has changed since training)"
    assert effect["macro_f1"] == {"float32": None, "int8": None}
    assert effect["verdicts"] == 24 * 6


def quantisation(made: Export) -> dict[str, Any]:
    """The measured effect in an export's manifest."""
    assert made.model.manifest.quantisation is not None
    return made.model.manifest.quantisation


def test_without_history_the_reference_windows_judge(run: RunDirectory, tmp_path: Path) -> None:
    """A run whose history is out of reach can still be quantised; what was measured, on what and why is in the file."""
    made = export_run(run, tmp_path / "int8.onnx", int8=True, limits=ANYTHING)
    effect = quantisation(made)
    assert re.fullmatch(r"reference windows of the run \(.*config\.toml is missing.*\)", effect["measured on"])
    assert "loss of macro-F1" not in {check.of for check in made.checks}


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda e: e | {"changed": 0.03}, "share of verdicts, int8 vs float32"),
        (
            lambda e: e | {"company": e["company"] | {"changed": 0.03}},
            f"share of verdicts, int8 among {COMPANY} others vs alone",
        ),
        (lambda e: e | {"macro_f1": {"float32": 0.7, "int8": 0.67}}, "loss of macro-F1, int8 vs float32"),
    ],
)
def test_each_limit_refuses(spoil: Callable[[dict[str, Any]], dict[str, Any]], what: str) -> None:
    """Changed verdicts, verdicts that depend on company, and lost macro-F1 are each refused above the limit."""
    alarms = {"before": 10, "changed": 0.0}
    within = {
        "changed": 0.02,
        "alarms": alarms,
        "company": {"changed": 0.0, "alarms": alarms},
        "macro_f1": {"float32": 0.7, "int8": 0.71},
    }
    require(limit_checks(within, Int8Limits()), "refused")
    with pytest.raises(ParityError, match=rf"^refused: {re.escape(what)}: differs by 0\.03, allowed 0\.02$"):
        require(limit_checks(spoil(within), Int8Limits()), "refused")


def test_too_much_change_leaves_no_file(run_with_history: RunDirectory, tmp_path: Path) -> None:
    """An int8 file that changes more verdicts than allowed is not left behind."""
    with pytest.raises(ParityError, match=r"no file is written, int8 changes too much .* allowed 0") as caught:
        export_run(run_with_history, tmp_path / "int8.onnx", int8=True, limits=Int8Limits(changed=0.0))
    assert caught.value.measured > 0
    assert not list(tmp_path.glob("*.onnx"))
    assert not list(tmp_path.glob(".*"))


def test_company_changes_nothing_in_float32(exported: LoadedModel, run: RunDirectory) -> None:
    """The step in company answers for the devices asked about only, and in float32 answers the same."""
    manifest, (center, scale) = exported.manifest, scales_of(run.load_reference())
    crowd = InCompany(exported.step, center, scale, manifest.window.length, manifest.state_size)
    windows = random_sequence(np.random.default_rng(2), 3, manifest.window.length, center, scale)
    state = np.zeros((3, manifest.state_size), np.float32)
    for window in windows:
        opinions, after = exported.step(window, state)
        crowded, crowded_after = crowd(window, state)
        np.testing.assert_allclose(crowded, opinions, atol=1e-6, rtol=0)
        np.testing.assert_allclose(crowded_after, after, atol=1e-6, rtol=0)
        state = after
