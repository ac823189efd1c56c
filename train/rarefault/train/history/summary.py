"""What is in a history, in numbers: devices, channels, events, and the classes on the grid."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Int32, Int64
from rarefault.runtime.inference.grid import Grid
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.times import format_ms
from rarefault.train.history.borders import border_finding
from rarefault.train.history.data import Events, History
from rarefault.train.history.labels import event_time_ms, label_bins
from rarefault.train.history.notes import Note
from rarefault.train.history.parsing.codes import code_finding
from rarefault.train.history.parsing.frames import listed

#: Samples or bins handled at a time, so that memory stays that of the history itself.
CHUNK = 1 << 18
#: Channels and classes that are named one by one where something is wrong with many.
MOST_NAMED = 8


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
    unlabelled_bins: int = 0
    """Bins of which nobody knows the class; they are in no share."""


def summarise(
    history: History,
    grid: GridSpec,
    *,
    span_ms: tuple[int | None, int | None] = (None, None),
    folds: int = 0,
    block_s: float | None = None,
) -> HistorySummary:
    """Describe a history.

    Args:
        history: may be a fault log alone.
        grid: period, hold and gap.
        span_ms: first and end of the bins of devices without samples; by default the span of their events.
        folds: a class that a split cannot deal to as many parts is pointed out; 0 asks for none.
        block_s: the split's blocks of time, into which longer events are cut; None where it is by device.
    """
    counted = _count(history, grid, span_ms)
    classes = _classes(history, counted.classes)
    channels = _channels(history, counted)
    overlaps = overlapping(history.events)
    return HistorySummary(
        period_s=grid.period_s,
        max_gap_s=grid.max_gap_s,
        samples=len(history),
        events=len(history.events),
        overlapping=float(overlaps.mean()) if len(overlaps) else None,
        overlap=history.overlap,
        fingerprint=history.fingerprint,
        devices=_devices(history, grid, counted, span_ms),
        channels=channels,
        classes=classes,
        notes=[_note(note) for note in history.notes],
        findings=_findings(history, grid, channels, classes, folds, block_s),
        unlabelled_bins=counted.unlabelled,
    )


def _note(note: Note) -> NoteSummary:
    parts = {name: PartSummary(count=count, example=example) for name, (count, example) in note.parts.items()}
    return NoteSummary(kind=note.kind, count=note.count, example=note.example, parts=parts)


def overlapping(events: Events) -> Bool:
    """Which events share some time with another one of the same device, [V]."""
    order = np.lexsort((events.end_ms, events.start_ms, events.device))
    device, start, end = events.device[order], events.start_ms[order], events.end_ms[order]
    shared = np.zeros(len(order), bool)
    for slot in np.unique(device).tolist():
        rows = np.flatnonzero(device == slot)
        latest_end = np.maximum.accumulate(end[rows])
        shared[rows[1:]] |= latest_end[:-1] > start[rows[1:]]
        shared[rows[:-1]] |= start[rows[1:]] < end[rows[:-1]]
    out = np.empty_like(shared)
    out[order] = shared
    return out


class _Counts:
    """What the grid's bins add up to."""

    def __init__(self, n_devices: int, n_channels: int, n_classes: int) -> None:
        self.devices = np.zeros(n_devices, np.int64)
        self.missing = np.zeros(n_channels, np.int64)
        self.classes = np.zeros(n_classes, np.int64)
        self.unlabelled = 0
        self.gridded = 0  # bins that come from samples


def _count(history: History, spec: GridSpec, span_ms: tuple[int | None, int | None]) -> _Counts:
    counts = _Counts(len(history.devices), len(history.channels), len(history.classes))
    grid = Grid(spec, len(history.channels), history.counter_mask)
    for first in range(0, len(history), CHUNK):
        part = slice(first, first + CHUNK)
        bins = grid.push(history.device[part], history.time_ms[part], history.values[part])
        counts.missing += np.isnan(bins.values).sum(axis=0)
        counts.gridded += len(bins)
        _add(counts, history, bins.device.astype(np.int64), bins.index, spec)
    for slot in _without_samples(history):
        for index in _span_bins(history, slot, spec, span_ms):
            _add(counts, history, np.full(len(index), slot, np.int64), index, spec)
    return counts


