"""The class of each bin, against a plain reading of the rule."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.history import Events, History, ReadNotes, Stretches, label_bins
from rarefault.train.history.data import EventTimes, Overlap

PERIOD_MS = 1000
GRID = GridSpec(period_s=PERIOD_MS / 1000)
CLASSES = ("normal", "a", "b", "c")

event = st.tuples(st.integers(0, 1), st.integers(0, 20_000), st.integers(0, 6_000), st.integers(1, 3))


def history_of(
    events: list[tuple[int, int, int, int]], overlap: Overlap = "rarest", event_times: EventTimes = "exact"
) -> History:
    """A fault log of two devices: (device, start, duration, fault), milliseconds."""
    device, start, duration, fault = np.array(events, np.int64).reshape(-1, 4).T
    return History(
        devices=("one", "two"),
        channels=(),
        classes=CLASSES,
        counters=(),
        device=np.empty(0, np.int32),
        time_ms=np.empty(0, np.int64),
        values=np.empty((0, 0)),
        events=Events(device.astype(np.int32), start, start + duration, fault.astype(np.int32)),
        overlap=overlap,
        notes=ReadNotes(),
        fingerprint="",
        event_times=event_times,
    )


def plain_label(history: History, device: int, index: int, grid: GridSpec = GRID) -> int:
    """The rule, one event after the other."""
    events, label = history.events, 0
    best: tuple[int, int] | None = None
    for row in range(len(events)):
        start, end = int(events.start_ms[row]), int(events.end_ms[row])
        ends = grid.end_ms(index)
        if history.event_times == "rounded":
            inside = start < ends + PERIOD_MS / 2 and ends - PERIOD_MS / 2 <= end
        else:
            inside = start < ends <= end or ends - PERIOD_MS <= start <= end < ends
        if events.device[row] != device or not inside:
            continue
        fault = int(events.fault[row])
        same = events.fault == fault
        total = int((events.end_ms - events.start_ms)[same].sum())
        rank = (row, 0) if history.overlap == "file order" else (-total, fault)
        if best is None or rank >= best:
            label, best = fault, rank
    return label


@settings(max_examples=150, deadline=None)
@given(
    st.lists(event, max_size=8),
    st.sampled_from(["rarest", "file order"]),
    st.sampled_from(["exact", "rounded"]),
    st.sampled_from([0.0, 0.3]),
    st.randoms(use_true_random=False),
)
def test_labels_follow_the_rule(
    events: list[tuple[int, int, int, int]], overlap: Overlap, event_times: EventTimes, offset_s: float, random: object
) -> None:
    """For random events, overlaps included, every bin has the class that the rule gives it, in any order of bins."""
    history = history_of(events, overlap, event_times)
    grid = GridSpec(period_s=PERIOD_MS / 1000, offset_s=offset_s)
    device = np.repeat([0, 1], 30)
    index = np.tile(np.arange(30), 2)
    order = np.arange(60)
    random.shuffle(order)  # type: ignore[attr-defined]
    labels = label_bins(history, device[order], index[order], grid)
    assert labels.tolist() == [plain_label(history, device[i], index[i], grid) for i in order]


def test_the_rare_fault_wins() -> None:
    """Where a short-lived class and a common one overlap, the default keeps the rare one, file order the later row."""
    events = [(0, 4_000, 2_000, 2), (0, 0, 20_000, 1)]
    bins = np.arange(20)
    rarest = label_bins(history_of(events), np.zeros(20, int), bins, GRID)
    assert rarest[[4, 5]].tolist() == [2, 2]
    assert np.bincount(rarest, minlength=3).tolist() == [0, 18, 2]
    in_order = label_bins(history_of(events, "file order"), np.zeros(20, int), bins, GRID)
    assert set(in_order.tolist()) == {1}


def test_the_state_at_the_end_of_the_bin_counts() -> None:
    """An event from 10 s to 12 s labels the bins that end at 11 and 12 s; one within a bin labels that one."""
    labels = label_bins(history_of([(0, 10_000, 2_000, 1)]), np.zeros(20, int), np.arange(20), GRID)
    assert np.flatnonzero(labels).tolist() == [10, 11]
    labels = label_bins(history_of([(0, 10_400, 0, 1)]), np.zeros(20, int), np.arange(20), GRID)
    assert np.flatnonzero(labels).tolist() == [10]


def test_rounded_events_label_the_borders_that_are_nearest() -> None:
    """As published: an event from 10 s to 12 s labels the bins that end at 10, 11 and 12 s, one at 10.4 s the first."""
    rounded = history_of([(0, 10_000, 2_000, 1)], event_times="rounded")
    assert np.flatnonzero(label_bins(rounded, np.zeros(20, int), np.arange(20), GRID)).tolist() == [9, 10, 11]
    rounded = history_of([(0, 10_400, 0, 1)], event_times="rounded")
    assert np.flatnonzero(label_bins(rounded, np.zeros(20, int), np.arange(20), GRID)).tolist() == [9]


def test_a_history_without_events_is_normal() -> None:
    """Without events every bin is class 0."""
    assert label_bins(history_of([]), np.zeros(3, int), np.arange(3), GRID).tolist() == [0, 0, 0]


def test_time_that_nobody_knows_has_no_label() -> None:
    """An unlabelled stretch from 3 s to 8 s labels its bins -1, but for those that an event of the log covers."""
    silent = Stretches(np.zeros(1, np.int32), np.array([3_000]), np.array([8_000]))
    history = replace(history_of([(0, 5_000, 1_000, 1), (1, 0, 0, 2)]), unlabelled=silent)
    labels = label_bins(history, np.zeros(10, int), np.arange(10), GRID)
    assert labels.tolist() == [0, 0, 0, -1, -1, 1, -1, -1, 0, 0]
    assert label_bins(history, np.ones(10, int), np.arange(10), GRID).tolist() == [2, *([0] * 9)]
