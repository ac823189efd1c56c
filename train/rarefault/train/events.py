"""Scores per event: what a maintenance engineer asks. Was it seen, how soon, and how often did it cry wolf?"""

import msgspec
import numpy as np

from rarefault.runtime.decision import AlarmChange
from rarefault.runtime.grid import Bool, Int32, Int64
from rarefault.train.history import Events, History, Stretches
from rarefault.train.metrics import EventScore, Scores


def score_events(
    scores: Scores,
    history: History,
    device: Int32,
    end_ms: Int64,
    verdict: Int64,
    alarms: list[AlarmChange],
    period_ms: int,
    stride: int,
) -> Scores:
    """Fill in the scores of events and alarms.

    Only windows with a label are given. An event counts if a window ends within it (rounded to the grid, as labels
    are); it is detected if one of these windows has its fault as the verdict. A false alarm is a raised fault alarm
    during whose standing no event of that fault is active, nor any time without a label. Device-days are the time that
    the windows stand for.

    Args:
        scores: of the windows.
        history: gives the events, by the same device slots.
        device, end_ms, verdict: of the windows, sorted by device and time, [W].
        alarms: changes of alarm states.
        period_ms, stride: of the grid and the windows.
    """
    found: list[EventScore] = []
    events = history.events
    half = period_ms // 2
    for i in range(len(events)):
        mine = np.flatnonzero(
            (device == events.device[i]) & (end_ms >= events.start_ms[i] - half) & (end_ms <= events.end_ms[i] + half)
        )
        if not len(mine):
            continue
        hit = mine[verdict[mine] == events.fault[i]]
        since = max(int(events.start_ms[i]), int(end_ms[mine[0]]))
        found.append(
            EventScore(
                device=history.devices[events.device[i]],
                fault=history.classes[events.fault[i]],
                start_ms=int(events.start_ms[i]),
                end_ms=int(events.end_ms[i]),
                detected=bool(len(hit)),
                delay_s=max(0.0, (int(end_ms[hit[0]]) - since) / 1000) if len(hit) else None,
            )
        )
    recall: dict[str, float | None] = {}
    for name in history.classes[1:]:
        seen = [e.detected for e in found if e.fault == name]
        recall[name] = float(np.mean(seen)) if seen else None
    delays = [e.delay_s for e in found if e.delay_s is not None]
    false = _false_alarms(history, device, end_ms, alarms, half)
    days = len(end_ms) * stride * period_ms / 86_400_000
    return msgspec.structs.replace(
        scores,
        events_total=len(found),
        events_detected=sum(e.detected for e in found),
        event_recall=recall,
        median_delay_s=float(np.median(delays)) if delays else None,
        false_alarms=false,
        false_alarms_per_device_day=false / days if days else None,
        device_days=days,
        events=found,
    )


def _false_alarms(history: History, device: Int32, end_ms: Int64, alarms: list[AlarmChange], half_ms: int) -> int:
    events = history.events
    by_device: dict[int, list[AlarmChange]] = {}
    for change in alarms:
        by_device.setdefault(change.device, []).append(change)
    false = 0
    for slot, changes in by_device.items():
        changes.sort(key=lambda change: change.end_ms)
        mine = end_ms[device == slot]
        last = int(mine.max()) if len(mine) else changes[-1].end_ms
        for i, change in enumerate(changes):
            if not 0 < change.state < len(history.classes):
                continue
            until = changes[i + 1].end_ms if i + 1 < len(changes) else last
            span = (change.since_ms - half_ms, until + half_ms)
            active = _meets(events, slot, *span) & (events.fault == change.state)
            false += not (active.any() or _meets(history.unlabelled, slot, *span).any())
    return false


def _meets(stretches: Events | Stretches, slot: int, start_ms: int, end_ms: int) -> Bool:
    """Which stretches of a device share some time with a span, [V]."""
    met: Bool = (stretches.device == slot) & (stretches.start_ms <= end_ms) & (stretches.end_ms >= start_ms)
    return met
