"""Retries: when to connect again, with delays that double up to the longest, and jitter against stampedes."""

import random
import time

from rarefault.runtime.daemon.config import BrokerConfig

#: A connection that lasted this long ends the growth of the delays.
STABLE_S = 10.0
#: Exponent of the longest delay; 2.0 ** 1024 is not a number.
MOST_ATTEMPTS = 64


class Retries:
    """Counts attempts.

    Args:
        config: of the broker.
    """

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._attempts = 0  # since the last stable connection
        self._short_lived = 0  # accepted connections in a row that were lost at once
        self._next_at = 0.0

    @property
    def wait_s(self) -> float:
        """How long to wait until the next attempt."""
        return max(0.0, self._next_at - time.monotonic())

    @property
    def unstable(self) -> bool:
        """Whether connection after connection was accepted and lost at once."""
        return self._short_lived >= 3

    def now(self) -> None:
        """The next attempt is due."""
        self._next_at = 0.0

    def later(self, *, longest: bool = False) -> float:
        """Set the time of the next attempt, and return the delay until then."""
        self._attempts = MOST_ATTEMPTS if longest else self._attempts
        most_s = self._config.reconnect_min_s * 2.0 ** min(self._attempts, MOST_ATTEMPTS)
        delay_s = min(self._config.reconnect_max_s, most_s) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._attempts += 1
        self._next_at = time.monotonic() + delay_s
        return delay_s

    def note_end(self, opened_at: float) -> None:
        """A connection that the broker had accepted has ended."""
        stable = time.monotonic() - opened_at > STABLE_S
        self._short_lived = 0 if stable else self._short_lived + 1
        if stable:
            self._attempts = 0
