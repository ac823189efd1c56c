"""Pool weights: how network and trees are weighed in a logarithmic opinion pool."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from rarefault.runtime.arrays import Float32, Float64, Int64

#: For faults with fewer training windows, the trees alone count.
FEW_WINDOWS = 100
#: The trees' weight without held-out windows (decision 0005).
USUAL_WEIGHT = 0.875


def fit_pool_weights(
    network: Float32, trees: Float32, label: Int64, shift: Float64, counts: Int64, at_units: Sequence[int] = ()
) -> Float64:
    """The pool weight of the trees for each class, from 0 to 1, [K].

    It is that of :func:`fit_pool_weight`, but 1 for faults with few training windows: a network hardly learns those,
    trees do. And it is 1 for faults that have trees of their own at each unit: the network has no part in those.

    Args:
        network, trees, label, shift: see :func:`fit_pool_weight`.
        counts: training windows of each class, [K].
        at_units: faults that have trees at each unit.
    """
    weights = np.full(len(counts), fit_pool_weight(network, trees, label, shift))
    weights[1:][counts[1:] < FEW_WINDOWS] = 1.0
    weights[list(at_units)] = 1.0
    return weights


def fit_pool_weight(network: Float32, trees: Float32, label: Int64, shift: Float64) -> float:
    """The trees' share of the pooled verdict: half-way from the usual one to what the validation windows ask for.

    What they ask for makes their labels likeliest. Both parts get a factor of their own; their sum is a temperature,
    which is fitted again with the decision. Few events make few independent windows, so that the weight of one fold
    says little of the next: it is drawn half-way to the usual one (decision 0005).

    Args:
        network, trees: log-probabilities, [W, K].
        label: -1 where nobody knows, [W].
        shift: logarithm of the true prior over that of the training, [K].
    """
    known = np.flatnonzero(label >= 0)
    target = label[known]
    parts = np.stack((network[known], trees[known])).astype(np.float64)

    def nll(factors: Float64) -> float:
        log_prob = log_softmax(np.tensordot(factors, parts, axes=1) + shift, axis=1)
        return -float(log_prob[np.arange(len(known)), target].mean())

    found = minimize(nll, (0.5, 0.5), bounds=((0.0, 5.0), (0.0, 5.0)), method="L-BFGS-B").x
    fitted = found[1] / found.sum() if found.sum() > 0 else USUAL_WEIGHT
    return float(fitted + USUAL_WEIGHT) / 2


def pooled(network: Float32, trees: Float32, weights: Float64) -> Float32:
    """Log-probabilities of the two together, [W, K]; ``weights`` are those of the trees, [K]."""
    return np.asarray(log_softmax((1 - weights) * network + weights * trees, axis=1), np.float32)
