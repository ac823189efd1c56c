"""A mapping of messages by itself: what it reads, and what it counts."""

from collections import Counter
from typing import Any

import msgspec

from rarefault.runtime.telemetry.channels import ChannelSpec, states_of
from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.reader import readers
from rarefault.runtime.telemetry.reasons import Ignored, RejectionError, ValueReason

NOW_MS = 1_767_323_044_000  # 2026-01-02T03:04:04Z
CHANNELS = ("temp", "rpm", "power", "pump", "mode")


class Mapping:
    """Reads messages by some mappings.

    Attributes:
        rejected, ignored: messages and samples by reason.
        dropped: values by channel and reason.
        details: what each rejection said.
        unknown: names of values that are of no channel.
        kept: what would be set aside.
    """

    def __init__(
        self, *keys: dict[str, Any], channels: tuple[str, ...] = CHANNELS, specs: dict[str, Any] | None = None
    ) -> None:
        self.rejected: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.details: list[str] = []
        self.unknown: list[str] = []
        self.kept: list[object] = []
        self.channels = channels
        found = {name: msgspec.convert(spec, ChannelSpec) for name, spec in (specs or {}).items()}
        configs = [MappingConfig.checked(one) for one in keys]
        self.reader = readers(configs, channels, states_of(found, channels), self, "test.toml")

    def read(
        self, topic: str, payload: bytes | str, *, arrived_ms: int = NOW_MS, retained: bool = False
    ) -> list[tuple[str, int, dict[str, float]]]:
        """Device, time and values of each sample of a message."""
        raw = payload.encode() if isinstance(payload, str) else payload
        found = self.reader.read(topic, raw, arrived_ms, retained=retained)
        return [(device, ms, {self.channels[i]: x for i, x in cells}) for device, ms, cells, _ in found]

    @property
    def unused(self) -> int:
        """Messages and samples that were rejected or ignored."""
        return self.rejected.total() + self.ignored.total()

    def add(self, topic: str, error: RejectionError, arrived_ms: int, rejected: object) -> None:  # noqa: ARG002
        """As a report."""
        self.rejected[str(error.reason)] += 1
        self.details.append(error.detail)
        if rejected is not None:
            self.kept.append(rejected)

    def add_ignored(self, why: Ignored) -> None:
        """As a report."""
        self.ignored[str(why)] += 1

    def add_dropped_value(self, device: str, column: int, why: ValueReason, value: object) -> None:  # noqa: ARG002
        """As a report."""
        self.dropped[self.channels[column], str(why)] += 1

    def add_unknown_channels(self, device: str, names: list[str]) -> None:  # noqa: ARG002
        """As a report."""
        self.unknown += names
