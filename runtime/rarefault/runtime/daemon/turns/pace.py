"""Pace: how many messages a turn may have, so that their verdicts leave soon."""

import math

#: A turn should take no longer, as its verdicts leave when it is done ...
TURN_S = 0.03
#: ... but it may have so many messages in any case: its fixed work is to be shared.
TURN_MESSAGES = 64
#: Weight of the last turn where messages have become cheaper.
_SLOW = 0.1


class Pace:
    """Follows what a message takes.

    Args:
        most: messages that a turn may have at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._message_s = 0.0

    @property
    def messages(self) -> int:
        """Number of messages that the next turn may have."""
        fitting = TURN_S / self._message_s if self._message_s else math.inf
        return round(min(self._most, max(TURN_MESSAGES, fitting)))

    def observe(self, seconds: float, messages: int) -> None:
        """A turn of so many messages took so long."""
        # A burst of verdicts is met at once, and is believed to be over only after some turns.
        now_s = seconds / messages
        self._message_s = max(now_s, (1 - _SLOW) * self._message_s + _SLOW * now_s)
