"""Networks of others, trained by the same loop with the same loss, sampling and schedule.

They read z-scores of the whole device, as published; LRCN reads our encodings. None of them carries a state from window
to window except LRCN.
"""

from collections.abc import Callable

import torch
from benchmarks.quality.context import CONTEXT, reach_back
from benchmarks.quality.methods.nets import train_model
from benchmarks.quality.prediction import Prediction
from benchmarks.quality.protocol import Fold
from torch import Tensor, nn

from rarefault.train.dataset.windows import LabelledWindows, channel_statistics
from rarefault.train.fitting.new_model import set_threads
from rarefault.train.model.network import Carried, Encoding, LRConvLSTM, ModelSpec
from rarefault.train.model.network_expert import NetworkExpert

#: Z-scores are clipped to this.
CLIP = 5.0


class WindowNet(LRConvLSTM):
    """A network that judges each window by itself, in the shape that the training loop knows: an empty state.

    Attributes:
        center, scale: of the channels, [C].
        planes: one of values, and one that says which are missing.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, spec: ModelSpec, channels: int, outputs: int, window_length: int) -> None:
        nn.Module.__init__(self)  # nothing of the parent's layers
        self.spec, self.window_length, self.outputs, self.n_planes = spec, window_length, outputs, 2
        for name in ("first", "second"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64), persistent=False)
        self.encoding = Encoding(channels, spec.edges)  # the loop finds its edges; nothing reads it
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def preprocess(self, window_NLC: Tensor) -> Tensor:
        """Clipped z-scores, the mean where missing, and which are missing, [N, 2, L, C]."""
        z = ((window_NLC - self.center) / self.scale).clamp(-CLIP, CLIP)
        missing = torch.isnan(z)
        return torch.stack((torch.where(missing, 0.0, z), missing.to(z.dtype)), dim=1)

    @property
    def state_size(self) -> int:
        """Nothing is carried."""
        return 0

    def logits(self, window_NLC: Tensor) -> Tensor:
        """Of each window, [N, K]."""
        raise NotImplementedError

    def forward(self, bins_BRM: Tensor, stride: int, state_BS: Tensor | None = None) -> Carried:  # noqa: ARG002
        """See :class:`LRConvLSTM`; the state is empty."""
        window_BTLC = bins_BRM.unfold(1, self.window_length, stride).transpose(2, 3)
        logits = self.logits(window_BTLC.flatten(0, 1))
        return Carried(logits.unflatten(0, window_BTLC.shape[:2]), bins_BRM.new_zeros(len(bins_BRM), 0))


class DeepConvLSTM(WindowNet):
    """Ordóñez and Roggen, "Deep convolutional and LSTM recurrent neural networks", 2016.

    Four convolutions along time over each channel by itself, two LSTM layers of 128 over the bins, the class from the
    last bin. They have 64 filters and no padding; here 16, which trains in minutes on a processor, and padding, without
    which nothing is left of a short window.
    """

    FILTERS, KERNEL, LAYERS, HIDDEN = 16, 5, 4, 128

    def __init__(self, spec: ModelSpec, channels: int, outputs: int, window_length: int) -> None:
        super().__init__(spec, channels, outputs, window_length)
        layers: list[nn.Module] = []
        for at in range(self.LAYERS):
            planes = self.FILTERS if at else self.n_planes
            layers += [nn.Conv2d(planes, self.FILTERS, (self.KERNEL, 1), padding="same"), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.lstm = nn.LSTM(self.FILTERS * channels, self.HIDDEN, num_layers=2, dropout=0.5, batch_first=True)
        self.forget = nn.Dropout(0.5)
        self.head = nn.Linear(self.HIDDEN, outputs)

    def logits(self, window_NLC: Tensor) -> Tensor:
        """Of each window, [N, K]."""
        x = self.convolutions(self.preprocess(window_NLC)).transpose(1, 2).flatten(2)  # [N, L, F C]
        y, _ = self.lstm(x)
        out: Tensor = self.head(self.forget(y[:, -1]))
        return out


class LRCN(LRConvLSTM):
    """Donahue et al., "Long-term recurrent convolutional networks", 2015: ours without inner LSTM and layers beside it.

    Each window goes through the convolutions, what they find goes straight to the outer LSTM, which carries a state.
    """

    def __init__(self, spec: ModelSpec, channels: int, outputs: int, window_length: int) -> None:
        super().__init__(spec, channels, outputs, window_length, paired=False)
        del self.inner1, self.inner2, self.beside
        left = window_length - 2 * (spec.kernel - 1)
        self.outer1 = nn.LSTM(spec.filters * channels * left, spec.outer[0], batch_first=True)
        self.head = nn.Linear(spec.outer[1], outputs)

    def read(self, found_NEX: Tensor) -> Tensor:
        """What the convolutions find in each window, as it is, [N, E X]."""
        return found_NEX.flatten(1)

    def recent(self, code_BRPD: Tensor, windows: int, stride: int) -> Tensor:  # noqa: ARG002
        """Nothing, [B, T, 0]."""
        return code_BRPD.new_empty(len(code_BRPD), windows, 0)


class InceptionTime(WindowNet):
    """Ismail Fawaz et al., "InceptionTime: finding AlexNet for time series classification", 2020.

    Six Inception modules of 32 filters with kernels of 10, 20 and 40 bins, a residual after every third. One network,
    not their ensemble of five.
    """

    FILTERS, KERNELS, DEPTH = 32, (9, 19, 39), 6

    def __init__(self, spec: ModelSpec, channels: int, outputs: int, window_length: int) -> None:
        super().__init__(spec, channels, outputs, window_length)
        width = self.FILTERS * (len(self.KERNELS) + 1)
        sizes = [self.n_planes * channels] + [width] * self.DEPTH
        self.blocks = nn.ModuleList(_Inception(size, self.FILTERS, self.KERNELS) for size in sizes[:-1])
        self.shortcuts = nn.ModuleList(
            nn.Sequential(nn.Conv1d(sizes[at], width, 1, bias=False), nn.BatchNorm1d(width))
            for at in range(0, self.DEPTH, 3)
        )
        self.head = nn.Linear(width, outputs)

    def logits(self, window_NLC: Tensor) -> Tensor:
        """Of each window, [N, K]."""
        x = self.preprocess(window_NLC).transpose(2, 3).flatten(1, 2)  # [N, P C, L]
        residual = x
        for at, block in enumerate(self.blocks):
            x = block(x)
            if at % 3 == 2:
                x = residual = torch.relu(x + self.shortcuts[at // 3](residual))
        out: Tensor = self.head(x.mean(dim=2))
        return out


class _Inception(nn.Module):
    """Convolutions of three lengths and a pooled one, side by side: [N, C, L] to [N, 4 F, L]."""

    def __init__(self, n_channels: int, filters: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(n_channels, filters, 1, bias=False)
        self.paths = nn.ModuleList(nn.Conv1d(filters, filters, k, padding="same", bias=False) for k in kernels)
        self.pooled = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(n_channels, filters, 1, bias=False))
        self.norm = nn.BatchNorm1d(filters * (len(kernels) + 1))

    def forward(self, x_NCL: Tensor) -> Tensor:
        """See the class."""
        narrow = self.bottleneck(x_NCL)
        found = [path(narrow) for path in self.paths] + [self.pooled(x_NCL)]
        out: Tensor = torch.relu(self.norm(torch.cat(found, dim=1)))
        return out


def deep_conv_lstm(fold: Fold, seed: int) -> Prediction:
    """On ``CONTEXT`` bins, since it carries nothing."""
    return _train(_longer(fold), DeepConvLSTM, seed)


def lrcn(fold: Fold, seed: int) -> Prediction:
    """On our windows and sequences."""
    return _train(fold, LRCN, seed)


def inception_time(fold: Fold, seed: int) -> Prediction:
    """On ``CONTEXT`` bins, since it carries nothing."""
    return _train(_longer(fold), InceptionTime, seed)


class _LongFold(Fold):
    """A fold whose windows are of ``CONTEXT`` bins."""

    def both(self) -> LabelledWindows:
        """See :class:`Fold`."""
        return reach_back(super().both(), CONTEXT)


def _longer(fold: Fold) -> Fold:
    parts = {part: reach_back(windows, CONTEXT) for part, windows in fold.parts.items()}
    return _LongFold(**vars(fold) | {"parts": parts})


def _train(fold: Fold, network: Callable[[ModelSpec, int, int, int], LRConvLSTM], seed: int) -> Prediction:
    torch.manual_seed(seed)
    history, length = fold.history, fold.parts["train"].windows.length
    model = network(fold.config.model.spec(), len(history.channels), len(history.classes), length)
    if isinstance(model, WindowNet):
        center, scale, _, _ = channel_statistics(fold.parts["train"].windows.rows)
        model.center.copy_(torch.from_numpy(center))
        model.scale.copy_(torch.from_numpy(scale))
    expert = NetworkExpert(model.spec, len(history.channels), len(history.classes), length)
    expert.device = model
    set_threads(expert, fold.config.training.threads)
    return train_model(expert, fold, None)
