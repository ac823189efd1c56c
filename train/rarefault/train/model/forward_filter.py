"""The forward filter: what was predicted for the windows before counts for a window, too.

A fault that was there a window ago is mostly there still. The classes are taken as the states of a hidden Markov model
(Rabiner, "A tutorial on hidden Markov models", 1989, section III A): from window to window a device keeps its class or,
with a probability called the renewal, draws a new one by the frequencies of the classes. The probabilities of network
and trees, divided by the class frequencies that they were trained to, stand for the likelihood of a window (Bourlard
and Morgan, "Connectionist speech recognition", 1994)::

    belief  ~  ((1 - renewal) * belief before + renewal * true) * (predicted / training_prior) ** weight

Windows overlap and tend to err alike, so they are no independent evidence: ``weight`` is mostly below 1. For the same
reason a belief that has settled is too sure of itself, while a window that is clear by itself should count at once. So
the result is a logarithmic opinion pool of belief and window, each to a power of its own (Genest and Zidek, "Combining
probability distributions", 1986, section 3)::

    result  ~  true * (belief / true) ** belief_power * (predicted / training_prior) ** window_power

The belief is carried in the step's state. A fresh device has none: the prediction for its first window stays as it is.
Weight and renewal 1 and powers of 1 and 0 leave every prediction as it is.

Shapes: W windows, N devices due, B sequences, T windows of each, K classes.

Why: decision 0006.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from rarefault.runtime.arrays import Bool, Float32, Float64, Int64

#: What may be fitted: weight of a window, renewal, power of the belief, power of the window.
BOUNDS = ((0.01, 2.0), (0.001, 1.0), (0.0, 2.0), (0.0, 2.0))
#: Where the search begins, with the belief alone.
BEGIN = (0.3, 0.2)
#: How far from there the search for all four looks first.
REACH = (0.05, 0.04, -0.2, 0.2)
#: What leaves everything as it is.
IDENTITY = (1.0, 1.0, 1.0, 0.0)
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
        belief_power, window_power: of belief and window in what is said of a window that is not the first, [].
        training_prior: class shares that network and trees were trained to, and those of the result, [K].
        true: class shares that a new class is drawn by, [K].
    """

    weight: Tensor
    renewal: Tensor
    belief_power: Tensor
    window_power: Tensor
    training_prior: Tensor
    true: Tensor
    #: Names of what is fitted, and of all arrays.
    fitted = ("weight", "renewal", "belief_power", "window_power")
    arrays = (*fitted, "training_prior", "true")

    def __init__(self, **arrays: Tensor) -> None:
        super().__init__()
        if set(arrays) != set(self.arrays):
            raise ValueError(f"a filter is {', '.join(self.arrays)}, not {', '.join(arrays)}")
        for name, array in arrays.items():
            self.register_buffer(name, array)

    @classmethod
    def of(cls, found: Iterable[float], training_prior: tuple[float, ...], true: tuple[float, ...]) -> "ForwardFilter":
        """In double precision, from what is fitted, [4]."""
        parts = {**dict(zip(cls.fitted, found, strict=True)), "training_prior": training_prior, "true": true}
        return cls(**{name: torch.tensor(part, dtype=torch.float64) for name, part in parts.items()})

    @classmethod
    def identity(cls, training_prior: tuple[float, ...], true: tuple[float, ...]) -> "ForwardFilter":
        """One that carries a belief and leaves everything as it is."""
        return cls.of(IDENTITY, training_prior, true).float()

    def fitted_values(self) -> dict[str, float]:
        """What is fitted, by name."""
        return {name: float(getattr(self, name)) for name in self.fitted}

    def step(self, log_prob_NK: Tensor, belief_NK: Tensor) -> Filtered:
        """One window of each device; a belief of nothing but zeros is none."""
        some = belief_NK.sum(1, keepdim=True) > 0
        before = torch.where(some, (1 - self.renewal) * belief_NK + self.renewal * self.true, self.true)
        evidence = log_prob_NK - self.training_prior.log()
        after = torch.log_softmax(before.log() + torch.where(some, self.weight, 1.0) * evidence, dim=1)
        return Filtered(self._pool(after, evidence, some), after.exp())

    def _pool(self, after_NK: Tensor, evidence_NK: Tensor, some_N1: Tensor) -> Tensor:
        """What is said in the end, from the logarithm of the belief and where there was one before."""
        both = self.belief_power * (after_NK - self.true.log()) + self.window_power * evidence_NK
        return torch.log_softmax(torch.where(some_N1, both, evidence_NK) + self.training_prior.log(), dim=1)

    def forward(self, log_prob_BTK: Tensor, belief_BK: Tensor) -> Filtered:
        """Sequences of windows."""
        filtered_log_prob = []
        for log_prob in log_prob_BTK.unbind(1):
            filtered, belief_BK = self.step(log_prob, belief_BK)
            filtered_log_prob.append(filtered)
        return Filtered(torch.stack(filtered_log_prob, dim=1), belief_BK)

    @torch.inference_mode()
    def along(self, log_prob: NDArray[Precision], fresh: Bool) -> NDArray[Precision]:
        """What becomes of the log-probabilities of all windows, in their precision and that of the filter, [W, K].

        Args:
            log_prob: of windows sorted by device and time, [W, K].
            fresh: where nothing is known of the windows before, [W].
        """
        # Like step, but what no belief goes into is computed at once, which takes a sixth of the time.
        order, sizes = _by_place(fresh)
        filtered_log_prob = torch.from_numpy(log_prob[order])
        evidence = filtered_log_prob - self.training_prior.log()
        some = torch.arange(len(filtered_log_prob))[:, None] >= sizes[0]
        kept, drawn = 1 - self.renewal, self.renewal * self.true
        belief, logs = torch.empty(0), list[Tensor]()
        for weighted in (torch.where(some, self.weight, 1.0) * evidence).split(sizes):
            before = kept * belief[: len(weighted)] + drawn if logs else self.true
            logs.append(torch.log_softmax(before.log() + weighted, dim=1))
            belief = logs[-1].exp()
        out = np.empty_like(log_prob)
        out[order] = self._pool(torch.cat(logs), evidence, some).numpy()
        return out


