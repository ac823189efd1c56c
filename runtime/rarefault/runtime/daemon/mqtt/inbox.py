"""Inbox: telemetry messages that are received and not yet taken, bounded in number and in bytes."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

#: Bytes of payloads that may wait.
MOST_BYTES = 64 << 20
#: Messages that are kept beyond the limit, at least: more than brokers send unacknowledged to a client of MQTT 3.1.1,
#: which cannot set its limit (20 of Mosquitto, 32 of EMQX).
SLACK = 100
#: The same as a multiple of the limit: Mosquitto sends its whole backlog once the first of it is acknowledged, and
#: confirmations of verdicts stand in the same stream behind it. What has no place here has to be sent again, and read
#: again: with a fleet of 50,000 devices, that was more than half of all work.
BEYOND = 10


class Message(NamedTuple):
    """A telemetry message."""

    topic: str
    payload: bytes
    arrived_ms: int
    """Milliseconds since the epoch."""
    retained: bool
    qos: int
    mid: int
    connection: int
    """Number of the connection that brought it; it can only be acknowledged on that one."""
    sender: str | None = None
    """Who sent it, where the broker names the sender and the daemon checks it."""


class Inbox:
    """Messages in their order of arrival.

    Args:
        most: number of messages at which it is full.
        most_bytes: bytes of payloads at which it is full.
    """

    def __init__(self, most: int, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._messages: deque[Message] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether nothing more should be read until messages have been taken."""
        return len(self._messages) >= self._most or self._bytes >= self._most_bytes

    @property
    def room(self) -> int:
        """Number of messages until it is full."""
        return max(0, self._most - len(self._messages))

    @property
    def overfull(self) -> bool:
        """Whether nothing more can be kept."""
        slack = max(BEYOND * self._most, SLACK)
        return len(self._messages) >= self._most + slack or self._bytes >= 2 * self._most_bytes

    def append(self, message: Message) -> None:
        """Put a message at the end."""
        self._messages.append(message)
        self._bytes += len(message.payload)

    def next(self) -> Message | None:
        """Take the oldest message, None where there is none."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._bytes -= len(message.payload)
        return message

    def give_back(self, messages: Iterable[Message]) -> None:
        """Put messages that were taken back to the front, in their order."""
        taken = list(messages)
        self._messages.extendleft(reversed(taken))
        self._bytes += sum(len(message.payload) for message in taken)

    def shift(self, step_ms: int, now_ms: int) -> None:
        """The clock was set by ``step_ms`` a moment ago, to ``now_ms``: correct the arrival of what came before."""
        border_ms = now_ms - step_ms / 2

        def before(message: Message) -> bool:
            return message.arrived_ms < border_ms if step_ms > 0 else message.arrived_ms > border_ms

        self._messages = deque(
            message._replace(arrived_ms=message.arrived_ms + step_ms) if before(message) else message
            for message in self._messages
        )

    def keep(self, condition: Callable[[Message], bool]) -> None:
        """Forget the messages that do not fulfil a condition."""
        self._messages = deque(message for message in self._messages if condition(message))
        self._bytes = sum(len(message.payload) for message in self._messages)
