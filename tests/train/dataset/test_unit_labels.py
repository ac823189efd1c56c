"""Which unit an event is of, from the log or from its times, and what that says of windows."""

from dataclasses import replace

import numpy as np
import pytest

from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.dataset.unit_labels import NO_UNITS, label_units, unit_notes, unit_numbers
from rarefault.train.history import Events, History, ReadNotes
from rarefault.train.history.events.units import units_of, with_units

GRID = GridSpec(period_s=1)
UNITS = np.array([[0, 1], [2, 3]])
#: (start, end, fault, unit): milliseconds, unit -1 where the log does not say.
LOG = [(1000, 4000, 1, 0), (2000, 6000, 2, 1), (3000, 5000, 1, 1), (8000, 9000, 3, -1), (10_000, 12_000, 3, 0)]


def history_of(log: list[tuple[int, int, int, int]]) -> History:
    """A fault log of one device with two pumps."""
    start, end, fault, unit = np.array(log, np.int64).T
    return History(
        devices=("station",),
        channels=("p1.flow", "p1.level", "p2.flow", "p2.level", "weather"),
        classes=("normal", "a", "b", "c"),
        counters=(),
        device=np.empty(0, np.int32),
        time_ms=np.empty(0, np.int64),
        values=np.empty((0, 5)),
        events=Events(np.zeros(len(log), np.int32), start, end, fault.astype(np.int32), unit.astype(np.int32)),
        overlap="rarest",
        notes=ReadNotes(),
        fingerprint="",
        units=("p1", "p2"),
    )


def test_an_interval_is_of_the_unit_whose_samples_it_begins_and_ends_with() -> None:
    """Within a second at both ends, and of one unit only."""
    first, second = np.array([0, 60_000, 120_000]), np.array([30_000, 90_000, 120_900])
    start = np.array([0, 1000, 30_000, 0, 60_000, 5000])
    end = np.array([60_000, 61_000, 90_001, 30_000, 120_000, 5000])
    assert units_of(start, end, [first, second]).tolist() == [0, 0, 1, -1, 0, -1]
    assert units_of(np.array([120_500]), np.array([120_500]), [first, second]).tolist() == [-1]
    assert units_of(start, end, []).tolist() == [-1] * 6


def test_units_are_found_device_by_device() -> None:
    """Samples of another device say nothing; a unit is heard where one of its channels is."""
    nan = np.nan
    history = replace(
        history_of([(1000, 5000, 1, -1), (1000, 5000, 2, -1)]),
        devices=("one", "two"),
        device=np.array([0, 1, 0, 1], np.int32),
        time_ms=np.array([1000, 1000, 5000, 5000]),
        values=np.array(
            [[1, nan, nan, nan, nan], [nan, nan, nan, 2, 1], [nan, 3, nan, nan, nan], [nan, nan, 4, nan, 1]]
        ),
    )
    history = replace(history, events=replace(history.events, device=np.array([0, 1], np.int32)))
    found = with_units(history, ("p1", "p2"))
    assert found.events.unit.tolist() == [0, 1]
    assert found.units == ("p1", "p2")


@pytest.mark.parametrize(
    ("name", "number"), [("p1", 0), ("p2.", 1), ("p", -1), ("p1.flow", -1), ("p3", -1), ("P1", -1)]
)
def test_a_unit_is_named_by_how_all_of_its_channels_begin(name: str, number: int) -> None:
    """And a name ends where no letter or digit follows."""
    assert unit_numbers([name], history_of(LOG).channels, UNITS) == [number]


def test_names_that_begin_alike_are_told_apart() -> None:
    """``c1`` is not the unit of ``c10.S1``."""
    channels = ("c10.S1", "c1.S1", "pump2_flow")
    assert unit_numbers(["c1", "c10", "pump2", "pump2_"], channels, np.array([[0], [1], [2]])) == [1, 0, 2, 2]


def test_windows_know_what_is_active_at_each_unit() -> None:
    """Whatever gives the label; of a fault whose unit the log seldom names nothing is known."""
    bins = np.arange(14)
    found = label_units(history_of(LOG), np.zeros(14, np.int64), bins, GRID, UNITS)
    assert found is not None
    assert found.faults == (1, 2)
    assert found.rarest_first == (3, 2, 1)  # 3 s, 4 s, 5 s
    assert found.active.shape == (14, 2, 2)
    for u, j, active in ((0, 0, {1, 2, 3}), (1, 0, {3, 4}), (0, 1, set()), (1, 1, {2, 3, 4, 5})):
        assert set(np.flatnonzero(found.active[:, u, j]).tolist()) == active
    assert found.known.all()


def test_a_person_is_told_which_faults_are_looked_for_at_units() -> None:
    """And of which faults the log names too few units."""
    history = history_of(LOG)
    found = label_units(history, np.zeros(14, np.int64), np.arange(14), GRID, UNITS)
    assert unit_notes(history, found, UNITS) == [
        "looked for at each of 2 units, as the log names the unit of their events: a, b",
        "the log names the unit of too few events to look for a fault there (90% wanted): c (50%)",
    ]
    assert unit_notes(history, None, UNITS) == []


def test_time_of_an_event_without_a_unit_is_not_learnt_from() -> None:
    """Where the log mostly names the unit, the rest of the events are left out, not taken as no fault."""
    log = [(1000 * i, 1000 * i + 1000, 1, 0) for i in range(0, 38, 2)] + [(50_000, 53_000, 1, -1)]
    found = label_units(history_of(log), np.zeros(60, np.int64), np.arange(60), GRID, UNITS)
    assert found is not None
    assert found.faults == (1,)
    assert np.flatnonzero(~found.known[:, 0]).tolist() == [50, 51, 52]
    assert not found.active[50:].any()


def test_without_units_in_log_or_configuration_windows_know_nothing_of_them() -> None:
    """Nor where the file's order decides between faults, which what is active does not tell."""
    place = (np.zeros(3, np.int64), np.arange(3), GRID)
    history = history_of(LOG)
    assert label_units(history, *place, NO_UNITS) is None
    assert label_units(replace(history, overlap="file order"), *place, UNITS) is None
    nameless = replace(history, events=replace(history.events, unit=np.full(len(LOG), -1, np.int32)))
    assert label_units(nameless, *place, UNITS) is None
