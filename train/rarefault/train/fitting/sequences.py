"""Training sequences: T consecutive windows of one segment, gathered by index."""

import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.runtime.errors import HistoryError
from rarefault.train.dataset.windows import LabelledWindows


def sequence_starts(windows: LabelledWindows, length: int) -> Int64:
    """Windows from which ``length`` consecutive ones lie in one segment and some have a label, [Q].

    Raises:
        HistoryError: no segment is long enough.
    """
    last = np.arange(length - 1, len(windows))
    first = last - (length - 1)
    starts: Int64 = first[windows.segment[first] == windows.segment[last]]
    if not len(starts):
        longest = max((b - a for a, b in windows.segments()), default=0)
        raise HistoryError(
            f"no unbroken stretch of the training blocks has training.sequence_length = {length} windows; the longest "
            f"has {longest}: lower training.sequence_length or window.stride, or raise grid.max_gap_s or split.block_s"
        )
    before = np.r_[0, np.cumsum(windows.labelled)]
    labelled: Int64 = starts[before[starts + length] > before[starts]]
    return labelled
