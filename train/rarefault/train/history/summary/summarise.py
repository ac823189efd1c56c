"""Counts of a history: devices, channels, events, and the classes on the grid."""

from collections.abc import Iterator

import numpy as np

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.inference.grid import Grid
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.times import format_ms
from rarefault.train.history.data import Events, History
from rarefault.train.history.labels import event_time_ms, label_bins
from rarefault.train.history.notes import Note
from rarefault.train.history.summary.findings import findings
from rarefault.train.history.summary.intervals import reporting, steps_ms
from rarefault.train.history.summary.structs import (
    ChannelSummary,
    ClassSummary,
    DeviceSummary,
    HistorySummary,
    NoteSummary,
    PartSummary,
)

#: Samples or bins handled at a time, so that memory stays that of the history itself.
CHUNK = 1 << 18


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
        folds: a class that a split cannot spread over as many parts is pointed out; 0 checks none.
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
        findings=findings(history, grid, channels, classes, folds, block_s),
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
        reported = np.flatnonzero(np.isfinite(history.values[:, i]))
        value, time_ms = history.values[reported, i], history.time_ms[reported]
        step = steps_ms(history.device[reported], time_ms)
        interval_s, usual_s, reports = reporting(step)
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
                longest_gap_s=float(step.max()) / 1000 if len(step) else None,
                interval_s=interval_s,
                interval_p90_s=usual_s,
                reports=reports,
                missing=float(counts.missing[i] / counts.gridded) if counts.gridded else None,
                finding="never reported" if low is None else "constant" if low == high else "",
            )
        )
    return summaries


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
