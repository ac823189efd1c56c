"""What was said of the windows before weighs in: the forward algorithm over the windows of a device.

A fault that was there a window ago is mostly there still, and a window that says little by itself says more beside
those before it. The classes are taken as the states of a hidden Markov model (Rabiner, "A tutorial on hidden Markov
models", 1989, section III A): a device keeps its class, or with a probability that is called renewal draws a new one by
the shares of the classes. What network and trees say of a window, divided by the shares that they have learnt, stands
for the likelihood (Bourlard and Morgan, "Connectionist speech recognition", 1994)::

    belief  ~  ((1 - renewal) * belief before + renewal * shares) * (said / learnt shares) ** weight

Windows overlap and like to err alike, so that they are no independent evidence: ``weight`` is mostly below 1. Renewal 1
and weight 1 leave what is said as it is. The belief is carried in the step's state, so that a fresh device has none:
what is said of its first window stays as it is.

Shapes: W windows, N devices due, B sequences, T windows of each, K classes.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from rarefault.runtime.grid import Bool, Float32, Float64, Int64

#: What may be fitted: weight of a window, renewal.
BOUNDS = ((0.01, 2.0), (0.001, 1.0))
#: Where the search begins.
BEGIN = (0.3, 0.2)
#: Windows of one device in a row that the fit looks at; longer rows are cut, or each step of the search takes long.
ROW = 256

Precision = TypeVar("Precision", np.float32, np.float64)


class Filtered(NamedTuple):
    """Log-probabilities and the belief to carry on."""

    log_prob: Tensor
    belief: Tensor


class ForwardFilter(nn.Module):
    """See the module.

    Args:
        weight: of a window that is not the first, [].
        renewal: probability that the class is drawn anew from one window to the next, [].
        learnt: class shares that network and trees have learnt, and that the result has learnt again, [K].
        true: those that a new class is drawn by, [K].
    """

    weight: Tensor
    renewal: Tensor
    learnt: Tensor
    true: Tensor
    #: Names of all arrays.
    arrays = ("weight", "renewal", "learnt", "true")

    def __init__(self, **arrays: Tensor) -> None:
        super().__init__()
        if set(arrays) != set(self.arrays):
            raise ValueError(f"a filter is {', '.join(self.arrays)}, not {', '.join(arrays)}")
        for name, array in arrays.items():
            self.register_buffer(name, array)

    @classmethod
    def of(cls, found: Float64, learnt: tuple[float, ...], true: tuple[float, ...]) -> "ForwardFilter":
        """In double precision, from weight and renewal, [2]."""
        parts = {"weight": found[0], "renewal": found[1], "learnt": learnt, "true": true}
        return cls(**{name: torch.tensor(part, dtype=torch.float64) for name, part in parts.items()})

    def step(self, log_prob_NK: Tensor, belief_NK: Tensor) -> Filtered:
        """One window of each device; a belief of nothing but zeros is none."""
        some = belief_NK.sum(1, keepdim=True) > 0
        before = torch.where(some, (1 - self.renewal) * belief_NK + self.renewal * self.true, self.true)
        evidence = (log_prob_NK - self.learnt.log()) * torch.where(some, self.weight, 1.0)
        after = torch.log_softmax(before.log() + evidence, dim=1)
        return Filtered(torch.log_softmax(after - self.true.log() + self.learnt.log(), dim=1), after.exp())

    def forward(self, log_prob_BTK: Tensor, belief_BK: Tensor) -> Filtered:
        """Sequences of windows."""
        said = []
        for log_prob in log_prob_BTK.unbind(1):
            filtered, belief_BK = self.step(log_prob, belief_BK)
            said.append(filtered)
        return Filtered(torch.stack(said, dim=1), belief_BK)

    @torch.inference_mode()
    def along(self, log_prob: NDArray[Precision], fresh: Bool) -> NDArray[Precision]:
        """What becomes of the log-probabilities of all windows, in their precision and that of the filter, [W, K].

        Args:
            log_prob: of windows sorted by device and time, [W, K].
            fresh: where nothing is known of the windows before, [W].
        """
        said = torch.from_numpy(log_prob)
        belief, out = torch.zeros_like(said), torch.empty_like(said)
        for place, select in _by_place(fresh):
            before = belief[select - 1] if place else belief[select]
            out[select], belief[select] = self.step(said[select], before)
        return np.asarray(out.numpy(), log_prob.dtype)


def _place(fresh: Bool) -> Int64:
    """How many windows came before each since a fresh one, [W]."""
    index = np.arange(len(fresh))
    place: Int64 = index - np.maximum.accumulate(np.where(fresh, index, 0))
    return place


def _by_place(fresh: Bool) -> Iterator[tuple[int, Int64]]:
    """Places and the windows that have them."""
    place = _place(fresh)
    order = np.argsort(place, kind="stable")
    yield from enumerate(np.split(order, np.cumsum(np.bincount(place))[:-1]))


def fit_filter(
    log_prob: Float32, label: Int64, fresh: Bool, learnt: tuple[float, ...], true: tuple[float, ...]
) -> ForwardFilter | None:
    """The filter that makes the labels of held-out windows likeliest; None where none makes them likelier.

    Args:
        log_prob: of windows sorted by device and time, by models that have not seen them, [W, K].
        label: -1 where nobody knows, [W].
        fresh: where nothing is known of the windows before, [W].
        learnt, true: class shares, [K].
    """
    known = np.flatnonzero(label >= 0)
    cut, wide = _place(fresh) % ROW == 0, log_prob.astype(np.float64)
    shift = np.log(np.asarray(true)) - np.log(np.asarray(learnt))

    def nll(found: Float64) -> float:
        said = torch.from_numpy(ForwardFilter.of(found, learnt, true).along(wide, cut) + shift)
        return -float(torch.log_softmax(said, dim=1)[known, label[known]].mean())

    best = minimize(nll, BEGIN, bounds=BOUNDS, method="Nelder-Mead", options={"xatol": 0.01, "fatol": 1e-5})
    return ForwardFilter.of(best.x, learnt, true).float() if best.fun < nll(np.ones(2)) else None
