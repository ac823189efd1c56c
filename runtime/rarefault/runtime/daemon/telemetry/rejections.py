"""Rejections: telemetry that cannot be used is counted by reason and logged at a bounded rate."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.journal.records import SetAside
from rarefault.runtime.telemetry.reasons import REMEDY, Ignored, Reason, RejectionError, ValueReason, quote

log = logging.getLogger(__name__)

#: Bytes of a rejected message that are set aside, and characters of its topic and of the reason.
MAX_KEPT, MAX_KEPT_TEXT = 16_384, 500
#: Rejections that are set aside in one turn; more are only counted.
MAX_SET_ASIDE = 200


class Mark(NamedTuple):
    """The counts at one moment."""

    samples: int
    counts: dict[Reason, int]
    unknown_channels: int
    ignored: dict[Ignored, int]
    dropped_values: Counter[tuple[str, ValueReason]]


class Rejections:
    """Counts samples that can be used; counts, logs and sets aside what cannot.

    Args:
        keep: whether they are set aside.
        clock: gives seconds.

    Attributes:
        channels: names by column, for the log and the counts.
        samples: read so far.
        counts: rejected so far, by reason.
        unknown_channels: values of channels that the model does not have, ignored so far.
        ignored: messages that are no telemetry so far, by why.
        dropped_values: values taken as missing so far, by channel and reason.
        set_aside: what was rejected since it was taken last, no more than ``MAX_SET_ASIDE``.
    """

    def __init__(self, *, keep: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.channels: tuple[str, ...] = ()
        self.samples = 0
        self.ignored = dict.fromkeys(Ignored, 0)
        self.dropped_values: Counter[tuple[str, ValueReason]] = Counter()
        self.counts = dict.fromkeys(Reason, 0)
        self.unknown_channels = 0
        self.set_aside: list[SetAside] = []
        self._keep = keep
        self._log = SampledLog(log, clock)

    def add(self, topic: str, error: RejectionError, arrived_ms: int, rejected: object) -> None:
        """Count one rejection.

        Args:
            topic: that it came on.
            error: why it is rejected.
            arrived_ms: when it came.
            rejected: the message's bytes, or the sample of it as plain values; None where it was set aside before.
        """
        reason = error.reason
        self.counts[reason] += 1
        # What comes too fast is not set aside: that would be slower than to take it.
        if self._keep and rejected is not None and reason != Reason.TOO_FAST and len(self.set_aside) < MAX_SET_ASIDE:
            self.set_aside.append(
                SetAside(arrived_ms, _printable(topic), reason, _printable(error.detail), _as_bytes(rejected))
            )
        self._log.log(
            reason,
            logging.WARNING,
            "rejected telemetry on %s (%s): %s; %s",
            quote(topic),
            reason,
            error.detail,
            REMEDY[reason],
        )

    @property
    def unused(self) -> int:
        """Messages and samples so far that were rejected, or are no telemetry."""
        return sum(self.counts.values()) + sum(self.ignored.values())

    def take_aside(self) -> list[SetAside]:
        """What was set aside since the last call."""
        taken, self.set_aside = self.set_aside, []
        return taken

    def mark(self) -> Mark:
        """The counts, to go back to."""
        return Mark(
            self.samples, dict(self.counts), self.unknown_channels, dict(self.ignored), Counter(self.dropped_values)
        )

    def go_back(self, mark: Mark) -> None:
        """Messages will be read again: count as before them."""
        self.samples, self.counts, self.unknown_channels = mark.samples, dict(mark.counts), mark.unknown_channels
        self.ignored, self.dropped_values = dict(mark.ignored), Counter(mark.dropped_values)

    def add_ignored(self, why: Ignored) -> None:
        """Count a message that is no telemetry."""
        self.ignored[why] += 1

    def add_dropped_value(self, device: str, column: int, why: ValueReason, value: object) -> None:
        """Count a value that is taken as missing, and log it at a bounded rate."""
        channel = self.channels[column]
        self.dropped_values[channel, why] += 1
        self._log.log(
            f"value {why}",
            logging.WARNING,
            "telemetry of %s: channel %s is %s (%s), taken as missing; the sample's other values are used",
            quote(device),
            quote(channel),
            quote(value),
            why,
        )

    def add_unknown_channels(self, device: str, names: list[str]) -> None:
        """Count the values of a sample that are ignored because the model has no channel of their names."""
        self.unknown_channels += len(names)
        self._log.log(
            "unknown_channel",
            logging.INFO,
            "telemetry of %s names channels that the model does not have, such as %s (ignored)",
            quote(device),
            quote(names[0]),
        )


def _printable(text: str) -> str:
    """Text that a database takes: a topic may hold halves of surrogate pairs."""
    return text[:MAX_KEPT_TEXT].encode("utf-8", "backslashreplace").decode()


def _as_bytes(rejected: object) -> bytes:
    if isinstance(rejected, (bytes, bytearray)):
        return bytes(rejected[:MAX_KEPT])
    try:
        return json.dumps(rejected).encode("utf-8", "backslashreplace")[:MAX_KEPT]
    except (RecursionError, ValueError):
        return b""  # nested too deep, or an integer of too many digits
