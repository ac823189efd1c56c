"""The answer and the advice, on facts that are made for each rule; and the facts themselves."""

import re
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from rarefault.runtime.errors import RarefaultError
from rarefault.runtime.inference.decision import AlarmChange
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.config import TrainConfig
from rarefault.train.evaluation import advice as rules
from rarefault.train.evaluation.advice import Facts, Setting, advice, dead_channels
from rarefault.train.evaluation.answer import answer_of_facts
from rarefault.train.evaluation.event_scores import JudgedEvents, score_events
from rarefault.train.evaluation.metrics import AlarmTally, ClassScores, EventScore, JudgedWindows, score_windows
from rarefault.train.history import Events, History
from rarefault.train.history.formats.phm2015 import Phm2015Config
from rarefault.train.history.formats.table import TableConfig
from rarefault.train.history.notes import ReadNotes

HOUR_S = 3600.0
SETTING = Setting(span_s=900.0, window_s=2 * HOUR_S, on_delay_s=1800.0, logged={"hot": 40, "stuck": 30})
NAMES = ("normal", "hot", "stuck")


def events(
    fault: str, n: int, alarmed: int, *, detected: int | None = None, delay_s: float = 600.0
) -> list[EventScore]:
    """Events of four hours at five devices; the first ``alarmed`` had an alarm, the first ``detected`` a verdict."""
    detected = alarmed if detected is None else detected
    return [
        EventScore(
            device=f"d{i % 5}",
            fault=fault,
            start_ms=0,
            end_ms=4 * 3_600_000,
            detected=i < detected,
            delay_s=delay_s if i < detected else None,
            alarmed=i < alarmed,
            alarm_delay_s=delay_s if i < alarmed else None,
        )
        for i in range(n)
    ]


def facts(**changes: Any) -> Facts:
    """Of a good model, with changes."""
    row = ClassScores(support=10, predicted=10, precision=1.0, recall=1.0, f1=1.0, average_precision=1.0)
    values: dict[str, Any] = {
        "device_days": 100.0,
        "true_alarms": 16,
        "false_alarms": 1,
        "classes": dict.fromkeys(NAMES, row),
        "confusion": [[100, 0, 0], [1, 9, 0], [0, 1, 9]],
        "events": events("hot", 10, 9) + events("stuck", 8, 7),
        "alarms_by_state": {"hot": AlarmTally(true=9, false=1), "stuck": AlarmTally(true=7, false=0)},
        "false_alarms_by_device": {"d0": 1},
        "log_offset_s": 0.0,
        "event_f1": 0.9,
    }
    return Facts(**values | changes)


def false_alarms(hot: int, stuck: int = 0, unknown: int = 0, **devices: int) -> dict[str, Any]:
    """Facts that differ in their false alarms."""
    tallies = {"hot": (9, hot), "stuck": (7, stuck), "unknown": (0, unknown)}
    return {
        "false_alarms": hot + stuck + unknown,
        "alarms_by_state": {name: AlarmTally(true=true, false=false) for name, (true, false) in tallies.items()},
        "false_alarms_by_device": devices or {"d0": 1, "d1": hot + stuck + unknown - 1},
    }


def test_a_good_model() -> None:
    """The verdict names its reasons, each fault its figures, and nothing is left to try."""
    answer = answer_of_facts(facts(), SETTING)
    assert answer.verdict == "yes"
    assert answer.text == (
        "Good enough to switch on for all faults: 0.01 false alarms per device and day (1 in 100 device-days; all "
        "faults and unknown counted, none muted), 16 of 18 events had an alarm of their fault, 16 of 17 "
        "alarms were right."
    )
    assert (answer.events, answer.alarmed) == (18, 16)
    assert answer.precision == pytest.approx(16 / 17)
    assert answer.faults["hot"].finding == "found"
    assert answer.faults["hot"].text == "9 of 10 events had an alarm, after 10 min (median), 1 false alarm"
    assert answer.next == ()


