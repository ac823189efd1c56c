"""The engine: due windows through the step in as few batches as the carried state allows."""

from typing import Protocol

import numpy as np

from rarefault.runtime.arrays import DeviceArrays, Float32, Int32, Int64, begins
from rarefault.runtime.inference.window_buffer import Windows

#: Windows in one call of the step, at most. Larger batches bring nothing, as their intermediate values leave the
#: processor's caches, and need memory in proportion (decision 0014).
MAX_BATCH = 64


class Step(Protocol):
    """One step of the model for the N devices that are due.

    In the daemon an ONNX session, in the trainer the torch module; the exporter proves both equal.
    """

    def __call__(self, window: Float32, state: Float32, /) -> tuple[Float32, Float32]:
        """``window`` [N, L, I] and ``state`` [N, S] to ``log_prob`` [N, K] and the next state [N, S]."""


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
        n_classes: number of classes K.
    """

    def __init__(self, step: Step, state_size: int, n_classes: int) -> None:
        self.step = step
        self._n_classes = n_classes
        self._carried = _Carried(state_size)

    def run(self, windows: Windows, states: Float32 | None = None) -> Float32:
        """Log-probabilities of the windows, in their order, [W, K].

        Args:
            windows: due windows, sorted by device, then by time, [W].
            states: where the carried state that each window is judged from is to be put, [W, S]; None where nowhere.
        """
        log_prob = np.empty((len(windows), self._n_classes), np.float32)
        if len(windows) == 0:
            return log_prob
        self._carried.make_room(int(windows.device.max()) + 1)
        carried = self._carried.values
        for due in rounds(windows.device):
            for start in range(0, len(due), MAX_BATCH):
                batch = due[start : start + MAX_BATCH]
                device = windows.device[batch]
                state = carried[device]
                state[windows.fresh[batch]] = 0.0
                if states is not None:
                    states[batch] = state
                log_prob[batch], carried[device] = self.step(windows.gather(batch), state)
        return log_prob

    def state(self) -> Float32:
        """The carried states of all devices, [D, S]."""
        return self._carried.values

    def restore(self, state: Float32) -> None:
        """Go on from what :meth:`state` gave; ValueError where it is of another model."""
        self._carried.restore({"values": state})

    def forget(self, devices: Int64) -> None:
        """Make slots as new."""
        self._carried.forget(devices)


def rounds(device: Int32) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Positions in turns: the first of every device, the second of every device, and so on.

    Args:
        device: slots, sorted, [W].
    """
    if len(device) == 0:
        return []
    starts = np.flatnonzero(begins(device))
    if len(starts) == len(device):
        return [np.arange(len(device))]  # as it is nearly always
    counts = np.diff(starts, append=len(device))
    turn = np.arange(len(device)) - np.repeat(starts, counts)
    order = np.argsort(turn, kind="stable")
    return np.split(order, np.cumsum(np.bincount(turn))[:-1])
