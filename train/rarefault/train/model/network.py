"""LR-ConvLSTM: long-term recurrent convolutional LSTM, sequence to sequence.

Convolutions along time find patterns inside a window, an inner LSTM reads them bin by bin, an outer LSTM carries what
it has seen from window to window. Shapes: B sequences, T windows, L bins of a window, R bins of a whole
sequence, C channels, F filters, E bins after the convolutions, K classes, N devices due, S carried state.
"""

from typing import Annotated, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from rarefault.runtime.inference.manifest import Count, Positive


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes of the network."""

    filters: Count
    """Filters of each of the two convolutions."""
    kernel: Count
    """Bins that a convolution's kernel spans."""
    inner: tuple[int, int]
    """Hidden sizes of the two inner LSTM layers, which read a window bin by bin."""
    outer: tuple[int, int]
    """Hidden sizes of the two outer LSTM layers, which read window after window."""
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    """Share of the filters that is dropped after each convolution during training."""
    clip: Positive
    """Normalised values are clipped to plus and minus this many standard deviations."""
    missing_indicator: bool
    """Whether the first convolution also sees which values are missing."""


def _sizes(filters: int, inner: tuple[int, int], outer: tuple[int, int]) -> ModelSpec:
    return ModelSpec(filters=filters, kernel=5, inner=inner, outer=outer, dropout=0.3, clip=5.0, missing_indicator=True)


#: ``reference`` has the sizes of the paper. With trees beside it the size makes little difference (decision 0002);
#: docs/results/speed.md has what each costs and scores.
PRESETS = {
    "reference": _sizes(8, (256, 64), (512, 128)),
    "medium": _sizes(8, (96, 32), (192, 64)),
    "small": _sizes(8, (32, 16), (64, 32)),
    "tiny": _sizes(4, (16, 8), (32, 16)),
}


class StepOutput(NamedTuple):
    """Log-probabilities and the state to carry on."""

    log_prob: Tensor
    state: Tensor


class LRConvLSTM(nn.Module):
    """The network, with its preprocessing inside: it takes raw physical units, NaN where a value is missing.

    Args:
        spec: sizes.
        n_channels: C.
        n_classes: K.
        window_length: L.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, spec: ModelSpec, n_channels: int, n_classes: int, window_length: int) -> None:
        super().__init__()
        self.spec = spec
        self.n_channels, self.n_classes, self.window_length = n_channels, n_classes, window_length
        self.register_buffer("center", torch.zeros(n_channels))
        self.register_buffer("scale", torch.ones(n_channels))
        left = self.window_length - 2 * (spec.kernel - 1)
        if left < 1:
            raise ValueError(f"a window of {self.window_length} bins is too short for two kernels of {spec.kernel}")
        planes = 2 if spec.missing_indicator else 1
        self.conv1 = nn.Conv2d(planes, spec.filters, (spec.kernel, 1))
        self.norm1 = nn.BatchNorm2d(spec.filters)
        self.conv2 = nn.Conv2d(spec.filters, spec.filters, (spec.kernel, 1))
        self.norm2 = nn.BatchNorm2d(spec.filters)
        self.drop = nn.Dropout2d(spec.dropout)
        self.inner1 = nn.LSTM(spec.filters * n_channels, spec.inner[0], batch_first=True)
        self.inner2 = nn.LSTM(spec.inner[0], spec.inner[1], batch_first=True)
        self.outer1 = nn.LSTM(spec.inner[1] * left, spec.outer[0], batch_first=True)
        self.outer2 = nn.LSTM(spec.outer[0], spec.outer[1], batch_first=True)
        self.head = nn.Linear(spec.outer[1], n_classes)

    @property
    def state_size(self) -> int:
        """Size S of the carried state: hidden and cell values of both outer layers."""
        return 2 * sum(self.spec.outer)

    def preprocess(self, window_NLC: Tensor) -> Tensor:
        """Normalise, clip, and fill what is missing with the mean: [N, L, C] to planes [N, P, L, C], for any L."""
        missing = torch.isnan(window_NLC)
        z = ((window_NLC - self.center) / self.scale).clamp(-self.spec.clip, self.spec.clip)
        z = torch.where(missing, torch.zeros_like(z), z)
        if not self.spec.missing_indicator:
            return z.unsqueeze(1)
        return torch.stack((z, missing.to(z.dtype)), dim=1)

    def encode(self, bins_NRC: Tensor, stride: int = 1) -> Tensor:
        """What the inner part makes of each window by itself: [N, R, C] to [N, T, 64 (L - 8)] at reference sizes.

        Overlapping windows share their bins, and so does the work of the convolutions, which is the same for a bin in
        whichever window it stands.
        """
        x = self.preprocess(bins_NRC)
        x = self.drop(torch.relu(self.norm1(self.conv1(x))))
        x = self.drop(torch.relu(self.norm2(self.conv2(x))))
        x = x.transpose(1, 2).flatten(2)  # [N, R - 8, F C]
        return self.read(x.unfold(1, self.window_length - 2 * (self.spec.kernel - 1), stride).transpose(2, 3))

    def read(self, found_NTEF: Tensor) -> Tensor:
        """The inner LSTM over the bins of each window, all of its outputs: [N, T, E, F C] to [N, T, 64 E]."""
        x, _ = self.inner1(found_NTEF.flatten(0, 1))
        x, _ = self.inner2(x)
        encoded: Tensor = x.flatten(1).unflatten(0, found_NTEF.shape[:2])
        return encoded

    def forward(self, bins_BRC: Tensor, stride: int, state_BS: Tensor | None = None) -> StepOutput:
        """Sequences of windows to log-probabilities [B, T, K] and the state after them [B, S].

        Args:
            bins_BRC: raw units; the T windows are cut from them, R = L + (T - 1) stride.
            stride: bins from one window to the next.
            state_BS: to begin with; zero by default.
        """
        if state_BS is None:
            state_BS = bins_BRC.new_zeros(len(bins_BRC), self.state_size)
        return self._outer(self.encode(bins_BRC, stride), state_BS)

    def _outer(self, encoded_BTE: Tensor, state_BS: Tensor) -> StepOutput:
        a, b = self.spec.outer
        h1, c1, h2, c2 = (part.unsqueeze(0).contiguous() for part in state_BS.split((a, a, b, b), dim=1))
        y, (h1, c1) = self.outer1(encoded_BTE, (h1, c1))
        y, (h2, c2) = self.outer2(y, (h2, c2))
        log_prob = torch.log_softmax(self.head(y), dim=-1)
        return StepOutput(log_prob, torch.cat((h1, c1, h2, c2), dim=2).squeeze(0))
