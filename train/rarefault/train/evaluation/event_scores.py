"""Scores per event: what a maintenance engineer asks. Was it seen, how soon, and how often did it cry wolf?"""

import msgspec
import numpy as np

from rarefault.runtime.arrays import Int32, Int64
from rarefault.runtime.inference.decision import AlarmChange
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.evaluation.affiliation import affiliation_of_fault
from rarefault.train.evaluation.alarms import AlarmJudge, States
from rarefault.train.evaluation.metrics import EventScore, Scores
from rarefault.train.evaluation.phm2015_score import Intervals, runs, score_phm2015
from rarefault.train.history import History, labelled_ends


def score_events(
    scores: Scores,
    history: History,
    device: Int32,
    end_ms: Int64,
    label: Int64,
    verdict: Int64,
    alarms: list[AlarmChange],
    grid: GridSpec,
    stride: int,
) -> Scores:
    """Fill in the scores of events and alarms.

    Only windows with a label are given. An event counts if a window ends in a bin that it labels; it is detected if one
    of these windows has its fault as the verdict. A false alarm is a raised alarm during whose standing no event of its
    fault is active (of any fault, for ``unknown``), nor any time without a label. Device-days are the time that the
    windows stand for.

    Args:
        scores: of the windows.
        history: gives the events, by the same device slots.
        device, end_ms, label, verdict: of the windows, sorted by device and time, [W].
        alarms: changes of alarm states.
        grid, stride: of the windows.
    """
    found: list[EventScore] = []
    events, classes = history.events, history.classes
    span_ms = stride * grid.period_ms
    first_end_ms, last_end_ms = labelled_ends(events, grid, history.event_times)
    new = np.r_[True, (device[1:] != device[:-1]) | (np.diff(end_ms) > span_ms)][: len(device)]
    stretch, first_ms = np.cumsum(new) - 1, end_ms[new]
    last_ms = end_ms[np.r_[new[1:], True][: len(device)]]
    pieces: list[tuple[int, int, int, int]] = []
    for i in range(len(events)):
        mine = np.flatnonzero((device == events.device[i]) & (end_ms >= first_end_ms[i]) & (end_ms <= last_end_ms[i]))
        if not len(mine):
            continue
        start_ms, stop_ms, fault = int(events.start_ms[i]), int(events.end_ms[i]), int(events.fault[i])
        pieces += [
            (part, fault, max(start_ms, int(first_ms[part])), min(stop_ms, int(last_ms[part])))
            for part in np.unique(stretch[mine]).tolist()
        ]
        hit = mine[verdict[mine] == fault]
        since = max(start_ms, int(end_ms[mine[0]]))
        found.append(
            EventScore(
                device=history.devices[events.device[i]],
                fault=classes[fault],
                start_ms=start_ms,
                end_ms=stop_ms,
                detected=bool(len(hit)),
                delay_s=max(0.0, (int(end_ms[hit[0]]) - since) / 1000) if len(hit) else None,
            )
        )
    recall: dict[str, float | None] = {}
    for name in classes[1:]:
        seen = [e.detected for e in found if e.fault == name]
        recall[name] = float(np.mean(seen)) if seen else None
    delays = [e.delay_s for e in found if e.delay_s is not None]
    counts = AlarmJudge(history, device.astype(np.int64), end_ms, grid).count(States.of(alarms))
    days = device_days(len(end_ms), span_ms)
    near = {name: affiliation_of_fault(device, label, verdict, c) for c, name in enumerate(classes) if c}
    truth = Intervals(*np.asarray(pieces, np.int64).reshape(-1, 4).T)
    return msgspec.structs.replace(
        scores,
        events_total=len(found),
        events_detected=sum(e.detected for e in found),
        event_recall=recall,
        median_delay_s=float(np.median(delays)) if delays else None,
        false_alarms=counts.false,
        false_alarms_per_device_day=counts.false / days if days else None,
        alarm_changes=counts.changes,
        alarm_changes_per_device_day=counts.changes / days if days else None,
        unknown_alarms=counts.unknown,
        device_days=days,
        true_alarms=counts.true,
        events_alarmed=counts.seen,
        event_f1=counts.f1,
        affiliation=near,
        affiliation_precision=_mean([score.precision for score in near.values()]),
        affiliation_recall=_mean([score.recall for score in near.values()]),
        phm2015=score_phm2015(runs(stretch, end_ms, verdict, len(classes)), truth, grid.period_ms, classes),
        phm2015_of_labels=score_phm2015(runs(stretch, end_ms, label, len(classes)), truth, grid.period_ms, classes),
        events=found,
    )


def device_days(windows: int, span_ms: int) -> float:
    """The time that some windows stand for, each for the ``span_ms`` to the next."""
    return windows * span_ms / 86_400_000


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
