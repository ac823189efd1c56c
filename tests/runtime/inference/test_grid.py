"""The grid against a plain one-sample-at-a-time reading of its rules."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.examples import examples
from tests.harness.plain_grid import PlainDevice, cut, per_device, push, recordings, specs, wrong_clocks

from rarefault.runtime.inference.grid import Grid
from rarefault.runtime.inference.manifest import GridSpec, WindowSpec
from rarefault.runtime.inference.window_buffer import WindowBuffer, Windows


@examples(300)
@given(specs, recordings() | wrong_clocks(), st.lists(st.integers(0, 100), max_size=8))
def test_any_cutting_into_pushes_gives_what_the_rules_say(
    spec: GridSpec, recording: list[tuple[int, int, list[float]]], cuts: list[int]
) -> None:
    """Bulk, piecewise and sample by sample, the grid emits the very bins of the plain reading."""
    counters = [False, False, True]
    plain = [PlainDevice(spec, counters) for _ in range(3)]
    for device, time, row in recording:
        plain[device].push(time, list(row))
    for d in plain:
        # A clock that was ahead may have closed bins that come again once it is right.
        assert d.restarts or len({b[0] for b in d.bins}) == len(d.bins), "a bin was emitted twice"
    for parts in ([recording], cut(recording, cuts), [[s] for s in recording]):
        grid = Grid(spec, 3, counters)
        pushed = [push(grid, part) for part in parts] or [push(grid, [])]
        assert (grid.accepted, grid.late, grid.distrusted, grid.restarts) == tuple(
            sum(getattr(d, name) for d in plain) for name in ("accepted", "late", "distrusted", "restarts")
        )
        assert grid.accepted + grid.late + grid.distrusted + sum(len(d.waiting) for d in plain) == len(recording)
        for device, want in enumerate(plain):
            index, value, reset = per_device(pushed, device)
            assert index.tolist() == [b[0] for b in want.bins]
            assert reset.tolist() == [b[2] for b in want.bins]
            expected = np.array([b[1] for b in want.bins], np.float32).reshape(-1, 3)
            np.testing.assert_array_equal(value, expected)


def stitch(pushed: list[Windows], device: int) -> tuple[list[int], list[bool], np.ndarray]:
    ends: list[int] = []
    fresh: list[bool] = []
    cuts = []
    for windows in pushed:
        mine = np.flatnonzero(windows.device == device)
        ends += windows.end_index[mine].tolist()
        fresh += windows.fresh[mine].tolist()
        cuts.append(windows.gather(mine))
    return ends, fresh, np.concatenate(cuts)


@examples(200)
@given(
    specs,
    recordings() | wrong_clocks(),
    st.lists(st.integers(0, 100), max_size=8),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
)
def test_bulk_and_incremental_windows_are_the_same(
    spec: GridSpec,
    recording: list[tuple[int, int, list[float]]],
    cuts: list[int],
    length: int,
    stride: int,
    spread: bool,
) -> None:
    """The windows of a recording do not depend on how it was cut into pushes, and are those of the plain reading."""
    plain = [PlainDevice(spec, [False] * 3) for _ in range(3)]
    for device, time, row in recording:
        plain[device].push(time, list(row))
    for parts in ([recording], cut(recording, cuts), [[s] for s in recording]):
        window = WindowSpec(length=length, stride=stride, spread=spread)
        grid, streams = Grid(spec, 3), WindowBuffer(window, 3, "abc")
        pushed = [streams.push(push(grid, part)) for part in parts] or [streams.push(push(grid, []))]
        for device, want in enumerate(plain):
            phase = zlib.crc32("abc"[device].encode()) % stride if spread else 0
            ends, fresh, cuts_ = stitch(pushed, device)
            expected: list[tuple[int, bool, list[list[float]]]] = []
            segment: list[list[float]] = []
            first = True
            for index, row, reset in want.bins:
                if reset:
                    segment, first = [], True
                segment.append(row)
                if len(segment) >= length and (index + 1 + phase) % stride == 0:
                    expected.append((index, first, segment[-length:]))
                    first = False
            assert ends == [e[0] for e in expected]
            assert fresh == [e[1] for e in expected]
            np.testing.assert_array_equal(cuts_, np.array([e[2] for e in expected], np.float32).reshape(-1, length, 3))


def test_late_samples_are_counted_and_change_nothing() -> None:
    """A sample of a closed bin is dropped, one within the allowed lateness is placed right."""
    spec = GridSpec(period_s=10, max_hold_s=0, allowed_lateness_s=10, max_gap_s=100)
    grid = Grid(spec, 1)
    bins = grid.push([0] * 5, [1_000, 12_000, 5_000, 31_000, 2_000], [[1.0], [2.0], [3.0], [4.0], [9.0]])
    assert grid.late == 1
    assert bins.index.tolist() == [0, 1]
    assert bins.values.ravel().tolist() == [3.0, 2.0]


def test_a_far_jump_in_time_costs_no_memory() -> None:
    """A device whose clock jumps by decades gets a reset, not millions of empty bins."""
    grid = Grid(GridSpec(period_s=1, max_hold_s=5, max_gap_s=60), 2)
    ahead = 2_000_000_000_000
    bins = grid.push([0] * 4, [1_000, ahead, ahead + 500, ahead + 2_000], np.ones((4, 2)))
    assert bins.index.tolist() == [1, 2_000_000_000]
    assert bins.reset.tolist() == [True, True]


@pytest.mark.parametrize("time_ms", [-1, 1 << 42])
def test_times_outside_the_range_are_refused(time_ms: int) -> None:
    """The caller must reject such times before; the grid says so instead of going wrong silently."""
    with pytest.raises(ValueError, match="outside 1970 to 2109"):
        Grid(GridSpec(), 1).push([0], [time_ms], [[1.0]])


def test_samples_that_do_not_fit_are_refused() -> None:
    """Arrays of different lengths or channels are an error of the caller."""
    with pytest.raises(ValueError, match="samples do not fit"):
        Grid(GridSpec(), 2).push([0], [0], [[1.0]])


def test_a_jump_that_fits_into_the_gap_by_its_bins_is_no_new_stretch() -> None:
    """Bins that were filled across it have been judged: a device that goes back starts anew beyond them only."""
    grid = Grid(GridSpec(period_s=7, max_hold_s=0, max_gap_s=80, restart_after=3), 1)
    times = [329_276, 413_448, 411_775, 420_728, 430_000, 336_108, 339_404, 341_819, 349_711, 357_583, 365_000, 372_000]
    found = grid.push([0] * len(times), times, [[1.0]] * len(times))
    assert len(set(found.index.tolist())) == len(found)
    assert grid.restarts == 0


def test_a_sample_out_of_order_moves_the_beginning_of_a_stretch_however_pushes_are_cut() -> None:
    """After a jump, samples within the lateness lie before it: they count, and not twice when the clock is back."""
    spec = GridSpec(period_s=1, max_hold_s=0, allowed_lateness_s=25, max_gap_s=10, restart_after=3)
    seconds = [8, 295.5, 300.9, 279.5, 278.6, 157, 158, 159, 168, 176, 185, 194, 203, 212, 221, 230, 239, 248, 257, 266]
    seconds += [273, 278.4, 282, 306, 314, 323, 332, 341]
    times = [round(1000 * second) for second in seconds]
    found = []
    for parts in ([times], [[time] for time in times]):
        grid = Grid(spec, 1)
        bins = [grid.push([0] * len(part), part, [[1.0]] * len(part)).index for part in parts]
        found.append(np.concatenate(bins).tolist())
    assert found[0] == found[1]
    assert len(set(found[0])) == len(found[0])