@pytest.mark.parametrize(
    ("changes", "setting", "verdict", "reason"),
    [
        (false_alarms(16), {}, "no", "more than 0.14 false alarms per device and day; 0.16 false alarms"),
        (false_alarms(5), {"limit": 0.04}, "no", "more than 0.04 false alarms"),
        (false_alarms(20), {"limit": 1.0}, "no", "most alarms are false"),
        ({"events": events("hot", 10, 2)}, {}, "no", "most events have no alarm"),
        ({"events": events("hot", 5, 0) + events("stuck", 4, 4) * 2}, {}, "yes", "for stuck:"),
        ({"events": events("hot", 4, 4) + events("stuck", 4, 4)}, {}, "unclear", "no fault has 5 judged events"),
        ({"device_days": 3.0}, {}, "unclear", "only 3 of the 7 device-days that it takes"),
        ({"device_days": 3.0} | false_alarms(9), {}, "no", "more than 0.14 false alarms"),
        ({"device_days": 3.0}, {"limit": 0.0}, "unclear", "only 3 of the 7 device-days"),
        ({}, {"seen": 0.8}, "unclear", "the model was trained on 80% of this"),
        ({}, {"muted": ("stuck",)}, "yes", "but for the muted stuck"),
    ],
)
def test_verdicts(changes: dict[str, Any], setting: dict[str, Any], verdict: str, reason: str) -> None:
    """Too many false alarms, too many wrong alarms, too many missed events; and what cannot be said."""
    answer = answer_of_facts(facts(**changes), msgspec.structs.replace(SETTING, **setting))
    assert answer.verdict == verdict
    assert reason in answer.text


@pytest.mark.parametrize(
    ("found", "finding", "text"),
    [
        (events("hot", 10, 5), "found", "5 of 10 events had an alarm, after 10 min (median)"),
        (events("hot", 10, 4, detected=6), "partly found", "2 more recognised without an alarm"),
        (events("hot", 10, 0), "blind", "0 of 10 events had an alarm"),
        (events("hot", 2, 2), "few events", "too few to say (2)"),
        ([], "few events", "no event in these blocks"),
    ],
)
def test_findings(found: list[EventScore], finding: str, text: str) -> None:
    """A fault is found, partly found, blind, or has too few events."""
    hot = answer_of_facts(facts(events=found + events("stuck", 8, 8)), SETTING).faults["hot"]
    assert hot.finding == finding
    assert text in hot.text
    muted = msgspec.structs.replace(SETTING, muted=("hot",))
    assert answer_of_facts(facts(events=found), muted).faults["hot"].finding == "muted"


