"""Plausible classes: coverage by event on data whose windows hang together."""

import numpy as np
import pytest

from rarefault.runtime.arrays import Float64, Int64
from rarefault.train.calibration.conformal import fit_conformal_thresholds, least_events
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.evaluation.coverage import coverages

CLASSES = ("normal", "a")


def draw(rng: np.random.Generator, events: int) -> tuple[Float64, Int64, Int64]:
    """Posterior, label and event: events of both classes, some easy and some hard, the hard ones short."""
    hard = rng.random(2 * events) < 0.3
    size = np.where(hard, 2, 40)
    label = np.repeat(np.arange(2 * events) % 2, size)
    own = 1 / (1 + np.exp(-np.repeat(np.where(hard, 0.0, 3.0), size) - rng.normal(size=size.sum())))
    posterior = np.stack((own, 1 - own), axis=1)
    posterior[label == 1] = posterior[label == 1][:, ::-1]
    return posterior, label, np.repeat(np.arange(2 * events), size)


def test_an_event_counts_once_however_long_it_is() -> None:
    """Over many draws the coverage of new events is the nominal one; long easy events do not drown the short ones."""
    rng = np.random.default_rng(0)
    by_event, by_window, pooled = [], [], []
    for _ in range(300):
        posterior, label, event = draw(rng, 20)
        levels, events = fit_conformal_thresholds(posterior, label, event, 0.9)
        assert events.tolist() == [20, 20]
        found = coverages(*draw(rng, 20), levels, CLASSES)
        by_event += [found[name].by_event for name in CLASSES]
        by_window += [found[name].by_window for name in CLASSES]
        # What one would get if every window counted alike.
        naive = np.array([np.quantile(posterior[label == c, c], 0.1) for c in (0, 1)])
        pooled += [c.by_event for c in coverages(*draw(rng, 20), naive, CLASSES).values()]
    assert np.mean(np.asarray(by_event, float)) == pytest.approx(0.9, abs=0.015)
    assert np.mean(np.asarray(by_window, float)) > 0.95
    assert np.mean(np.asarray(pooled, float)) < 0.85


def test_too_few_events_abstain() -> None:
    """Nine events are needed for 90 %; with eight the class is plausible always."""
    assert [least_events(coverage) for coverage in (0.5, 0.9, 0.95, 0.99)] == [1, 9, 19, 99]
    rng = np.random.default_rng(1)
    for n, stated in ((8, False), (9, True)):
        posterior, label, event = draw(rng, n)
        levels, events = fit_conformal_thresholds(posterior, label, event, 0.9)
        assert events.tolist() == [n, n]
        assert (levels > 0).tolist() == [stated, stated]


def test_events_end_with_label_device_and_gap() -> None:
    """A run of one label of one device without a gap is one event."""
    device = np.array([0, 0, 0, 0, 1, 1, 1])
    label = np.array([0, 1, 1, 0, 0, 0, 0])
    fresh = np.array([True, False, False, False, True, False, True])
    assert event_of(device, fresh, label).tolist() == [1, 2, 2, 3, 4, 4, 5]
