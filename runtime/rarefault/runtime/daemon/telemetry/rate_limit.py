"""Rates: a device that babbles is throttled, one that brings its backlog is not."""

import math
from array import array
from collections.abc import Iterable

from rarefault.runtime.daemon.config import LimitsConfig


class Rates:
    """A token bucket for every device.

    A bucket fills with time: that of the daemon's clock, or that of the device's own samples, whichever advances
    faster. A device that sends a day's samples after an outage is within its rate, as they span a day; a device that
    sends a thousand samples of the same second is not, and cannot pretend to be, as no sample may lie in the future.

    Args:
        limits: the rate, and what a full bucket holds.

    Attributes:
        per_s: samples per second.
    """

    def __init__(self, limits: LimitsConfig) -> None:
        self.per_s = limits.samples_per_s
        self._per_ms = limits.samples_per_s / 1000
        self._full = float(limits.burst_samples)
        # By slot; plain numbers, which array.array holds without an object for each.
        self._tokens = array("d")
        self._newest_ms = array("q")
        self._filled_ms = array("q")

    def allow(self, slot: int, time_ms: int, arrived_ms: int) -> bool:
        """Whether a sample is within its device's rate; takes its token if so."""
        if self.per_s == math.inf:
            return True
        if slot >= len(self._tokens):
            more = slot + 1 - len(self._tokens)
            self._tokens.extend([self._full] * more)
            self._newest_ms.extend([-1] * more)
            self._filled_ms.extend([0] * more)
        tokens = self._tokens[slot]
        newest = self._newest_ms[slot]
        if newest < 0:
            self._newest_ms[slot], self._filled_ms[slot] = time_ms, arrived_ms
        else:
            own, ours = time_ms - newest, arrived_ms - self._filled_ms[slot]
            if own > 0:
                self._newest_ms[slot] = time_ms
            if ours != 0:
                self._filled_ms[slot] = arrived_ms
            gained = max(ours, own)
            if gained > 0:
                tokens += gained * self._per_ms
                tokens = min(tokens, self._full)
        if tokens < 1:
            self._tokens[slot] = tokens
            return False
        self._tokens[slot] = tokens - 1
        return True

    def forget(self, slots: Iterable[int]) -> None:
        """Slots that others will have."""
        for slot in slots:
            if slot < len(self._tokens):
                self._tokens[slot], self._newest_ms[slot] = self._full, -1
