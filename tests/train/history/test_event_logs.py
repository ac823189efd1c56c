"""Logs of faults as maintenance systems write them: other columns, another zone, open ends, lists of anomalies."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import format_ms, parse_time_ms
from rarefault.train.config import TrainConfig, to_toml
from rarefault.train.history import History, JournalConfig, TableConfig, read_history
from rarefault.train.history.notes import (
    BAD_LINES,
    FOREIGN_EVENTS,
    IGNORED_EVENTS,
    ONLY_DEVICE,
    OPEN_EVENTS,
    OUTSIDE_EVENTS,
    WHOLE_DAYS,
)

ORDERS = """\
Asset;Reported;Closed;Code
P1;2024-03-02;2024-03-02;bearing
P1;2024-03-05;;seal
P2;2024-03-06;9999-12-31;bearing
P9;2024-03-06;2024-03-07;bearing
"""
MAPPED = {
    "path": "orders.csv",
    "separator": ";",
    "device_column": "Asset",
    "start_column": "Reported",
    "end_column": "Closed",
    "fault_column": "Code",
}


def read(folder: Path, events: Any, **keys: Any) -> History:
    """Read a folder with this log."""
    return read_history(
        from_mapping({"samples": "samples.csv", "events": events, **keys}, TableConfig, "[data]"), folder
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hourly samples of two machines from 1 to 10 March, and work orders."""
    write_samples(tmp_path, "P1", "P2")
    (tmp_path / "orders.csv").write_text(ORDERS)
    return tmp_path


def write_samples(folder: Path, *devices: str) -> None:
    start = parse_time_ms("2024-03-01T00:00:00Z") // 1000
    rows = [f"{device},{start + 3600 * hour},{hour % 7}" for device in devices for hour in range(240)]
    (folder / "samples.csv").write_text("device,time,temp\n" + "\n".join(rows) + "\n")


def spans(history: History) -> list[tuple[str, str, str, str]]:
    """Device, fault, start and end of each event, in UTC."""
    log = history.events
    return [
        (history.devices[device], history.classes[fault], format_ms(start)[5:16], format_ms(end)[5:16])
        for device, fault, start, end in zip(
            log.device.tolist(), log.fault.tolist(), log.start_ms.tolist(), log.end_ms.tolist(), strict=True
        )
    ]


def test_work_orders(folder: Path) -> None:
    """Columns, separator and zone of the log alone; days are whole, open ends are as configured, strangers named."""
    history = read(folder, {**MAPPED, "time_zone": "UTC", "open": "last"})
    assert spans(history) == [
        ("P1", "bearing", "03-02T00:00", "03-03T00:00"),
        ("P1", "seal", "03-05T00:00", "03-10T23:00"),
        ("P2", "bearing", "03-06T00:00", "03-10T23:00"),
    ]
    notes = {note.kind: note for note in history.notes}
    assert {kind: note.count for kind, note in notes.items()} == {WHOLE_DAYS: 2, OPEN_EVENTS: 2, FOREIGN_EVENTS: 1}
    assert list(notes[FOREIGN_EVENTS].parts) == ["P9"]
    unlabelled = read(folder, MAPPED, time_zone="UTC", open_events="unlabelled")
    assert len(unlabelled.events) == 1
    assert len(unlabelled.unlabelled) == 2


def test_what_a_log_takes_over(folder: Path) -> None:
    """Zone and rule for open ends are those of [data] unless the log has its own; messages name the log's keys."""
    with pytest.raises(HistoryError, match=r"set data.events.open to \"last\""):
        read(folder, MAPPED, time_zone="UTC")
    with pytest.raises(HistoryError, match=r"set data.events.time_zone to the zone"):
        read(folder, {**MAPPED, "open": "last"})
    zurich = read(folder, {**MAPPED, "open": "last", "time_zone": "Europe/Zurich"}, time_zone="UTC")
    assert spans(zurich)[0] == ("P1", "bearing", "03-01T23:00", "03-02T23:00")


