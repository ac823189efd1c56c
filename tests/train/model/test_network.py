"""The network: shapes, carried state, preprocessing."""

import msgspec
import numpy as np
import pytest
import torch

from rarefault.train.model.experts import Experts
from rarefault.train.model.network import PRESETS, LRConvLSTM, ModelSpec
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.step import TorchStep

SPEC = ModelSpec(filters=3, kernel=3, inner=(6, 4), outer=(7, 5), dropout=0.3, clip=5.0, missing_indicator=True)


@pytest.fixture
def model() -> LRConvLSTM:
    """A small network with three channels, four classes and windows of nine bins."""
    torch.manual_seed(1)
    model = LRConvLSTM(SPEC, n_channels=3, n_classes=4, window_length=9)
    model.center.copy_(torch.tensor([10.0, 0.0, -5.0]))
    model.scale.copy_(torch.tensor([2.0, 1.0, 4.0]))
    return model.eval()


def bins(sequences: int, n: int = 9) -> torch.Tensor:
    """Random bins with a hole."""
    x = torch.randn(sequences, n, 3, generator=torch.Generator().manual_seed(2)) * 3
    x[:, 2, 1] = torch.nan
    return x


def test_shapes(model: LRConvLSTM) -> None:
    """Sequence to sequence: a distribution over the classes for every window, and the state after the last."""
    log_prob, state = model(bins(5, 9 + 5 * 2), stride=2)
    assert log_prob.shape == (5, 6, 4)
    assert state.shape == (5, model.state_size) == (5, 2 * (7 + 5))
    torch.testing.assert_close(log_prob.exp().sum(-1), torch.ones(5, 6))


def test_the_reference_preset_has_the_sizes_of_the_design() -> None:
    """Inner 256 and 64, outer 512 and 128, and a carried state of both outer layers."""
    model = LRConvLSTM(PRESETS["reference"], n_channels=9, n_classes=7, window_length=24)
    assert model.outer1.input_size == 64 * 16
    assert model.inner1.input_size == 8 * 9
    assert model.state_size == 2 * (512 + 128)


@pytest.mark.parametrize("stride", [1, 2, 9, 11])
def test_steps_with_carried_state_are_the_sequence(model: LRConvLSTM, stride: int) -> None:
    """Window by window with the state carried gives what the whole sequence gives at once, shared work or not."""
    rows = bins(2, 9 + 11 * stride)
    whole, last = model(rows, stride)
    x = rows.unfold(1, 9, stride).transpose(2, 3)
    step = TorchStep(Experts(NetworkExpert(model, None), None))
    state = np.zeros((2, model.state_size), np.float32)
    for t in range(12):
        opinions, state = step(x[:, t].numpy(), state)
        np.testing.assert_allclose(opinions[:, 0], whole[:, t].detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(state, last.detach().numpy(), atol=1e-5)


def test_missing_values_are_the_mean_and_are_seen(model: LRConvLSTM) -> None:
    """NaN is filled with the channel's mean; the indicator tells it from a value that happens to be the mean."""
    x = bins(1)
    x[..., 0] = torch.nan
    filled = x.clone()
    filled[..., 0] = 10.0
    planes, mean_planes = model.preprocess(x), model.preprocess(filled)
    torch.testing.assert_close(planes[:, 0], mean_planes[:, 0])
    assert planes[:, 1, :, 0].min() == 1
    assert mean_planes[:, 1, :, 0].max() == 0
    without = LRConvLSTM(msgspec.structs.replace(SPEC, missing_indicator=False), 3, 4, 9)
    assert without.preprocess(x).shape == (1, 1, 9, 3)


def test_wild_values_are_clipped(model: LRConvLSTM) -> None:
    """A broken sensor's 1e30 is no more than the clip, and gives probabilities."""
    x = bins(1)
    x[..., 0] = 1e30
    assert float(model.preprocess(x)[:, 0].max()) == 5.0
    assert torch.isfinite(model(x, stride=1).log_prob).all()


def test_too_short_windows_are_refused() -> None:
    """Two kernels of three leave nothing of four bins."""
    with pytest.raises(ValueError, match="too short"):
        LRConvLSTM(SPEC, 3, 4, window_length=4)
