"""The network's nodes: values at the edges of what sensors send, and levels far from zero."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rarefault.export.graph import step_graph, with_manifest
from rarefault.runtime.arrays import Float32
from rarefault.runtime.inference.manifest import (
    DecisionSpec,
    DistanceSpec,
    ExpertSpec,
    GridSpec,
    Manifest,
    UnitsSpec,
    WindowSpec,
)
from rarefault.runtime.inference.model_file import load_model
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import ModelSpec
from rarefault.train.model.step import TorchStep

COLUMNS, LENGTH = 6, 7
UNITS = UnitsSpec(
    names=("a", "b"), channels=((0, 2, 3), (5, 1, 4)), faults=(1, 2), rarest_first=(2, 1, 3), prior=(0.1, 0.1)
)
SPEC = ModelSpec(edges=5, planes=3, filters=2, kernel=3, inner=(4, 3), outer=(5, 4), recent=2, hidden=6, dropout=0.0)


def experts(units: UnitsSpec | None, level: float, step: float) -> Experts:
    """A network whose edges lie ``step`` apart from ``level`` on."""
    torch.manual_seed(1)
    network = NetworkExpert(SPEC, COLUMNS, 4, LENGTH, units)
    for _, model in network.parts():
        model.encoding.edges.copy_(level + step * model.encoding.edges)
        for _ in range(3):
            model(level + 3 * step * torch.randn(8, LENGTH + 3, model.planes.shape[0]), stride=1)
    return Experts(network.eval(), None)


def assert_file_equals(model: Experts, units: UnitsSpec | None, window: Float32, path: Path) -> None:
    """The file of a model computes what the model does."""
    manifest = Manifest(
        name="net",
        channels=tuple(f"x{i}" for i in range(COLUMNS)),
        classes=("normal", "fault_1", "fault_2", "fault_3"),
        grid=GridSpec(),
        window=WindowSpec(length=LENGTH, stride=1),
        state_size=model.state_size,
        decision=DecisionSpec(
            prior=(0.25,) * 4,
            thresholds=(0.25,) * 4,
            experts=(ExpertSpec(name="network"),),
            units=units,
            distance=DistanceSpec(quantiles=(0.0, 1.0)),
        ),
    )
    path.write_bytes(with_manifest(step_graph(model, manifest), manifest))
    state = np.random.default_rng(2).normal(size=(len(window), model.state_size)).astype(np.float32)
    expected, got = TorchStep(model)(window, state), load_model(path).step(window, state)
    for a, b in zip(expected, got, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(b, a, atol=1e-5)


@pytest.mark.parametrize("units", [None, UNITS], ids=["a device", "units"])
def test_absurd_values_are_read_alike(units: UnitsSpec | None, tmp_path: Path) -> None:
    """Whether a value is missing, far below all that sensors send, or so large that a difference is infinite."""
    rng = np.random.default_rng(0)
    window = rng.normal(size=(9, LENGTH, COLUMNS)).astype(np.float32) * 4
    absurd = np.array([np.nan, 3.4e38, -3.4e38, -1.5e38, 1e30, -1e30, 1e-42], np.float32)
    chosen = rng.random(window.shape) < 0.4
    window[chosen] = rng.choice(absurd, chosen.sum())
    window[8] = np.nan
    assert_file_equals(experts(units, 0.0, 1.0), units, window, tmp_path / "net.onnx")


def test_levels_far_from_zero_keep_their_edges(tmp_path: Path) -> None:
    """Edges that are neighbouring numbers of single precision tell those numbers apart."""
    level, step = 1e6, float(np.spacing(np.float32(1e6)))
    window = level + step * np.random.default_rng(0).integers(-2, 7, (20, LENGTH, COLUMNS))
    model = experts(None, level, step)
    assert model.network is not None
    assert model.network.device is not None
    code = model.network.device.encoding(torch.full((1, COLUMNS), level + 2 * step))
    assert code[0, 0].tolist() == [1, 1, -1, -1, 0]
    assert_file_equals(model, None, window.astype(np.float32), tmp_path / "net.onnx")