BLIND = {"events": events("hot", 10, 1) + events("stuck", 8, 7), "confusion": [[100, 0, 0], [9, 1, 0], [0, 1, 9]]}
RULES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"log_offset_s": -3600.0},
        {},
        "begin and end 1 h before the logged events (median): check the clock of the log (data.t",
    ),
    ({"log_offset_s": 3 * HOUR_S}, {"clock": "data.time_shift_s"}, "3 h after the logged events"),
    (false_alarms(4, d3=3, d1=1), {}, "3 of 4 false alarms are of d3: look at this device"),
    (false_alarms(1, unknown=4, d1=2, d2=2, d3=1), {}, "4 of 5 false alarms are unknown: lower decision.unknown_per"),
    (false_alarms(12, 8, d1=9, d2=11), {}, '12 of 20 false alarms are of hot: train with decision.objective = "false_'),
    (false_alarms(20), {"budget": True, "limit": 0.1}, "lower decision.false_alarms_per_device_day to 0.1"),
    (
        BLIND,
        {},
        "90% of the windows of hot are taken for normal: bring a channel that shows it, or try a longer window.len",
    ),
    (BLIND, {"network": False}, "or model.network = true"),
    (
        {"events": events("hot", 10, 5, detected=9)},
        {},
        "4 of 10 events of hot were recognised but raised no alarm: lower",
    ),
    (
        {"events": events("hot", 9, 9, delay_s=3 * HOUR_S)},
        {},
        "3 h into events of 4 h (medians): lower decision.on_delay_s",
    ),
    (
        {"events": events("hot", 9, 9, delay_s=3 * HOUR_S)},
        {"on_delay_s": 0.0},
        "window.stride (a verdict comes every 15 m",
    ),
    ({"confusion": [[100, 0, 0], [0, 6, 4], [0, 1, 9]]}, {}, "40% of the windows of hot are taken for stuck"),
    (
        {"events": events("hot", 10, 10) + events("stuck", 2, 1)},
        {},
        "in these blocks: stuck (2): `rarefault trials CONF",
    ),
    ({"events": events("hot", 9, 9)}, {"logged": {"stuck": 3}}, "Too few events in all: stuck (3): bring more history"),
    ({"device_days": 2.0}, {}, "2 device-days cannot show that there are fewer than 0.14 false alarms"),
    ({"true_alarms": 40}, {}, "An event has 2.5 alarms on average: raise decision.off_delay_s"),
    (
        {},
        {"dead_channels": {"flow": ("d0",), "lamp": ("d0", "d1")}, "devices": 2},
        "flow at d0, lamp: check their sensors",
    ),
]


@pytest.mark.parametrize(("changes", "setting", "sentence"), RULES)
def test_each_rule_says_what_to_try(changes: dict[str, Any], setting: dict[str, Any], sentence: str) -> None:
    """A good model has no advice (above), and each thing that stands out has its own."""
    found = advice(facts(**changes), msgspec.structs.replace(SETTING, **setting), None)
    assert any(sentence in line for line in found), found


def test_a_fall_from_the_validation_blocks_is_said() -> None:
    """Not where it is small, nor where few events are behind it."""
    [line] = advice(facts(event_f1=0.6), SETTING, facts())
    assert "0.90 on the validation blocks and 0.60 here" in line
    assert advice(facts(event_f1=0.8), SETTING, facts()) == ()
    assert advice(facts(event_f1=0.6), SETTING, facts(events=events("hot", 6, 6))) == ()


def test_at_most_five_sentences_the_gravest_first() -> None:
    """Of any rule at most two."""
    everything = (
        false_alarms(20, d3=18, d1=2) | BLIND | {"log_offset_s": -3600.0, "device_days": 2.0, "true_alarms": 40}
    )
    found = advice(facts(**everything), SETTING, None)
    assert len(found) == rules.MOST_SENTENCES
    assert "clock of the log" in found[0]
    assert "of d3" in found[1]


def test_the_keys_that_it_names_are_there() -> None:
    """Advice that cannot be followed is worse than none."""
    sections = {field.name: field.type for field in msgspec.structs.fields(TrainConfig) if isinstance(field.type, type)}
    keys = {f"{name}.{key.name}" for name, section in sections.items() for key in msgspec.structs.fields(section)}
    data = {f"data.{key.name}" for section in (TableConfig, Phm2015Config) for key in msgspec.structs.fields(section)}
    named = set()
    for changes, setting, _ in RULES:
        for sentence in advice(facts(**changes), msgspec.structs.replace(SETTING, **setting), None):
            named |= set(re.findall(r"\b[a-z]+\.[a-z_]{3,}\b", sentence)) - {"CONFIG.toml"}
    assert len(named) > 8
    assert named <= keys | data


def test_folds_are_pooled() -> None:
    """Counts are summed, events joined; scores of a release without them are refused."""
    plain = msgspec.to_builtins(facts())
    both = Facts.pooled([plain, plain])
    assert (both.device_days, both.false_alarms, both.alarmed, len(both.events)) == (200.0, 2, 32, 36)
    assert both.alarms_by_state["hot"] == AlarmTally(true=18, false=2)
    assert both.false_alarms_by_device == {"d0": 2}
    assert both.confusion[0][0] == 200
    del plain["alarms_by_state"]
    with pytest.raises(RarefaultError, match="of an earlier release: train again"):
        Facts.of(plain)


