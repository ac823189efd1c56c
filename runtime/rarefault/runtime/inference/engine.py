"""The engine: due windows through the step in as few batches as the carried state allows."""

from typing import Protocol

import numpy as np

from rarefault.runtime.arrays import ALL, DeviceArrays, Float32, Int32, Int64, begins, ends
from rarefault.runtime.inference.window_buffer import Windows

#: Windows in one call of the step, at most. Larger batches bring nothing, as their intermediate values leave the
#: processor's caches, and need memory in proportion (decision 0014).
MAX_BATCH = 64


class Step(Protocol):
    """One step of the model for the N devices that are due.

    In the daemon an ONNX session, in the trainer the torch module; the exporter proves both equal.
    """

    def __call__(self, window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
        """``window`` [N, L, I] and ``state`` [N, S] to ``opinions`` [N, E, V] and the next state [N, S]."""


class _Carried(DeviceArrays):
    """The carried state of every device, [D, S]."""

    values: Float32

    def __init__(self, state_size: int) -> None:
        super().__init__(values=np.zeros(state_size, np.float32))


class Engine:
    """Runs windows through a step, carrying each device's state from window to window.

    Args:
        step: the model.
        state_size: size S of one device's state.
        opinions: number E of experts, and size V of the opinion of one.
    """

    def __init__(self, step: Step, state_size: int, opinions: tuple[int, int]) -> None:
        self.step = step
        self._opinions = opinions
        self._carried = _Carried(state_size)

    def run(self, windows: Windows, states: Float32 | None = None) -> Float32:
        """Opinions on the windows, in their order, [W, E, V]; see :mod:`rarefault.runtime.inference.decision.pool`.

        Args:
            windows: due windows, sorted by device, then by time, [W].
            states: where the carried state that each window is judged from is to be put, [W, S]; None where nowhere.
        """
        opinions = np.empty((len(windows), *self._opinions), np.float32)
        if len(windows) == 0:
            return opinions
        self._carried.make_room(int(windows.device.max()) + 1)
        # A fresh window needs nothing of those before it: segments of one device go through the step side by side.
        first = begins(windows.device)
        segment = np.cumsum(first | windows.fresh) - 1
        carried = self._carried.values[windows.device[first | windows.fresh]]
        for due in rounds(segment):
            for start in range(0, len(due), MAX_BATCH):
                batch = due[start : start + MAX_BATCH]
                own = segment[batch]
                state = carried[own]
                state[windows.fresh[batch]] = 0.0
                if states is not None:
                    states[batch] = state
                opinions[batch], carried[own] = self.step(windows.gather(batch), state)
        last = ends(first)
        self._carried.values[windows.device[last]] = carried[segment[last]]
        return opinions

    def state(self, rows: slice = ALL) -> Float32:
        """The carried states of the devices, [D, S]."""
        return self._carried.values[rows]

    def restore(self, state: Float32, first: int = 0) -> None:
        """Go on from what :meth:`state` gave from a slot on; ValueError where it is of another model."""
        self._carried.restore({"values": state}, first)

    def forget(self, devices: Int64) -> None:
        """Make slots as new."""
        self._carried.forget(devices)


def rounds(segment: Int32 | Int64) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Positions in turns: the first of every segment, the second of every segment, and so on.

    Args:
        segment: numbers, sorted, [W].
    """
    if len(segment) == 0:
        return []
    starts = np.flatnonzero(begins(segment))
    if len(starts) == len(segment):
        return [np.arange(len(segment))]  # as it is nearly always
    counts = np.diff(starts, append=len(segment))
    turn = np.arange(len(segment)) - np.repeat(starts, counts)
    order = np.argsort(turn, kind="stable")
    return np.split(order, np.cumsum(np.bincount(turn))[:-1])
