"""Which shape messages have that the configured mapping cannot read: the presets are tried on them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.presets import PRESETS
from rarefault.runtime.telemetry.reader import readers
from rarefault.runtime.telemetry.reasons import Ignored, Reason, RejectionError, ValueReason, quote
from rarefault.runtime.telemetry.sparkplug import NAMESPACE

#: Messages that are tried.
MOST_TRIED = 200
#: Keys of a preset that say where a sender publishes, and not what.
PLACE = ("topic", "ignore_topics", "several_topics")
#: Reasons that say nothing about the shape.
NO_SHAPE = frozenset({Reason.NO_KNOWN_CHANNEL, Reason.BAD_VALUE, Reason.NO_BIRTH, Reason.UNKNOWN_METRIC})


class _Tally:
    """A report that only counts.

    Attributes:
        rejected: by reason.
    """

    def __init__(self) -> None:
        self.rejected: Counter[Reason] = Counter()

    def add(self, topic: str, error: RejectionError, arrived_ms: int, rejected: object) -> None:  # noqa: ARG002
        """As in Report."""
        self.rejected[error.reason] += 1

    def add_ignored(self, why: Ignored) -> None:
        """As in Report."""

    def add_dropped_value(self, device: str, column: int, why: ValueReason, value: object) -> None:
        """As in Report."""

    def add_unknown_channels(self, device: str, names: list[str]) -> None:
        """As in Report."""


def shape_hint(setup: Setup, messages: Sequence[Message]) -> str:
    """What the configuration would have to say for messages that it does not read; empty where nobody knows.

    Args:
        setup: the configuration and the model.
        messages: some that came.
    """
    config = setup.config.telemetry
    some = list(messages)[:MOST_TRIED]
    if config.format != "sparkplug" and all(message.topic.startswith(f"{NAMESPACE}/") for message in some):
        return "the topics are those of Sparkplug B: 'rarefault presets sparkplug' prints the keys for it"
    now = _fitting(config, {}, setup, some)
    if 2 * now >= len(some):
        return ""
    if not config.template.has_channel and sum(map(_is_bare, some)) > len(some) / 2:
        text = quote(bytes(some[0].payload[:40]).decode("utf-8", "replace"))
        return (
            f"the payloads are single values, such as {text} on {quote(some[0].topic)}: set telemetry.format = "
            '"scalar", and write {channel} into telemetry.topic where the name of the channel stands'
        )
    found = [
        (_fitting(config, {key: value for key, value in preset.keys.items() if key not in PLACE}, setup, some), name)
        for name, preset in PRESETS.items()
    ]
    best = max(count for count, _ in found)
    if best <= now or 2 * best < len(some):
        return ""
    names = [name for count, name in found if count == best]
    return (
        f"{best} of {len(some)} messages have the shape of the preset {' or '.join(map(repr, names))}: 'rarefault "
        f"presets {names[0]}' prints its keys"
    )


def _fitting(config: MappingConfig, keys: Mapping[str, Any], setup: Setup, messages: Sequence[Message]) -> int:
    """Number of messages whose shape a mapping with other keys would fit."""
    given = {"topic": config.topic, "device": config.device, "time_zone": config.time_zone} | dict(keys)
    if keys and config.template.has_device:
        given["device"] = ""
    try:
        mapping = msgspec.convert(given, MappingConfig) if keys else config
    except msgspec.ValidationError:
        return 0
    tally = _Tally()
    channels = setup.model.manifest.channels
    reader = readers([_without_fields(mapping)], channels, [None] * len(channels), tally, "")
    fitting = 0
    for message in messages:
        tally.rejected.clear()
        samples = reader.read(message.topic, message.payload, message.arrived_ms, retained=message.retained)
        fitting += bool(samples) or (bool(tally.rejected) and tally.rejected.keys() <= NO_SHAPE)
    return fitting


def _without_fields(mapping: MappingConfig) -> MappingConfig:
    """A plain mapping, which need not know the channels of the model."""
    plain = {f.name: getattr(mapping, f.name) for f in msgspec.structs.fields(MappingConfig) if f.name != "fields"}
    return MappingConfig(**plain)


def _is_bare(message: Message) -> bool:
    """Whether a payload is one short value."""
    text = message.payload.strip()
    return 0 < len(text) <= 64 and text[:1] not in {b"{", b"["}
