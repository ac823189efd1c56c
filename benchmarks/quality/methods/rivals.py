"""Networks of others, trained by the same loop with the same loss and sampling.

So what differs from ours is the network alone, and how it is fed: channels normalised and clipped, and a plane that
says which values are missing. None of them carries a state from window to window except LRCN.
"""

import torch
from benchmarks.quality.context import CONTEXT, reach_back
from benchmarks.quality.methods.nets import train_model
from benchmarks.quality.prediction import Prediction
from benchmarks.quality.protocol import Fold
from torch import Tensor, nn

from rarefault.train.dataset.windows import LabelledWindows, channel_statistics
from rarefault.train.fitting.new_model import set_threads
from rarefault.train.model.network import Carried
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import ModelSpec

#: Planes that a network sees of each value: itself, and whether it is missing.
PLANES = 2
#: Normalised values are clipped to plus and minus this many standard deviations.
CLIP = 5.0


class Rival(nn.Module):
    """A network of whole devices in the shape that the training loop knows.

    Args:
        spec: sizes of ours.
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

    def preprocess(self, window_NLC: Tensor) -> Tensor:
        """Normalise, clip, and fill what is missing with the mean: [N, L, C] to planes [N, P, L, C], for any L."""
        missing = torch.isnan(window_NLC)
        z = ((window_NLC - self.center) / self.scale).clamp(-CLIP, CLIP)
        return torch.stack((torch.where(missing, 0.0, z), missing.to(z.dtype)), dim=1)


class WindowNet(Rival):
    """A network that judges each window by itself: an empty state."""

    @property
    def state_size(self) -> int:
        """Nothing is carried."""
        return 0

    def logits(self, window_NLC: Tensor) -> Tensor:
        """Of each window, [N, K]."""
        raise NotImplementedError

    def forward(self, bins_BRC: Tensor, stride: int, state_BS: Tensor | None = None) -> Carried:  # noqa: ARG002
        """See :class:`rarefault.train.model.network.LRConvLSTM`; the state is empty."""
        window_BTLC = bins_BRC.unfold(1, self.window_length, stride).transpose(2, 3)
        logits = self.logits(window_BTLC.flatten(0, 1)).unflatten(0, window_BTLC.shape[:2])
        return Carried(logits, bins_BRC.new_zeros(len(bins_BRC), 0))


class DeepConvLSTM(WindowNet):
    """Ordóñez and Roggen, "Deep convolutional and LSTM recurrent neural networks", 2016.

    Four convolutions along time over each channel by itself, two LSTM layers of 128 over the bins, the class from the
    last bin. They have 64 filters and no padding; here 16, which trains in minutes on a processor, and padding, without
    which nothing is left of a short window.
    """

    FILTERS, KERNEL, LAYERS, HIDDEN = 16, 5, 4, 128

    def __init__(self, spec: ModelSpec, n_channels: int, n_classes: int, window_length: int) -> None:
        super().__init__(spec, n_channels, n_classes, window_length)
        layers: list[nn.Module] = []
        for at in range(self.LAYERS):
            planes = self.FILTERS if at else PLANES
            layers += [nn.Conv2d(planes, self.FILTERS, (self.KERNEL, 1), padding="same"), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.lstm = nn.LSTM(self.FILTERS * n_channels, self.HIDDEN, num_layers=2, dropout=0.5, batch_first=True)
        self.forget = nn.Dropout(0.5)
        self.head = nn.Linear(self.HIDDEN, n_classes)

    def logits(self, window_NLC: Tensor) -> Tensor:
        """Of each window, [N, K]."""
        x = self.convolutions(self.preprocess(window_NLC)).transpose(1, 2).flatten(2)  # [N, L, F C]
        y, _ = self.lstm(x)
        out: Tensor = self.head(self.forget(y[:, -1]))
        return out


class LRCN(Rival):
    """Donahue et al., "Long-term recurrent convolutional networks", 2015: convolutions, and an LSTM over the windows.

    Each window goes through two convolutions along time, what they find goes straight to an LSTM of the sizes of our
    outer one, which carries a state.
    """

    FILTERS = 8

    def __init__(self, spec: ModelSpec, n_channels: int, n_classes: int, window_length: int) -> None:
        super().__init__(spec, n_channels, n_classes, window_length)
        layers: list[nn.Module] = []
        for planes in (PLANES, self.FILTERS):
            layers += [nn.Conv2d(planes, self.FILTERS, (spec.kernel, 1)), nn.BatchNorm2d(self.FILTERS), nn.ReLU()]
            layers.append(nn.Dropout2d(spec.dropout))
        self.convolutions = nn.Sequential(*layers)
        left = window_length - 2 * (spec.kernel - 1)
        self.outer1 = nn.LSTM(self.FILTERS * n_channels * left, spec.outer[0], batch_first=True)
        self.outer2 = nn.LSTM(spec.outer[0], spec.outer[1], batch_first=True)
        self.head = nn.Linear(spec.outer[1], n_classes)

    @property
    def state_size(self) -> int:
        """Hidden and cell values of both LSTM layers."""
        return 2 * sum(self.spec.outer)

    def forward(self, bins_BRC: Tensor, stride: int, state_BS: Tensor | None = None) -> Carried:
        """See :class:`rarefault.train.model.network.LRConvLSTM`."""
        if state_BS is None:
            state_BS = bins_BRC.new_zeros(len(bins_BRC), self.state_size)
        x = self.convolutions(self.preprocess(bins_BRC)).transpose(1, 2).flatten(2)  # [B, R - 8, F C]
        x = x.unfold(1, self.window_length - 2 * (self.spec.kernel - 1), stride).flatten(2)  # [B, T, F C E]
        a, b = self.spec.outer
        h1, c1, h2, c2 = (part.unsqueeze(0).contiguous() for part in state_BS.split((a, a, b, b), dim=1))
        y, (h1, c1) = self.outer1(x, (h1, c1))
        y, (h2, c2) = self.outer2(y, (h2, c2))
        return Carried(self.head(y), torch.cat((h1, c1, h2, c2), dim=2).squeeze(0))


class InceptionTime(WindowNet):
    """Ismail Fawaz et al., "InceptionTime: finding AlexNet for time series classification", 2020.

    Six Inception modules of 32 filters with kernels of 10, 20 and 40 bins, a residual after every third. One network,
    not their ensemble of five.
    """

    FILTERS, KERNELS, DEPTH = 32, (9, 19, 39), 6

    def __init__(self, spec: ModelSpec, n_channels: int, n_classes: int, window_length: int) -> None:
        super().__init__(spec, n_channels, n_classes, window_length)
        width = self.FILTERS * (len(self.KERNELS) + 1)
        sizes = [PLANES * n_channels] + [width] * self.DEPTH
        self.blocks = nn.ModuleList(_Inception(size, self.FILTERS, self.KERNELS) for size in sizes[:-1])
        self.shortcuts = nn.ModuleList(
            nn.Sequential(nn.Conv1d(sizes[at], width, 1, bias=False), nn.BatchNorm1d(width))
            for at in range(0, self.DEPTH, 3)
        )
        self.head = nn.Linear(width, n_classes)

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


class RivalExpert(NetworkExpert):
    """A network of others in the place of ours; it takes whole devices."""

    def __init__(self, net: Rival) -> None:
        nn.Module.__init__(self)  # nothing of the parent's networks
        self.device, self.at_units, self.units = net, None, None  # type: ignore[assignment]
        self.device_distance = self.unit_distance = None
        self.register_buffer("absent", torch.zeros(net.n_classes, dtype=torch.bool))
        self.register_buffer("log_prior", torch.zeros(net.n_classes), persistent=False)


def _train(fold: Fold, network: type[Rival], seed: int) -> Prediction:
    torch.manual_seed(seed)
    history, length = fold.history, fold.parts["train"].windows.length
    model = network(fold.config.model.spec(), len(history.channels), len(history.classes), length)
    set_threads(model, fold.config.training.threads)
    center, scale, _, _ = channel_statistics(fold.parts["train"].windows.rows)
    model.center.copy_(torch.from_numpy(center))
    model.scale.copy_(torch.from_numpy(scale))
    return train_model(RivalExpert(model), fold, None)
