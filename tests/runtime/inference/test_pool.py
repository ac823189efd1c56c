"""Pooling and the rule of the rarest, against the definition worked out over all combinations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.decision.pool import UNSEEN, Pool
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec, FilterSpec, UnitsSpec

UNITS = UnitsSpec(names=("a", "b"), channels=((0,), (1,)), faults=(1, 3), rarest_first=(3, 2, 1), prior=(0.1, 0.02))
PRIOR = (0.7, 0.15, 0.1, 0.05)
SPEC = DecisionSpec(
    prior=PRIOR,
    thresholds=(1.0,) * 4,
    experts=(ExpertSpec(name="network", weight=0.3, unit_weight=0.6), ExpertSpec(name="trees", weight=0.8)),
    units=UNITS,
    filter=FilterSpec(weight=0.4, renewal=0.1, belief_power=0.7, window_power=0.5),
)


def softmax(z: np.ndarray) -> np.ndarray:
    shares = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def random_opinions(n: int, seed: int = 0, scale: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    device = rng.normal(size=(n, 2, 4), scale=scale)
    device[:, :, [1, 3]] = UNSEEN
    device = np.log(np.maximum(softmax(device), 1e-30))
    return np.concatenate([device, rng.normal(size=(n, 2, 4), scale=scale)], axis=2).astype(np.float32)


def test_the_rarest_of_independent_faults_gives_the_label() -> None:
    """Every combination of the device's class and of faults at the units, with its probability, has one label."""
    pool = Pool(PRIOR, UNITS)
    pooled = pool.pool(random_opinions(5), [1.0, 0.0], [1.0, 0.0])
    at_units = 1 / (1 + np.exp(-pooled.units))
    for w in range(5):
        device = np.where(np.isin(np.arange(4), [1, 3]), 0, np.exp(pooled.device[w]))
        device /= device.sum()
        # That the device shows no fault of a kind is judged by itself, given that it shows none that is rarer.
        label = np.zeros(4)
        for own, *there in product((0, 2), *[(False, True)] * 4):
            p = device[own] * np.prod([a if on else 1 - a for a, on in zip(at_units[w].ravel(), there, strict=True)])
            active = {own} | {UNITS.faults[i % 2] for i, on in enumerate(there) if on}
            label[next((c for c in UNITS.rarest_first if c in active), 0)] += p
        found = softmax(pool.label(pool.pool(random_opinions(5), [1.0, 0.0], [1.0, 0.0]))[w])
        np.testing.assert_allclose(found, label, atol=1e-7)


def test_opinions_are_pooled_as_evidence() -> None:
    """Without evidence the prior is left; factors of 1 and 1 add the evidence of both up."""
    log_prior = np.log([0.9, 0.1])
    pool = Pool((0.9, 0.1), None)
    opinions = (log_prior + np.array([[[0.0, 1.0], [0.0, 2.0]]])).astype(np.float32)
    np.testing.assert_allclose(pool.label(pool.pool(opinions, [0, 0], [0, 0]))[0], log_prior, atol=1e-6)
    np.testing.assert_allclose(pool.label(pool.pool(opinions, [1, 1], [0, 0]))[0] - log_prior, [0, 3], atol=1e-6)
    np.testing.assert_allclose(pool.label(pool.pool(opinions, [0.5, 2], [0, 0]))[0] - log_prior, [0, 4.5], atol=1e-6)


def test_no_logit_is_too_large() -> None:
    """Certain experts give a label, and no number that is none."""
    for seed, scale in enumerate((50.0, 1e3, 1e5)):
        posterior = Decision(SPEC).posterior(Decision(SPEC).window_evidence(random_opinions(50, seed, scale)))
        assert np.isfinite(posterior).all()
        np.testing.assert_allclose(posterior.sum(axis=1), 1.0)


@pytest.mark.parametrize("spec", [SPEC, DecisionSpec(prior=PRIOR, thresholds=(1.0,) * 4, experts=SPEC.experts)])
@given(st.integers(1, 70), st.integers(0, 2**31))
def test_a_window_is_judged_alike_in_any_company(spec: DecisionSpec, n: int, seed: int) -> None:
    """Live = offline, to the last bit: alone or among others, in one call or many."""
    rng = np.random.default_rng(seed)
    opinions = random_opinions(n, seed)[..., : spec.opinion_size]
    device = np.sort(rng.integers(0, 8, n)).astype(np.int32)
    fresh, end_ms = rng.random(n) < 0.2, np.arange(n) * 1000
    whole = Decision(spec).judge(device, end_ms, fresh, opinions)
    decision = Decision(spec)
    each = [
        decision.judge(device[i : i + 1], end_ms[i : i + 1], fresh[i : i + 1], opinions[i : i + 1]) for i in range(n)
    ]
    np.testing.assert_array_equal(np.concatenate([one.posterior for one in each]), whole.posterior)
    np.testing.assert_array_equal(np.concatenate([one.score for one in each]), whole.score)