def history(values: list[list[float]], device: list[int], *logged: tuple[int, int, int, int]) -> History:
    columns = np.array(logged, np.int64).reshape(-1, 4).T
    return History(
        devices=("x", "y"),
        channels=("flow", "lamp"),
        classes=NAMES,
        counters=(),
        device=np.array(device, np.int32),
        time_ms=np.arange(len(device)) * 1000,
        values=np.array(values, float).reshape(-1, 2),
        events=Events(columns[0].astype(np.int32), columns[1], columns[2], columns[3].astype(np.int32)),
        overlap="rarest",
        notes=ReadNotes(),
        fingerprint="",
    )


def test_channels_without_information() -> None:
    """One that never changes at a device, and one that never reports there."""
    nan = float("nan")
    found = dead_channels(history([[1, 7], [1, nan], [2, 7], [nan, nan], [nan, nan]], [0, 1, 0, 1, 1]))
    assert found == {"lamp": ("x", "y"), "flow": ("y",)}


def judged(offset: int) -> JudgedEvents:
    """Six events of five windows, with verdicts that come ``offset`` windows after them, and one early alarm each."""
    label = np.zeros(120, np.int64)
    for first in range(10, 120, 20):
        label[first : first + 5] = 1
    end_ms = np.arange(1, 121) * 1000
    logged = [(0, 1000 * first + 500, 1000 * (first + 5), 1) for first in range(10, 120, 20)]
    alarms = [
        AlarmChange(0, state, at, at, 1.0) for _, start, end, _ in logged for at, state in ((start + 1500, 1), (end, 0))
    ]
    alarms.append(AlarmChange(1, 3, 2000, 2000, 0.0))
    told = replace(history([], [], *logged), events=history([], [], *logged).events)
    device = np.r_[np.zeros(120), np.ones(4)].astype(np.int32)
    more = np.arange(1, 5) * 1000
    verdict = np.r_[np.roll(label, offset), np.zeros(4, np.int64)]
    return JudgedEvents(
        told, device, np.r_[end_ms, more], np.r_[label, np.zeros(4, np.int64)], verdict, alarms, GridSpec(period_s=1), 1
    )


@pytest.mark.parametrize("offset", [-3, 0, 2])
def test_the_clock_of_the_log(offset: int) -> None:
    """Verdicts that begin and end earlier than the log by as much tell how far its clock is off."""
    found = judged(offset)
    posterior = np.eye(3)[found.verdict]
    scores = score_events(score_windows(JudgedWindows(found.label, found.verdict, posterior, NAMES)), found)
    assert scores.log_offset_s == (offset or None)
    assert scores.alarms_by_state == {
        "hot": AlarmTally(true=6, false=0),
        "stuck": AlarmTally(true=0, false=0),
        "unknown": AlarmTally(true=0, false=1),
    }
    assert scores.false_alarms_by_device == {"y": 1}
    assert [event.alarmed for event in scores.events] == [True] * 6
    # The first window of an event ends half a second after its start; the alarm comes a second later.
    assert [event.alarm_delay_s for event in scores.events] == [1.0] * 6


def test_beginnings_and_ends_that_disagree_say_nothing_of_the_clock() -> None:
    """Verdicts that begin late and end early are slow, not shifted."""
    found = judged(0)
    verdict = found.verdict.copy()
    for first in range(10, 120, 20):
        verdict[[first, first + 4]] = 0
    scores = score_windows(JudgedWindows(found.label, verdict, np.eye(3)[verdict], NAMES))
    assert score_events(scores, replace(found, verdict=verdict)).log_offset_s is None
