"""Labels from a fault log and from people's answers: every rule that ``rarefault label --help`` states."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.journal.records import AlarmRecord, Feedback
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import parse_time_ms
from rarefault.train.history import JournalConfig, label_bins, read_history
from rarefault.train.history.named_reader import KeyNames
from rarefault.train.labelling.files import read_fault_log
from rarefault.train.labelling.labels import Labels, make_labels
from rarefault.train.labelling.rows import FOREVER_MS, Row, Span

MINUTE = 60_000
T0 = 1_704_067_200_000
SPANS = {"p": Span(100, T0, T0 + 100 * MINUTE)}


def at(minute: float) -> int:
    return T0 + round(minute * MINUTE)


def alarm(minute: float, state: str, name: str = "", device: str = "p") -> AlarmRecord:
    """An alarm state from a minute on; its id is ``name``, or state and minute."""
    return AlarmRecord(at(minute + 1), name or f"{state}@{minute}", device, state, at(minute), at(minute + 1), "m")


def answer(
    alarm: str, word: str, fault: str = "", start: float | None = None, end: float | None = None, device: str = "p"
) -> Feedback:
    """An answer to an alarm, or of a stretch of minutes."""
    start_ms, end_ms = (None if t is None else at(t) for t in (start, end))
    assert word in {"confirmed", "refuted"}
    return Feedback(T0, device, alarm, word, fault, start_ms, end_ms, "")  # type: ignore[arg-type]


def event(start: float, end: float, fault: str = "leak", device: str = "p") -> Row:
    return Row(device, at(start), at(end), fault, "log")


#: Normal from minute 5 on, a leak from 20 to 30, worn from 50 to 60, unknown from 80 on.
STATES = [
    alarm(5, "normal"), alarm(20, "leak"), alarm(30, "normal"), alarm(50, "worn"), alarm(60, "normal"),
    alarm(80, "unknown"),
]  # fmt: skip


def told(labels: Labels, device: str = "p") -> list[tuple[float, float, str]]:
    """The rows in minutes, without the open end."""
    rows = [row for row in labels.rows if row.device == device and row.end_ms != FOREVER_MS]
    return [((r.start_ms - T0) / MINUTE, (r.end_ms - T0) / MINUTE, r.fault) for r in rows]


def test_without_any_answer_nothing_under_an_alarm_is_normal() -> None:
    """Before the first state, under each fault and under unknown nobody knows; under normal it is normal."""
    labels = make_labels(SPANS, STATES, [], None)
    expected = [(0, 5), (20, 30), (50, 60), (80, 100)]
    assert told(labels) == [(*span, "unlabelled") for span in expected]
    last = labels.rows[-1]
    assert (last.start_ms, last.end_ms, last.fault) == (at(100) + 1, FOREVER_MS, "unlabelled")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer("leak@20", "confirmed"), (20, 30, "leak")),
        (answer("leak@20", "confirmed", "worn"), (20, 30, "worn")),
        (answer("leak@20", "confirmed", start=12), (12, 30, "leak")),
        (answer("leak@20", "confirmed", start=18, end=26), (18, 26, "leak")),
        (answer("leak@20", "refuted", "worn"), (20, 30, "worn")),
        (answer("leak@20", "refuted"), None),
        (answer("leak@20", "refuted", "normal"), None),
        (answer("unknown@80", "confirmed", "leak"), (80, 100, "leak")),
        (answer("unknown@80", "refuted"), None),
        (answer("normal@30", "refuted"), (30, 50, "unlabelled")),
        (answer("normal@30", "refuted", "worn", start=40), (40, 50, "worn")),
        (answer("normal@30", "confirmed"), None),
        (answer("", "confirmed", "leak", 62, 70), (62, 70, "leak")),
    ],
)
def test_what_an_answer_says(said: Feedback, expected: tuple[float, float, str] | None) -> None:
    """Confirmed or refuted, with a fault or times of its own, or a stretch by itself: no other time is touched."""
    rows = told(make_labels(SPANS, STATES, [said], None))
    silent = [(*span, "unlabelled") for span in [(0, 5), (20, 30), (50, 60), (80, 100)]]
    start = {"leak@20": 20, "unknown@80": 80}.get(said.alarm)
    silent = [row for row in silent if row[0] != start]
    rest = [row for row in rows if row not in silent]
    if said.end_ms == at(26):
        assert rest == [(18, 26, "leak"), (26, 30, "unlabelled")]
    else:
        assert rest == ([expected] if expected else [])


def test_the_latest_answer_to_an_alarm_wins() -> None:
    """The first answer is as if it had not been, its times included."""
    said = [answer("leak@20", "confirmed", start=10), answer("leak@20", "refuted"), answer("worn@50", "refuted")]
    labels = make_labels(SPANS, STATES, said, None)
    assert told(labels) == [(0, 5, "unlabelled"), (80, 100, "unlabelled")]
    assert (labels.answers, labels.replaced) == (2, 1)


def test_of_overlapping_stretches_the_later_one_counts() -> None:
    """It stands on the earlier one, of which both ends stay."""
    said = [answer("", "confirmed", "leak", 60, 80), answer("", "confirmed", "worn", 65, 70)]
    rows = told(make_labels(SPANS, STATES, said, None))
    assert [row for row in rows if row[2] != "unlabelled"] == [(60, 65, "leak"), (65, 70, "worn"), (70, 80, "leak")]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer("leak@99", "confirmed"), "no alarm of this id is in the journal"),
        (answer("leak@20", "confirmed", device="q"), "the alarm is one of device 'p'"),
        (answer("", "refuted", "", 1, 2, device="ghost"), "no samples of the device"),
        (answer("leak@20", "confirmed", end=10), "its end is before its start"),
        (answer("unknown@80", "confirmed"), r"does not say which fault it was \(the state was 'unknown'\)"),
        (answer("", "confirmed", "", 1, 2), "does not say which fault it was"),
        (answer("", "confirmed", "leak", 200, 300), "no samples in the labelled time"),
        (answer("", "confirmed", "leak", 200), "neither an alarm nor a start and an end"),
        (answer("leak@20", "confirmed", "unknown"), "'unknown' is no fault"),
    ],
)
def test_answers_that_cannot_be_used_are_said(said: Feedback, why: str) -> None:
    """Each has its reason, and changes nothing."""
    spans = {**SPANS, "q": Span(2, at(0), at(1))}
    labels = make_labels(spans, STATES, [said], None)
    assert told(labels) == told(make_labels(spans, STATES, [], None))
    (unused,) = labels.unused
    assert re.search(why, unused.why)


def test_with_a_log_the_rest_is_normal() -> None:
    """Alarms that nobody answered mean nothing beside a log; its events are cut to the samples, or left out."""
    log = [event(-10, 10), event(40, 45, "worn"), event(95, 200), event(150, 160)]
    labels = make_labels(SPANS, STATES, [], log)
    assert told(labels) == [(0, 10, "leak"), (40, 45, "worn"), (95, 100, "leak")]
    assert (labels.clipped, labels.dropped) == (2, 1)


def test_feedback_wins_over_the_log() -> None:
    """A refuted alarm makes a hole in the log's event, a fault that the log lacks is added; both are reported."""
    said = [answer("leak@20", "refuted"), answer("worn@50", "confirmed")]
    labels = make_labels(SPANS, STATES, said, [event(10, 40)])
    assert told(labels) == [(10, 20, "leak"), (30, 40, "leak"), (50, 60, "worn")]
    assert [(c.feedback, c.log) for c in labels.conflicts] == [("normal", "leak"), ("worn", "normal")]


