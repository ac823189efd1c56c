"""The simulated Tennessee Eastman plants: what is drawn, what is simulated, and how it is labelled."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from benchmarks.quality.protocol import PROBLEMS, config_of
from benchmarks.quality.tep_simulated import (
    DOWN_H,
    N_FAULTS,
    Event,
    Fleet,
    Plan,
    keep,
    kept,
    make_plans,
    prepare,
    simulate,
    to_table,
)

from rarefault.runtime.inference.grid import Grid
from rarefault.train.history import label_bins, read_history


def test_most_of_the_time_is_normal_and_some_faults_are_rare() -> None:
    """30 % of the time is faulty, the rarest fault 0.1 %; each has five events, at as many plants; none overlap."""
    fleet = Fleet()
    plans = make_plans(fleet)
    events = [(plan.plant, event) for plan in plans for event in plan.events]
    total = fleet.plants * fleet.hours
    share = [sum(e.end_h - e.start_h for _, e in events if e.fault == k) / total for k in range(1, N_FAULTS + 1)]
    assert sum(share) == pytest.approx(0.3)
    assert min(share) == pytest.approx(0.001, rel=0.1)
    assert max(share) == pytest.approx(0.058, rel=0.1)
    for k in range(1, N_FAULTS + 1):
        where = [plant for plant, event in events if event.fault == k]
        assert len(set(where)) >= 5
        assert max(where.count(plant) for plant in set(where)) <= -(-len(where) // fleet.plants)
    for plan in plans:
        assert plan.events[0].start_h > 0
        assert plan.events[-1].end_h <= plan.hours
        assert all(before.end_h < after.start_h for before, after in pairwise(plan.events))


def test_the_plans_go_by_the_seed() -> None:
    assert make_plans(Fleet()) == make_plans(Fleet())
    assert make_plans(Fleet()) != make_plans(Fleet(seed=1))


def test_events_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"20 hours do not hold the \d+ events of plant 0"):
        make_plans(Fleet(plants=1, hours=20, fewest=9))


def test_what_is_kept_is_not_simulated_again(tmp_path: Path) -> None:
    """Each plant is a file of its own; another fleet has other files."""
    fleet = Fleet(plants=3)
    files = [kept(fleet, plant, tmp_path) for plant in range(3)]
    for file in files:
        file.write_bytes(b"kept")
    assert prepare(fleet, tmp_path) == files
    assert all(file.read_bytes() == b"kept" for file in files)
    assert kept(Fleet(plants=3, seed=1), 0, tmp_path) not in files


@pytest.mark.slow
def test_a_fault_shows_from_its_start_on_and_the_seed_decides() -> None:
    """Until the fault the run is the undisturbed one to the last digit; the same plan gives the same run."""
    pytest.importorskip("tep_studio", reason="the benchmark's own environment has tep-studio")
    event = Event(1, 0.52, 1.0)
    plan = Plan(0, 1.0, (event,), ((0.0, 1.0),), 7)
    disturbed, again = simulate(plan), simulate(plan)
    peaceful = simulate(Plan(0, 1.0, (), ((0.0, 1.0),), 7))
    np.testing.assert_array_equal(disturbed.values, again.values)
    before = disturbed.hour < event.start_h
    assert before.sum() == 11
    np.testing.assert_array_equal(disturbed.values[before], peaceful.values[before])
    assert not np.array_equal(disturbed.values[~before], peaceful.values[~before])
    assert disturbed.events == (event,)


@pytest.mark.slow
def test_a_plant_that_trips_is_down_and_starts_again() -> None:
    """Without the feed of A the pressure rises until the plant trips; the event ends and goes on with the new start."""
    pytest.importorskip("tep_studio", reason="the benchmark's own environment has tep-studio")
    run = simulate(Plan(0, 12.5, (Event(6, 0.1, 12.5),), ((0.0, 1.03),), 7))
    first, second = run.events
    assert first.end_h < 10
    assert second.start_h == pytest.approx(first.end_h + DOWN_H)
    assert second.end_h == 12.5
    assert np.diff(run.hour).max() >= DOWN_H


@pytest.mark.slow
def test_labels_are_those_of_the_samples(tmp_path: Path) -> None:
    """Each bin has the class that was active when its sample was taken."""
    pytest.importorskip("tep_studio", reason="the benchmark's own environment has tep-studio")
    events = (Event(4, 0.31, 0.72), Event(14, 0.93, 1.07), Event(4, 1.33, 1.5))
    files = [tmp_path / "plant-00-x.npz", tmp_path / "plant-01-x.npz"]
    for number, file in enumerate(files):
        told = keep(Plan(number, 1.5, events[number:], ((0.0, 1.0),), 7), file)
        assert told == f"plant {number}: 30 samples, {3 - number} of {3 - number} events"
    to_table(files, tmp_path)
    config = config_of(PROBLEMS["tep-simulated-plants"], Path(), {})
    history = read_history(config.data, tmp_path)
    bins = Grid(config.grid, len(history.channels)).push(history.device, history.time_ms, history.values)
    label = label_bins(history, bins.device, bins.index, config.grid)
    for slot, file in enumerate(files):
        with np.load(file) as run:
            active = np.zeros(len(run["hour"]), int)
            for fault, start_h, end_h in run["events"]:
                during = (run["hour"] >= start_h) & (run["hour"] < end_h)
                active[during] = history.classes.index(f"fault_{int(fault):02d}")
        own = label[bins.device == slot]  # the last bin stays open: nothing comes after it
        assert (active > 0).any()
        np.testing.assert_array_equal(own, active[: len(own)])
