"""The network as an expert: its opinions have the form of the trees', and hold for the same class shares.

A network that all units share looks for each fault at each unit by itself; another one takes the device as a whole, for
the classes that are looked for at no unit. Each unit carries a state of its own.

Shapes: B sequences, T windows, R bins of a sequence, I columns, K classes, U units, M columns of a unit, J faults that
are looked for at units, V = K + U J + 1 values of an opinion, S carried state.

The last value of an opinion is how far the window is from all classes (:mod:`rarefault.train.model.distance`): the
largest of the distances of the device and of its units.

Why: decisions 0036 and 0039.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from rarefault.runtime.inference.decision.pool import UNSEEN
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.model.distance import ClassDistance
from rarefault.train.model.network import LRConvLSTM, ModelSpec


class Opinion(NamedTuple):
    """Opinions on the windows of sequences, [B, T, V], and the state after them, [B, S]."""

    opinion: Tensor
    state: Tensor


class NetworkExpert(nn.Module):
    """See the module.

    Args:
        spec: sizes.
        columns: I.
        classes: K.
        window_length: L.
        units: what is looked for at units; None where nothing is.

    Attributes:
        device: its outputs are the scores of the classes.
        at_units: its outputs are the logits of the faults at one unit; None without units.
        absent: classes that the network of the device has no part in: those that are looked for at units, and those
            that it has never seen, [K].
        device_distance: of whole devices, from all classes.
        unit_distance: of units, from those without a fault and from each fault; None without units.
    """

    absent: Tensor
    columns_of_units: Tensor
    unit_logit: Tensor

    def __init__(
        self, spec: ModelSpec, columns: int, classes: int, window_length: int, units: UnitsSpec | None = None
    ) -> None:
        super().__init__()
        self.spec, self.units, self._sizes = spec, units, (columns, classes, window_length)
        self.device = LRConvLSTM(spec, columns, classes, window_length, paired=False)
        self.device_distance = ClassDistance(spec.hidden, classes)
        self.at_units: LRConvLSTM | None = None
        self.unit_distance: ClassDistance | None = None
        absent = torch.zeros(classes, dtype=torch.bool)
        if units is not None:
            of_one = len(units.channels[0])
            self.at_units = LRConvLSTM(spec, of_one, len(units.faults), window_length, paired=True)
            self.unit_distance = ClassDistance(spec.hidden, 1 + len(units.faults))
            absent[list(units.faults)] = True
        self.register_buffer("absent", absent)
        columns_of_units = torch.tensor(() if units is None else units.channels, dtype=torch.int64)
        self.register_buffer("columns_of_units", columns_of_units, persistent=False)
        prior = torch.tensor(() if units is None else units.prior)
        self.register_buffer("unit_logit", torch.logit(prior), persistent=False)

    @property
    def state_size(self) -> int:
        """Size S of the carried state: that of the device's network, then that of each unit."""
        at_units = 0 if self.at_units is None else len(self.columns_of_units) * self.at_units.state_size
        return self.device.state_size + at_units

    def parts(self) -> Iterator[tuple[Literal["at_units", "device"], LRConvLSTM]]:
        """Its networks by name, in the order in which they are trained."""
        if self.at_units is not None:
            yield "at_units", self.at_units
        yield "device", self.device

    def forward(self, bins_BRI: Tensor, stride: int, state_BS: Tensor | None = None) -> Opinion:
        """Opinions on sequences of windows.

        Args:
            bins_BRI: raw units; the T windows are cut from them, R = L + (T - 1) stride.
            stride: bins from one window to the next.
            state_BS: to begin with; zero by default.
        """
        if state_BS is None:
            state_BS = bins_BRI.new_zeros(len(bins_BRI), self.state_size)
        own = self.device.state_size
        scores, state, recent = self.device(bins_BRI, stride, state_BS[:, :own])
        seen = torch.log_softmax(scores.masked_fill(self.absent, -torch.inf), dim=-1)
        opinion = torch.log_softmax(seen.masked_fill(self.absent, UNSEEN), dim=-1)
        distance = _distance(self.device_distance, recent, scores)
        if self.at_units is None:
            return Opinion(torch.cat((opinion, distance.unsqueeze(-1)), dim=-1), state)
        shape = (len(bins_BRI), len(self.columns_of_units))
        of_units = bins_BRI[:, :, self.columns_of_units].transpose(1, 2).flatten(0, 1)  # [B U, R, M]
        logits, after, recent = self.at_units(of_units, stride, state_BS[:, own:].reshape(len(of_units), -1))
        # Of a unit without a single value in the window nothing is known: no evidence, and no distance.
        there = (~of_units.isnan()).any(dim=2).unfold(1, self.at_units.window_length, stride).any(dim=2, keepdim=True)
        logits = torch.where(there, logits, self.unit_logit.to(logits.dtype))
        logits = logits.unflatten(0, shape).transpose(1, 2).flatten(2)  # [B, T, U J]
        of_each = (_distance(self.unit_distance, recent, logits) * there.squeeze(2)).unflatten(0, shape)  # [B, U, T]
        distance = torch.maximum(distance, of_each.amax(dim=1)).unsqueeze(-1)
        carried = torch.cat((state, after.reshape(shape[0], -1)), dim=1)
        return Opinion(torch.cat((opinion, logits, distance), dim=-1), carried)

    def saved(self) -> dict[str, Any]:
        """All that :meth:`of_saved` needs, as plain values and tensors."""
        return {
            "spec": msgspec.to_builtins(self.spec),
            "sizes": self._sizes,
            "units": msgspec.to_builtins(self.units),
            "weights": {name: value.cpu() for name, value in self.state_dict().items()},
        }

    @classmethod
    def of_saved(cls, saved: Mapping[str, Any]) -> "NetworkExpert":
        """From what :meth:`saved` gave."""
        units = msgspec.convert(saved["units"], UnitsSpec | None)
        columns, classes, length = saved["sizes"]
        network = cls(msgspec.convert(saved["spec"], ModelSpec), columns, classes, length, units)
        network.load_state_dict(saved["weights"])
        return network


def _distance(measure: ClassDistance | None, recent: Tensor | None, like: Tensor) -> Tensor:
    """Distances of windows [B, T]; 0 of a network without layers beside the inner LSTM."""
    if measure is None or recent is None:
        return like.new_zeros(like.shape[:2])
    found: Tensor = measure(recent)
    return found
