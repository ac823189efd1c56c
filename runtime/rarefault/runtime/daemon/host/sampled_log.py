"""A log that writes each kind of line at a bounded rate, with the number of lines that it suppressed."""

import logging
import time
from collections.abc import Callable

#: Each kind of line is written at most this often.
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
        self._logged_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def log(self, kind: str, level: int, text: str, *args: object) -> None:
        """Write a line, unless one of its kind was written less than an interval ago.

        Args:
            kind: one of a small, fixed set.
            level: of the logger.
            text: with placeholders for ``args``.
        """
        now = self._clock()
        if now - self._logged_at.get(kind, -INTERVAL_S) < INTERVAL_S:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return
        self._logged_at[kind] = now
        suppressed = self._suppressed.pop(kind, 0)
        more = f" [and {suppressed} more since the last such line]" if suppressed else ""
        self._logger.log(level, f"{text}%s", *args, more)  # noqa: G004 - the text is a format of its own
