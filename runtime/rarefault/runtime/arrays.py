"""Types of arrays, runs of equal numbers in them, and arrays that grow with the number of devices."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Stands for "no bin yet" and "no time yet"; smaller than any real one.
NEVER = -1
#: Rows of all devices.
ALL = slice(None)


def begins(numbers: Int32 | Int64) -> Bool:
    """Where a run of equal numbers begins, [E]. Without ``np.r_``, which takes ten times as long for a few numbers."""
    found = np.empty(len(numbers), bool)
    found[:1] = True
    np.not_equal(numbers[1:], numbers[:-1], out=found[1:])
    return found


def ends(first: Bool) -> Bool:
    """Where runs end that begin at ``first``, [E]."""
    found = np.empty(len(first), bool)
    found[-1:] = True
    found[:-1] = first[1:]
    return found


def after(start: int, numbers: Int64) -> Int64:
    """``start`` and all numbers but the last."""
    found = np.empty_like(numbers)
    found[:1] = start
    found[1:] = numbers[:-1]
    return found


class DeviceArrays:
    """Arrays with one row for each device slot. They grow together and keep what is in them.

    A subclass annotates its arrays and names the row of a new device in each:

    >>> class Alarms(DeviceArrays):
    ...     state: Int64
    ...     values: Float64
    ...
    ...     def __init__(self) -> None:
    ...         super().__init__(state=-1, values=[0.0, 0.0])
    >>> alarms = Alarms()
    >>> alarms.make_room(3)
    >>> alarms.state[2] = 7
    >>> alarms.state[:4], alarms.values.shape
    (array([-1, -1,  7, -1]), (16, 2))

    Large arrays grow in place, where the system can do that, so that a fleet never takes its memory twice.

    Args:
        new_device: row of a new device, by the name of the array; its type and shape are those of the array's rows.

    Attributes:
        capacity: number of rows of each array.
    """

    def __init__(self, **new_device: ArrayLike) -> None:
        self.capacity = 0
        self._new_device = {name: np.asarray(row) for name, row in new_device.items()}
        for name, row in self._new_device.items():
            setattr(self, name, np.empty((0, *row.shape), row.dtype))

    def make_room(self, devices: int) -> None:
        """Hold at least ``devices`` rows; capacity grows by an eighth at least."""
        if devices > self.capacity:
            self._resize(max(devices, self.capacity + self.capacity // 8, 16))

    def _resize(self, capacity: int) -> None:
        for name, row in self._new_device.items():
            rows = self.__dict__.pop(name)  # nobody else holds it, so that it can grow in place
            try:
                rows.resize((capacity, *row.shape))
            except ValueError:  # somebody does
                grown = np.empty((capacity, *row.shape), row.dtype)
                grown[: self.capacity] = rows
                rows = grown
            rows[self.capacity :] = row
            setattr(self, name, rows)
        self.capacity = capacity

    def forget(self, devices: Int64) -> None:
        """Make the rows of these slots [D] those of new devices."""
        there = devices[devices < self.capacity]
        for name, row in self._new_device.items():
            getattr(self, name)[there] = row

    def state(self, rows: slice = ALL) -> dict[str, NDArray[Any]]:
        """Rows of the arrays by name, not copied."""
        return {name: getattr(self, name)[rows] for name in self._new_device}

    def restore(self, state: Mapping[str, NDArray[Any]], first: int = 0) -> None:
        """Take over copies of the arrays that :meth:`state` gave; other entries of ``state`` are ignored.

        Args:
            state: rows of all arrays.
            first: slot of the first row. With 0 the arrays have these rows and no others.

        Raises:
            KeyError: an array is missing.
            ValueError: an array has another shape; nothing is taken over then.
        """
        for name, row in self._new_device.items():
            shape = state[name].shape
            if len(shape) != row.ndim + 1 or shape[1:] != row.shape:
                raise ValueError(f"{name} has shape {shape}, not one row of shape {row.shape} for each device")
        capacities = {len(state[name]) for name in self._new_device}
        if len(capacities) > 1:
            raise ValueError(f"the arrays have different numbers of rows: {sorted(capacities)}")
        count = capacities.pop()
        if first == 0:
            for name in self._new_device:
                setattr(self, name, state[name].copy())
            self.capacity = count
            return
        self.make_room(first + count)
        for name in self._new_device:
            getattr(self, name)[first : first + count] = state[name]
