"""A history in numbers, as ``describe --json`` prints it."""

from typing import Literal

import msgspec

from rarefault.train.history.shift.structs import LogShift

#: How a channel reports: at nearly even intervals, or when something changes; "" where it has no two values.
Reporting = Literal["steady", "by exception", ""]


class DeviceSummary(msgspec.Struct, kw_only=True):
    """One device: its samples, its gaps, its part of the grid."""

    name: str
    samples: int
    start: str | None
    """First sample; without samples, of the span that is described."""
    end: str | None
    longest_gap_s: float | None
    longest_gap_start: str | None
    gaps: int
    """Stretches without a sample that are longer than ``max_gap_s``."""
    bins: int


class ChannelSummary(msgspec.Struct, kw_only=True):
    """One channel over all devices; values in physical units, of a counter its readings."""

    name: str
    counter: bool
    samples: int
    minimum: float | None
    mean: float | None
    maximum: float | None
    last: str | None
    """Its last sample of any device."""
    longest_gap_s: float | None
    """Longest stretch between two of its samples of one device."""
    interval_s: float | None
    """Median time between two of its values of one device."""
    interval_p90_s: float | None
    """90th percentile of these times."""
    reports: Reporting
    """``steady`` where the 90th percentile is at most twice the median, else ``by exception``."""
    missing: float | None
    """Share of the grid's bins that have no value, after the hold."""
    finding: str
    """``"never reported"``, ``"constant"`` or ``""``."""


class ClassSummary(msgspec.Struct, kw_only=True):
    """One class: its events in the log and its bins on the grid."""

    name: str
    events: int
    total_s: float
    median_s: float | None
    overlapping: float | None
    """Share of its events during which another event of the same device is active."""
    bins: int
    proportion: float | None
    """Share of the bins."""


class PartSummary(msgspec.Struct, kw_only=True):
    """How often something was found at one channel or device, and the first of them."""

    count: int
    example: str


class NoteSummary(msgspec.Struct, kw_only=True):
    """Something that was wrong in the files."""

    kind: str
    count: int
    example: str
    parts: dict[str, PartSummary] = {}
    """Of each channel, device or word that it was found at."""


class HistorySummary(msgspec.Struct, kw_only=True):
    """All of it."""

    period_s: float
    max_gap_s: float
    samples: int
    events: int
    overlapping: float | None
    overlap: str
    fingerprint: str
    devices: list[DeviceSummary]
    channels: list[ChannelSummary]
    classes: list[ClassSummary]
    notes: list[NoteSummary]
    findings: list[str]
    log_shift: LogShift | None = None
    """Whether the log fits the telemetry better when it is shifted; None where it was not looked for."""
    unlabelled_bins: int = 0
    """Bins of which nobody knows the class; they are in no share."""
