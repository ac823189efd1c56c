"""What each epoch draws."""

from typing import get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.examples import examples as tries
from tests.harness.windows import labelled_windows

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import WindowSpec
from rarefault.train.config import RecipeConfig, TrainConfig, TrainingConfig
from rarefault.train.fitting.epochs import SAMPLERS, DrawnEpochs, SmoteEpochs, _bounded, epoch_source, quickly_sampled
from rarefault.train.fitting.examples import Examples
from rarefault.train.history import Phm2015Config

T = 8


def examples(bins: int = 3000) -> Examples:
    """Long normal time, one frequent fault and one that is active for ten windows."""
    rng = np.random.default_rng(0)
    label = np.zeros((1, bins), np.int64)
    for start in range(100, bins - 100, 150):
        label[0, start : start + 40] = 1
    label[0, 300:310] = 2
    windows = labelled_windows(rng.normal(size=(1, bins, 2)).astype(np.float32), label, WindowSpec(length=4, stride=1))
    return Examples.of_devices(windows, 3, (), T)


def config(sampler: str = "under", **training: object) -> TrainConfig:
    return TrainConfig(
        data=Phm2015Config(path="."),
        recipe=RecipeConfig(sampler=sampler),  # type: ignore[arg-type]
        training=TrainingConfig(sequence_length=T, **training),  # type: ignore[arg-type]
    )


def test_every_sampler_of_the_configuration_has_an_entry() -> None:
    """What ``recipe.sampler`` may be, and what there is; what stands for a slow one is one of them."""
    assert set(get_args(RecipeConfig.__annotations__["sampler"])) == set(SAMPLERS)
    assert {sampler.timed_as for sampler in SAMPLERS.values()} <= {"", *SAMPLERS}
    assert quickly_sampled(config("smote")).recipe.sampler == "none"
    assert quickly_sampled(config("under")) == config("under")


@pytest.mark.parametrize("sampler", ["none", "smote"])
def test_the_counts_are_those_of_the_batches(sampler: str) -> None:
    """Where each sequence is drawn in each epoch, to the last window."""
    source = epoch_source(examples(), config(sampler, passes=float(T), max_sequences=0, batch_size=13))
    batches = list(source.batches(0))
    assert len(batches) == source.steps
    active = sum((batch.target * batch.known).sum(dim=(0, 1)) for batch in batches)
    known = sum(batch.known.sum(dim=(0, 1)) for batch in batches)
    np.testing.assert_allclose(np.asarray(active), source.active, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(known), source.known, rtol=1e-5)


def test_the_counts_are_those_of_the_batches_on_average() -> None:
    """Where each epoch draws anew; the same number draws the same."""
    source = epoch_source(examples(), config(max_sequences=200))
    drawn = [sum(batch.target.sum(dim=(0, 1)) for batch in source.batches(n)) for n in range(200)]
    np.testing.assert_allclose(np.mean([np.asarray(d) for d in drawn], axis=0), source.active, rtol=0.1)
    for a, b in zip(source.batches(3), source.batches(3), strict=True):
        np.testing.assert_array_equal(a.bins, b.bins)
    assert not np.array_equal(next(iter(source.batches(3))).bins, next(iter(source.batches(4))).bins)


def test_an_epoch_draws_a_share_of_the_normal_sequences() -> None:
    """Of all others as many as ``passes`` wants, and over time all."""
    found = examples()
    source = DrawnEpochs(found, config(max_sequences=0).training, 0.33)
    of_kind = np.bincount(found.kind, minlength=4)
    seen: dict[int, int] = {}
    for number in range(30):
        n = sum(len(batch.bins) for batch in source.batches(number))
        wanted = of_kind * 3 / T * np.array([0.33, 1, 1, 1])
        assert n == np.maximum(np.round(wanted), wanted > 0).sum()
        for batch in source.batches(number):
            for value in batch.bins[:, 0, 0].tolist():
                seen[value] = seen.get(value, 0) + 1
    assert len(seen) > 0.95 * len(found)


def test_a_bounded_epoch_keeps_every_rare_fault() -> None:
    """As many of its sequences as without a bound; what is too much are normal ones, then those of frequent faults."""
    found = examples(20_000)
    free, bounded = (DrawnEpochs(found, config(max_sequences=most).training, 0.33) for most in (0, 500))
    assert bounded.steps == -(-500 // config().training.batch_size)
    # Windows of the rare fault are in sequences of its kind alone.
    assert bounded.active[2] == pytest.approx(free.active[2])
    assert bounded.active[0] < 0.3 * free.active[0]
    assert bounded.active[1] < free.active[1]


@tries(200)
@given(st.lists(st.floats(0, 20_000), min_size=2, max_size=7), st.integers(10, 5000))
def test_the_bound_holds_and_no_kind_vanishes(wanted: list[float], most: int) -> None:
    """No kind has more than is wanted, what is below the bound stays, and what there is has one sequence at least."""
    counts = _bounded(np.array(wanted), most)
    assert ((counts > 0) == (np.array(wanted) > 0)).all()
    assert (counts <= np.maximum(np.round(wanted), 1)).all()
    assert counts.sum() <= max(most, 1) + 2 * len(wanted)
    if sum(wanted) <= most:
        np.testing.assert_array_equal(counts, np.where(np.array(wanted) > 0, np.maximum(np.round(wanted), 1), 0))


def test_more_passes_than_there_are_sequences_are_not_drawn() -> None:
    """An epoch has each sequence once at most, however short sequences are."""
    found = examples(400)
    source = DrawnEpochs(found, config(passes=50.0, max_sequences=0).training, 1.0)
    assert sum(len(batch.bins) for batch in source.batches(0)) == len(found)


def test_smote_needs_sequences_that_are_labelled_throughout() -> None:
    """Where there are none, the sentence says what to do."""
    label = np.tile([0, -1, 1, -1], 50)[None]
    windows = labelled_windows(np.zeros((1, 200, 1), np.float32), label, WindowSpec(length=2, stride=1))
    with pytest.raises(HistoryError, match=r'set recipe\.sampler = "under"'):
        SmoteEpochs(Examples.of_devices(windows, 2, (), T), msgspec.structs.replace(config().training))
