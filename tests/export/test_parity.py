"""Parity: the inputs it tries, and what it must notice."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from rarefault.export.exporter import scales_of
from rarefault.export.parity import (
    ALLOWED,
    Check,
    check_checkpoint,
    check_file,
    largest_difference,
    precise_step,
    random_sequence,
    require,
)
from rarefault.runtime.arrays import Float32
from rarefault.runtime.errors import ParityError
from rarefault.runtime.inference.model_file import LoadedModel, OnnxStep, load_model
from rarefault.train.model.step import TorchStep
from rarefault.train.runs.run_directory import RunDirectory


def compare(path: Path, run: RunDirectory) -> list[Check]:
    """All checks of a file against the run's checkpoint."""
    model = run.load_model()
    return check_file(
        load_model(path).step,
        TorchStep(model),
        precise_step(model),
        *scales_of(run.load_reference()),
        run.load_reference(),
    )


def test_random_telemetry_visits_what_can_happen() -> None:
    """Single values, whole channels and whole windows are missing; some readings are absurd; 24 steps long."""
    center, scale = np.array([700, 3], np.float32), np.array([20, 1], np.float32)
    windows = random_sequence(np.random.default_rng(0), 64, 6, center, scale)
    assert windows.shape == (24, 64, 6, 2)
    assert windows.dtype == np.float32
    missing = np.isnan(windows)
    whole_channel = np.all(missing, axis=2)
    whole_window = np.all(missing, axis=(2, 3), keepdims=True)[..., 0]
    assert whole_window.any()
    assert (whole_channel & ~whole_window).any()
    assert (np.any(missing, axis=2) & ~whole_channel).any()
    z = (windows - center) / scale
    assert np.nanmax(z) > 1e20
    assert 0.2 < (np.abs(z[~missing]) < 5).mean() < 1


def test_a_check_covers_every_batch_and_both_outputs(exported: LoadedModel, run: RunDirectory) -> None:
    """N = 1, 7 and 64, real windows, and each device alone; the differences are those of rounding."""
    checks = compare(exported.path, run)
    assert [(check.of, check.between) for check in checks[::2]] == [
        ("opinions", "file vs checkpoint, random, N = 1"),
        ("opinions", "file vs checkpoint, random, N = 7"),
        ("opinions", "file vs checkpoint, random, N = 64"),
        ("opinions", "file vs checkpoint, real, N = 6"),
        ("opinions", "file, 64 together vs each alone"),
    ]
    assert {check.of for check in checks[1::2]} == {"next_state"}
    assert all(check.measured <= check.allowed == ALLOWED for check in checks)


#: Constants of nodes that have nothing to do in a model in which no class is absent.
IDLE = {"impossible", "unseen"}


def initializer_names(path: Path) -> list[str]:
    """The weights of a model file that are numbers with a fraction."""
    return [
        t.name
        for t in onnx.load(path).graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT and t.name not in IDLE
    ]


def test_every_changed_weight_of_a_graph_is_noticed(tiny_export: Path, run: RunDirectory, tmp_path: Path) -> None:
    """One number of one initializer, whichever, changed after serialisation shows in the difference."""
    source = tiny_export / "tiny.onnx"
    names = initializer_names(source)
    assert {"device_conv1_weight", "device_inner1_W", "device_outer2_R", "device_head_bias", "device_bins_low"} <= set(
        names
    )
    for name in names:
        model = onnx.load(source)
        tensor = next(t for t in model.graph.initializer if t.name == name)
        value = numpy_helper.to_array(tensor).copy()
        if not np.isfinite(value.flat[0]):  # stands for what is not there
            continue
        value.flat[0] += 0.2 * max(1.0, abs(float(value.flat[0])))
        tensor.CopyFrom(numpy_helper.from_array(value, name))
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        checks = compare(path, run)
        assert max(check.measured for check in checks) > ALLOWED, name
        with pytest.raises(ParityError, match="spoilt"):
            require(checks, "spoilt")


