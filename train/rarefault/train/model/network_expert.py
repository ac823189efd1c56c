"""The network as an expert: its opinions have the form of the trees', and hold for the same class shares.

Shapes: B sequences, T windows, R bins of a sequence, I columns, K classes, U units, J faults that are looked for at
units, V = K + U J values of an opinion, S carried state.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from rarefault.runtime.inference.decision.pool import UNSEEN
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.model.network import LRConvLSTM, ModelSpec


class Opinion(NamedTuple):
    """Opinions on the windows of sequences, [B, T, V], and the state after them, [B, S]."""

    opinion: Tensor
    state: Tensor


class NetworkExpert(nn.Module):
    """A network that judges whole devices; of faults at units it has no evidence.

    Args:
        net: the network; its log-probabilities hold for the class shares of the training history.
        units: what is looked for at units, by others; None where nothing is.
    """

    elsewhere: Tensor
    unit_logits: Tensor

    def __init__(self, net: LRConvLSTM, units: UnitsSpec | None) -> None:
        super().__init__()
        self.net, self.units = net, units
        n_units, faults, share = (0, (), ()) if units is None else (len(units.names), units.faults, units.prior)
        elsewhere = torch.zeros(net.n_classes, dtype=torch.bool)
        elsewhere[list(faults)] = True
        self.register_buffer("elsewhere", elsewhere)
        logits = torch.logit(torch.tensor(share, dtype=torch.float64)).float()
        self.register_buffer("unit_logits", logits.repeat(n_units))

    @property
    def state_size(self) -> int:
        """Size S of the carried state."""
        return self.net.state_size

    def forward(self, bins_BRI: Tensor, stride: int, state_BS: Tensor | None = None) -> Opinion:
        """Opinions on sequences of windows.

        Args:
            bins_BRI: raw units; the T windows are cut from them, R = L + (T - 1) stride.
            stride: bins from one window to the next.
            state_BS: to begin with; zero by default.
        """
        log_prob, state = self.net(bins_BRI, stride, state_BS)
        if not self.unit_logits.numel():
            return Opinion(log_prob, state)
        log_prob = torch.log_softmax(log_prob.masked_fill(self.elsewhere, UNSEEN), dim=-1)
        logits = self.unit_logits.to(log_prob).expand(*log_prob.shape[:2], -1)
        return Opinion(torch.cat([log_prob, logits], dim=-1), state)

    def saved(self) -> dict[str, Any]:
        """All that :meth:`of_saved` needs, as plain values and tensors."""
        net = self.net
        return {
            "spec": msgspec.to_builtins(net.spec),
            "n_channels": net.n_channels,
            "n_classes": net.n_classes,
            "window_length": net.window_length,
            "units": msgspec.to_builtins(self.units),
            "weights": {name: value.cpu() for name, value in net.state_dict().items()},
        }

    @classmethod
    def of_saved(cls, saved: Mapping[str, Any]) -> "NetworkExpert":
        """From what :meth:`saved` gave."""
        spec = msgspec.convert(saved["spec"], ModelSpec)
        net = LRConvLSTM(spec, saved["n_channels"], saved["n_classes"], saved["window_length"])
        net.load_state_dict(saved["weights"])
        return cls(net, msgspec.convert(saved["units"], UnitsSpec | None))
