"""Several sources as one history: tables of the past and the journals since, sites of one fleet."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import NORMAL
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.runtime.times import format_ms
from rarefault.train.history.data import NO_UNIT, Events, History, Stretches, fingerprint
from rarefault.train.history.formats import Source
from rarefault.train.history.notes import COMMON_EVENTS, LACKING_CHANNELS, ReadNotes
from rarefault.train.history.parsing.natural import natural
from rarefault.train.history.source import NO_SPECS, HistoryConfig


class TogetherConfig(HistoryConfig, frozen=True, kw_only=True, tag_field="format", tag="together"):
    """Several sources as one history, such as tables of the past and the journals since.

    Channels, devices and faults of one name are one; what a source does not have is missing from its samples.
    """

    sources: Annotated[tuple[Source, ...], msgspec.Meta(min_length=1)]
    """Sections like ``[data]`` itself; each brings its own events."""

    def __post_init__(self) -> None:
        for key in ("overlap", "event_times"):
            if len({getattr(source, key) for source in self.sources}) > 1:
                raise ValueError(f"all sources must have the same {key}: it is a rule for the whole history")

    @property
    def places(self) -> tuple[str, ...]:
        """The places of all sources."""
        return tuple(place for source in self.sources for place in source.places)

    @property
    def missing(self) -> tuple[float, ...]:
        """Numbers that stand for no value in any of the sources."""
        return tuple(dict.fromkeys(number for source in self.sources for number in source.missing))

    @property
    def counters(self) -> tuple[str, ...]:
        """The channels that only increase in any of the sources."""
        return tuple(dict.fromkeys(name for source in self.sources for name in source.counters))

    @property
    def has_log(self) -> bool:
        """Whether any of the sources has one."""
        return any(source.has_log for source in self.sources)

    def with_offset(self, offset_s: float) -> str:
        """That of the source whose log it is."""
        first = next(source for source in self.sources if source.has_log)
        return f"in the source whose log it is: {first.with_offset(offset_s)}"

    def absolute(self, base: Path) -> Self:
        """The section with the paths of all sources made absolute."""
        return msgspec.structs.replace(self, sources=tuple(source.absolute(base) for source in self.sources))

    def read(
        self,
        base: Path,
        *,
        allow_incomplete: bool = False,  # noqa: ARG002 - one source may be empty
        specs: ChannelSpecs = NO_SPECS,
    ) -> History:
        """Read all sources; each may be empty."""
        # What stands for no value in one source does so in all, as it will live.
        sources = [msgspec.structs.replace(source, missing=self.missing) for source in self.sources]
        return together([source.read(base, allow_incomplete=True, specs=specs) for source in sources], sources)


def together(histories: Sequence[History], sources: Sequence[Source]) -> History:
    """Histories of several sources as one, in the channels, classes and counters of all of them.

    Args:
        histories: what was read.
        sources: what from, for messages and for the order of the faults.

    Raises:
        HistoryError: two of them hold the same channels of one device at the same time.
    """
    _check_apart(histories, sources)
    channels = tuple(dict.fromkeys(name for history in histories for name in history.channels))
    found = {name for history in histories for name in history.classes[1:]}
    ordered = [name for source in sources for name in source.faults]
    classes = (NORMAL, *(name for name in dict.fromkeys([*ordered, *sorted(found, key=natural)]) if name in found))
    counters = tuple(dict.fromkeys(name for history in histories for name in history.counters))
    merged = merge([_widened(history, channels, classes, counters) for history in histories])
    for history, source in zip(histories, sources, strict=True):
        lacking = [name for name in channels if name not in history.channels]
        if lacking:
            first = f"{', '.join(source.places)} has no {lacking[0]!r}"
            merged.notes.add(LACKING_CHANNELS, len(lacking), first, problem=False)
    return merged


def _widened(
    history: History, channels: tuple[str, ...], classes: tuple[str, ...], counters: tuple[str, ...]
) -> History:
    """The history in more channels, classes and counters than it has."""
    values: Float64 = np.full((len(history), len(channels)), np.nan)
    values[:, [channels.index(name) for name in history.channels]] = history.values
    place = np.array([classes.index(name) for name in history.classes], np.int32)
    events = replace(history.events, fault=place[history.events.fault])
    return replace(history, channels=channels, classes=classes, counters=counters, values=values, events=events)


def _check_apart(histories: Sequence[History], sources: Sequence[Source]) -> None:
    """HistoryError where two sources hold the same channel of one device over the same time."""
    spans: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for number, history in enumerate(histories):
        if not len(history):
            continue  # a journal that has taken nothing yet
        by_device = np.argsort(history.device, kind="stable")  # each device's samples stay in order of time
        stops = np.cumsum(np.bincount(history.device, minlength=len(history.devices)))
        for device, rows in zip(history.devices, np.split(by_device, stops[:-1]), strict=True):
            there, time_ms = np.isfinite(history.values[rows]), history.time_ms[rows]
            for i in np.flatnonzero(there.any(axis=0)).tolist():
                first, last = int(there[:, i].argmax()), len(rows) - 1 - int(there[::-1, i].argmax())
                span = (int(time_ms[first]), int(time_ms[last]), number)
                spans.setdefault((device, history.channels[i]), []).append(span)
    for (device, channel), found in spans.items():
        found.sort()
        for (_, end, one), (start, _, other) in pairwise(found):
            if start <= end:
                earlier, later = (sources[number].describe() for number in (one, other))
                raise HistoryError(
                    f"data.sources: {earlier} holds {channel!r} of {device!r} until {format_ms(end)}, {later} from "
                    f"{format_ms(start)} on: set end of the one or start of the other, so that each time is in one of "
                    "them alone"
                )


def merge(histories: Sequence[History]) -> History:
    """Histories of the same channels and classes as one; devices of one name are one device.

    The rule for overlapping events, and which fault is the rarest, are those of the first.
    """
    if len(histories) == 1:
        return histories[0]
    first = histories[0]
    devices = tuple(dict.fromkeys(name for history in histories for name in history.devices))
    units = tuple(dict.fromkeys(name for history in histories for name in history.units))
    slots = [np.array([devices.index(name) for name in history.devices], np.int32) for history in histories]
    device = np.concatenate([slot[history.device] for history, slot in zip(histories, slots, strict=True)])
    time_ms = np.concatenate([history.time_ms for history in histories])
    order = np.argsort(time_ms, kind="stable")
    notes = ReadNotes()
    for history in histories:
        notes.take(history.notes)
    events, repeated = _merged_events(histories, slots, units)
    if repeated.any():
        at = int(repeated.argmax())
        where = f"{devices[events.device[at]]} {first.classes[events.fault[at]]} {format_ms(events.start_ms[at])}"
        notes.add(COMMON_EVENTS, int(repeated.sum()), where, problem=False)
    return replace(
        first,
        devices=devices,
        device=device[order],
        time_ms=time_ms[order],
        values=np.concatenate([history.values for history in histories])[order],
        events=events.select(~repeated),
        unlabelled=_merged_unlabelled(histories, slots),
        notes=notes,
        fingerprint=fingerprint(tuple(history.fingerprint for history in histories), (), (), ()),
        units=units,
    )


def _merged_events(histories: Sequence[History], slots: Sequence[Int32], units: tuple[str, ...]) -> tuple[Events, Bool]:
    """All events in the slots and units of all histories, [V], and which of them an earlier history has, too, [V]."""
    logs = [history.events for history in histories]
    events = Events(
        np.concatenate([slot[log.device] for log, slot in zip(logs, slots, strict=True)]),
        np.concatenate([log.start_ms for log in logs]),
        np.concatenate([log.end_ms for log in logs]),
        np.concatenate([log.fault for log in logs]),
        np.concatenate([_places(units, history.units, history.events.unit) for history in histories]),
    )
    return events, _in_earlier_source(events, np.repeat(np.arange(len(logs)), [len(log) for log in logs]))


def _merged_unlabelled(histories: Sequence[History], slots: Sequence[Int32]) -> Stretches:
    """All unlabelled time in the slots of all histories, [v]."""
    stretches = [history.unlabelled for history in histories]
    return Stretches(
        np.concatenate([slot[own.device] for own, slot in zip(stretches, slots, strict=True)]),
        np.concatenate([own.start_ms for own in stretches]),
        np.concatenate([own.end_ms for own in stretches]),
    )


def _in_earlier_source(events: Events, source: Int64) -> Bool:
    """Which events an earlier source has as well, as where two name the same log; within a source all are kept, [V]."""
    columns = np.stack([events.device, events.start_ms, events.end_ms, events.fault, events.unit], axis=1)
    _, number = np.unique(columns.astype(np.int64), axis=0, return_inverse=True)
    earliest = np.full(len(source), len(source))
    np.minimum.at(earliest, number.ravel(), source)
    return np.asarray(source > earliest[number.ravel()])


def _places(units: tuple[str, ...], own: tuple[str, ...], unit: Int32) -> Int32:
    """Numbers of a history's units among those of all, [V]."""
    return np.array([*(units.index(name) for name in own), NO_UNIT], np.int32)[unit]
