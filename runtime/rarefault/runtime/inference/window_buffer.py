"""Streams: the window of recent bins of every device, and which windows are due."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefault.runtime.arrays import Bool, Float32, Int32, Int64, begins, ends
from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import WindowSpec


@dataclass(frozen=True, slots=True)
class Windows:
    """Due windows, sorted by device, then by time. Overlapping windows share their rows.

    Attributes:
        device: slot of the device, [W].
        end_index: the window's last bin, [W].
        fresh: whether the window is the first of its segment, so that the carried state must be zero, [W].
        rows: bins that the windows are cut from, [R, C].
        end_row: row of the window's last bin, [W].
        length: bins in a window, L.
    """

    device: Int32
    end_index: Int64
    fresh: Bool
    rows: Float32
    end_row: Int64
    length: int

    def __len__(self) -> int:
        return len(self.end_index)

    def gather(self, select: ArrayLike) -> Float32:
        """The selected windows, [..., L, C] for a selection of shape [...]."""
        end = self.end_row[np.asarray(select)]
        cut: Float32 = self.rows[end[..., None] + np.arange(1 - self.length, 1)]
        return cut


class WindowBuffer:
    """Keeps the last L bins of every device and cuts the windows that are due.

    A window is due at every bin ``b`` with ``(b + 1 + phase) % stride == 0`` once its segment has L bins; the phase is
    the device's, see :class:`~rarefault.runtime.inference.manifest.WindowSpec`.

    Args:
        window: length, stride and phase of the windows.
        n_channels: number of channels C.
        names: of the devices by slot, which their phases follow from; may grow later. Without a name, the phase is 0.
    """

    def __init__(self, window: WindowSpec, n_channels: int, names: Sequence[str] = ()) -> None:
        self.window = window
        self.n_channels = n_channels
        self._names = names
        self._no_phase = -1 if window.spread else 0  # of a slot whose device has sent nothing yet
        # The last L - 1 bins are enough: the bin that makes a window due is always a new one.
        self._tail = np.empty((0, window.length - 1, n_channels), np.float32)
        self._count = np.empty(0, np.int64)  # bins of the present segment, at most L
        self._served = np.empty(0, bool)  # whether the present segment has had a window
        self._phase = np.empty(0, np.int64)

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the streams remember of their devices, as arrays."""
        return {"tail": self._tail, "count": self._count, "served": self._served}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`state` of streams with the same settings gave; ValueError where they differ."""
        if state["tail"].shape[1:] != self._tail.shape[1:]:
            raise ValueError(f"a window of {state['tail'].shape[1:]} is not one of {self._tail.shape[1:]}")
        self._tail, self._count, self._served = (state[name].copy() for name in ("tail", "count", "served"))
        self._phase = np.full(len(self._count), self._no_phase)

    def forget(self, devices: Int64) -> None:
        """Make slots as new."""
        there = devices[devices < len(self._count)]
        self._tail[there], self._count[there], self._served[there] = np.nan, 0, False
        self._phase[there] = self._no_phase

    def push(self, bins: Bins) -> Windows:
        """Take closed bins (sorted by device, then index) and return the windows that they make due."""
        length, stride = self.window.length, self.window.stride
        n = len(bins)
        if n == 0:
            return self._windows(np.empty(0, np.int64), bins, np.empty(0, bool), bins.values, np.empty(0, np.int64))
        self._allocate(int(bins.device.max()) + 1)
        row = np.arange(n)
        first = begins(bins.device)
        owner = np.cumsum(first) - 1
        touched = bins.device[first]
        begin = row[first]
        for slot in touched[self._phase[touched] < 0].tolist():
            self._phase[slot] = self.window.phase(self._names[slot]) if slot < len(self._names) else 0
        # Number of bins that each bin's segment has with it, the carried ones included.
        boundary = np.maximum.accumulate(np.where(first | bins.reset, row, 0))
        carried = np.where(bins.reset[boundary], 0, self._count[bins.device])
        count = row - boundary + 1 + carried
        due = np.flatnonzero((count >= length) & ((bins.index + 1 + self._phase[bins.device]) % stride == 0))

        # Each device's kept tail stands before its new bins, so that every window is one run of rows.
        shift = (owner + 1) * (length - 1)
        rows = np.empty((n + len(touched) * (length - 1), self.n_channels), np.float32)
        rows[row + shift] = bins.values
        tails = (begin + shift[begin])[:, None] + np.arange(1 - length, 0)
        rows[tails] = self._tail[touched]

        # A window is fresh where no window of its segment stands before it.
        segment = boundary[due]
        served = np.where(bins.reset[segment], False, self._served[bins.device[due]])
        fresh = begins(segment) & ~served

        last = np.flatnonzero(ends(first))
        self._tail[touched] = rows[(last + shift[last])[:, None] + np.arange(2 - length, 1)]
        self._count[touched] = np.minimum(count[last], length)
        in_last_segment = np.zeros(n, bool)
        in_last_segment[boundary[due]] = True
        kept = np.where(bins.reset[boundary[last]], False, self._served[touched])
        self._served[touched] = kept | in_last_segment[boundary[last]]
        return self._windows(due, bins, fresh, rows, due + shift[due])

    def _windows(self, due: Int64, bins: Bins, fresh: Bool, rows: Float32, end_row: Int64) -> Windows:
        return Windows(bins.device[due], bins.index[due], fresh, rows, end_row, self.window.length)

    def _allocate(self, needed: int) -> None:
        have = len(self._count)
        if needed <= have:
            return
        more = max(needed, 2 * have, 16) - have
        tail = np.full((more, self.window.length - 1, self.n_channels), np.nan, np.float32)
        self._tail = np.concatenate((self._tail, tail))
        self._count = np.concatenate((self._count, np.zeros(more, np.int64)))
        self._served = np.concatenate((self._served, np.zeros(more, bool)))
        self._phase = np.concatenate((self._phase, np.full(more, self._no_phase)))
