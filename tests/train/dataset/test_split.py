"""Honest splits: parts share nothing, events stay whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.examples import examples

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.grid import Grid
from rarefault.runtime.inference.manifest import GridSpec, WindowSpec
from rarefault.runtime.inference.window_buffer import WindowBuffer
from rarefault.train.dataset.split import (
    PARTS,
    SplitConfig,
    check_blocks,
    rotations,
    split_history,
)
from rarefault.train.history import Events, History
from rarefault.train.history.notes import ReadNotes

HOUR_MS = 3_600_000
GRID = GridSpec(period_s=600, max_hold_s=600, max_gap_s=3600)
WINDOW = WindowSpec(length=6, stride=1)


def history(events: list[tuple[int, int, int, int]], *, hours: int = 240, devices: int = 2) -> History:
    """Samples every ten minutes; events as (device, start hour, duration in minutes, class)."""
    time_ms = np.repeat(np.arange(hours * 6) * 600_000, devices)
    device = np.tile(np.arange(devices), hours * 6).astype(np.int32)
    start = np.array([e[1] * HOUR_MS for e in events], np.int64)
    return History(
        devices=tuple(f"d{d}" for d in range(devices)),
        channels=("x",),
        classes=("normal", "a", "b"),
        counters=(),
        device=device,
        time_ms=time_ms,
        values=np.ones((len(time_ms), 1)),
        events=Events(
            np.array([e[0] for e in events], np.int32),
            start,
            start + np.array([e[2] * 60_000 for e in events], np.int64),
            np.array([e[3] for e in events], np.int32),
        ),
        overlap="rarest",
        notes=ReadNotes(),
        fingerprint="",
    )


events_strategy = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 230), st.integers(1, 900), st.integers(1, 2)), max_size=25
)


@examples(60)
@given(events_strategy, st.integers(0, 5))
def test_parts_share_nothing_and_short_events_stay_whole(events: list[tuple[int, int, int, int]], seed: int) -> None:
    """Samples, bins and whole short events belong to one part each; windows of two parts share no bin."""
    whole = history(events)
    config = SplitConfig(block_s=12 * 3600, seed=seed)
    split = split_history(whole, config, GRID)
    masks = [split.mask(whole, part) for part in PARTS]
    assert (np.sum(masks, axis=0) == 1).all()
    seen: dict[tuple[int, int], str] = {}
    for part in PARTS:
        chosen = split.select(whole, part)
        bins = Grid(GRID, 1).push(chosen.device, chosen.time_ms, chosen.values)
        windows = WindowBuffer(WINDOW, 1).push(bins)
        for device, end in zip(windows.device.tolist(), windows.end_index.tolist(), strict=True):
            for index in range(end - WINDOW.length + 1, end + 1):
                assert seen.setdefault((device, index), part) == part
    for device, start_hour, minutes, _ in events:
        if minutes * 60 < config.block_s:
            start, end = start_hour * HOUR_MS, start_hour * HOUR_MS + minutes * 60_000
            touched = {
                b.part for b in split.blocks if b.device == f"d{device}" and b.start_ms <= end and b.end_ms > start
            }
            assert len(touched) <= 1 or minutes == 0


def test_the_split_follows_from_the_seed() -> None:
    """Same history, same seed, same blocks; another seed deals them otherwise."""
    whole = history([(0, h, 60, 1 + h % 2) for h in range(0, 230, 7)])
    splits = [split_history(whole, SplitConfig(block_s=12 * 3600, seed=s), GRID) for s in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_the_seed_deals_blocks_that_are_all_different_otherwise() -> None:
    """No two blocks hold the fault as long as each other; seeds deal them unlike each other, and each part has some."""
    whole = history([(0, 12 * i + 3, 20 + 15 * i, 1) for i in range(20)], devices=1)
    splits = [split_history(whole, SplitConfig(block_s=12 * 3600, seed=s), GRID) for s in range(4)]
    assert len({split.blocks for split in splits}) == 4
    for split in splits:
        assert {block.part for block in split.blocks} == set(PARTS)


def test_faults_are_dealt_to_all_parts() -> None:
    """With enough events every part has some of each fault."""
    whole = history([(d, h, 60, 1 + (h // 7) % 2) for d in (0, 1) for h in range(0, 230, 7)])
    split = split_history(whole, SplitConfig(block_s=12 * 3600), GRID)
    for part in PARTS:
        inside = [
            f
            for d, s, f in zip(whole.events.device, whole.events.start_ms, whole.events.fault, strict=True)
            if any(b.part == part and b.device == f"d{d}" and b.start_ms <= s < b.end_ms for b in split.blocks)
        ]
        assert set(inside) == {1, 2}


def test_by_device() -> None:
    """Whole devices are dealt when the split is by device."""
    whole = history([(d, 5, 60, 1) for d in range(6)], hours=30, devices=6)
    split = split_history(whole, SplitConfig(by="device", folds=3), GRID)
    assert [b.device for b in split.blocks] == [f"d{d}" for d in range(6)]
    assert {b.part for b in split.blocks} == set(PARTS)


def test_long_events_and_rare_classes_are_said() -> None:
    """Events longer than a block are cut and counted; a class with fewer events than folds is named."""
    whole = history([(0, 10, 60 * 48, 1), (0, 100, 60, 2)])
    split = split_history(whole, SplitConfig(block_s=12 * 3600), GRID)
    assert any("1 event(s) last longer than a block" in note for note in split.notes)
    assert any("fewer events than the 5 folds: a (1), b (1);" in note for note in split.notes)


def test_too_few_blocks_are_refused() -> None:
    """Too short a history says what to change."""
    with pytest.raises(HistoryError, match=r"fewer than split\.folds = 5: shorten split\.block_s"):
        split_history(history([], hours=30, devices=1), SplitConfig(block_s=12 * 3600), GRID)


@pytest.mark.parametrize(("block_s", "key"), [(3600, "grid.max_gap_s"), (4000, "two windows")])
def test_blocks_that_cannot_keep_parts_apart_are_refused(block_s: float, key: str) -> None:
    """Blocks must be longer than the gap that resets a device, and hold a window."""
    with pytest.raises(ValueError, match=key):
        check_blocks(SplitConfig(block_s=block_s), GRID, WINDOW)


def test_each_part_of_the_training_blocks_is_held_out_once() -> None:
    """Of whatever blocks train; what validated trains along then, and the test blocks stay out of it."""
    whole = history([(d, 10 * i, 120, 1 + i % 2) for d in (0, 1) for i in range(24)])
    config = SplitConfig(block_s=12 * 3600, folds=4)
    split = split_history(whole, config, GRID)
    turns = rotations(whole, split, "train", 2, 0, GRID)
    assert len(turns) == 2
    before = {part: split.mask(whole, part) for part in PARTS}
    held_out = [turn.mask(whole, "validation") for turn in turns]
    np.testing.assert_array_equal(np.sum(held_out, axis=0), before["train"].astype(int))
    for turn, held in zip(turns, held_out, strict=True):
        assert 0.3 < held.sum() / before["train"].sum() < 0.7
        np.testing.assert_array_equal(turn.mask(whole, "test"), before["test"])
        np.testing.assert_array_equal(turn.mask(whole, "train"), ~held & ~before["test"])
    assert [t.blocks for t in rotations(whole, split, "train", 2, 0, GRID)] == [t.blocks for t in turns]


def test_nothing_is_held_out_where_there_are_fewer_blocks_than_parts() -> None:
    """Such as of two devices that train, with three parts to make."""
    whole = history([(d, 10 * i, 120, 1) for d in range(4) for i in range(20)], devices=4)
    config = SplitConfig(by="device", folds=4)
    split = split_history(whole, config, GRID)
    assert len(rotations(whole, split, "train", 2, 0, GRID)) == 2
    assert rotations(whole, split, "train", 3, 0, GRID) == []
    assert rotations(whole, split, "validation", 2, 0, GRID) == []
