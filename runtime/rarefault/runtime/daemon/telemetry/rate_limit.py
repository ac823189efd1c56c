"""The limit on rates: a device that babbles is throttled, one that brings its backlog is not."""

import math

from rarefault.runtime.daemon.config import LimitsConfig
from rarefault.runtime.daemon.devices import DeviceTable


class RateLimit:
    """A token bucket for every device.

    A bucket fills with time: that of the daemon's clock, or that of the device's own samples, whichever advances
    faster. A device that sends a day's samples after an outage is within its rate, as they span a day; a device that
    sends a thousand samples of the same second is not, and cannot pretend to be, as no sample may lie in the future.

    Args:
        devices: the table, whose columns ``tokens``, ``newest_ms`` and ``filled_ms`` the buckets are.
        limits: the rate, and what a full bucket holds.

    Attributes:
        per_s: samples per second.
    """

    def __init__(self, devices: DeviceTable, limits: LimitsConfig) -> None:
        self.per_s = limits.samples_per_s
        self._tokens, self._newest_ms, self._filled_ms = devices.tokens, devices.newest_ms, devices.filled_ms
        self._per_ms = limits.samples_per_s / 1000
        self._full = float(limits.burst_samples)

    def allow(self, slot: int, time_ms: int, arrived_ms: int) -> bool:
        """Whether a sample is within its device's rate; takes its token if so."""
        if self.per_s == math.inf:
            return True
        tokens, newest = self._tokens[slot], self._newest_ms[slot]
        if newest < 0:
            tokens = self._full
            self._newest_ms[slot], self._filled_ms[slot] = time_ms, arrived_ms
        else:
            own, ours = time_ms - newest, arrived_ms - self._filled_ms[slot]
            if own > 0:
                self._newest_ms[slot] = time_ms
            if ours != 0:
                self._filled_ms[slot] = arrived_ms
            gained = max(ours, own)
            if gained > 0:
                tokens = min(tokens + gained * self._per_ms, self._full)
        allowed = tokens >= 1
        self._tokens[slot] = tokens - 1 if allowed else tokens
        return allowed