def _add(counts: _Counts, history: History, device: Int64, index: Int64, spec: GridSpec) -> None:
    label = label_bins(history, device, index, spec)
    counts.classes += np.bincount(label[label >= 0], minlength=len(counts.classes))
    counts.unlabelled += int((label < 0).sum())
    counts.devices += np.bincount(device, minlength=len(counts.devices))


def _without_samples(history: History) -> list[int]:
    return np.flatnonzero(np.bincount(history.device, minlength=len(history.devices)) == 0).tolist()


def _span(history: History, slot: int, span_ms: tuple[int | None, int | None]) -> tuple[int, int]:
    """Start and end of what a fault log alone covers; (0, 0) where it is empty."""
    own = history.events.device == slot
    start = span_ms[0] if span_ms[0] is not None else int(history.events.start_ms[own].min()) if own.any() else 0
    end = span_ms[1] if span_ms[1] is not None else int(history.events.end_ms[own].max()) if own.any() else start
    return start, end


def _span_bins(history: History, slot: int, spec: GridSpec, span_ms: tuple[int | None, int | None]) -> Iterator[Int64]:
    start, end = _span(history, slot, span_ms)
    first, stop = spec.bin_of(start), spec.bin_of(end - 1) + 1
    for low in range(first, stop, CHUNK):
        yield np.arange(low, min(low + CHUNK, stop), dtype=np.int64)


def _devices(
    history: History, spec: GridSpec, counts: _Counts, span_ms: tuple[int | None, int | None]
) -> list[DeviceSummary]:
    summaries = []
    for slot, name in enumerate(history.devices):
        time_ms = history.time_ms[history.device == slot]
        step = np.diff(time_ms)
        if len(time_ms):
            start, end = int(time_ms[0]), int(time_ms[-1])
        else:
            start, end = _span(history, slot, span_ms)
        longest = int(step.argmax()) if len(step) else None
        summaries.append(
            DeviceSummary(
                name=name,
                samples=len(time_ms),
                start=format_ms(start) if end else None,
                end=format_ms(end) if end else None,
                longest_gap_s=None if longest is None else float(step[longest]) / 1000,
                longest_gap_start=None if longest is None else format_ms(int(time_ms[longest])),
                gaps=int((step > spec.max_gap_s * 1000).sum()),
                bins=int(counts.devices[slot]),
            )
        )
    return summaries


def _channels(history: History, counts: _Counts) -> list[ChannelSummary]:
    summaries = []
    for i, name in enumerate(history.channels):
        reported = np.flatnonzero(~np.isnan(history.values[:, i]))
        value, time_ms = history.values[reported, i], history.time_ms[reported]
        low, high = (float(value.min()), float(value.max())) if len(value) else (None, None)
        summaries.append(
            ChannelSummary(
                name=name,
                counter=name in history.counters,
                samples=len(value),
                minimum=low,
                mean=float(value.mean()) if len(value) else None,
                maximum=high,
                last=format_ms(int(time_ms[-1])) if len(value) else None,
                longest_gap_s=_longest_gap_s(history.device[reported], time_ms),
                missing=float(counts.missing[i] / counts.gridded) if counts.gridded else None,
                finding="never reported" if low is None else "constant" if low == high else "",
            )
        )
    return summaries


def _longest_gap_s(device: Int32, time_ms: Int64) -> float | None:
    """Longest step between consecutive samples of one device; None where no device has two."""
    order = np.argsort(device, kind="stable")
    step = np.diff(time_ms[order])[np.diff(device[order]) == 0]
    return float(step.max()) / 1000 if len(step) else None


