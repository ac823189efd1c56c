"""Duplicates and contradictions among samples, against a plain comparison of all pairs."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from rarefault.train.history.assemble import find_repeats

row = st.tuples(st.integers(0, 1), st.integers(0, 3), st.tuples(*[st.sampled_from([1.0, 2.0, float("nan")])] * 2))


def plain(device: list[int], time: list[int], values: np.ndarray) -> tuple[list[int], list[int]]:
    """All pairs of one device and time: which equal an earlier row, and which differ from one not yet dropped."""
    repeated: list[int] = []
    contradicting: list[int] = []
    for later in range(len(time)):
        mates = [i for i in range(later) if (device[i], time[i]) == (device[later], time[later])]
        if any(np.array_equal(values[i], values[later], equal_nan=True) for i in mates):
            repeated.append(later)
            continue
        for channel in range(values.shape[1]):
            before = [values[i, channel] for i in mates if i not in repeated and not np.isnan(values[i, channel])]
            now = values[later, channel]
            if before and not np.isnan(now) and now != before[-1]:
                contradicting.append(later)
                break
    return repeated, contradicting


@settings(max_examples=200, deadline=None)
@given(st.lists(row, max_size=12))
def test_repeats_and_contradictions(rows: list[tuple[int, int, tuple[float, float]]]) -> None:
    """Random samples with many coincidences: the same rows are found as by comparing all pairs."""
    rows = sorted(rows, key=lambda item: item[1])
    device = [item[0] for item in rows]
    time = [item[1] for item in rows]
    values = np.array([item[2] for item in rows], float).reshape(len(rows), 2)
    values[np.isnan(values)] = np.nan
    repeated, contradicting = find_repeats(np.array(device, np.int32), np.array(time, np.int64), values)
    assert (repeated.tolist(), contradicting.tolist()) == plain(device, time, values)
