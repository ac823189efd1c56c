"""The network as an expert: its opinions have the form of the trees', and hold for the same class shares.

A network that all units share looks for each fault at each unit by itself; another one takes the device as a whole, for
the classes that are looked for at no unit. Each unit carries a state of its own. Either network can be left out: its
share of an opinion is then that of the prior, which is no evidence.

Shapes: B sequences, T windows, R bins of a sequence, I columns, K classes, U units, M columns of a unit, J faults that
are looked for at units, V = K + U J + 1 values of an opinion, S carried state.

The last value of an opinion is how far the window is from all classes (:mod:`rarefault.train.model.distance`): the
largest of the distances of the device and of its units.

Why: decisions 0036, 0038 and 0039.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from rarefault.runtime.inference.decision.pool import UNSEEN
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.model.distance import ClassDistance
from rarefault.train.model.network import LRConvLSTM
from rarefault.train.model.parts import NETWORKS, NetworkName
from rarefault.train.model.sizes import ModelSpec

#: The attribute that holds the distance of each network.
DISTANCE_OF: dict[NetworkName, str] = {"device": "device_distance", "at_units": "unit_distance"}


class Opinion(NamedTuple):
    """Opinions on the windows of sequences, the state after them, and the distances of each of the networks.

    Attributes:
        opinion: [B, T, V].
        state: [B, S].
        apart: of the device's network, then of that of units, [B, T, networks].
    """

    opinion: Tensor
    state: Tensor
    apart: Tensor


class _Judged(NamedTuple):
    """A network's part of an opinion, its state, and its distance [B, T]; None without a network."""

    output: Tensor
    state: Tensor
    distance: Tensor | None


