"""Presence: which devices have fallen silent, by this daemon's clock."""

import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.runtime.daemon.devices import DeviceTable


class Presence:
    """Follows when something last arrived of each device.

    Silence counts only while the daemon listens: a broker that is away is not the devices' silence. The clock is
    monotonic, so that a step of the wall clock silences nobody.

    Args:
        devices: the table, whose columns ``heard_at`` and ``silent`` these are.
        silent_after_s: so long without anything is silence.
        forget_after_s: so long after that, a device is forgotten.
    """

    def __init__(self, devices: DeviceTable, silent_after_s: float, forget_after_s: float) -> None:
        self._devices = devices
        self.silent_after_s = silent_after_s
        self.forget_after_s = forget_after_s

    def heard(self, slots: Int64, now: float) -> None:
        """Something has arrived of devices, [M]; the same one may be in it often."""
        self._devices.heard_at[slots] = now
        self._devices.silent[slots] = False

    def listen(self, since: float) -> None:
        """The daemon has not listened before; nobody was silent."""
        heard_at = self._devices.heard_at
        waiting = np.isfinite(heard_at) & ~self._devices.silent
        heard_at[waiting] = np.maximum(heard_at[waiting], since)

    def fallen_silent(self, now: float) -> Int64:
        """Slots of devices that have been silent for long enough and were not named before.

        A device whose protocol says that it is alive may be silent.
        """
        silent = ~self._devices.silent & ~self._devices.born & (now - self._devices.heard_at >= self.silent_after_s)
        return np.flatnonzero(silent)

    def note_silent(self, slots: Int64) -> None:
        """Do not name these again until they are heard."""
        self._devices.silent[slots] = True

    def gone(self, now: float) -> Int64:
        """Slots of devices that can be forgotten."""
        long = now - self._devices.heard_at >= self.silent_after_s + self.forget_after_s
        return np.flatnonzero(self._devices.silent & long)

    @property
    def silent(self) -> int:
        """Number of devices that are silent."""
        return int(self._devices.silent.sum())
