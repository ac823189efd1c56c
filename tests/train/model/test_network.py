"""The network of one unit: its encoding, shapes, carried state."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from rarefault.train.model.network import Encoding, LRConvLSTM
from rarefault.train.model.sizes import PRESETS, ModelSpec

SPEC = ModelSpec(edges=5, planes=3, filters=3, kernel=3, inner=(6, 4), outer=(7, 5), recent=2, hidden=6, dropout=0.3)
EDGES = torch.tensor([[0.0, 1.0, 3.0, 3.5, 10.0], [-9.0, -8.0, -1.0, 0.0, 1e30], [5.0, 6.0, 7.0, 8.0, 9.0]])


@pytest.fixture
def model() -> LRConvLSTM:
    """A small network with three channels, four outputs and windows of nine bins."""
    torch.manual_seed(1)
    model = LRConvLSTM(SPEC, channels=3, outputs=4, window_length=9, paired=False)
    model.encoding.edges.copy_(EDGES)
    return model.eval()


def bins(sequences: int, n: int = 9) -> torch.Tensor:
    """Random bins with a hole."""
    x = torch.randn(sequences, n, 3, generator=torch.Generator().manual_seed(2)) * 3 + torch.tensor([4.0, -4.0, 7.0])
    x[:, 2, 1] = torch.nan
    return x


def plain_code(x: float, edges: list[float]) -> list[float]:
    """The encoding of one value by its rule."""
    if np.isnan(x):
        return [0.0] * (len(edges) - 1) + [1.0]
    parts = [(x - low) / (high - low) for low, high in pairwise(edges)]
    return [min(max(part, 0.0), 1.0) * 2 - 1 for part in parts] + [0.0]


def test_the_encoding_is_piecewise_linear() -> None:
    """As by its rule, at the edges, between and beyond them; a missing value has a component of its own."""
    encoding = Encoding(3, 5)
    encoding.edges.copy_(EDGES)
    values = [-1e38, -100.0, -8.5, 0.0, 0.25, 1.0, 2.0, 3.4999, 3.5, 6.5, 9.0, 11.0, 1e29, 3e38, np.nan]
    x = torch.tensor(values).unsqueeze(1).expand(-1, 3)
    expected = [[plain_code(value, own) for own in EDGES.double().tolist()] for value in values]
    found = encoding(x)
    assert found.shape == (len(values), 3, encoding.size)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)
    assert (found[-1] == torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0])).all()


@pytest.mark.parametrize("value", [torch.inf, 3.4e38, 1e30, -1e30])
def test_no_value_is_too_large(value: float) -> None:
    """A broken sensor's readings are no more than the ends of the encoding."""
    torch.manual_seed(1)
    model = LRConvLSTM(SPEC, channels=3, outputs=4, window_length=9, paired=True).eval()
    x = bins(1)
    x[..., 0] = value
    ends = bins(1)
    ends[..., 0] = 1e6 if value > 0 else -1e6
    torch.testing.assert_close(model(x, stride=1).output, model(ends, stride=1).output)


@pytest.mark.parametrize("value", [-torch.inf, -3.4e38])
def test_what_no_sensor_sends_is_missing(model: LRConvLSTM, value: float) -> None:
    """Below all that telemetry can bring, values count as missing (decision 0037)."""
    code = model.encoding(torch.full((1, 3), value))
    torch.testing.assert_close(code, model.encoding(torch.full((1, 3), torch.nan)))


def test_shapes(model: LRConvLSTM) -> None:
    """Sequence to sequence: outputs for every window, the state after the last, and what is found beside."""
    output, state, recent = model(bins(5, 9 + 5 * 2), stride=2)
    assert output.shape == (5, 6, 4)
    assert recent is not None
    assert recent.shape == (5, 6, SPEC.hidden)
    assert state.shape == (5, model.state_size) == (5, 2 * (7 + 5))


def test_the_reference_preset_has_the_sizes_of_the_paper() -> None:
    """Inner 256 and 64, outer 512 and 128, and a carried state of both outer layers."""
    model = LRConvLSTM(PRESETS["reference"], channels=9, outputs=7, window_length=24, paired=False)
    assert model.inner1.input_size == 8 * 9
    assert (model.inner1.hidden_size, model.inner2.hidden_size) == (256, 64)
    assert model.outer1.input_size == 64 * 16 + 256
    assert model.state_size == 2 * (512 + 128)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 9, 11])
def test_steps_with_carried_state_are_the_sequence(model: LRConvLSTM, stride: int, paired: bool) -> None:
    """Window by window with the state carried gives what the whole sequence gives at once, shared work or not."""
    if paired:
        model = LRConvLSTM(SPEC, channels=3, outputs=4, window_length=9, paired=True).eval()
    rows = bins(2, 9 + 11 * stride)
    whole, last, _ = model(rows, stride)
    state = None
    for t in range(12):
        output, state, _ = model(rows[:, t * stride : t * stride + 9], 1, state)
        torch.testing.assert_close(output[:, 0], whole[:, t], atol=1e-5, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-5, rtol=0)


def test_what_was_before_counts(model: LRConvLSTM) -> None:
    """The state is carried: the same window after other ones gives other outputs."""
    rows = bins(1, 10)
    state = model(rows[:, :9], 1).state
    after, alone = model(rows[:, 1:], 1, state).output, model(rows[:, 1:], 1).output
    assert float((after - alone).detach().abs().max()) > 1e-4


def test_a_missing_value_is_seen(model: LRConvLSTM) -> None:
    """It is another input than any value."""
    x = bins(1)
    x[..., 0] = torch.nan
    missing = model(x, 1).output
    for value in (0.0, 1.0, 5.0, 10.0):
        x[..., 0] = value
        assert float((model(x, 1).output - missing).detach().abs().max()) > 1e-4


def test_pairs_are_inputs_of_the_layers_beside() -> None:
    """The differences of all pairs; of more channels than are compared, and of a whole device, none."""
    paired = LRConvLSTM(SPEC, channels=3, outputs=1, window_length=9, paired=True)
    x = torch.tensor([[1.0, 4.0, torch.nan]])
    found = paired.inputs_of(x)
    torch.testing.assert_close(found, torch.tensor([[1, 4, torch.nan, -3, torch.nan, torch.nan]]), equal_nan=True)
    assert paired.encoding.edges.shape == (6, 5)
    assert paired.conv1.in_channels == SPEC.planes
    for channels, wanted in ((40, True), (3, False)):
        plain = LRConvLSTM(SPEC, channels, outputs=1, window_length=9, paired=wanted)
        assert plain.encoding.edges.shape == (channels, 5)


def test_a_window_of_few_bins_has_no_more_recent_ones() -> None:
    """Where the window is shorter than ``recent``, all of its bins are."""
    spec = ModelSpec(
        edges=3, planes=2, filters=2, kernel=1, inner=(2, 2), outer=(2, 2), recent=5, hidden=4, dropout=0.0
    )
    model = LRConvLSTM(spec, channels=2, outputs=1, window_length=2, paired=False).eval()
    assert model(torch.randn(3, 4, 2), stride=1).output.shape == (3, 3, 1)


def test_too_short_windows_are_refused() -> None:
    """Two kernels of three leave nothing of four bins."""
    with pytest.raises(ValueError, match="too short"):
        LRConvLSTM(SPEC, 3, 4, window_length=4, paired=False)