def test_days_in_other_notations(folder: Path) -> None:
    """An order of the year 9999 is open and a day is whole, in a format or where the data settle the order."""
    text = (
        ORDERS.replace("2024-03-02", "13.03.2024")
        .replace("2024-03-05", "05.03.2024")
        .replace("9999-12-31", "31.12.9999")
    )
    text = text.replace("2024-03-06", "06.03.2024").replace("2024-03-07", "07.03.2024")
    (folder / "orders.csv").write_text(text)
    for keys in ({}, {"time_format": "%d.%m.%Y"}):
        history = read(folder, {**MAPPED, "time_zone": "UTC", "open": "last", **keys})
        assert spans(history) == [
            ("P1", "bearing", "03-13T00:00", "03-14T00:00"),
            ("P1", "seal", "03-05T00:00", "03-10T23:00"),
            ("P2", "bearing", "03-06T00:00", "03-10T23:00"),
        ]
        assert {note.kind: note.count for note in history.notes}[OUTSIDE_EVENTS] == 1


def test_order_of_day_and_month_in_a_log(folder: Path) -> None:
    """It is asked about with the keys of the log."""
    (folder / "orders.csv").write_text("Asset;Reported;Closed;Code\nP1;01/03/2024 10:00;01/03/2024 12:00;seal\n")
    with pytest.raises(
        HistoryError, match=r"set data.events.time_format = \"%d/%m/%Y %H:%M\", or data.events.time_format"
    ):
        read(folder, {**MAPPED, "time_zone": "UTC"})


def test_reported_in_two_columns(folder: Path) -> None:
    """Day and time of the day may stand apart, under a title."""
    (folder / "orders.csv").write_text("Export\n\nAsset;Day;From;To;Code\nP1;2024-03-02;10:00;12:30;seal\n")
    keys = {**MAPPED, "start_column": ["Day", "From"], "end_column": ["Day", "To"], "skip_rows": 2, "time_zone": "UTC"}
    assert spans(read(folder, keys)) == [("P1", "seal", "03-02T10:00", "03-02T12:30")]


def test_words_that_are_no_fault(folder: Path) -> None:
    """Inspections are left out and counted by their word; they come back as no fault."""
    (folder / "orders.csv").write_text(ORDERS + "P1;2024-03-03;2024-03-03;INSP\nP2;2024-03-03;2024-03-04;INSP\n")
    history = read(folder, {**MAPPED, "time_zone": "UTC", "open": "last", "ignore": ["INSP"]})
    assert history.classes == ("normal", "bearing", "seal")
    (note,) = [note for note in history.notes if note.kind == IGNORED_EVENTS]
    assert note.parts["INSP"][0] == 2
    assert not note.problem


def test_a_list_of_anomalies(folder: Path) -> None:
    """Pairs of times without a header, device or class are one fault of the only machine."""
    write_samples(folder, "P1")
    (folder / "labels.csv").write_text("2024-03-02T10:00:00.000000,2024-03-02T12:00:00.000000\n")
    keys = {"path": "labels.csv", "header": ["start", "end"], "fault": "anomaly"}
    history = read(folder, keys, time_zone="UTC")
    assert spans(history) == [("P1", "anomaly", "03-02T10:00", "03-02T12:00")]
    assert history.notes.count(ONLY_DEVICE) == 1
    write_samples(folder, "P1", "P2")
    with pytest.raises(HistoryError, match=r"no column 'device'; .*data.events.device_column"):
        read(folder, keys, time_zone="UTC")
    with pytest.raises(HistoryError, match=r"the samples are of 'P1', 'P2'; name .* as data.events.device"):
        read(folder, {**keys, "device_column": ""}, time_zone="UTC")
    assert spans(read(folder, {**keys, "device": "P2"}, time_zone="UTC"))[0][0] == "P2"


