"""Pool weights: how much the evidence of each expert counts."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from rarefault.runtime.arrays import Float32, Float64, Int64
from rarefault.runtime.inference.decision.pool import Pool
from rarefault.runtime.inference.manifest import ExpertSpec, UnitsSpec

#: Factors are searched up to this.
LARGEST = 5.0
#: What unequal factors cost: so much of log loss, by the square of their distance, for one event; less for more.
SHRINKAGE = 0.1
#: An opinion that is nearer to the prior than this is no evidence.
LEAST_EVIDENCE = 1e-4
#: Windows of normal that are looked at; the others are like them.
MOST_NORMAL = 20_000


def fit_pool_weights(
    opinions: Float32,
    label: Int64,
    events: int,
    names: Sequence[Literal["network", "trees"]],
    prior: tuple[float, ...],
    units: UnitsSpec | None,
) -> tuple[ExpertSpec, ...]:
    """The experts with the factors that make the labels of held-out windows likeliest.

    An expert has one factor for the device's classes and one for the faults that are looked for at units. Few events
    say little of how much each expert is to be trusted, so the factors are drawn to equal ones, by as much as if there
    were ``SHRINKAGE`` of log loss to lose on one event more. An expert without any evidence at the device, or at units,
    has the factor 0 there. A single factor is 1: how sure it may be is the temperature's business.

    Args:
        opinions: by models that have not seen the windows, [W, E, V].
        label: -1 where nobody knows, [W].
        events: number of faults' events in the windows.
        names: of the experts, [E].
        prior: class shares, [K].
        units: what is looked for at units.
    """
    n, pool = len(names), Pool(prior, units)
    speaks = _speaks(opinions, pool)
    if speaks.sum() == 1:
        return tuple(
            ExpertSpec(name=name, weight=float(of_device), unit_weight=float(of_unit))
            for name, of_device, of_unit in zip(names, *speaks, strict=True)
        )
    chosen, weight = _thinned(label)
    opinions, target, rows = opinions[chosen], label[chosen], np.arange(len(chosen))
    even = (speaks / np.maximum(speaks.sum(axis=1, keepdims=True), 1))[speaks]

    def factors(found: Float64) -> Float64:
        both = np.zeros((2, n))
        both[speaks] = found
        return both

    def loss(found: Float64) -> float:
        log_prob = log_softmax(pool.label(pool.pool(opinions, *(f.tolist() for f in factors(found)))), axis=1)
        return float(SHRINKAGE / max(events, 1) * ((found - even) ** 2).sum() - weight @ log_prob[rows, target])

    bounds = [(0.0, LARGEST)] * len(even)
    found = minimize(loss, even, bounds=bounds, method="L-BFGS-B").x if len(even) else even
    weights, unit_weights = factors(found)
    return tuple(
        ExpertSpec(name=name, weight=float(of_device), unit_weight=float(of_unit))
        for name, of_device, of_unit in zip(names, weights, unit_weights, strict=True)
    )


def _speaks(opinions: Float32, pool: Pool) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which experts have evidence: at the device, and at units, [2, E]."""
    k = len(pool.log_prior)
    prior = np.concatenate([pool.log_prior, np.tile(pool.unit_logit, (pool.width - k) // max(len(pool.unit_logit), 1))])
    opinions = opinions[:, :, : pool.width]
    there = np.maximum(opinions.max(axis=0) - prior, prior - opinions.min(axis=0)) > LEAST_EVIDENCE  # [E, V]
    return np.stack([there[:, :k].any(axis=1), there[:, k:].any(axis=1)])


def _thinned(label: Int64) -> tuple[Int64, Float64]:
    """Windows with a label, of those of normal only some, and how much each counts, the sum being 1."""
    normal = np.flatnonzero(label == 0)
    some = normal[:: max(1, -(-len(normal) // MOST_NORMAL))]
    chosen = np.sort(np.concatenate([some, np.flatnonzero(label > 0)]))
    weight = np.where(label[chosen] == 0, len(normal) / max(len(some), 1), 1.0)
    return chosen, weight / max(weight.sum(), 1.0)
