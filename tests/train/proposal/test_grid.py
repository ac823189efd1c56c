"""Period, hold, gap and windows from the data, a few to choose from, each with what it sees and how long it trains."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.train.proposal.conftest import Made

from rarefault.train.history import Events, History, ReadNotes
from rarefault.train.proposal.distances import distances_of
from rarefault.train.proposal.grid import grid_sections, nice, suggestions

START = datetime(2024, 3, 1, tzinfo=UTC)
Put = Callable[..., None]


def plant(put: Put, step_s: int, event_s: int, days: int = 30, slow: int = 1) -> None:
    """A machine with a channel that every sample has and one that every ``slow`` th has, and an event a day."""
    rng = np.random.default_rng(0)
    count = days * 86_400 // step_s
    rows = [
        f"{START + timedelta(seconds=i * step_s + 1):%Y-%m-%dT%H:%M:%SZ},m1,{rng.normal(20, 1):.2f},"
        f"{f'{rng.normal(5, 1):.2f}' if i % slow == 0 else ''}"
        for i in range(count)
        if not 5 <= i * step_s / 86_400 < 6  # a day without a sample
    ]
    put("data.csv", "time,machine,temp,flow", *rows)
    starts = [START + timedelta(days=day, hours=3 + day % 9) for day in range(days) if day not in {4, 5}]
    faults = ("leak", "wear")
    put("log.csv", "machine,start,end,fault",
        *(f"m1,{at:%Y-%m-%dT%H:%M:%SZ},{at + timedelta(seconds=event_s):%Y-%m-%dT%H:%M:%SZ},{faults[i % 2]}"
          for i, at in enumerate(starts)))  # fmt: skip


@pytest.mark.training
@pytest.mark.parametrize(("step_s", "event_s", "period_s"), [(60, 7200, 120), (60, 28800, 900), (900, 3600, 900)])
def test_the_period_follows_the_shortest_events(
    init: Callable[..., Made], put: Put, step_s: int, event_s: int, period_s: int
) -> None:
    """A bin holds a sample, and a window half of a short event where samples come often enough."""
    plant(put, step_s, event_s)
    made = init("data.csv", "log.csv")
    grid, window = made.keys["grid"], made.keys["window"]
    assert grid["period_s"] == period_s
    about = made.questions
    assert 2 <= about.count("period_s = ") - 1 <= 3  # the key itself, and what there is to choose from
    assert about.count("of training") >= 2
    assert "about" in about
    assert window["stride"] * period_s <= event_s
    made.config  # noqa: B018 - is read, and refused where the parts do not fit
    assert "1 stretch(es) without a sample are longer" in about


@pytest.mark.training
def test_the_hold_follows_the_slowest_channel(init: Callable[..., Made], put: Put) -> None:
    """Flow comes once in three hours: it is held that long, and the reason names it."""
    plant(put, 600, 7200, slow=18)
    grid = init("data.csv", "log.csv").keys["grid"]
    assert grid["max_hold_s"] >= 3 * 3600
    assert grid["max_gap_s"] >= grid["max_hold_s"]
    assert grid["max_gap_s"] < 86_400 * 2


def test_samples_at_the_border_of_bins_are_moved(init: Callable[..., Made], put: Put) -> None:
    """A second before and a second after full quarters of an hour: chance would decide."""
    rows = [
        f"{START + timedelta(seconds=900 * i + (-1) ** i * 2):%Y-%m-%dT%H:%M:%SZ},m1,{i % 7}.5" for i in range(1, 300)
    ]
    put("data.csv", "time,machine,temp", *rows)
    grid = init("data.csv").keys["grid"]
    assert grid["offset_s"] == grid["period_s"] / 2


def test_nice_widths() -> None:
    """Jitter does not take the next width; beyond a day they are whole days."""
    assert [nice(61), nice(62.9), nice(64), nice(86_400 * 2.5)] == [60, 60, 120, 86_400 * 3]
    assert nice(3599, down=True) == 3600


@pytest.mark.parametrize("cuts", [0, 2])
def test_what_was_left_out_is_no_gap(cuts: int) -> None:
    """Two long distances of each device are cuts of an excerpt, where there are any."""
    steps = np.r_[np.full(50, 60), 90_000, np.full(50, 60), 90_000, np.full(50, 60)] * 1000
    time_ms = np.cumsum(steps)
    history = _history(np.tile(time_ms, 2), np.repeat([0, 1], len(time_ms)))
    assert len(distances_of(history, cuts).gaps) == (0 if cuts else 4)
    chosen = suggestions(distances_of(history, cuts), 1.0)
    names = [draft.name for draft in grid_sections(history, distances_of(history, cuts), chosen)]
    assert names[:2] == ["grid", "window"]


def _history(time_ms: np.ndarray, device: np.ndarray) -> History:
    return History(
        devices=("a", "b"),
        channels=("x",),
        classes=("normal",),
        counters=(),
        device=device.astype(np.int32),
        time_ms=time_ms.astype(np.int64),
        values=np.ones((len(time_ms), 1)),
        events=Events.none(),
        overlap="rarest",
        notes=ReadNotes(),
        fingerprint="",
    )
