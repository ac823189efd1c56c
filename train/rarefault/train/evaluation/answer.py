"""The answer: may this model be switched on, what does it find, what to try next.

Console, report and ``metrics.json`` begin with it. It rests on alarms, as these are what people see: on how many of the
logged events had an alarm of their fault, how many alarms were right, and how many false alarms there were, whatever
the alarm state. The limits are those of :mod:`rarefault.train.evaluation.advice`.

Why: decision 0033.
"""

from collections.abc import Mapping
from statistics import median
from typing import Any, Literal

import msgspec

from rarefault.runtime.inference.manifest import UNKNOWN
from rarefault.train.evaluation.advice import (
    FEW_ALARMS,
    FEW_EVENTS,
    MIN_FOUND,
    MIN_PRECISION,
    Facts,
    Setting,
    advice,
    found_share,
    listed,
)
from rarefault.train.evaluation.metrics import EventScore
from rarefault.train.evaluation.wording import duration

Verdict = Literal["yes", "no", "unclear"]
Finding = Literal["found", "partly found", "blind", "few events", "muted"]


class FaultAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model does for one fault."""

    finding: Finding
    """``found``: at least half of its events had an alarm of it. ``partly found``: fewer. ``blind``: none. ``few
    events``: fewer than five were judged, which says nothing. ``muted``: it raises no alarm."""
    events: int
    """Judged events."""
    alarmed: int
    """Those of them that had an alarm of their fault."""
    median_delay_s: float | None
    """Median time from the start of an event to its alarm, seconds. Null without an alarm."""
    false_alarms: int
    """False alarms of this fault."""
    text: str
    """The same as a sentence."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the model may be switched on, by its held-out blocks."""

    verdict: Verdict
    """``unclear``: no fault has five judged events, or there is too little time to hold one false alarm within the
    limit, or the model was trained on some of it. ``no``: more false alarms than the ``limit``, or fewer than half of
    the alarms are right, or fewer than half of the events had an alarm, or no fault is ``found``. Else ``yes``."""
    text: str
    """The verdict with its reasons, a sentence."""
    limit: float
    """False alarms per device and day that may be: one a week, or the budget that the thresholds were fitted to."""
    false_alarms_per_device_day: float
    """False alarms of all faults and ``unknown`` per device and day."""
    events: int
    """Judged events."""
    alarmed: int
    """Those of them that had an alarm of their fault."""
    precision: float | None
    """Share of the alarms that are right. Null without alarms."""
    muted: tuple[str, ...]
    """Faults that raise no alarm, so that theirs are not counted."""
    faults: dict[str, FaultAnswer]
    """What the model does for each fault."""
    next: tuple[str, ...]
    """What to try next: at most five sentences, the most useful first."""


def answer_of(scores: Mapping[str, Any], setting: Setting, validation: Mapping[str, Any] | None = None) -> Answer:
    """The answer that scores of held-out blocks give.

    Args:
        scores: of the judged blocks, as plain values.
        setting: of the model.
        validation: scores of the blocks that the decision was fitted on.
    """
    return answer_of_facts(Facts.of(scores), setting, None if validation is None else Facts.of(validation))


def answer_of_facts(facts: Facts, setting: Setting, validation: Facts | None = None) -> Answer:
    """The same, of facts, which may be those of several folds."""
    faults = {fault: _of_fault(fault, events, facts, setting) for fault, events in facts.by_fault.items()}
    verdict, reasons = _verdict(facts, setting, faults)
    return Answer(
        verdict=verdict,
        text=f"{_opening(verdict, faults)}: {'; '.join([*reasons, _figures(facts, setting)])}.",
        limit=setting.limit,
        false_alarms_per_device_day=facts.false_alarm_rate,
        events=len(facts.events),
        alarmed=facts.alarmed,
        precision=facts.precision,
        muted=setting.muted,
        faults=faults,
        next=advice(facts, setting, validation),
    )


