"""Make a tiny run directory and model file with the real exporter: ``python tests/make_tiny_model.py FOLDER``.

The network is an LR-ConvLSTM like any other, only small (4 channels, 3 classes, windows of 6 bins) and not trained: its
weights are drawn from a fixed seed. Tests of the daemon start from the file, so that they need no torch.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rarefault.export.exporter import export_run
from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import DecisionSpec, DistanceSpec, ExpertSpec, GridSpec, Manifest, WindowSpec
from rarefault.runtime.inference.window_buffer import WindowBuffer
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import ModelSpec
from rarefault.train.runs.run_directory import RunDirectory, reference_outputs

CHANNELS = ("c1.S1", "c1.S2", "c1.R1", "z1.E1")
CLASSES = ("normal", "fault_1", "fault_2")
WINDOW = WindowSpec(length=6, stride=2)
SEED = 3
CENTER, SCALE = np.array([700, 650, 720, 3], np.float32), np.array([20, 15, 10, 1], np.float32)


def make_model() -> Experts:
    """A network alone; weights are large enough that its verdicts differ from window to window."""
    torch.manual_seed(SEED)
    spec = ModelSpec(
        edges=5, planes=3, filters=4, kernel=3, inner=(6, 5), outer=(8, 4), recent=2, hidden=6, dropout=0.3
    )
    network = NetworkExpert(spec, len(CHANNELS), len(CLASSES), WINDOW.length)
    model = network.device
    assert model is not None
    model.encoding.edges.copy_(torch.from_numpy(CENTER[:, None] + SCALE[:, None] * np.linspace(-8, 8, spec.edges)))
    assert model.measured is not None
    spread, spans = SCALE[:, None] * np.linspace(0, 8, spec.edges), len(model.measured.edges) // (3 * len(CHANNELS))
    of_mean = CENTER[:, None] + SCALE[:, None] * np.linspace(-8, 8, spec.edges)
    measured = np.concatenate([of_mean] * spans + [spread] * 2 * spans)
    model.measured.edges.copy_(torch.from_numpy(measured))
    with torch.no_grad():
        for norm in (model.norm1, model.norm2, model.beside[1], model.beside[5]):
            assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2.0)
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.fill_(0.5)  # no filter is dead
        for layer in (model.inner1, model.inner2, model.outer1, model.outer2):
            for name, weight in layer.named_parameters():
                weight.uniform_(-1.2, 1.2) if "weight" in name else weight.zero_()
        model.head.weight.uniform_(-8, 8)
        model.head.weight[:, spec.outer[1] :] *= 0.3  # most is up to what is carried
        model.head.bias.zero_()
        assert network.device_distance is not None
        network.device_distance.axes.normal_()
        network.device_distance.means.normal_()
    return Experts(network, None).eval()


def make_manifest(model: Experts) -> Manifest:
    """A manifest that fits the network."""
    return Manifest(
        name="tiny",
        channels=CHANNELS,
        counters=("z1.E1",),
        classes=CLASSES,
        grid=GridSpec(period_s=60, max_hold_s=120, allowed_lateness_s=0, max_gap_s=600),
        window=WINDOW,
        state_size=model.state_size,
        decision=DecisionSpec(
            prior=(0.5, 0.3, 0.2),
            thresholds=(0.5, 0.3, 0.2),
            experts=(ExpertSpec(name="network"),),
            distance=DistanceSpec(quantiles=(0.0, 2.0, 3.0, 8.0), far=3.0),
            unknown_windows=3,
        ),
        training={"created": "2026-01-01T00:00:00+00:00"},
    )


def make_windows() -> LabelledWindows:
    """Windows of three devices that wander, as the grid and the streams would cut them."""
    rng = np.random.default_rng(0)
    n_devices, n_bins = 3, 60
    walk = np.cumsum(rng.normal(scale=0.5, size=(n_devices, n_bins, len(CHANNELS))), axis=1)
    values = (CENTER + SCALE * walk).reshape(-1, len(CHANNELS)).astype(np.float32)
    index = np.tile(np.arange(n_bins), n_devices)
    device = np.repeat(np.arange(n_devices, dtype=np.int32), n_bins)
    windows = WindowBuffer(WINDOW, len(CHANNELS)).push(Bins(device, index, values, index == 0))
    return LabelledWindows(windows, np.zeros(len(windows), np.int64), np.cumsum(windows.fresh), WINDOW.stride)


def make(folder: Path) -> Path:
    """Write ``FOLDER/run`` and ``FOLDER/tiny.onnx``; returns the model file."""
    run = RunDirectory(folder / "run")
    run.path.mkdir(parents=True)
    model = make_model()
    run.save_model(model)
    run.save_manifest(make_manifest(model))
    run.save_reference(reference_outputs(model, make_windows()))
    return export_run(run, folder / "tiny.onnx").model.path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(make(Path(sys.argv[1])))
