"""What formats share: what is known of a message beside its payload, and its time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rarefault.runtime.telemetry.config import ARRIVAL, MappingConfig, Scalar
from rarefault.runtime.telemetry.paths import at_path
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, keys_of
from rarefault.runtime.telemetry.times import TimeReader

#: Name of the device, milliseconds since the epoch, and values by name, nothing of these checked. A plain tuple, as one
#: is made for each sample.
RawSample = tuple[str, int, dict[str, Any]]


#: Values by name of each device and time.
Groups = dict[tuple[str, int], dict[str, Any]]


#: Stands in groups for the values of a device that has died: all of them end.
ENDED: dict[str, Any] = {"ended": True}
#: Stands there for a device of which nothing new is known but that it is alive.
ALIVE: dict[str, Any] = {"alive": True}


class Birth(dict[str, Any]):
    """All values that a device has: any other one ends."""


class IgnoredMessage(Exception):  # noqa: N818 - it is no error
    """A message that is no telemetry; never leaves the reader."""

    def __init__(self, why: Ignored) -> None:
        self.why = why
        super().__init__(why)


#: What stands for a record that is of no use.
Unusable = RejectionError | IgnoredMessage


class Message:
    """A message without its payload.

    Attributes:
        names: what the topic has for each name of the template.
        arrived_ms: when it arrived.
        retained: whether the broker had kept it, so that its time of arrival means nothing.
        topic: of the message.
        quiet: whether it is usual that no channel of the model is in it.
    """

    __slots__ = ("arrived_ms", "names", "quiet", "retained", "topic")

    def __init__(self, names: dict[str, str], arrived_ms: int, retained: bool = False, topic: str = "") -> None:
        self.names, self.arrived_ms, self.retained, self.topic = names, arrived_ms, retained, topic
        self.quiet = False

    @property
    def arrival_ms(self) -> int:
        """When it arrived; RejectionError where that says nothing about its samples."""
        if self.retained:
            raise RejectionError(Reason.BAD_TIME, "a retained message without a time may be of any age")
        return self.arrived_ms


class SampleTime:
    """Reads the time of samples.

    Args:
        config: where it stands and how it is written.
    """

    def __init__(self, config: MappingConfig) -> None:
        self._paths = tuple(path for path in config.times if path != ARRIVAL)
        self._by_arrival = ARRIVAL in config.times
        self._only = self._paths[0] if len(self._paths) == 1 and not self._by_arrival else None
        self._read = TimeReader(config.time_unit, config.time_zone, config.time_format).read

    def of(self, get: Callable[[str], Any], keys: object, message: Message) -> int:
        """Milliseconds since the epoch.

        Args:
            get: what a path leads to in the sample and around it.
            keys: the object whose keys a message names where there is no time.
            message: that it is in.

        Raises:
            RejectionError: it has no time where it must have one, or no readable one.
        """
        for path in self._paths:
            value = get(path)
            if value is not None:
                return self.read(value, path, message)
        return self.without(keys, message)

    def of_sample(self, sample: dict[str, Any], message: Message) -> int:
        """As :meth:`of`, for a sample that nothing is around."""
        path = self._only
        if path is None:
            return self.of(lambda path: at_path(sample, path), sample, message)
        value = sample[path] if path in sample else at_path(sample, path)
        if value is None:
            return self.without(sample, message)
        try:
            return self._read(value, message.arrived_ms)
        except (ValueError, OverflowError) as error:
            raise RejectionError(Reason.BAD_TIME, f"{path!r}: {error}") from None

    def read(self, value: Any, path: str, message: Message) -> int:
        """The time that a value is; RejectionError where it is none."""
        try:
            return self._read(value, message.arrived_ms)
        except (ValueError, OverflowError) as error:
            raise RejectionError(Reason.BAD_TIME, f"{path!r}: {error}") from None

    def optional(self, value: Any, path: str, keys: object, message: Message) -> int:
        """The time that a value is; that of arrival, if it is configured, where there is none."""
        return self.without(keys, message) if value is None else self.read(value, path, message)

    def without(self, keys: object, message: Message) -> int:
        """The time of a sample that names none: that of arrival, if it is configured."""
        if self._by_arrival:
            return message.arrival_ms
        if isinstance(keys, dict) and (null := [path for path in self._paths if path in keys]):
            raise RejectionError(Reason.BAD_TIME, f"{null[0]!r} is null")
        names = " or ".join(map(repr, self._paths)) or "time"
        raise RejectionError(Reason.BAD_TIME, f"there is no {names}; {keys_of(keys)}")


class IgnoreRule:
    """Recognises messages that are no telemetry by what they hold.

    Args:
        rule: values by path.
    """

    def __init__(self, rule: Mapping[str, Sequence[Scalar]]) -> None:
        self._rule = [
            (path, frozenset((type(value) is bool, value) for value in values)) for path, values in rule.items()
        ]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._rule)

    def fits(self, value: Any) -> bool:
        """Whether an object is one of them."""
        for path, values in self._rule:
            found = at_path(value, path)
            if distinct(found) in values:
                return True
        return False


def good_qualities(good: Sequence[Scalar]) -> frozenset[tuple[bool, Scalar] | None]:
    """The qualities of good values, as :func:`distinct` has them; empty text stands for a value without a quality."""
    return frozenset(map(distinct, good)) | ({None} if "" in good else frozenset())


def distinct(value: Any) -> tuple[bool, Scalar] | None:
    """A single value so that true differs from 1; None for anything else."""
    return (type(value) is bool, value) if type(value) in {str, int, float, bool} else None
