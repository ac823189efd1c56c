"""A history in memory: samples and events of many devices, as arrays."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int32, Int64
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.notes import ReadNotes

#: Which of several events that are active at one time gives the label; see ``labels.label_bins``.
Overlap = Literal["rarest", "file order"]
#: How the times of events are placed on the grid; see :mod:`rarefault.train.history.labels`.
EventTimes = Literal["exact", "rounded"]
#: Reserved word of events and labels for time of which nobody knows the class; it is neither trained on nor scored.
UNLABELLED = "unlabelled"
#: Rows of a history that are looked at together.
ROWS = 1 << 16
#: Stands for the class of such time.
NO_LABEL = -1
#: Stands for the unit of an event whose log names none.
NO_UNIT = -1


@dataclass(frozen=True, slots=True)
class Events:
    """Intervals of the fault log, in the order of the log (V events).

    Attributes:
        device: index into the history's devices, [V].
        start_ms: milliseconds since the epoch, [V].
        end_ms: not before the start, [V].
        fault: index into the history's classes, never 0 (normal), [V].
        unit: index into the history's units, -1 where the log names none, [V]; so by default.
    """

    device: Int32
    start_ms: Int64
    end_ms: Int64
    fault: Int32
    unit: Int32 = field(default_factory=lambda: np.empty(0, np.int32))

    def __post_init__(self) -> None:
        if not len(self.unit):
            object.__setattr__(self, "unit", np.full(len(self.fault), NO_UNIT, np.int32))

    def __len__(self) -> int:
        return len(self.fault)

    @classmethod
    def none(cls) -> Self:
        """No events."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))

    def select(self, chosen: Bool) -> Self:
        """Some of the events, [V]."""
        return type(self)(
            self.device[chosen], self.start_ms[chosen], self.end_ms[chosen], self.fault[chosen], self.unit[chosen]
        )


@dataclass(frozen=True, slots=True)
class Stretches:
    """Stretches of time of some devices (v of them).

    Attributes:
        device: index into the history's devices, [v].
        start_ms: milliseconds since the epoch, [v].
        end_ms: not before the start, [v].
    """

    device: Int32
    start_ms: Int64
    end_ms: Int64

    def __len__(self) -> int:
        return len(self.device)

    @classmethod
    def none(cls) -> Self:
        """No stretch."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class History:
    """Samples of N devices, sorted by time (those of equal times in the order of their files), and their events.

    Attributes:
        devices: names; an index into them is a device's slot.
        channels: names, [C].
        classes: ``"normal"`` and the faults that occur, [K].
        counters: the channels that only increase.
        device: slot of each sample's device, [M].
        time_ms: milliseconds since the epoch, [M].
        values: channel values in physical units, NaN = not in this sample, infinite = the value ends
            here (minus infinite: a number that means no value), [M, C].
        events: the fault log.
        overlap: which of several active events gives the label.
        notes: what was wrong in the files.
        fingerprint: sha256 of what was read, in hexadecimal; a selection keeps that of the whole.
        unlabelled: time without events of which nobody knows whether it is normal.
        rarity: the faults from the commonest to the rarest, where the rule ``rarest`` must not go by the events.
        event_times: how the times of events are placed on the grid.
        units: names of the parts of devices that events are of, such as ``"c1"`` or ``"pump1"``.
        channel_specs: what channels are, by which the values were read.
    """

    devices: tuple[str, ...]
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    counters: tuple[str, ...]
    device: Int32
    time_ms: Int64
    values: Float64
    events: Events
    overlap: Overlap
    notes: ReadNotes
    fingerprint: str
    unlabelled: Stretches = field(default_factory=Stretches.none)
    rarity: tuple[int, ...] = ()
    event_times: EventTimes = "exact"
    units: tuple[str, ...] = ()
    channel_specs: ChannelSpecs = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def counter_mask(self) -> Bool:
        """Which channels are counters, [C]."""
        return np.isin(np.array(self.channels, dtype=str), np.array(self.counters, dtype=str))

    def select(self, mask: Bool) -> "History":
        """The samples where ``mask`` [M] is true, with the same devices, channels, classes and events."""
        return replace(self, device=self.device[mask], time_ms=self.time_ms[mask], values=self.values[mask])


def fingerprint(
    devices: tuple[str, ...],
    channels: tuple[str, ...],
    classes: tuple[str, ...],
    arrays: tuple[Int32 | Int64 | Float64, ...],
) -> str:
    """sha256 over names and array contents, in hexadecimal; a value that means none is one that is not there."""
    digest = hashlib.sha256()
    digest.update("\x1e".join("\x1f".join(names) for names in (devices, channels, classes)).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for first in range(0, len(array), ROWS):
            part = array[first : first + ROWS]
            if part.dtype.kind == "f" and (dropped := np.isneginf(part)).any():
                part = np.where(dropped, np.nan, part)
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
