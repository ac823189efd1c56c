"""The window buffer: the recent bins of every device, and which windows are due."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefault.runtime.arrays import ALL, Bool, DeviceArrays, Float32, Int32, Int64, begins, ends
from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import WindowSpec


@dataclass(frozen=True, slots=True)
class Windows:
    """Due windows, sorted by device, then by time. Overlapping windows share their rows.

    Attributes:
        device: slot of the device, [W].
        end_index: the window's last bin, [W].
        fresh: whether the window is the first of its segment, so that the carried state must be zero, [W].
        rows: bins that the windows are cut from, [R, I].
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
        """The selected windows, [..., L, I] for a selection of shape [...]."""
        end = self.end_row[np.asarray(select)]
        cut: Float32 = self.rows[end[..., None] + np.arange(1 - self.length, 1)]
        return cut


class _Tails(DeviceArrays):
    """The present segment of every device.

    Attributes:
        tail: its last bins; L - 1 are enough, as the bin that makes a window due is always a new one, [D, L - 1, I].
        count: number of its bins, at most L, [D].
        served: whether it has had a window, [D].
    """

    tail: Float32
    count: Int64
    served: Bool

    def __init__(self, length: int, n_inputs: int) -> None:
        super().__init__(tail=np.full((length - 1, n_inputs), np.nan, np.float32), count=0, served=False)


class _Phases(DeviceArrays):
    """The phase of every device, [D]; -1 before it is needed. It follows from the name, so that no snapshot has it."""

    phase: Int64

    def __init__(self, *, spread: bool) -> None:
        super().__init__(phase=-1 if spread else 0)


class WindowBuffer:
    """Keeps the last L bins of every device and cuts the windows that are due.

    A window is due at every bin ``b`` with ``(b + 1 + phase) % stride == 0`` once its segment has L bins; the phase is
    the device's, see :class:`~rarefault.runtime.inference.manifest.WindowSpec`.

    Args:
        window: length, stride and phase of the windows.
        n_inputs: number of inputs I of a bin.
        names: of the devices by slot, which their phases follow from; may grow later. Without a name, the phase is 0.
    """

    def __init__(self, window: WindowSpec, n_inputs: int, names: Sequence[str] = ()) -> None:
        self.window = window
        self.n_inputs = n_inputs
        self._tails = _Tails(window.length, n_inputs)
        self._names = names
        self._phases = _Phases(spread=window.spread)

    def state(self, rows: slice = ALL) -> dict[str, NDArray[Any]]:
        """All that the buffer remembers of its devices, as arrays."""
        return self._tails.state(rows)

    def restore(self, state: dict[str, NDArray[Any]], first: int = 0) -> None:
        """Go on from what :meth:`state` of a buffer with the same settings gave; ValueError where they differ."""
        self._tails.restore(state, first)
        self._phases = _Phases(spread=self.window.spread)

    def forget(self, devices: Int64) -> None:
        """Make slots as new."""
        self._tails.forget(devices)
        self._phases.forget(devices)

    def push(self, bins: Bins) -> Windows:
        """Take closed bins (sorted by device, then index) and return the windows that they make due."""
        length, stride = self.window.length, self.window.stride
        n = len(bins)
        if n == 0:
            return self._windows(np.empty(0, np.int64), bins, np.empty(0, bool), bins.values, np.empty(0, np.int64))
        tails, phases = self._tails, self._phases
        for arrays in (tails, phases):
            arrays.make_room(int(bins.device.max()) + 1)
        row = np.arange(n)
        first = begins(bins.device)
        owner = np.cumsum(first) - 1
        touched = bins.device[first]
        begin = row[first]
        for slot in touched[phases.phase[touched] < 0].tolist():
            phases.phase[slot] = self.window.phase(self._names[slot]) if slot < len(self._names) else 0
        # Number of bins that each bin's segment has with it, the carried ones included.
        boundary = np.maximum.accumulate(np.where(first | bins.reset, row, 0))
        carried = np.where(bins.reset[boundary], 0, tails.count[bins.device])
        count = row - boundary + 1 + carried
        due = np.flatnonzero((count >= length) & ((bins.index + 1 + phases.phase[bins.device]) % stride == 0))

        # Each device's kept tail stands before its new bins, so that every window is one run of rows.
        shift = (owner + 1) * (length - 1)
        rows = np.empty((n + len(touched) * (length - 1), self.n_inputs), np.float32)
        rows[row + shift] = bins.values
        before = (begin + shift[begin])[:, None] + np.arange(1 - length, 0)
        rows[before] = tails.tail[touched]

        # A window is fresh where no window of its segment stands before it.
        segment = boundary[due]
        served = np.where(bins.reset[segment], False, tails.served[bins.device[due]])
        fresh = begins(segment) & ~served

        last = np.flatnonzero(ends(first))
        tails.tail[touched] = rows[(last + shift[last])[:, None] + np.arange(2 - length, 1)]
        tails.count[touched] = np.minimum(count[last], length)
        in_last_segment = np.zeros(n, bool)
        in_last_segment[boundary[due]] = True
        kept = np.where(bins.reset[boundary[last]], False, tails.served[touched])
        tails.served[touched] = kept | in_last_segment[boundary[last]]
        return self._windows(due, bins, fresh, rows, due + shift[due])

    def _windows(self, due: Int64, bins: Bins, fresh: Bool, rows: Float32, end_row: Int64) -> Windows:
        return Windows(bins.device[due], bins.index[due], fresh, rows, end_row, self.window.length)
