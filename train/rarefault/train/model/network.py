"""LR-ConvLSTM: long-term recurrent convolutional LSTM, sequence to sequence, over one unit of a device.

Each input goes through a piecewise-linear encoding, so that an exact level of one channel reaches the network as such.
Convolutions along time find patterns inside a window, an inner LSTM reads them bin by bin, an outer LSTM carries what
it has seen from window to window. Two layers beside the inner LSTM read the last bins: a fault that is an exact
condition at the window's end needs no recurrence. Of a unit they also read the differences of its channels' pairs, of a
whole device how level and unsteady each channel is over the window.

The units of a device share all weights (:class:`rarefault.train.model.network_expert.NetworkExpert`); a device without
like units is one unit of all of its channels.

Shapes: B sequences, T windows, L bins of a window, R bins of a whole sequence, M channels of a unit, P inputs (the
channels and the differences of their pairs), Y statistics of a window, D edges of an encoding, Q planes, F filters, E
bins after the convolutions, O outputs, S carried state.

Why: decisions 0001 and 0036.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rarefault.train.model.sizes import ModelSpec
from rarefault.train.model.trees import Taps, pairs_of, statistics

#: What is measured of each channel over a span of a window.
MEASURES = ("mean", "range", "mean absolute change")
#: Stands for a missing value: below all edges.
LOWEST = torch.finfo(torch.float32).min
#: A value is known from the second number on, and missing up to the first.
KNOWN = (-2e38, -1e38)


def spans_of(window_length: int) -> tuple[int, ...]:
    """Spans that are measured: the last quarter of a window, and all of it."""
    return tuple(sorted({Taps.of(window_length).quarter, window_length}))


class Carried(NamedTuple):
    """Outputs, the state to carry on, and what the layers beside the inner LSTM make of the windows.

    A network without such layers gives nothing of the last.
    """

    output: Tensor
    state: Tensor
    recent: Tensor | None = None


class Encoding(nn.Module):
    """Piecewise-linear encoding of inputs.

    Component d of a value x is ``clip((x - e_d) / (e_d+1 - e_d), 0, 1) * 2 - 1`` (Gorishniy, Rubachev and Babenko, "On
    Embeddings for Numerical Features in Tabular Deep Learning", 2022, section 3.2). Of a missing value all are 0, and
    one more component says that it is missing. A value below all that sensors send (:data:`KNOWN`) counts as missing:
    so whether it is known can be computed as the other components are (decision 0037).

    Args:
        inputs: P.
        edges: D.
    """

    edges: Tensor

    def __init__(self, inputs: int, edges: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.arange(edges, dtype=torch.float32).repeat(inputs, 1))

    @property
    def size(self) -> int:
        """Components of one input."""
        return self.edges.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Raw units [..., P], NaN where missing, to components [..., P, D]."""
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        x = torch.nan_to_num(x, nan=LOWEST).unsqueeze(-1)
        known = ((x - KNOWN[0]) / (KNOWN[1] - KNOWN[0])).clamp_(0.0, 1.0)
        # Nothing here is learnt, so it may change in place.
        z = (x - low).div_(high - low).clamp_(0.0, 1.0).mul_(2.0).sub_(known)
        return torch.cat((z, 1.0 - known), dim=-1)


class LRConvLSTM(nn.Module):
    """The network of one unit; it takes raw physical units, NaN where a value is missing.

    Args:
        spec: sizes.
        channels: M.
        outputs: O.
        window_length: L.
        paired: whether the layers beside read the differences of the channels' pairs; else, statistics of the window.
    """

    first: Tensor
    second: Tensor

    def __init__(self, spec: ModelSpec, channels: int, outputs: int, window_length: int, *, paired: bool) -> None:
        super().__init__()
        self.spec, self.window_length, self.outputs = spec, window_length, outputs
        left = window_length - 2 * (spec.kernel - 1)
        if left < 1:
            raise ValueError(f"a window of {window_length} bins is too short for two kernels of {spec.kernel}")
        first, second = pairs_of(channels if paired else 0)
        self.register_buffer("first", torch.tensor(first, dtype=torch.int64), persistent=False)
        self.register_buffer("second", torch.tensor(second, dtype=torch.int64), persistent=False)
        inputs = channels + len(first)
        self.encoding = Encoding(inputs, spec.edges)
        self.measured = (
            None if paired else Encoding(len(MEASURES) * len(spans_of(window_length)) * channels, spec.edges)
        )
        self.planes = nn.Parameter(torch.randn(channels, spec.edges, spec.planes) / (spec.edges - 1) ** 0.5)
        self.planes_bias = nn.Parameter(torch.zeros(channels, spec.planes))
        self.conv1 = nn.Conv2d(spec.planes, spec.filters, (spec.kernel, 1))
        self.norm1 = nn.BatchNorm2d(spec.filters)
        self.conv2 = nn.Conv2d(spec.filters, spec.filters, (spec.kernel, 1))
        self.norm2 = nn.BatchNorm2d(spec.filters)
        self.inner1 = nn.LSTM(spec.filters * channels, spec.inner[0], batch_first=True)
        self.inner2 = nn.LSTM(spec.inner[0], spec.inner[1], batch_first=True)
        self.beside = nn.Sequential(
            *_layer(self._beside_size(), spec.hidden, spec.dropout),
            *_layer(spec.hidden, spec.hidden, spec.dropout),
        )
        self.outer1 = nn.LSTM(spec.inner[1] * left + spec.hidden, spec.outer[0], batch_first=True)
        self.outer2 = nn.LSTM(spec.outer[0], spec.outer[1], batch_first=True)
        self.head = nn.Linear(spec.outer[1] + spec.hidden, outputs)

    @property
    def state_size(self) -> int:
        """Values S that the outer layers carry: hidden and cell values of both."""
        return 2 * sum(self.spec.outer)

    def _beside_size(self) -> int:
        inputs, size = self.encoding.edges.shape
        measured = 0 if self.measured is None else len(self.measured.edges)
        return (min(self.spec.recent, self.window_length) * inputs + measured) * size

    def measures_of(self, window_NLM: Tensor) -> Tensor:
        """Mean, range and mean absolute change of each channel over each span, NaN where nothing is known, [N, Y]."""
        taps = Taps.of(self.window_length)
        found = statistics(window_NLM, self.first.new_empty((0, 0)))
        at = [taps.spans.index(span) for span in spans_of(self.window_length)]
        mean = 1 + len(taps.lags)
        rows = [found.channels[:, [first + row for row in at]] for first in (mean, mean + len(taps.spans))]
        return torch.cat([*rows, found.mean_abs_change[:, at]], dim=1).flatten(1)

    def inputs_of(self, x: Tensor) -> Tensor:
        """Channels and the differences of their pairs: [..., M] to [..., P]."""
        return torch.cat((x, x[..., self.first] - x[..., self.second]), dim=-1) if len(self.first) else x

    def forward(self, bins_BRM: Tensor, stride: int, state_BS: Tensor | None = None) -> Carried:
        """Sequences of windows to outputs [B, T, O], the state after them [B, S], and [B, T, hidden] of the windows.

        Args:
            bins_BRM: raw units; the T windows are cut from them, R = L + (T - 1) stride.
            stride: bins from one window to the next.
            state_BS: to begin with; zero by default.
        """
        inner, recent = self.of_windows(bins_BRM, stride)
        seen, state = self._outer(torch.cat((inner, recent), dim=-1), state_BS)
        return Carried(self.head(torch.cat((seen, recent), dim=-1)), state, recent)

    def of_windows(self, bins_BRM: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """What is found in windows by themselves: by the inner LSTM [B, T, E H], and beside it [B, T, hidden]."""
        code = self.encoding(self.inputs_of(bins_BRM))
        windows = (bins_BRM.shape[1] - self.window_length) // stride + 1
        return self._inner(code, stride), self._recent(code, bins_BRM, windows, stride)

    def recent_of(self, bins_NLM: Tensor) -> Tensor:
        """What is found beside the inner LSTM in one window of each sequence, [N, hidden]."""
        return self._recent(self.encoding(self.inputs_of(bins_NLM)), bins_NLM, 1, 1).squeeze(1)

    def _inner(self, code_BRPD: Tensor, stride: int) -> Tensor:
        """What the inner LSTM makes of each window, all of its outputs: [B, T, 16 E] at small sizes.

        Overlapping windows share their bins, and so does the work of the convolutions, which is the same for a bin in
        whichever window it stands.
        """
        channels, size, _ = self.planes.shape
        rows, bins = code_BRPD.shape[:2]
        x = code_BRPD[:, :, :channels].permute(2, 3, 1, 0).reshape(channels, size, bins * rows)
        x = torch.bmm(self.planes.transpose(1, 2), x) + self.planes_bias.unsqueeze(2)
        x = torch.relu(x).unflatten(2, (bins, rows))  # [M, Q, R, B]: sequences side by side suit the convolutions best
        x = self._dropped(torch.relu(self.norm1(self.conv1(x))))
        x = self._dropped(torch.relu(self.norm2(self.conv2(x))))
        x = x.permute(3, 2, 1, 0).flatten(2)  # [B, R - 8, F M]
        x = x.unfold(1, self.window_length - 2 * (self.spec.kernel - 1), stride).transpose(2, 3)
        read, _ = self.inner1(x.flatten(0, 1))
        read, _ = self.inner2(read)
        inner: Tensor = read.flatten(1).unflatten(0, x.shape[:2])
        return inner

    def _dropped(self, x_MFRB: Tensor) -> Tensor:
        """During training, each sequence without some of its filters; the others make up for them."""
        if not self.training or not self.spec.dropout:
            return x_MFRB
        _, filters, _, rows = x_MFRB.shape
        kept = torch.rand(1, filters, 1, rows, device=x_MFRB.device) >= self.spec.dropout
        return x_MFRB * (kept / (1 - self.spec.dropout))

    def _recent(self, code_BRPD: Tensor, bins_BRM: Tensor, windows: int, stride: int) -> Tensor:
        """What the layers beside the inner LSTM make of each window, [B, T, hidden]."""
        last = self.window_length - 1 + stride * torch.arange(windows, device=code_BRPD.device)
        back = range(min(self.spec.recent, self.window_length))
        code = torch.cat([code_BRPD[:, last - k].flatten(2) for k in back], dim=-1)
        if self.measured is not None:
            window_BTLM = bins_BRM.unfold(1, self.window_length, stride).transpose(2, 3)
            measured = self.measured(self.measures_of(window_BTLM.flatten(0, 1)))
            code = torch.cat((code, measured.flatten(1).unflatten(0, code.shape[:2])), dim=-1)
        recent: Tensor = self.beside(code.flatten(0, 1)).unflatten(0, code.shape[:2])
        return recent

    def _outer(self, encoded_BTX: Tensor, state_BS: Tensor | None) -> tuple[Tensor, Tensor]:
        a, b = self.spec.outer
        if state_BS is None:
            state_BS = encoded_BTX.new_zeros(len(encoded_BTX), self.state_size)
        h1, c1, h2, c2 = (part.unsqueeze(0).contiguous() for part in state_BS.split((a, a, b, b), dim=1))
        y, (h1, c1) = self.outer1(encoded_BTX, (h1, c1))
        y, (h2, c2) = self.outer2(y, (h2, c2))
        return y, torch.cat((h1, c1, h2, c2), dim=2).squeeze(0)


def _layer(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout)]