class NetworkExpert(nn.Module):
    """See the module.

    Args:
        spec: sizes.
        columns: I.
        classes: K.
        window_length: L.
        units: what is looked for at units; None where nothing is.
        networks: those that it has; that of units is left out without units.

    Attributes:
        device: its outputs are the scores of the classes; None where it is left out.
        at_units: its outputs are the logits of the faults at one unit; None where it is left out.
        absent: classes that the network of the device has no part in: those that are looked for at units, and those
            that it has never seen, [K].
        log_prior: logarithms of the class shares that opinions hold for; the opinion without a network of the device,
            [K].
        device_distance: of whole devices, from all classes; None without their network.
        unit_distance: of units, from those without a fault and from each fault; None without their network.
    """

    absent: Tensor
    log_prior: Tensor
    columns_of_units: Tensor
    unit_logit: Tensor

    def __init__(
        self,
        spec: ModelSpec,
        columns: int,
        classes: int,
        window_length: int,
        units: UnitsSpec | None = None,
        networks: Collection[NetworkName] = NETWORKS,
    ) -> None:
        super().__init__()
        self.spec, self.units, self._sizes = spec, units, (columns, classes, window_length)
        self.device: LRConvLSTM | None = None
        self.device_distance: ClassDistance | None = None
        self.at_units: LRConvLSTM | None = None
        self.unit_distance: ClassDistance | None = None
        absent = torch.zeros(classes, dtype=torch.bool)
        if "device" in networks:
            self.device = LRConvLSTM(spec, columns, classes, window_length, paired=False)
            self.device_distance = ClassDistance(spec.hidden, classes)
        if units is not None:
            absent[list(units.faults)] = True
            if "at_units" in networks:
                of_one = len(units.channels[0])
                self.at_units = LRConvLSTM(spec, of_one, len(units.faults), window_length, paired=True)
                self.unit_distance = ClassDistance(spec.hidden, 1 + len(units.faults))
        if self.device is None and self.at_units is None:
            raise ValueError("a network expert needs a network")
        self.register_buffer("absent", absent)
        # Of the checkpoint only where it is the opinion.
        self.register_buffer("log_prior", torch.zeros(classes), persistent=self.device is None)
        columns_of_units = torch.tensor(() if units is None else units.channels, dtype=torch.int64)
        self.register_buffer("columns_of_units", columns_of_units, persistent=False)
        prior = torch.tensor(() if units is None else units.prior)
        self.register_buffer("unit_logit", torch.logit(prior), persistent=False)

    @property
    def state_size(self) -> int:
        """Size S of the carried state: that of the device's network, then that of each unit."""
        at_units = 0 if self.at_units is None else len(self.columns_of_units) * self.at_units.state_size
        return self._device_state_size() + at_units

    @property
    def columns(self) -> int:
        """Columns I of the window."""
        return self._sizes[0]

    @property
    def window_length(self) -> int:
        """Bins L of the window."""
        return self._sizes[2]

    def parts(self) -> Iterator[tuple[NetworkName, LRConvLSTM]]:
        """Its networks by name, in the order in which they are trained."""
        if self.at_units is not None:
            yield "at_units", self.at_units
        if self.device is not None:
            yield "device", self.device

    def only(self, names: Collection[NetworkName], prior: Sequence[float]) -> "NetworkExpert | None":
        """The same without its other networks; None where none is left.

        Args:
            names: of the networks that stay.
            prior: class shares that its opinions hold for, [K].
        """
        if not any(name in names for name, _ in self.parts()):
            return None
        found = copy.deepcopy(self)
        for name, _ in self.parts():
            if name not in names:
                setattr(found, name, None)
                setattr(found, DISTANCE_OF[name], None)
        found.register_buffer("log_prior", self.log_prior.clone(), persistent=found.device is None)
        found.hold_for(prior)
        return found

    def hold_for(self, prior: Sequence[float]) -> None:
        """Say for which class shares [K] the opinions hold."""
        self.log_prior.copy_(torch.log(torch.tensor(prior, dtype=torch.float64)))

    def forward(self, bins_BRI: Tensor, stride: int, state_BS: Tensor | None = None) -> Opinion:
        """Opinions on sequences of windows.

        Args:
            bins_BRI: raw units; the T windows are cut from them, R = L + (T - 1) stride.
            stride: bins from one window to the next.
            state_BS: to begin with; zero by default.
        """
        if state_BS is None:
            state_BS = bins_BRI.new_zeros(len(bins_BRI), self.state_size)
        of_device, of_units = state_BS.split((own := self._device_state_size(), self.state_size - own), dim=1)
        judged = [self._of_device(bins_BRI, stride, of_device)]
        if self.units is not None:
            judged.append(self._of_units(bins_BRI, stride, of_units))
        apart = torch.stack([one.distance for one in judged if one.distance is not None], dim=-1)
        opinion = torch.cat([*(one.output for one in judged), apart.amax(dim=-1, keepdim=True)], dim=-1)
        return Opinion(opinion, torch.cat([one.state for one in judged], dim=1), apart)

    def _of_device(self, bins_BRI: Tensor, stride: int, state_BS: Tensor) -> _Judged:
        """Log-probabilities of the classes [B, T, K], and the state of the device's network after them."""
        if self.device is None:
            return _Judged(self.log_prior.expand(len(bins_BRI), self._windows(bins_BRI, stride), -1), state_BS, None)
        scores, state, recent = self.device(bins_BRI, stride, state_BS)
        seen = torch.log_softmax(scores.masked_fill(self.absent, -torch.inf), dim=-1)
        log_prob = torch.log_softmax(seen.masked_fill(self.absent, UNSEEN), dim=-1)
        return _Judged(log_prob, state, _distance(self.device_distance, recent, scores))

    def _of_units(self, bins_BRI: Tensor, stride: int, state_BS: Tensor) -> _Judged:
        """Logits of the faults at all units [B, T, U J], and the states of the units after them."""
        n, units = len(bins_BRI), len(self.columns_of_units)
        unit_logit = self.unit_logit.to(self.log_prior.dtype)
        if self.at_units is None:
            return _Judged(unit_logit.repeat(units).expand(n, self._windows(bins_BRI, stride), -1), state_BS, None)
        of_units = bins_BRI[:, :, self.columns_of_units].transpose(1, 2).flatten(0, 1)  # [B U, R, M]
        logits, after, recent = self.at_units(of_units, stride, state_BS.reshape(n * units, -1))
        # Of a unit without a single value in the window nothing is known: no evidence, and no distance.
        there = (~of_units.isnan()).any(dim=2).unfold(1, self.window_length, stride).any(dim=2, keepdim=True)
        logits = torch.where(there, logits, unit_logit)
        of_each = (_distance(self.unit_distance, recent, logits) * there.squeeze(2)).unflatten(0, (n, units))
        return _Judged(
            logits.unflatten(0, (n, units)).transpose(1, 2).flatten(2), after.reshape(n, -1), of_each.amax(dim=1)
        )

    def _device_state_size(self) -> int:
        return 0 if self.device is None else self.device.state_size

    def _windows(self, bins_BRI: Tensor, stride: int) -> int:
        """T."""
        return (bins_BRI.shape[1] - self.window_length) // stride + 1

    def saved(self) -> dict[str, Any]:
        """All that :meth:`of_saved` needs, as plain values and tensors."""
        return {
            "spec": msgspec.to_builtins(self.spec),
            "sizes": self._sizes,
            "units": msgspec.to_builtins(self.units),
            "networks": [name for name, _ in self.parts()],
            "weights": {name: value.cpu() for name, value in self.state_dict().items()},
        }

    @classmethod
    def of_saved(cls, saved: Mapping[str, Any]) -> "NetworkExpert":
        """From what :meth:`saved` gave."""
        units = msgspec.convert(saved["units"], UnitsSpec | None)
        columns, classes, length = saved["sizes"]
        names = msgspec.convert(saved.get("networks", NETWORKS), tuple[NetworkName, ...])
        network = cls(msgspec.convert(saved["spec"], ModelSpec), columns, classes, length, units, names)
        network.load_state_dict(saved["weights"])
        return network


def _distance(measure: ClassDistance | None, recent: Tensor | None, like: Tensor) -> Tensor:
    """Distances of windows [B, T]; 0 of a network without layers beside the inner LSTM."""
    if measure is None or recent is None:
        return like.new_zeros(like.shape[:2])
    found: Tensor = measure(recent)
    return found
