"""Longer windows for the methods that carry no state: further back, but never out of their segment."""

from dataclasses import replace

import numpy as np

from rarefault.train.dataset.windows import LabelledWindows

#: Bins that the methods without a carried state look back: 12 hours of plant 31, 2.4 hours of Tennessee Eastman.
CONTEXT = 48


def reach_back(windows: LabelledWindows, bins: int) -> LabelledWindows:
    """The same windows with the same ends and labels, each ``bins`` long.

    What lies before the first window of a segment may belong to another part, or to before a gap: it is NaN.
    """
    cut = windows.windows
    pad = max(0, bins - cut.length)
    rows = [np.empty((0, cut.rows.shape[1]), np.float32)]
    end_row = np.empty_like(cut.end_row)
    at = 0
    for first, stop in windows.segments():
        begin, end = int(cut.end_row[first]) - cut.length + 1, int(cut.end_row[stop - 1]) + 1
        rows += [np.full((pad, cut.rows.shape[1]), np.nan, np.float32), cut.rows[begin:end]]
        end_row[first:stop] = cut.end_row[first:stop] - begin + pad + at
        at += pad + end - begin
    return replace(windows, windows=replace(cut, rows=np.concatenate(rows), end_row=end_row, length=bins))
