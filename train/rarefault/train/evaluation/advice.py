"""What to try next: rules on measured facts, in one table, :data:`RULES`.

A rule looks at the facts and gives a sentence for each thing that stands out, the gravest first, with the key or the
command to use. Keys are those of the trainer's configuration.

Why: decision 0033.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, pairwise
from statistics import median
from typing import Any, Self

import msgspec
import numpy as np

from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.inference.manifest import UNKNOWN, Manifest
from rarefault.train.config import TrainConfig
from rarefault.train.evaluation.metrics import AlarmTally, ClassScores, EventScore
from rarefault.train.evaluation.wording import duration
from rarefault.train.history import History
from rarefault.train.history.formats.phm2015 import Phm2015Config
from rarefault.train.history.source import HistoryConfig

#: A fault with fewer judged events is not judged: were half of its events found, all or none of five would be found
#: once in sixteen times.
FEW_EVENTS = 5
#: False alarms per device and day that people put up with: one a week. ``decision.objective = "false_alarm_budget"``
#: replaces it by its budget.
FALSE_ALARMS_PER_DEVICE_DAY = 1 / 7
#: So much of the events must have an alarm, and so much of the alarms must be right: what happens more often than not.
MIN_FOUND, MIN_PRECISION = 0.5, 0.5
#: Fewer false alarms show no pattern.
FEW_ALARMS = 3
#: One device has so much of the false alarms, of at least so many devices.
CONCENTRATED, DEVICES = 0.5, 3
#: So much of a fault's windows is taken for another class.
CONFUSED = 0.25
#: So much of an event is over when its alarm is raised.
LATE = 0.5
#: So many of a fault's events were recognised in some window, but raised no alarm: a share, and a number.
UNRAISED, UNRAISED_EVENTS = 0.25, 2
#: An event has so many alarms on average.
FLUTTER = 1.5
#: Verdicts cannot be so many windows too early, unless the log is late.
EARLY_WINDOWS = 2
#: F1 of the alarms may fall by so much from the validation blocks to the test blocks.
DRIFT = 0.2
#: A fault with fewer events in the whole history has fewer than two in each of five folds.
RARE = 10
#: Sentences in all, and from one rule.
MOST_SENTENCES, MOST_OF_RULE = 5, 2
#: Faults or channels that a sentence names.
MOST_NAMED = 4


class Facts(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Scores that the answer rests on; a part of :class:`rarefault.train.evaluation.metrics.Scores`."""

    device_days: float
    true_alarms: int
    false_alarms: int
    classes: dict[str, ClassScores]
    confusion: list[list[int]]
    events: list[EventScore]
    alarms_by_state: dict[str, AlarmTally]
    false_alarms_by_device: dict[str, int]
    log_offset_s: float | None
    event_f1: float | None

    @classmethod
    def of(cls, scores: Mapping[str, Any]) -> Self:
        """From scores as plain values.

        Raises:
            RarefaultError: they lack some of it.
        """
        try:
            return msgspec.convert(scores, cls)
        except msgspec.ValidationError as error:
            raise RarefaultError(f"scores of an earlier release: train again, into another folder ({error})") from None

    @classmethod
    def pooled(cls, folds: Sequence[Mapping[str, Any]]) -> Self:
        """Of several folds, which have no test block in common, together."""
        parts = [cls.of(scores) for scores in folds]
        tallies = [tally for part in parts for tally in part.alarms_by_state.items()]
        devices = [pair for part in parts for pair in part.false_alarms_by_device.items()]
        offsets = [part.log_offset_s for part in parts if part.log_offset_s is not None]
        return cls(
            device_days=sum(part.device_days for part in parts),
            true_alarms=sum(part.true_alarms for part in parts),
            false_alarms=sum(part.false_alarms for part in parts),
            classes=parts[0].classes,
            confusion=np.sum([part.confusion for part in parts], axis=0).tolist(),
            events=[event for part in parts for event in part.events],
            alarms_by_state={
                name: AlarmTally(
                    true=sum(tally.true for key, tally in tallies if key == name),
                    false=sum(tally.false for key, tally in tallies if key == name),
                )
                for name in dict.fromkeys(key for key, _ in tallies)
            },
            false_alarms_by_device={
                name: sum(n for key, n in devices if key == name) for name in dict.fromkeys(key for key, _ in devices)
            },
            log_offset_s=median(offsets) if len(offsets) == len(parts) else None,
            event_f1=None,
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults that the model knows."""
        return tuple(self.classes)[1:]

    @cached_property
    def by_fault(self) -> dict[str, list[EventScore]]:
        """The judged events of each fault."""
        return {name: [event for event in self.events if event.fault == name] for name in self.faults}

    @property
    def judged(self) -> dict[str, list[EventScore]]:
        """The same, of faults with enough of them."""
        return {name: events for name, events in self.by_fault.items() if len(events) >= FEW_EVENTS}

    @property
    def false_alarm_rate(self) -> float:
        """False alarms per device and day, all alarm states counted."""
        return self.false_alarms / self.device_days if self.device_days else 0.0

    @property
    def alarmed(self) -> int:
        """Events that had an alarm of their fault."""
        return sum(event.alarmed for event in self.events)

    @property
    def precision(self) -> float | None:
        """Share of the alarms that are right; None without alarms."""
        alarms = self.true_alarms + self.false_alarms
        return self.true_alarms / alarms if alarms else None

    def taken_for(self, fault: str, other: str) -> float:
        """Share of a fault's windows with another class as the verdict; 0 without windows."""
        names = list(self.classes)
        row = self.confusion[names.index(fault)]
        return row[names.index(other)] / max(sum(row), 1)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How the model was made, and on what, as far as it is known; what is not known gives no advice."""

    span_s: float
    """From one verdict to the next, seconds."""
    window_s: float
    """What a verdict looks at, seconds."""
    limit: float = FALSE_ALARMS_PER_DEVICE_DAY
    """False alarms per device and day that may be."""
    budget: bool = False
    """Whether the thresholds keep within a budget of false alarms."""
    seen: float = 0.0
    """Share of the judged samples that the model was trained on."""
    network: bool = True
    """Whether there is a network."""
    clock: str = "data.time_zone"
    """The key that says which clock the log has."""
    muted: tuple[str, ...] = ()
    """Faults that raise no alarm."""
    on_delay_s: float | None = None
    """How long a fault must last before its alarm, seconds."""
    devices: int = 0
    """Devices of the history."""
    logged: dict[str, int] | None = None
    """Events of each fault in the whole history; None where all of it is judged."""
    dead_channels: dict[str, tuple[str, ...]] = {}
    """Channels without information, and the devices where."""

    @property
    def needed_days(self) -> float:
        """Device-days in which a single false alarm is within the limit; a budget of none needs as many as usual."""
        return 1 / (self.limit or FALSE_ALARMS_PER_DEVICE_DAY)

    @classmethod
    def of_config(cls, config: TrainConfig) -> Self:
        """What a configuration says alone."""
        own = cls(
            span_s=config.window.stride * config.grid.period_s, window_s=config.window.length * config.grid.period_s
        )
        budget = config.decision.objective == "false_alarm_budget"
        return msgspec.structs.replace(
            own,
            limit=config.decision.budget if budget else own.limit,
            budget=budget,
            network=config.model.network,
            clock=_clock_key(config.data),
        )

    @classmethod
    def of(cls, manifest: Manifest, config: TrainConfig | None) -> Self:
        """Of a model, and the configuration it was trained with, where that is known."""
        grid, window, decision = manifest.grid, manifest.window, manifest.decision
        own = cls(span_s=window.stride * grid.period_s, window_s=window.length * grid.period_s)
        return msgspec.structs.replace(
            own if config is None else cls.of_config(config),
            span_s=own.span_s,
            window_s=own.window_s,
            muted=tuple(manifest.classes[fault] for fault in decision.muted),
            on_delay_s=decision.on_delay_s,
        )

    def on(self, history: History, data: HistoryConfig, *, whole: bool) -> Self:
        """The same on a history.

        Args:
            history: what is judged, or what that is a part of.
            data: what it was read by.
            whole: whether all of it is judged.
        """
        counts = np.bincount(history.events.fault, minlength=len(history.classes)).tolist()
        return msgspec.structs.replace(
            self,
            clock=_clock_key(data),
            devices=len(history.devices),
            logged=None if whole else dict(zip(history.classes, counts, strict=True)),
            dead_channels=dead_channels(history),
        )


def _clock_key(data: HistoryConfig) -> str:
    return "data.time_shift_s" if isinstance(data, Phm2015Config) else "data.time_zone"


def dead_channels(history: History) -> dict[str, tuple[str, ...]]:
    """Channels that have no value, or one alone, at some devices, and the names of these."""
    found: dict[str, list[str]] = {}
    order = np.argsort(history.device, kind="stable")
    bounds = np.searchsorted(history.device[order], np.arange(len(history.devices) + 1))
    for slot, (first, last) in enumerate(pairwise(bounds.tolist())):
        if last - first < 2:
            continue
        values = history.values[order[first:last]]
        values = np.where(np.isinf(values), np.nan, values)
        lowest = np.fmin.reduce(values, axis=0)
        dead = np.isnan(lowest) | (lowest == np.fmax.reduce(values, axis=0))
        for channel in np.flatnonzero(dead).tolist():
            found.setdefault(history.channels[channel], []).append(history.devices[slot])
    return {channel: tuple(devices) for channel, devices in found.items()}


Rule = Callable[[Facts, Setting, Facts | None], Iterator[str]]


def advice(facts: Facts, setting: Setting, validation: Facts | None) -> tuple[str, ...]:
    """At most five sentences, the most useful first.

    Args:
        facts: of the judged blocks.
        setting: of the model.
        validation: of the blocks that the decision was fitted on, where they are known.
    """
    found = (sentence for rule in RULES for sentence in islice(rule(facts, setting, validation), MOST_OF_RULE))
    return tuple(islice(found, MOST_SENTENCES))


def _clock(facts: Facts, setting: Setting, _validation: Facts | None) -> Iterator[str]:
    offset_s = facts.log_offset_s or 0.0
    # A window still holds a fault that is over, so verdicts may be late by its length.
    if offset_s <= -EARLY_WINDOWS * setting.span_s or offset_s > setting.window_s:
        when = "before" if offset_s < 0 else "after"
        yield (
            f"Verdicts begin and end {duration(abs(offset_s))} {when} the logged events (median): check the clock "
            f"of the log ({setting.clock})"
        )


def _one_device(facts: Facts, _setting: Setting, _validation: Facts | None) -> Iterator[str]:
    devices = {event.device for event in facts.events} | facts.false_alarms_by_device.keys()
    if facts.false_alarms < FEW_ALARMS or len(devices) < DEVICES:
        return
    device, count = max(facts.false_alarms_by_device.items(), key=lambda item: item[1])
    if count >= CONCENTRATED * facts.false_alarms:
        yield (
            f"{count} of {facts.false_alarms} false alarms are of {device}: look at this device and at its part of the "
            "log before anything else (the report's time lines); if it is only unlike the others, add "
            '"*~deviation" to grid.derived'
        )


def _unknown(facts: Facts, _setting: Setting, _validation: Facts | None) -> Iterator[str]:
    tally = facts.alarms_by_state.get(UNKNOWN)
    if tally and tally.false >= max(FEW_ALARMS, MIN_FOUND * facts.false_alarms):
        yield (
            f"{tally.false} of {facts.false_alarms} false alarms are {UNKNOWN}: lower decision.unknown_per_device_day "
            "(0 turns them off)"
        )


def _false_alarms(facts: Facts, setting: Setting, _validation: Facts | None) -> Iterator[str]:
    if facts.false_alarms < FEW_ALARMS:
        return
    if facts.false_alarm_rate <= setting.limit and (facts.precision or 0.0) >= MIN_PRECISION:
        return
    fault, tally = max(facts.alarms_by_state.items(), key=lambda item: item[1].false)
    most = f"{tally.false} of {facts.false_alarms} false alarms are of {fault}" if tally.false else "False alarms"
    budget = min(setting.limit, facts.false_alarm_rate / 2)
    if setting.budget:
        yield f"{most}: lower decision.false_alarms_per_device_day to {budget:.2g}, or raise decision.on_delay_s"
    else:
        yield (
            f'{most}: train with decision.objective = "false_alarm_budget" and decision.false_alarms_per_device_day = '
            f"{budget:.2g}, or raise decision.on_delay_s"
        )


def _missed(facts: Facts, setting: Setting, _validation: Facts | None) -> Iterator[str]:
    missed = {fault: found_share(events) for fault, events in facts.judged.items() if fault not in setting.muted}
    for fault in sorted(missed, key=lambda name: missed[name]):
        normal = facts.taken_for(fault, next(iter(facts.classes)))
        if missed[fault] < MIN_FOUND and normal >= MIN_FOUND:
            others = "" if setting.network else ", or model.network = true"
            yield (
                f"{normal:.0%} of the windows of {fault} are taken for normal: bring a channel that shows it, or try a "
                f"longer window.length (now {duration(setting.window_s)}){others}"
            )


def _unraised(facts: Facts, setting: Setting, _validation: Facts | None) -> Iterator[str]:
    for fault, events in facts.judged.items():
        count = sum(event.detected and not event.alarmed for event in events)
        if fault in setting.muted or count < max(UNRAISED_EVENTS, UNRAISED * len(events)):
            continue
        now = "" if setting.on_delay_s is None else f" (now {_delay(setting.on_delay_s)})"
        yield (
            f"{count} of {len(events)} events of {fault} were recognised but raised no alarm: lower decision.on_delay_s"
            f'{now} or decision.raise_threshold, or train with decision.objective = "event_f1"'
        )


def _late(facts: Facts, setting: Setting, _validation: Facts | None) -> Iterator[str]:
    for fault, events in facts.judged.items():
        delays = [event.alarm_delay_s for event in events if event.alarm_delay_s is not None]
        lasts_s = median(event.end_ms - event.start_ms for event in events) / 1000
        if len(delays) < MIN_FOUND * len(events) or median(delays) <= LATE * lasts_s:
            continue
        slow = setting.on_delay_s is not None and setting.on_delay_s >= setting.span_s
        key = (
            f"decision.on_delay_s (now {_delay(setting.on_delay_s or 0.0)})"
            if slow
            else f"window.stride (a verdict comes every {duration(setting.span_s)})"
        )
        late = f"Alarms of {fault} come {duration(median(delays))} into events of {duration(lasts_s)} (medians)"
        yield f"{late}: lower {key}"


def _confused(facts: Facts, _setting: Setting, _validation: Facts | None) -> Iterator[str]:
    pairs = [(facts.taken_for(a, b), a, b) for a in facts.judged for b in facts.faults if a != b]
    for share, fault, other in sorted(pairs, key=lambda pair: -pair[0]):
        if share >= CONFUSED:
            yield (
                f"{share:.0%} of the windows of {fault} are taken for {other}: bring a channel that tells them apart, "
                "or give both one name in the log"
            )


def _few_events(facts: Facts, setting: Setting, _validation: Facts | None) -> Iterator[str]:
    few = {fault: len(events) for fault, events in facts.by_fault.items() if len(events) < FEW_EVENTS}
    logged = few if setting.logged is None else {fault: setting.logged.get(fault, 0) for fault in few}
    least = FEW_EVENTS if setting.logged is None else RARE
    rare = {fault: count for fault, count in logged.items() if count < least}
    if rare:
        yield (
            f"Too few events in all: {_counted(rare)}: bring more history or a longer log, or give such a fault the "
            "name of a like one in the log"
        )
    if spread := {fault: count for fault, count in logged.items() if fault not in rare}:
        yield (
            f"Too few events in these blocks: {_counted({fault: few[fault] for fault in spread})}: "
            f"`rarefault trials CONFIG.toml` judges all of the history: {_counted(spread)}"
        )


def _short(facts: Facts, setting: Setting, _validation: Facts | None) -> Iterator[str]:
    if facts.device_days < setting.needed_days:
        more = (
            "bring more history"
            if setting.logged is None
            else "bring more history, or run `rarefault trials CONFIG.toml`"
        )
        yield (
            f"{facts.device_days:.3g} device-days cannot show that there are fewer than {setting.limit:.2g} false "
            f"alarms per device and day: {more}"
        )


def _flutter(facts: Facts, _setting: Setting, _validation: Facts | None) -> Iterator[str]:
    if facts.alarmed >= FEW_EVENTS and facts.true_alarms >= FLUTTER * facts.alarmed:
        yield f"An event has {facts.true_alarms / facts.alarmed:.1f} alarms on average: raise decision.off_delay_s"


def _drift(facts: Facts, _setting: Setting, validation: Facts | None) -> Iterator[str]:
    if validation is None or facts.event_f1 is None or validation.event_f1 is None:
        return
    enough = min(len(facts.events), len(validation.events)) >= 2 * FEW_EVENTS
    if enough and validation.event_f1 - facts.event_f1 >= DRIFT:
        yield (
            f"F1 of the alarms is {validation.event_f1:.2f} on the validation blocks and {facts.event_f1:.2f} here: "
            "these days are different, or the split was lucky; `rarefault trials CONFIG.toml` tells which"
        )


def _dead(_facts: Facts, setting: Setting, _validation: Facts | None) -> Iterator[str]:
    if setting.dead_channels:
        places = [
            channel if len(devices) == setting.devices else f"{channel} at {listed(devices)}"
            for channel, devices in setting.dead_channels.items()
        ]
        yield f"Channels that never change or never report: {listed(places)}: check their sensors"


#: All rules, the most useful first: what makes the scores themselves doubtful, then false alarms, then missed events.
RULES: tuple[Rule, ...] = (
    _clock,
    _one_device,
    _unknown,
    _false_alarms,
    _missed,
    _unraised,
    _late,
    _confused,
    _drift,
    _few_events,
    _short,
    _flutter,
    _dead,
)


def found_share(events: Sequence[EventScore]) -> float:
    """Share of some events that had an alarm of their fault."""
    return sum(event.alarmed for event in events) / max(len(events), 1)


def _delay(seconds: float) -> str:
    return duration(seconds) if seconds else "0"


def _counted(faults: Mapping[str, int]) -> str:
    return listed([f"{fault} ({count})" for fault, count in faults.items()])


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