def test_what_log_and_feedback_both_say_is_one_event() -> None:
    """A confirmed alarm within the log's event, or reaching over its end, does not cut it into pieces."""
    labels = make_labels(SPANS, STATES, [answer("leak@20", "confirmed")], [event(15, 25), event(70, 75)])
    assert told(labels) == [(15, 30, "leak"), (70, 75, "leak")]
    assert [row.source for row in labels.rows[:2]] == ["log and feedback", "log"]
    assert not labels.conflicts


@pytest.mark.parametrize("log", [None, [event(10, 90)]], ids=["feedback", "log"])
def test_time_outside_since_and_until_is_unlabelled(log: list[Row] | None) -> None:
    """What is not asked for is not taken as normal, either; a device without time in it is unlabelled as a whole."""
    spans = {**SPANS, "q": Span(3, at(0), at(10))}
    labels = make_labels(spans, STATES, [answer("leak@20", "confirmed")], log, since_ms=at(15), until_ms=at(70))
    rows = told(labels)
    assert rows[:1] == [(0, 15, "unlabelled")]
    start, end, fault = next(row for row in rows if row[2] != "unlabelled")
    assert [start, round(end), fault] == ([20, 30, "leak"] if log is None else [15, 70, "leak"])
    assert [row for row in labels.rows if row.device == "q"] == [
        Row("q", at(0), FOREVER_MS, "unlabelled", "outside the labelled time")
    ]
    last = next(row for row in labels.rows if row.device == "p" and row.end_ms == FOREVER_MS)
    assert last.start_ms == at(70)


