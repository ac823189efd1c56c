"""Trials: what a mapping makes of messages, without a model."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from rarefault.runtime.telemetry.config import ARRIVAL, MappingConfig
from rarefault.runtime.telemetry.growing import GrowingCells, GrowingChannels, TooManyChannelsError
from rarefault.runtime.telemetry.reader import SourceReader, other_paths
from rarefault.runtime.telemetry.reasons import Ignored, RejectionError, ValueReason
from rarefault.runtime.telemetry.topics import topic_level_problem

#: Text values that are told apart in a channel, and their longest, characters.
MOST_WORDS, LONGEST_WORD = 12, 40


class Heard(NamedTuple):
    """A message that came."""

    topic: str
    payload: bytes
    arrived_ms: int
    retained: bool = False


class Sample(NamedTuple):
    """A sample as the mapping reads it."""

    device: str
    time_ms: int
    values: dict[str, float]
    arrived_ms: int


@dataclass
class Trial:
    """What a mapping makes of messages; also the report of its reader.

    Attributes:
        mapping: that was tried.
        messages: number that were tried, without those that are no telemetry.
        used: number of those that gave a sample.
        samples: that they gave.
        topics: of each device.
        rejected: why others did not, with an example.
        ignored: number of messages that are no telemetry.
        words: text that stands in the place of a number, by channel.
    """

    mapping: MappingConfig
    messages: int = 0
    used: int = 0
    samples: list[Sample] = field(default_factory=list)
    topics: dict[str, set[str]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    ignored: int = 0
    words: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the messages that gave a sample."""
        return self.used / self.messages if self.messages else 0.0

    @property
    def channels(self) -> list[str]:
        """Names of the channels, in the order of their first appearance."""
        return list(dict.fromkeys(name for sample in self.samples for name in sample.values))

    @property
    def has_times(self) -> bool:
        """Whether messages bring times of their own."""
        return ARRIVAL not in self.mapping.times

    def add(self, topic: str, error: RejectionError, arrived_ms: int, rejected: object) -> None:  # noqa: ARG002
        """As in Report."""
        self.rejected[error.reason] += 1
        self.examples.setdefault(error.reason, f"{topic}: {error.detail}")

    def add_ignored(self, why: Ignored) -> None:  # noqa: ARG002
        """As in Report."""
        self.ignored += 1

    def add_dropped_value(self, device: str, column: int, why: ValueReason, value: object) -> None:
        """As in Report."""

    def add_unknown_channels(self, device: str, names: list[str]) -> None:
        """As in Report."""


def try_mapping(keys: Mapping[str, Any], messages: Iterable[Heard]) -> Trial | None:
    """What a mapping of some keys makes of messages; None where the keys contradict each other."""
    try:
        mapping = MappingConfig.checked(keys)
    except msgspec.ValidationError:
        return None
    trial = Trial(mapping)
    channels = GrowingChannels({}, (), fixed=False)
    cells = _WordCells({}, channels, frozenset(other_paths(mapping)))
    cells.words = trial.words
    try:
        _read(SourceReader(mapping, cells, trial), channels, messages, trial)
    except TooManyChannelsError:
        return None  # values stand in the place of names
    return trial


def _read(reader: SourceReader, channels: GrowingChannels, messages: Iterable[Heard], trial: Trial) -> None:
    for message in messages:
        before = trial.ignored
        used = False
        if reader.ignores(message.topic):
            trial.ignored += 1
            continue
        for device, time_ms, found, _ in reader.read(
            message.topic, message.payload, message.arrived_ms, retained=message.retained
        ):
            if topic_level_problem(device):
                trial.rejected["bad_device"] += 1
                trial.examples.setdefault("bad_device", f"{message.topic}: {device}")
                continue
            values = {channels.names[column]: value for column, value in found}
            trial.samples.append(Sample(device, time_ms, values, message.arrived_ms))
            trial.topics.setdefault(device, set()).add(message.topic)
            used = True
        if trial.ignored == before:
            trial.messages += 1
            trial.used += used


class _WordCells(GrowingCells):
    """Also keeps the words that channels have in the place of numbers."""

    words: dict[str, Counter[str]]

    def _take_unknown(
        self, value: Any, columns: Any, name: str, path: str, cells: Any, unknown: Any, dropped: Any, skipped: int
    ) -> None:
        if type(value) is str and 0 < len(value) <= LONGEST_WORD and (path + name)[skipped:] not in self.others:
            words = self.words.setdefault(path + name, Counter())
            if value in words or len(words) <= MOST_WORDS:
                words[value] += 1
        super()._take_unknown(value, columns, name, path, cells, unknown, dropped, skipped)


def plain(keys: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Keys without those that are as by default."""
    default = {one.name: one.default for one in msgspec.structs.fields(MappingConfig)}
    return {key: value for key, value in keys if value != default.get(key)}