def _classes(history: History, bins: Int64) -> list[ClassSummary]:
    events = history.events
    total = event_time_ms(events, len(history.classes))
    shared = overlapping(events)
    all_bins = int(bins.sum())
    summaries = []
    for number, name in enumerate(history.classes):
        own = events.fault == number
        duration = (events.end_ms - events.start_ms)[own]
        summaries.append(
            ClassSummary(
                name=name,
                events=int(own.sum()),
                total_s=float(total[number]) / 1000,
                median_s=float(np.median(duration)) / 1000 if len(duration) else None,
                overlapping=float(shared[own].mean()) if len(duration) else None,
                bins=int(bins[number]),
                proportion=float(bins[number] / all_bins) if all_bins else None,
            )
        )
    return summaries


def majority_finding(name: str, share: float) -> str:
    """Why a fault that covers more than half of the time is refused, and the mends."""
    return (
        f"fault {name!r} covers {share:.0%} of the labelled time, more than all else together: if it is a word for "
        f'normal, set data.normal = ["{name}"], with all other such words; if machines were faulty most of the time, '
        "data.mostly_faulty = true"
    )


def all_faulty_finding(names: Sequence[str]) -> str:
    """Why a history without any normal time is refused, and the mends."""
    return (
        f"faults cover all of the labelled time ({listed(names)}), none of it is normal: if one of them is a word for "
        "normal, name it as data.normal, with all other such words; if machines were never without a fault, "
        "data.mostly_faulty = true"
    )


def _empty_channels(channels: list[ChannelSummary]) -> list[str]:
    """A sentence for each channel that carries no information; one for all where they are many."""
    found = []
    for finding in ("never reported", "constant"):
        own = [channel for channel in channels if channel.finding == finding]
        if len(own) > MOST_NAMED:
            names = ", ".join(channel.name for channel in own[:MOST_NAMED])
            more = len(own) - MOST_NAMED
            found.append(f"{len(own)} channels are {finding}: {names} and {more} more: they carry no information")
            continue
        for channel in own:
            value = "" if channel.minimum is None else f" ({channel.minimum:g})"
            found.append(f"channel {channel.name} is {finding}{value}: it carries no information")
    return found


def _findings(
    history: History,
    grid: GridSpec,
    channels: list[ChannelSummary],
    classes: list[ClassSummary],
    folds: int,
    block_s: float | None,
) -> list[str]:
    """What stands in the way of training, one sentence each."""
    found = []
    if not len(history):
        found.append("there are no samples: a fault log alone can be described, not learnt from")
    if at_borders := border_finding(history, grid):
        found.append(at_borders)
    if codes := code_finding(history):
        found.append(codes)
    found += [
        majority_finding(item.name, item.proportion)
        for item in classes[1:]
        if item.proportion and item.proportion > 0.5
    ]
    faulty = [item.name for item in classes[1:] if item.bins]
    if len(faulty) > 1 and not classes[0].bins:
        found.append(all_faulty_finding(faulty))
    if len(classes) == 1:
        found.append("there is no fault: nothing can be learnt from this history")
    found += _empty_channels(channels)
    few, unseen = [], []
    for number, fault in enumerate(classes[1:], 1):
        own = history.events.fault == number
        if block_s is None:
            dealt, unit = len(np.unique(history.events.device[own])), "device(s)"
        else:
            duration_s = (history.events.end_ms - history.events.start_ms)[own] / 1000
            dealt, unit = int(np.maximum(duration_s // block_s, 1).sum()), "event(s) or blocks of long events"
        if dealt < folds:
            few.append(
                f"class {fault.name} has {dealt} {unit}, fewer than the {folds} folds: "
                "some parts of the split will lack it"
            )
        if fault.bins == 0:
            unseen.append(
                f"class {fault.name} labels no bin of the grid: its events lie where others win or no data is"
            )
    for sentences in (few, unseen):
        found += sentences[:MOST_NAMED]
        if len(sentences) > MOST_NAMED:
            found.append(f"and so {len(sentences) - MOST_NAMED} more classes")
    return found
