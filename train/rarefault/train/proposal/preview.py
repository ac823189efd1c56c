"""What the proposed configuration reads, as tables."""

from collections.abc import Sequence

import numpy as np

from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.proposal.proposal import Table
from rarefault.runtime.times import format_ms
from rarefault.train.evaluation.wording import duration, percent
from rarefault.train.history import History
from rarefault.train.history.summary.structs import HistorySummary
from rarefault.train.history.summary.summarise import summarise

#: Rows of samples, channels beside each other, and devices, channels and findings below each other.
ROWS, BESIDE, BELOW = 5, 6, 20


def previews(history: History, grid: GridSpec, remarks: Sequence[str]) -> tuple[Table, ...]:
    """First rows, devices, channels, classes, and what was found in the files.

    Args:
        history: as it was read; may be without samples.
        grid: that missing shares are counted on.
        remarks: what a person should know of the tables, such as what part was looked at.
    """
    summary = summarise(history, grid)
    why = f" ({'; '.join(remarks)})" if remarks else ""
    tables = [_rows(history, why), _devices(summary), _channels(history, summary)]
    if len(history.classes) > 1 or summary.unlabelled_bins:
        tables.append(_classes(summary))
    if summary.notes:
        tables.append(_notes(summary))
    return tuple(table for table in tables if table.rows)


def _rows(history: History, why: str) -> Table:
    names = history.channels[:BESIDE]
    more = len(history.channels) - len(names)
    title = f"First rows as they are read{why}" + (f", without {more} more channels" if more else "")
    # In the order of the files would be better for the eye, but what training sees is sorted by time.
    rows = [
        (
            history.devices[history.device[i]],
            format_ms(int(history.time_ms[i])),
            *("" if not np.isfinite(value) else f"{value:.6g}" for value in history.values[i, : len(names)]),
        )
        for i in range(min(ROWS, len(history)))
    ]
    return Table(title, ("device", "time (UTC)", *names), tuple(rows))


def _devices(summary: HistorySummary) -> Table:
    rows = [
        (item.name, f"{item.samples:,}", _minute(item.start), _minute(item.end), duration(item.longest_gap_s))
        for item in summary.devices[:BELOW]
    ]
    return Table(
        f"{len(summary.devices)} device(s), {summary.samples:,} samples{_cut(len(summary.devices))}",
        ("device", "samples", "first", "last", "longest gap"),
        tuple(rows),
    )


def _channels(history: History, summary: HistorySummary) -> Table:
    rows = []
    for i, item in enumerate(summary.channels[:BELOW]):
        values = history.values[:, i]
        known = values[np.isfinite(values)]
        median = f"{np.median(known):.5g}" if len(known) else ""
        spec = history.channel_specs.get(item.name)
        unit = spec.unit if spec is not None else ""
        remark = ", ".join(word for word in ("counter" if item.counter else "", item.finding) if word)
        rows.append(
            (item.name, unit, _number(item.minimum), median, _number(item.maximum), percent(item.missing), remark)
        )
    return Table(
        f"{len(summary.channels)} channel(s){_cut(len(summary.channels))}",
        ("channel", "unit", "min", "median", "max", "missing", ""),
        tuple(rows),
    )


def _classes(summary: HistorySummary) -> Table:
    rows = [
        (item.name, f"{item.events:,}" if item.events else "", duration(item.median_s), percent(item.proportion))
        for item in summary.classes[:BELOW]
    ]
    if summary.unlabelled_bins:
        rows.append(("unlabelled", "", "", f"{summary.unlabelled_bins:,} bins"))
    return Table(
        f"{summary.events:,} events on a grid of {duration(summary.period_s)}{_cut(len(summary.classes))}",
        ("class", "events", "median", "share of time"),
        tuple(rows),
    )


def _notes(summary: HistorySummary) -> Table:
    rows = [(f"{note.count:,}", note.kind, note.example) for note in summary.notes[:BELOW]]
    return Table("Found in the files", ("count", "what", "first example"), tuple(rows))


def _cut(count: int) -> str:
    return f", the first {BELOW}" if count > BELOW else ""


def _minute(time: str | None) -> str:
    return "" if time is None else time[:16].replace("T", " ")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