def _verdict(facts: Facts, setting: Setting, faults: Mapping[str, FaultAnswer]) -> tuple[Verdict, list[str]]:
    doubts = [] if facts.judged else [f"no fault has {FEW_EVENTS} judged events"]
    if facts.device_days < setting.needed_days and facts.false_alarms < FEW_ALARMS:
        doubts.append(f"only {facts.device_days:.3g} of the {setting.needed_days:.3g} device-days that it takes")
    if setting.seen:
        doubts.append(f"the model was trained on {setting.seen:.0%} of this")
    if doubts:
        return "unclear", doubts
    reasons = []
    if facts.false_alarm_rate > setting.limit:
        reasons.append(f"more than {setting.limit:.2g} false alarms per device and day")
    if facts.precision is not None and facts.precision < MIN_PRECISION:
        reasons.append("most alarms are false")
    if found_share(facts.events) < MIN_FOUND:
        reasons.append("most events have no alarm")
    elif not _found(faults):
        reasons.append("no fault with enough events is found")
    return ("no" if reasons else "yes"), reasons


def _found(faults: Mapping[str, FaultAnswer]) -> list[str]:
    return [name for name, fault in faults.items() if fault.finding == "found"]


def _opening(verdict: Verdict, faults: Mapping[str, FaultAnswer]) -> str:
    if verdict == "unclear":
        return "Too little to say whether it is good enough to switch on"
    if verdict == "no":
        return "Not good enough to switch on"
    found = _found(faults)
    return f"Good enough to switch on for {'all faults' if len(found) == len(faults) else listed(found)}"


def _figures(facts: Facts, setting: Setting) -> str:
    alarms = facts.true_alarms + facts.false_alarms
    if facts.false_alarms:
        rate = (
            f"{facts.false_alarm_rate:.2g} false alarms per device and day ({facts.false_alarms} in "
            f"{facts.device_days:.3g} device-days"
        )
    else:
        rate = f"no false alarm in {facts.device_days:.3g} device-days ("
    counted = f"all faults and {UNKNOWN} counted"
    muted = f"but for the muted {', '.join(setting.muted)}" if setting.muted else "none muted"
    joint = "; " if facts.false_alarms else ""
    return (
        f"{rate}{joint}{counted}, {muted}), {facts.alarmed} of {len(facts.events)} events had an alarm of their fault, "
        f"{facts.true_alarms} of {alarms} alarms were right"
    )


def _of_fault(fault: str, events: list[EventScore], facts: Facts, setting: Setting) -> FaultAnswer:
    alarmed = sum(event.alarmed for event in events)
    delays = [event.alarm_delay_s for event in events if event.alarm_delay_s is not None]
    delay_s = median(delays) if delays else None
    false = facts.alarms_by_state[fault].false
    return FaultAnswer(
        finding=_finding(events, muted=fault in setting.muted),
        events=len(events),
        alarmed=alarmed,
        median_delay_s=delay_s,
        false_alarms=false,
        text=_fault_text(events, alarmed, delay_s, false),
    )


def _finding(events: list[EventScore], *, muted: bool) -> Finding:
    if muted:
        return "muted"
    if len(events) < FEW_EVENTS:
        return "few events"
    share = found_share(events)
    return "blind" if not share else "found" if share >= MIN_FOUND else "partly found"


def _fault_text(events: list[EventScore], alarmed: int, delay_s: float | None, false: int) -> str:
    parts = ["no event in these blocks"]
    if events:
        parts = [f"{alarmed} of {len(events)} {'event' if len(events) == 1 else 'events'} had an alarm"]
        recognised = sum(event.detected and not event.alarmed for event in events)
        parts += [f"after {duration(delay_s) if delay_s else '0 min'} (median)"] if delay_s is not None else []
        parts += [f"{recognised} more recognised without an alarm"] if recognised else []
    parts += [f"{false} false {'alarm' if false == 1 else 'alarms'}"] if false else []
    if len(events) < FEW_EVENTS:
        parts.append(f"too few to say ({len(events)})")
    return ", ".join(parts)