def test_a_graph_that_forgets_is_noticed(tiny_export: Path, run: RunDirectory, tmp_path: Path) -> None:
    """A last layer that starts from zero at every window agrees on the first window only."""
    model = onnx.load(tiny_export / "tiny.onnx")
    layer = next(node for node in model.graph.node if node.name == "device_outer2_all")
    del layer.input[4:]
    path = tmp_path / "forgetful.onnx"
    onnx.save(model, path)
    with pytest.raises(ParityError, match="differs by"):
        require(compare(path, run), "spoilt")


def test_a_graph_that_mixes_devices_is_noticed(tiny_export: Path, run: RunDirectory, tmp_path: Path) -> None:
    """A graph whose result depends on who shares the batch is refused even where it is right for one device."""
    model = onnx.load(tiny_export / "tiny.onnx")
    nodes = model.graph.node
    position = next(i for i, node in enumerate(nodes) if node.name == "network_opinion")
    nodes[position].input[0] = "mixed"
    first = helper.make_node("ReduceMean", ["device_left"], ["mean"], axes=[0], keepdims=1)
    second = helper.make_node("Max", ["device_left", "mean"], ["mixed"])
    nodes.insert(position, first)
    nodes.insert(position + 1, second)
    path = tmp_path / "mixing.onnx"
    onnx.save(model, path)
    checks = compare(path, run)
    assert checks[0].holds
    assert not checks[-2].holds


def test_what_is_no_number_never_agrees() -> None:
    """NaN compares as infinitely far, so that it cannot pass as a small difference."""
    right, wrong = np.zeros(3, np.float32), np.array([0, np.nan, 0], np.float32)
    assert largest_difference(right, right) == 0
    assert largest_difference(right, wrong) == np.inf
    assert largest_difference(wrong, wrong) == np.inf
    assert not Check("log_prob", "a vs b", float("nan"), 1.0).holds


def test_the_worst_difference_is_the_one_named() -> None:
    """The error says what was refused, where it differs most, by how much, and how much was allowed."""
    checks = [Check("a", "x vs y", 0.5, 1e-5), Check("b", "x vs y", 0.75, 1e-5), Check("c", "x vs y", 0.0, 1e-5)]
    with pytest.raises(ParityError) as caught:
        require(checks, "plant.onnx is not written")
    assert str(caught.value) == "plant.onnx is not written: b, x vs y: differs by 0.75, allowed 1e-05"
    assert (caught.value.measured, caught.value.allowed) == (0.75, 1e-5)


def test_the_checkpoint_reproduces_its_reference(run: RunDirectory) -> None:
    """The stored outputs are of real windows, half of them with holes, over more than 20 steps of carried state."""
    reference = run.load_reference()
    steps, n = reference.window.shape[:2]
    assert steps >= 20
    holes = np.isnan(reference.window).any(axis=(0, 2, 3))
    assert holes.tolist() == [False] * (n // 2) + [True] * (n // 2)
    assert all(check.measured < 1e-6 for check in check_checkpoint(TorchStep(run.load_model()), reference))


def test_float32_gives_the_same_bits_in_any_company(exported: LoadedModel, run: RunDirectory) -> None:
    """A device's log-probabilities are the same alone, among 6 and among 63 others, and in any place of the batch."""
    windows: Float32 = run.load_reference().window[0]
    step: OnnxStep = exported.step
    rng = np.random.default_rng(0)
    many = np.concatenate([windows, rng.normal(700, 20, (58, *windows.shape[1:])).astype(np.float32)])
    state = rng.normal(0, 0.3, (64, exported.manifest.state_size)).astype(np.float32)
    order = rng.permutation(64)
    together = step(many, state)[0]
    np.testing.assert_allclose(step(many[order], state[order])[0], together[order], atol=1e-6, rtol=0)
    for i in range(6):
        np.testing.assert_allclose(step(many[i : i + 1], state[i : i + 1])[0][0], together[i], atol=1e-6, rtol=0)