def test_another_column_may_name_the_device(folder: Path) -> None:
    """With a column that nobody has named, a log is not taken for one of the only device."""
    write_samples(folder, "P1")
    with pytest.raises(HistoryError, match=r"no column 'device'; columns there: 'Asset'.*data.events.device_column"):
        read(folder, {**MAPPED, "device_column": "device", "time_zone": "UTC"})


def test_events_outside_the_samples(folder: Path) -> None:
    """They label nothing, which is said by device."""
    (folder / "orders.csv").write_text(
        "device,start,end,fault\nP1,2023-01-01T00:00:00Z,2023-01-02T00:00:00Z,seal\n"
        "P2,2024-03-20T00:00:00Z,2024-03-21T00:00:00Z,seal\nP2,2024-03-10T22:00:00Z,2024-03-21T00:00:00Z,seal\n"
    )
    history = read(folder, "orders.csv")
    (note,) = history.notes
    assert (note.kind, {name: count for name, (count, _) in note.parts.items()}) == (OUTSIDE_EVENTS, {"P1": 1, "P2": 1})


def test_the_log_of_a_journal_and_of_describe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The section is the same for every format, and its path is relative to the configuration."""
    section = from_mapping({"format": "journal", "path": "x", "events": MAPPED}, JournalConfig, "x").absolute(folder)
    assert section.event_log is not None
    assert section.event_log.path == str(folder.resolve() / "orders.csv")
    lines = ["[data]", 'format = "table"', 'samples = "samples.csv"', "[data.events]"]
    lines += [f'{key} = "{value}"' for key, value in MAPPED.items()] + ['open = "last"', 'time_zone = "UTC"']
    (folder / "plant.toml").write_text("\n".join(lines) + "\n")
    assert main(["describe", str(folder / "plant.toml")]) == 0
    assert "P9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"time_zone": "Mars"}, "no time zone 'Mars'"),
        ({"encoding": "x"}, "no text encoding"),
        ({"fault_column": ""}, "name the fault_column, or the fault"),
        ({"start": "x"}, "unknown key"),
        ({"header": ["a", "a"]}, "header names 'a' more than once"),
    ],
)
def test_keys_that_cannot_be_meant(folder: Path, keys: dict[str, Any], problem: str) -> None:
    """They are refused before anything is read."""
    with pytest.raises(ConfigError, match=problem):
        read(folder, {**MAPPED, **keys})


def test_comments_of_several_lines(folder: Path) -> None:
    """A quoted comment may go on in the next lines; a stray quote costs its own line."""
    (folder / "orders.csv").write_text(
        'Asset;Comment;Reported;Closed;Code\nP1;"leaks; badly\n\nsince ""Monday""";2024-03-02;2024-03-03;seal\n'
        'P1;12" pipe;2024-03-05;2024-03-05;seal\nP2;fine;2024-03-06;2024-03-06;worn\nP2;9" pipe;x;2024-03-06;worn\n'
    )
    history = read(folder, {**MAPPED, "time_zone": "UTC"})
    assert [(device, fault) for device, fault, _, _ in spans(history)] == [("P1", "seal"), ("P2", "worn")]
    (note,) = [note for note in history.notes if note.kind == BAD_LINES]
    assert (note.count, note.example.split(":")[1]) == (2, "5")


def test_the_section_stays_what_it_is_in_a_run_directory(folder: Path) -> None:
    """The resolved configuration of a run reads the same history from anywhere."""
    section = {"format": "table", "samples": "samples.csv", "time_zone": "UTC", "events": {**MAPPED, "open": "last"}}
    config = from_mapping({"data": section}, TrainConfig, "x")
    absolute = msgspec.structs.replace(config, data=config.data.absolute(folder))
    reread = from_mapping(tomllib.loads(to_toml(absolute)), TrainConfig, "x")
    assert reread == absolute
    assert read_history(reread.data, Path("/")).fingerprint == read_history(config.data, folder).fingerprint
