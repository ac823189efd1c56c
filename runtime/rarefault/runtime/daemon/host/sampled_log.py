"""A log that says each kind of thing at a bounded rate, with the number of times that it was not said."""

import logging
import time
from collections.abc import Callable

#: Each kind of thing is said at most this often.
INTERVAL_S = 10.0


class SampledLog:
    """Bounds the rate of a logger.

    Args:
        logger: where lines go.
        clock: gives seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._said_at: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def say(self, kind: str, level: int, text: str, *args: object) -> None:
        """Write a line, unless one of its kind was written less than an interval ago.

        Args:
            kind: one of a small, fixed set.
            level: of the logger.
            text: with placeholders for ``args``.
        """
        now = self._clock()
        if now - self._said_at.get(kind, -INTERVAL_S) < INTERVAL_S:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._said_at[kind] = now
        unsaid = self._unsaid.pop(kind, 0)
        more = f" [and {unsaid} more since the last such line]" if unsaid else ""
        self._logger.log(level, f"{text}%s", *args, more)  # noqa: G004 - the text is a format of its own
