"""Labels in numbers and sentences."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rarefault.runtime.times import format_ms
from rarefault.train.history import UNLABELLED, ReadNotes
from rarefault.train.labelling.labels import Labels
from rarefault.train.labelling.rows import Row, Span, describe_time


def findings(labels: Labels, log: str, notes: ReadNotes | None) -> list[str]:
    """What a person should know, one sentence each.

    Args:
        labels: what was made.
        log: name of the fault log; "" where there is none.
        notes: what was wrong with it.
    """
    found = [f"{log}: {note}" for note in notes or ()]
    if labels.dropped:
        found.append(f"{labels.dropped} event(s) of the log lie outside the labelled time and are left out")
    if labels.clipped:
        found.append(f"{labels.clipped} event(s) of the log reach beyond the labelled time and are cut to it")
    found += [
        f"{c.device}, {describe_time(c.start_ms, c.end_ms)}: feedback says {c.feedback}, the log {c.log}; feedback wins"
        for c in labels.conflicts
    ]
    if labels.replaced:
        found.append(f"{labels.replaced} answer(s) were replaced by a later one on the same alarm or the same time")
    if labels.retracted:
        found.append(f"{labels.retracted} answer(s) were taken back")
    found += [
        f"answer not used ({u.device}, {u.answer}{f' alarm {u.alarm}' if u.alarm else ''}): {u.why}"
        for u in labels.unused
    ]
    if labels.new_faults:
        found.append(
            f"named by feedback alone, by no alarm{' and no event of the log' if log else ''}: "
            f"{', '.join(labels.new_faults)}; check the spelling"
        )
    if all(row.fault == UNLABELLED for row in labels.rows):
        found.append("no fault is labelled: nothing can be learnt from these labels alone")
    return found


def event_counts(rows: Iterable[Row], device: str) -> dict[str, dict[str, int]]:
    """Number of events of a device by fault, then by source."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.device == device and row.fault != UNLABELLED:
            by_source = counts.setdefault(row.fault, {})
            by_source[row.source] = by_source.get(row.source, 0) + 1
    return dict(sorted(counts.items()))


def unlabelled_s(rows: Iterable[Row], device: str, span: Span) -> float:
    """Seconds between a device's first and last sample that are unlabelled."""
    own = [row for row in rows if row.device == device and row.fault == UNLABELLED]
    return sum(max(0, min(row.end_ms, span.last_ms) - max(row.start_ms, span.first_ms)) for row in own) / 1000


def plain_values(spans: dict[str, Span], labels: Labels) -> dict[str, Any]:
    """Devices, answers and conflicts as ``label --json`` has them."""
    return {
        "devices": [
            {
                "name": name,
                "samples": span.samples,
                "start": format_ms(span.first_ms),
                "end": format_ms(span.last_ms),
                "unlabelled_s": unlabelled_s(labels.rows, name, span),
                "events": event_counts(labels.rows, name),
            }
            for name, span in spans.items()
        ],
        "answers": {
            "used": labels.answers,
            "replaced": labels.replaced,
            "retracted": labels.retracted,
            "unused": [asdict(unused) for unused in labels.unused],
        },
        "conflicts": [asdict(conflict) for conflict in labels.conflicts],
    }
