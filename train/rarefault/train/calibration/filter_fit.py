"""The forward filter, fitted on held-out windows; the filter itself is the runtime's."""

from collections.abc import Callable, Iterable

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.runtime.inference.decision.belief import ForwardFilter
from rarefault.runtime.inference.engine import rounds
from rarefault.runtime.inference.manifest import FilterSpec

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


def fit_filter(evidence: Float64, label: Int64, fresh: Bool, prior: tuple[float, ...]) -> FilterSpec | None:
    """The filter that makes the labels of held-out windows likeliest; None where none makes them likelier.

    Args:
        evidence: of windows sorted by device and time, by models that have not seen them, [W, K].
        label: -1 where nobody knows, [W].
        fresh: where nothing is known of the windows before, [W].
        prior: class shares, [K].
    """
    known = np.flatnonzero(label >= 0)
    cut = _place(fresh) % ROW == 0
    row = np.cumsum(cut) - 1
    turns, log_prior = rounds(row), np.log(np.asarray(prior))

    def nll(found: Iterable[float]) -> float:
        beliefs = np.zeros((int(row[-1]) + 1, len(prior)))
        score = ForwardFilter(_spec(found), prior).carry(evidence, row, cut, turns, beliefs) + log_prior
        return -float(log_softmax(score[known], axis=1)[np.arange(len(known)), label[known]].mean())

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
    return _spec(best) if nll(best) < nll(IDENTITY) else None


def _spec(found: Iterable[float]) -> FilterSpec:
    weight, renewal, belief_power, window_power = (float(value) for value in found)
    return FilterSpec(weight=weight, renewal=renewal, belief_power=belief_power, window_power=window_power)


def _place(fresh: Bool) -> Int64:
    """How many windows came before each since a fresh one, [W]."""
    index = np.arange(len(fresh))
    place: Int64 = index - np.maximum.accumulate(np.where(fresh, index, 0))
    return place
