"""The model in the trainer: a network, trees, or both.

With a network, the last value of an opinion is how far the window is from all classes; that of the trees is 0.

Shapes: N devices due, L bins, I columns, E experts, V values of an opinion, S carried state.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rarefault.runtime.arrays import Float32
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.parts import MODEL_PARTS, NETWORK_OF, ModelPart
from rarefault.train.model.trees import TreeExpert

X = TypeVar("X")


class Opinions(NamedTuple):
    """Opinions of all experts, [N, E, V], and the state to carry on, [N, S]."""

    opinions: Tensor
    state: Tensor


@dataclass(frozen=True)
class Experts:
    """The experts of a model, one at least; what they think is pooled by the decision.

    Attributes:
        network: reads windows one after the other and carries a state.
        trees: read each window by itself.
    """

    network: NetworkExpert | None
    trees: TreeExpert | None

    def __post_init__(self) -> None:
        if not self._modules:
            raise ValueError("a model needs a network or trees")

    @property
    def _modules(self) -> dict[Literal["network", "trees"], nn.Module]:
        found: dict[Literal["network", "trees"], nn.Module | None] = {"network": self.network, "trees": self.trees}
        return {name: module for name, module in found.items() if module is not None}

    @property
    def names(self) -> tuple[Literal["network", "trees"], ...]:
        """Of the experts, in the order of their opinions, [E]."""
        return tuple(self._modules)

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """Those that it has, in the order of :data:`MODEL_PARTS`; the filter is the decision's."""
        there = set() if self.trees is None else set(self.trees.parts)
        networks = set() if self.network is None else {name for name, _ in self.network.parts()}
        there |= {part for part, name in NETWORK_OF.items() if name in networks}
        return tuple(part for part in MODEL_PARTS if part in there)

    def only(self, parts: Collection[ModelPart], prior: Sequence[float], at_units: UnitsSpec | None) -> "Experts":
        """The same without its other parts; an expert without any leaves.

        Args:
            parts: that stay; one at least must be among them.
            prior: class shares that the opinions hold for, [K].
            at_units: what is looked for at units; None where nothing is.
        """
        if set(self.parts) <= set(parts):
            return self
        names = [name for part, name in NETWORK_OF.items() if part in parts]
        return Experts(
            None if self.network is None else self.network.only(names, prior),
            None if self.trees is None else self.trees.only(parts, prior, at_units),
        )

    @property
    def state_size(self) -> int:
        """Size S of the carried state; 0 without a network."""
        return 0 if self.network is None else self.network.state_size

    @property
    def parameters(self) -> int:
        """Number of the network's parameters."""
        return sum(p.numel() for module in self._modules.values() for p in module.parameters())

    @property
    def dtype(self) -> torch.dtype:
        """Precision of what the experts compute."""
        return torch.float32 if self.network is None else next(self.network.parameters()).dtype

    def each(self, of_network: Callable[[NetworkExpert], X], of_trees: Callable[[TreeExpert], X]) -> tuple[X, ...]:
        """What a function makes of each expert, in the order of their opinions, [E]."""
        found = []
        if self.network is not None:
            found.append(of_network(self.network))
        if self.trees is not None:
            found.append(of_trees(self.trees))
        return tuple(found)

    def saved(self) -> dict[str, Any]:
        """All that :meth:`of_saved` needs, as plain values and tensors."""
        return {
            "network": None if self.network is None else self.network.saved(),
            "trees": None if self.trees is None else _on_processor(self.trees.state_dict()),
        }

    @classmethod
    def of_saved(cls, saved: Mapping[str, Any]) -> "Experts":
        """From what :meth:`saved` gave, ready to judge."""
        network, trees = saved["network"], saved["trees"]
        return cls(
            None if network is None else NetworkExpert.of_saved(network),
            None if trees is None else TreeExpert.of_weights(trees),
        ).eval()

    def eval(self) -> "Experts":
        """The same, ready to judge: on the processor, nothing is dropped."""
        for module in self._modules.values():
            module.eval().cpu()
        return self

    def step(self, window_NLI: Tensor, state_NS: Tensor) -> Opinions:
        """One window of each device that is due."""
        state = state_NS

        def of_network(network: NetworkExpert) -> Tensor:
            nonlocal state
            opinion, state, _ = network(window_NLI, 1, state_NS)
            only: Tensor = opinion.squeeze(1)
            return only

        def of_trees(trees: TreeExpert) -> Tensor:
            opinion: Tensor = trees(window_NLI)
            return opinion

        opinions = self.each(of_network, of_trees)
        size = max(opinion.shape[1] for opinion in opinions)
        padded = [nn.functional.pad(opinion, (0, size - opinion.shape[1])) for opinion in opinions]
        return Opinions(torch.stack(padded, dim=1), state)


def stacked(opinions: Sequence[Float32]) -> Float32:
    """Opinions [W, V] of several experts as [W, E, V]; those that measure no distance get one of 0.

    >>> stacked([np.zeros((2, 4), np.float32), np.ones((2, 3), np.float32)])[0]
    array([[0., 0., 0., 0.],
           [1., 1., 1., 0.]], dtype=float32)
    """
    size = max(opinion.shape[1] for opinion in opinions)
    return np.stack([np.pad(opinion, ((0, 0), (0, size - opinion.shape[1]))) for opinion in opinions], axis=1)


def _on_processor(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in weights.items()}