def _place(fresh: Bool) -> Int64:
    """How many windows came before each since a fresh one, [W]."""
    index = np.arange(len(fresh))
    place: Int64 = index - np.maximum.accumulate(np.where(fresh, index, 0))
    return place


def _by_place(fresh: Bool) -> tuple[Int64, list[int]]:
    """An order of windows by place, the longest rows of them first, and how many have each place.

    So the window before the n-th of a place is the n-th of the place before.
    """
    place, row = _place(fresh), np.cumsum(fresh)
    return np.lexsort((-np.bincount(row)[row], place)), np.bincount(place).tolist()


def fit_filter(
    log_prob: Float32, label: Int64, fresh: Bool, training_prior: tuple[float, ...], true: tuple[float, ...]
) -> ForwardFilter | None:
    """The filter that makes the labels of held-out windows likeliest; None where none makes them likelier.

    Args:
        log_prob: of windows sorted by device and time, by models that have not seen them, [W, K].
        label: -1 where nobody knows, [W].
        fresh: where nothing is known of the windows before, [W].
        training_prior, true: class shares, [K].
    """
    known = np.flatnonzero(label >= 0)
    cut, wide = _place(fresh) % ROW == 0, log_prob.astype(np.float64)
    shift = np.log(np.asarray(true)) - np.log(np.asarray(training_prior))

    def nll(found: Iterable[float]) -> float:
        filtered_log_prob = torch.from_numpy(ForwardFilter.of(found, training_prior, true).along(wide, cut) + shift)
        return -float(torch.log_softmax(filtered_log_prob, dim=1)[known, label[known]].mean())

    def search(of: Callable[[Float64], float], begin: Float64) -> Float64:
        bounds = np.asarray(BOUNDS[: len(begin)])
        reach = np.asarray(REACH[: len(begin)])
        reach = np.where(begin + reach > bounds[:, 1], -reach, reach)
        options = {"xatol": 0.01, "fatol": 1e-5, "initial_simplex": begin + np.vstack((0 * reach, np.diag(reach)))}
        found: Float64 = minimize(of, begin, bounds=bounds, method="Nelder-Mead", options=options).x
        return found

    # The powers from where the belief alone is at its best: from elsewhere, the search may end on another hill.
    heard = search(lambda x: nll((*x, *IDENTITY[2:])), np.asarray(BEGIN))
    best = search(nll, np.asarray((*heard, *IDENTITY[2:])))
    return ForwardFilter.of(best, training_prior, true).float() if nll(best) < nll(IDENTITY) else None