def test_a_fault_that_only_feedback_names_is_pointed_out() -> None:
    """A misspelt fault would be a class of its own."""
    labels = make_labels(SPANS, STATES, [answer("leak@20", "refuted", "laek")], None)
    assert labels.new_faults == ["laek"]
    assert not make_labels(SPANS, STATES, [answer("leak@20", "refuted", "worn")], None).new_faults


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of two pumps, one sample a minute for 100 minutes, with alarms and answers on the first."""
    path = tmp_path / "edge.journal"
    writer = Journal(path, ("flow",), "normal")
    writer.begin()
    numbers = [writer.add_device(name)[0] for name in ("p", "q, the 2nd")]
    for minute in range(101):
        writer.append(np.array(numbers, np.int32), np.full(2, at(minute)), np.ones((2, 1)), at(minute))
    writer.note_alarms([*STATES, alarm(0, "normal", device="q, the 2nd")])
    writer.note_feedback([answer("leak@20", "confirmed"), answer("worn@50", "refuted"), answer("gone", "refuted")])
    writer.commit()
    writer.close()
    return path


def labelled(*arguments: str | Path) -> dict[str, Any]:
    """The JSON result of a run that succeeds."""
    output = Path(arguments[0]).with_name("result.json")
    assert main(["label", *map(str, arguments), "--json", str(output)]) == 0
    result: dict[str, Any] = json.loads(output.read_text())
    return result


def test_the_command_writes_what_the_trainer_reads(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is an events file of the journal: the bins get the labels, and strict reading has nothing against it."""
    out = tmp_path / "labels.csv"
    result = labelled(journal, "-o", out)
    printed = capsys.readouterr().out
    assert "leak: 1 feedback" in printed
    assert "answer not used (p, refuted alarm gone): no alarm of this id" in printed
    first, second = result["devices"]
    assert first["events"] == {"leak": {"feedback": 1}}
    assert (first["samples"], first["unlabelled_s"], second["unlabelled_s"]) == (101, 25 * 60, 0)
    with out.open(newline="") as file:
        assert next(csv.reader(file)) == ["device", "start", "end", "fault", "source", "unit"]
    history = read_history(JournalConfig(path="edge.journal", events="labels.csv"), tmp_path, strict=True)
    assert history.classes == ("normal", "leak")
    bins = np.arange(T0 // MINUTE, T0 // MINUTE + 100)
    labels = label_bins(history, np.zeros(100, int), bins, GridSpec(period_s=60))
    assert labels[[2, 25, 40, 55, 70, 90]].tolist() == [-1, 1, 0, 0, 0, -1]
    assert set(label_bins(history, np.ones(99, int), bins[:-1], GridSpec(period_s=60))) == {0}


def test_the_command_reads_a_log(journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Local times, devices that the journal does not have and words for normal are taken as in training."""
    log = tmp_path / "log.csv"
    log.write_text(
        "device;start;end;fault\np;2024-01-01 01:10;2024-01-01 01:15;leak\nzz;2024-01-01 01:10;2024-01-01 01:15;leak\n"
        "p;2024-01-01 01:20;2024-01-01 01:30;normal\n"
    )
    out = tmp_path / "labels.csv"
    words = ["label", str(journal), "--log", str(log), "-o", str(out), "--separator", ";"]
    assert main(words) == 1
    assert "set --time-zone to the zone" in capsys.readouterr().err
    result = labelled(journal, "--log", log, "-o", out, "--separator", ";", "--time-zone", "Europe/Zurich")
    assert result["devices"][0]["events"] == {"leak": {"log": 1, "feedback": 1}}
    assert any("events of devices without samples, dropped" in note for note in result["notes"])
    assert [c["log"] for c in result["conflicts"]] == ["normal"]


def test_the_unit_that_the_log_names_is_kept(journal: Path, tmp_path: Path) -> None:
    """For the trainer to read; where an answer cuts an event or joins it, too; an answer alone names none."""
    log = tmp_path / "log.csv"
    log.write_text("device,start,end,fault,unit\np,2024-01-01T00:10:00Z,2024-01-01T00:22:00Z,leak,motor\n")
    out = tmp_path / "labels.csv"
    labelled(journal, "--log", log, "-o", out)
    history = read_history(JournalConfig(path="edge.journal", events="labels.csv"), tmp_path, strict=True)
    assert history.units == ("motor",)
    assert history.events.unit.tolist() == [0] * len(history.events)
    labels = make_labels(SPANS, STATES, [answer("leak@20", "confirmed")], [replace(event(10, 22), unit="motor")])
    assert [(row.fault, row.unit) for row in labels.rows if row.end_ms != FOREVER_MS] == [("leak", "motor")]
    labels = make_labels(
        SPANS, STATES, [answer("", "confirmed", "worn", 15, 18)], [replace(event(10, 22), unit="motor")]
    )
    assert [(row.fault, row.unit) for row in labels.rows if row.end_ms != FOREVER_MS] == [
        ("leak", "motor"), ("worn", ""), ("leak", "motor"),
    ]  # fmt: skip


def test_nothing_is_overwritten(journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file stays without --force, the journal and the log in any case."""
    out = tmp_path / "labels.csv"
    out.write_text("mine")
    assert main(["label", str(journal), "-o", str(out)]) == 2
    assert out.read_text() == "mine"
    assert "--force to replace it" in capsys.readouterr().err
    assert main(["label", str(journal), "-o", str(out), "--force"]) == 0
    assert out.read_text().startswith("device,")
    assert main(["label", str(journal), "-o", str(journal), "--force"]) == 2
    assert main(["label", str(journal), "--log", str(out), "-o", str(out), "--force"]) == 2
    assert main(["label", str(journal), "-o", str(tmp_path / "no" / "labels.csv")]) == 2
    assert main(["label", str(tmp_path / "none.journal"), "-o", str(tmp_path / "x.csv")]) == 1
    assert "there is no such journal" in capsys.readouterr().err
    words = ["--since", "2024-01-02T00:00:00Z", "--until", "2024-01-01T00:00:00Z"]
    assert main(["label", str(journal), "-o", str(tmp_path / "x.csv"), *words]) == 2


def test_the_log_may_say_unlabelled(tmp_path: Path) -> None:
    """A log may leave out time of which its keeper knows nothing; an answer still counts there."""
    log = [replace(event(10, 40), fault="unlabelled")]
    labels = make_labels(SPANS, STATES, [answer("leak@20", "confirmed")], log)
    assert told(labels) == [(10, 20, "unlabelled"), (20, 30, "leak"), (30, 40, "unlabelled")]
    assert not labels.conflicts
    assert parse_time_ms("2109-05-15T07:35:11.103Z") == FOREVER_MS


def test_the_format_of_the_logs_times(tmp_path: Path) -> None:
    """Dates that can be read two ways are refused with the option that says which."""
    keys: dict[str, Any] = {"format": "journal", "path": "x", "time_zone": "UTC", "events": {"path": "x"}}
    (tmp_path / "log.csv").write_text("device,start,end,fault\na,01/03/2024 10:00,01/03/2024 12:00,seal\n")
    spans = {"a": Span(2, parse_time_ms("2024-01-01T00:00:00Z"), parse_time_ms("2024-12-31T00:00:00Z"))}
    names = KeyNames("--log", "--time-zone", "--open-events", "--")
    with pytest.raises(HistoryError, match=r'set --time-format "%d/%m/%Y %H:%M", or --time-format "%m/%d/%Y %H:%M"'):
        read_fault_log(tmp_path / "log.csv", from_mapping(keys, JournalConfig, "x"), spans, names)
    keys["events"] = {"path": "x", "time_format": "%d/%m/%Y %H:%M"}
    (row,), _ = read_fault_log(tmp_path / "log.csv", from_mapping(keys, JournalConfig, "x"), spans, names)
    assert row.start_ms == parse_time_ms("2024-03-01T10:00:00Z")
