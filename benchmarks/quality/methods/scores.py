"""From what classifiers of other libraries give to log-probabilities of all classes."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from rarefault.runtime.arrays import Float32, Int64
from rarefault.train.fitting.imbalance import SMALLEST_PRIOR

#: Range of the factor on a decision function; a ridge's is made for signs, and its softmax is nearly flat.
FACTORS = (0.1, 100.0)


def log_probabilities(probabilities: Any, known: Int64, n_classes: int) -> Float32:
    """Logarithm of probabilities [W, K'] of the classes that training had, for all K of them, [W, K]."""
    full = np.zeros((len(probabilities), n_classes))
    full[:, known] = probabilities
    full = np.maximum(full, SMALLEST_PRIOR)
    return np.asarray(np.log(full / full.sum(axis=1, keepdims=True)), np.float32)


def balanced_prior(known: Int64, n_classes: int) -> tuple[float, ...]:
    """What balanced class weights make a classifier learn, [K]: that all classes of the training are as frequent."""
    share = np.full(n_classes, SMALLEST_PRIOR)
    share[known] = 1.0
    return tuple(float(p) for p in share / share.sum())


def softmax_factor(decision: Any, label: Int64, known: Int64) -> float:
    """The factor on a decision function [W, K'] at which its softmax is likeliest on labelled windows.

    Args:
        decision: of the validation windows.
        label: their classes, -1 where nobody knows.
        known: the class of each column, [K'].
    """
    column = {int(c): at for at, c in enumerate(known)}
    use = np.flatnonzero(np.isin(label, known))
    target = np.asarray([column[int(c)] for c in label[use]])

    def nll(log_factor: float) -> float:
        log_prob = log_softmax(np.exp(log_factor) * decision[use], axis=1)
        return -float(log_prob[np.arange(len(use)), target].mean())

    return float(np.exp(minimize_scalar(nll, bounds=np.log(FACTORS), method="bounded").x))


def softmax_scores(decision: Any, factor: float, known: Int64, n_classes: int) -> Float32:
    """Log-probabilities of all classes from a decision function, [W, K]."""
    return log_probabilities(np.exp(log_softmax(factor * decision, axis=1)), known, n_classes)
