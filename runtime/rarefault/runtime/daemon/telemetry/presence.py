"""Presence: which devices have fallen silent, by this daemon's clock."""

from collections.abc import Iterable

import numpy as np

from rarefault.runtime.arrays import Float64, Int32, Int64


class Presence:
    """When something last arrived of each device.

    Silence counts only while the daemon listens: a broker that is away is not the devices' silence. The clock is
    monotonic, so that a step of the wall clock silences nobody.

    Args:
        silent_after_s: so long without anything is silence.
        forget_after_s: so long after that, a device is forgotten.
    """

    def __init__(self, silent_after_s: float, forget_after_s: float) -> None:
        self.silent_after_s = silent_after_s
        self.forget_after_s = forget_after_s
        self._heard_at: Float64 = np.full(0, np.inf)  # inf where the slot is free
        self._silent = np.zeros(0, bool)

    def heard(self, devices: Int32, now: float) -> None:
        """Something has arrived of devices, [M]; the same one may be in it often."""
        if len(devices):
            self._make_room(int(devices.max()) + 1)
            self._heard_at[devices] = now
            self._silent[devices] = False

    def start(self, devices: Iterable[int], now: float) -> None:
        """Begin with devices that are known from before, and no others."""
        self._heard_at[:], self._silent[:] = np.inf, False
        self.heard(np.fromiter(devices, np.int32), now)

    def listen(self, since: float) -> None:
        """The daemon has not listened before; nobody was silent."""
        waiting = np.isfinite(self._heard_at) & ~self._silent
        self._heard_at[waiting] = np.maximum(self._heard_at[waiting], since)

    def fallen_silent(self, now: float) -> Int64:
        """Slots of devices that have been silent for long enough and were not named before."""
        silent = ~self._silent & (now - self._heard_at >= self.silent_after_s)
        return np.flatnonzero(silent)

    def note_silent(self, devices: Int64) -> None:
        """Do not name these again until they are heard."""
        self._silent[devices] = True

    def gone(self, now: float) -> Int64:
        """Slots of devices that can be forgotten."""
        return np.flatnonzero(self._silent & (now - self._heard_at >= self.silent_after_s + self.forget_after_s))

    def forget(self, devices: Int64) -> None:
        """Slots that are free now."""
        self._heard_at[devices] = np.inf
        self._silent[devices] = False

    @property
    def silent(self) -> int:
        """Number of devices that are silent."""
        return int(self._silent.sum())

    def _make_room(self, needed: int) -> None:
        have = len(self._silent)
        if needed > have:
            more = max(needed, 2 * have, 16) - have
            self._heard_at = np.concatenate((self._heard_at, np.full(more, np.inf)))
            self._silent = np.concatenate((self._silent, np.zeros(more, bool)))
