"""The models that are measured: the reference sizes with random weights, which cost what trained ones cost."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefault.export.graph import step_graph, with_manifest
from rarefault.export.quantize import quantise
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec, GridSpec, Manifest, WindowSpec
from rarefault.train.model.experts import Experts
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import PRESETS

CHANNELS = ("c1.S1", "c1.S2", "c1.R1", "c2.S1", "c2.S2", "c2.R1", "z1.E1", "z1.S1", "z1.S2")
CLASSES = ("normal", *(f"fault_{i}" for i in range(1, 7)))
PERIOD_S = 60
LENGTH = 24
#: Windows that the hand-written way puts through the network for every verdict.
SEQUENCE = 20


@dataclass(frozen=True)
class ModelFiles:
    """One network in the forms that the programs read.

    Attributes:
        step: float32 step graph with a manifest, as ``rarefault export`` writes it.
        step_int8: the same with ``--int8``.
        sequence: the whole sequence of windows as one graph, [1, T, L, C] to [1, T, K], as one would export it by hand.
        checkpoint: the weights for torch.
    """

    step: Path
    step_int8: Path
    sequence: Path
    checkpoint: Path


class WholeSequence(nn.Module):
    """The network as a user would export it: all windows in, all verdicts out, nothing carried."""

    def __init__(self, model: LRConvLSTM) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows_BTLC: Tensor) -> Tensor:
        """[1, T, L, C] to log-probabilities [1, T, K]."""
        m = self.model
        inner, recent = (x.transpose(0, 1) for x in m.of_windows(windows_BTLC.flatten(0, 1), 1))
        y, _ = m.outer1(torch.cat((inner, recent), dim=-1))
        y, _ = m.outer2(y)
        return torch.log_softmax(m.head(torch.cat((y, recent), dim=-1)), dim=-1)


def make_network(preset: str = "reference") -> NetworkExpert:
    """The network, weights from a fixed seed."""
    torch.manual_seed(7)
    network = NetworkExpert(PRESETS[preset], len(CHANNELS), len(CLASSES), LENGTH)
    assert network.device is not None
    edges = network.device.encoding.edges
    edges.copy_(torch.linspace(640, 760, edges.shape[1]).expand_as(edges))
    return network.eval()


def make_manifest(model: Experts, stride: int, precision: str = "float32") -> Manifest:
    """A manifest as that of a fleet, with even priors, so that random weights say something and no alarm flickers."""
    even = (1 / len(CLASSES),) * len(CLASSES)
    return Manifest(
        name="speed",
        channels=CHANNELS,
        classes=CLASSES,
        grid=GridSpec(period_s=PERIOD_S, max_hold_s=3 * PERIOD_S, allowed_lateness_s=0, max_gap_s=10 * PERIOD_S),
        window=WindowSpec(length=LENGTH, stride=stride, spread=True),
        state_size=model.state_size,
        decision=DecisionSpec(prior=even, thresholds=even, experts=(ExpertSpec(name="network"),)),
        precision="int8" if precision == "int8" else "float32",
    )


def make_models(folder: Path, stride: int, preset: str = "reference") -> ModelFiles:
    """Write the network in all its forms into a folder."""
    files = ModelFiles(
        folder / f"step{stride}.onnx",
        folder / f"step{stride}.int8.onnx",
        folder / "sequence.onnx",
        folder / "network.pt",
    )
    network = make_network(preset)
    device = network.device
    assert device is not None
    model = Experts(network, None)
    graph = step_graph(model, make_manifest(model, stride))
    files.step.write_bytes(with_manifest(graph, make_manifest(model, stride)))
    files.step_int8.write_bytes(with_manifest(quantise(graph), make_manifest(model, stride, "int8")))
    if not files.sequence.exists():
        example = torch.zeros(1, SEQUENCE, LENGTH, len(CHANNELS))
        torch.onnx.export(
            WholeSequence(device),
            (example,),
            files.sequence,
            input_names=["windows"],
            output_names=["log_prob"],
            dynamo=False,
        )
        torch.save({"spec": msgspec.to_builtins(network.spec), "weights": device.state_dict()}, files.checkpoint)
    return files


def telemetry_values(rng: np.random.Generator, devices: int) -> NDArray[np.float64]:
    """One sample of each device, [devices, C]."""
    return np.round(rng.normal(700, 20, (devices, len(CHANNELS))), 1)
