"""The sample buffer: the samples of one turn, in arrays that are allocated once."""

import math
from array import array
from collections.abc import Sequence

import numpy as np

from rarefault.runtime.arrays import Float64, Int32, Int64


class SampleBuffer:
    """Samples in their order of arrival.

    Args:
        capacity: most samples that it holds.
        n_channels: number of channels C.
    """

    def __init__(self, capacity: int, n_channels: int) -> None:
        self.capacity = capacity
        self.count = 0
        # Written through array.array, which takes single numbers several times faster than numpy does.
        self._device = array("i", [0]) * capacity
        self._time_ms = array("q", [0]) * capacity
        self._values = array("d", [math.nan]) * (capacity * n_channels)
        self._n_channels = n_channels
        self._device_array: Int32 = np.frombuffer(self._device, np.int32)
        self._time_array: Int64 = np.frombuffer(self._time_ms, np.int64)
        self._value_array: Float64 = np.frombuffer(self._values, np.float64).reshape(capacity, n_channels)

    def __len__(self) -> int:
        return self.count

    @property
    def free(self) -> int:
        """Number of samples that still fit."""
        return self.capacity - self.count

    @property
    def device(self) -> Int32:
        """Slot of each sample's device, [M]."""
        return self._device_array[: self.count]

    @property
    def time_ms(self) -> Int64:
        """Milliseconds since the epoch, [M]."""
        return self._time_array[: self.count]

    @property
    def values(self) -> Float64:
        """Channel values, NaN = not reported, [M, C]."""
        return self._value_array[: self.count]

    def append(self, device: int, time_ms: int, cells: Sequence[tuple[int, float]]) -> None:
        """Add a sample; ``cells`` holds (column, value)."""
        row = self.count
        self._device[row] = device
        self._time_ms[row] = time_ms
        start = row * self._n_channels
        for column, value in cells:
            self._values[start + column] = value
        self.count = row + 1

    def clear(self) -> None:
        """Forget all samples."""
        self._value_array[: self.count] = np.nan
        self.count = 0
