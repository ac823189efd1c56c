"""The table reader: CSV and Parquet, labels and events, times and zones, and what is wrong with them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import parse_time_ms
from rarefault.train.history import History, TableConfig, read_history
from rarefault.train.history.notes import (
    AMBIGUOUS_TIMES,
    BAD_CELLS,
    BAD_LINES,
    CONFLICTS,
    DUPLICATES,
    FOREIGN_EVENTS,
    NORMAL_EVENTS,
    REVERSED_EVENTS,
    TEXT_COLUMNS,
    UNKNOWN_FAULTS,
    UNKNOWN_LABELS,
    UNORDERED,
)

SAMPLES = """\
device,time,flow,speed
pump 10,2011-03-01T00:00:00Z,1.5,10
pump 2,2011-03-01T00:00:00Z,2.5,20
pump 2,2011-03-01T00:01:00+00:00,,21
pump 10,2011-03-01 01:01:00+01:00,1.6,
"""
EVENTS = """\
device,start,end,fault
pump 2,2011-03-01T00:00:30Z,2011-03-01T00:01:00Z,leak
pump 10,2011-03-01T00:00:00Z,2011-03-01T00:00:30Z,blocked
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file of samples and one of events."""
    (tmp_path / "samples.csv").write_text(SAMPLES)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def read(folder: Path, *, strict: bool = False, **keys: object) -> History:
    """Read a folder with a [data] section of these keys."""
    config = from_mapping({"samples": ["samples.csv"], **keys}, TableConfig, "[data]")
    return read_history(config, folder, strict=strict)


def kinds(history: History) -> dict[str, int]:
    """Count of each kind of note."""
    return {note.kind: note.count for note in history.notes}


def test_samples_and_events(folder: Path) -> None:
    """Devices in natural order, channels in the file's order, faults by name, empty cells missing, no notes."""
    history = read(folder, events="events.csv", counters=["speed"], strict=True)
    assert history.devices == ("pump 2", "pump 10")
    assert history.channels == ("flow", "speed")
    assert history.counters == ("speed",)
    assert history.classes == ("normal", "blocked", "leak")
    assert history.device.tolist() == [1, 0, 0, 1]
    assert history.time_ms.tolist() == [parse_time_ms(f"2011-03-01T00:0{m}:00Z") for m in (0, 0, 1, 1)]
    np.testing.assert_array_equal(history.values, [[1.5, 10], [2.5, 20], [np.nan, 21], [1.6, np.nan]])
    assert history.events.device.tolist() == [0, 1]
    assert history.events.fault.tolist() == [2, 1]
    assert history.events.end_ms[1] == parse_time_ms("2011-03-01T00:00:30Z")


def test_the_log_may_name_units(folder: Path) -> None:
    """Where a column ``unit`` says so; an empty cell says nothing, and units are part of what was read."""
    events = "device,unit,start,end,fault\n"
    events += "pump 2,motor,2011-03-01T00:00:30Z,2011-03-01T00:01:00Z,leak\n"
    events += "pump 10,,2011-03-01T00:00:00Z,2011-03-01T00:00:30Z,blocked\n"
    plain = read(folder, events="events.csv")
    assert plain.units == ()
    assert plain.events.unit.tolist() == [-1, -1]
    (folder / "events.csv").write_text(events)
    history = read(folder, events="events.csv", strict=True)
    assert history.units == ("motor",)
    assert history.events.unit.tolist() == [0, -1]
    assert history.fingerprint != plain.fingerprint


def test_parquet_gives_the_same(folder: Path) -> None:
    """The same table as Parquet with typed columns reads to the same history."""
    frame = pl.read_csv(folder / "samples.csv", infer_schema=False).with_columns(
        pl.col("time").str.replace(" ", "T").str.to_datetime("%Y-%m-%dT%H:%M:%S%#z").dt.convert_time_zone("Asia/Tokyo"),
        pl.col("flow", "speed").cast(pl.Float32),
    )
    frame.write_parquet(folder / "samples.parquet")
    pl.read_csv(folder / "events.csv").write_parquet(folder / "events.parquet")
    csv = read(folder, events="events.csv")
    parquet = read(folder, samples=["*.parquet"], events="events.parquet")
    assert parquet.devices == csv.devices
    assert parquet.time_ms.tolist() == csv.time_ms.tolist()
    np.testing.assert_allclose(parquet.values, csv.values, rtol=1e-6)
    assert parquet.classes == csv.classes
    assert parquet.events.start_ms.tolist() == csv.events.start_ms.tolist()


def test_files_with_different_channels(folder: Path) -> None:
    """Files that a pattern matches are read in the order of their names; channels are the union; the events are not."""
    (folder / "more.csv").write_text("time,device,heat\n1298937600,pump 2,55\n1298937660500,pump 3,56\n")
    history = read(folder, samples=["*.csv"], events="events.csv")
    assert history.channels == ("heat", "flow", "speed")
    assert history.devices == ("pump 2", "pump 3", "pump 10")
    assert history.time_ms[0] == history.time_ms[1] == parse_time_ms("2011-03-01T00:00:00Z")
    assert kinds(history) == {}  # other channels of the same device and time are no contradiction


def test_other_names_and_separators(folder: Path) -> None:
    """Column names and the separator are settings; device_column = "" names the device after its file."""
    (folder / "north.csv").write_text('ts;"t; in";ok\n2011-03-01 00:00;1?5;1\n2011-03-01 00:01;2;0\n')
    history = read(folder, samples=["north.csv"], device_column="", time_column="ts", separator=";", time_zone="UTC")
    assert history.devices == ("north",)
    assert history.channels == ("t; in", "ok")
    assert kinds(history) == {BAD_CELLS: 1}
    assert "north.csv:2: '2011-03-01 00:00;1?5;1': t; in is '1?5'" in str(history.notes)


def test_chosen_channels(folder: Path) -> None:
    """With channels given, these are read, in this order; one that is nowhere is named with those that are."""
    assert read(folder, channels=["speed", "flow"]).channels == ("speed", "flow")
    with pytest.raises(HistoryError, match=r"data.channels: no channel 'heat' in 'samples.csv'; channels: 'flow'"):
        read(folder, channels=["flow", "heat"])
    with pytest.raises(
        HistoryError, match=r"data.counters: no channel 'energy' in 'samples.csv'; channels: 'flow', 'speed'"
    ):
        read(folder, counters=["energy"])


def test_labels_become_events(folder: Path) -> None:
    """Runs of a label per device, until another sample says otherwise; an empty label says nothing; 0 is normal."""
    rows = [
        ("a", 0, "0"), ("b", 0, "2"), ("a", 60, "1"), ("b", 60, "2"), ("a", 120, ""), ("a", 180, "1"),
        ("a", 240, "2"), ("a", 300, "normal"), ("a", 360, "1"),
    ]  # fmt: skip
    text = "".join(f"{device},{1298937600 + s},{s},{label}\n" for device, s, label in rows)
    (folder / "samples.csv").write_text("device,time,x,state\n" + text)
    history = read(folder, label_column="state")
    assert history.channels == ("x",)
    assert history.classes == ("normal", "1", "2")
    runs = sorted(
        (history.devices[d], history.classes[f], (start - 1298937600000) // 1000, (end - 1298937600000) // 1000)
        for d, f, start, end in zip(
            history.events.device.tolist(),
            history.events.fault.tolist(),
            history.events.start_ms.tolist(),
            history.events.end_ms.tolist(),
            strict=True,
        )
    )
    assert runs == [("a", "1", 60, 240), ("a", "1", 360, 360), ("a", "2", 240, 300), ("b", "2", 0, 60)]


def test_known_faults(folder: Path) -> None:
    """With faults given, they order the classes, and other labels and events are counted and left out."""
    (folder / "samples.csv").write_text(
        "device,time,x,state\na,1298937600,1,leak\na,1298937660,2,odd\na,1298937720,3,blocked\n"
    )
    (folder / "events.csv").write_text(
        "device,start,end,fault\na,1298937600,1298937660,odd\na,1298937600,1298937660,normal\n"
        "b,1298937600,1298937660,leak\na,1298937660,1298937600,leak\na,x,1298937600,leak\n"
    )
    history = read(folder, label_column="state", events="events.csv", faults=["leak", "blocked", "worn"])
    assert history.classes == ("normal", "leak", "blocked")
    assert history.events.fault.tolist() == [1, 2]
    assert kinds(history) == {
        UNKNOWN_LABELS: 1,
        BAD_LINES: 1,
        REVERSED_EVENTS: 1,
        NORMAL_EVENTS: 1,
        UNKNOWN_FAULTS: 1,
        FOREIGN_EVENTS: 1,
    }
    assert "samples.csv:3: 'a,1298937660,2,odd'" in str(history.notes)
    assert "events.csv:6: 'a,x,1298937600,leak': start is no time between 1970 and 2109" in str(history.notes)
    with pytest.raises(HistoryError, match="strict reading found 5 kind"):
        read(folder, label_column="state", events="events.csv", faults=["leak", "blocked", "worn"], strict=True)


def test_whole_number_labels_of_parquet(folder: Path) -> None:
    """Integer labels, and whole ones in a float column with gaps, are named without decimals."""
    pl.DataFrame(
        {"device": ["a"] * 4, "time": [1298937600 + 60 * i for i in range(4)], "x": [1, 2, 3, 4],
         "fault": [0.0, 3.0, None, 3.0]}
    ).write_parquet(folder / "run.parquet")  # fmt: skip
    history = read(folder, samples=["run.parquet"], label_column="fault")
    assert history.classes == ("normal", "3")
    assert len(history.events) == 1


def test_problems_are_counted_with_the_first_example(folder: Path) -> None:
    """Bad lines and cells, duplicates, contradictions, unordered times and text columns: each counted."""
    (folder / "samples.csv").write_text(
        "device,time,flow,comment\n"
        "a,2011-03-01T00:00:00Z,1,fine\n"
        "a,2011-03-01T00:02:00Z,I/O timeout,\n"
        "a,2011-03-01T00:01:00Z,2,\n"
        "a,2011-03-01T00:01:00Z,2,again\n"
        "a,2011-03-01T00:01:00Z,3,\n"
        ",2011-03-01T00:03:00Z,3,\n"
        "a,noon,3,\n"
        "a,2011-03-01T00:04:00Z,3\n"
        'a,2011-03-01T00:05:00Z,3,"open\n'
        "a,2011-03-01T00:06:00Z,inf,\n"
    )
    history = read(folder)
    assert kinds(history) == {
        TEXT_COLUMNS: 1,
        BAD_LINES: 4,
        BAD_CELLS: 2,
        UNORDERED: 3,
        CONFLICTS: 1,
        DUPLICATES: 1,
    }
    text = str(history.notes)
    assert "samples.csv:7: ',2011-03-01T00:03:00Z,3,': no device" in text
    assert "samples.csv:3: 'a,2011-03-01T00:02:00Z,I/O timeout,': flow is 'I/O timeout'" in text
    assert "samples.csv: 'comment'" in text
    np.testing.assert_array_equal(history.values[:, 0], [1, 2, 3, np.nan, np.nan])
    with pytest.raises(HistoryError, match="strict reading found 5 kind"):
        read(folder, strict=True)


def test_naive_times_need_a_time_zone(folder: Path) -> None:
    """Times without an offset are refused with the line and the mend; with a zone they are its local times."""
    (folder / "samples.csv").write_text("device,time,x\na,2011-10-30 02:30:00,1\n")
    with pytest.raises(HistoryError, match=r"samples.csv:2: .* holds times without a time zone; set data.time_zone"):
        read(folder)
    history = read(folder, time_zone="Europe/Zurich")
    assert history.time_ms.tolist() == [parse_time_ms("2011-10-30T02:30:00+02:00")]
    assert kinds(history) == {AMBIGUOUS_TIMES: 1}


def test_missing_files_and_columns_are_named(folder: Path) -> None:
    """Each message names the file or column that is missing, and what is there instead."""
    with pytest.raises(
        HistoryError, match=r"data.samples: no file matches '\*.parquet'; .* holds 'events.csv', 'samples.csv'"
    ):
        read(folder, samples=["*.parquet"])
    with pytest.raises(HistoryError, match=r"no file matches 'deeper/\*.csv'; .* holds 'events.csv'"):
        read(folder, samples=["deeper/*.csv"])
    with pytest.raises(HistoryError, match=r"data.events: there is no file .*log.csv; .* holds 'events.csv'"):
        read(folder, events="log.csv")
    with pytest.raises(
        HistoryError, match=r"samples.csv: no column 'ts'; columns there: 'device', 'time', 'flow', 'speed'"
    ):
        read(folder, time_column="ts")
    with pytest.raises(HistoryError, match=r"samples.csv: no column 'state'; columns there"):
        read(folder, label_column="state")
    (folder / "log.csv").write_text("device,start,fault\n")
    with pytest.raises(HistoryError, match=r"log.csv: no column 'end'; columns there: 'device', 'start', 'fault'"):
        read(folder, events="log.csv")
    (folder / "samples.csv").write_text(SAMPLES.replace(",", ";"))
    with pytest.raises(HistoryError, match=r"no column 'device'; .* are separated by ';'; set data.separator = \";\""):
        read(folder)


def test_tables_without_anything_to_read(folder: Path) -> None:
    """No usable row, or no column with numbers, is said so."""
    (folder / "samples.csv").write_text("device,time,x\na,noon,1\n")
    with pytest.raises(
        HistoryError, match=r"no usable row in 'samples.csv'; 1 bad lines, skipped .first: samples.csv:2"
    ):
        read(folder)
    (folder / "samples.csv").write_text("device,time\na,2011-03-01T00:00:00Z\n")
    with pytest.raises(HistoryError, match=r"no column with numbers besides device, time and label in 'samples.csv'"):
        read(folder)
    (folder / "broken.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(HistoryError, match=r"broken.parquet: cannot be read as Parquet"):
        read(folder, samples=["broken.parquet"])


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone: no time zone 'Mars/Olympus' is known"),
        ({"faults": ["leak", "normal"]}, "faults and normal both name normal"),
        ({"start": "2011-03-01T00:00:00Z", "end": "2011-03-01T00:00:00Z"}, "end must be after start"),
        ({"start": "2011-03-01T00:00:00"}, "start: expected `datetime` with a timezone component"),
        ({"samples": []}, "samples: expected `array` of length >= 1"),
        ({"lable_column": "state"}, "lable_column: unknown key; did you mean 'label_column'"),
        ({"overlap": "latest"}, "overlap: invalid"),
    ],
)
def test_bad_settings(keys: dict[str, object], problem: str) -> None:
    """Impossible [data] settings are refused before anything is read, by key."""
    with pytest.raises(ConfigError, match=problem):
        from_mapping({"samples": ["samples.csv"], **keys}, TableConfig, "[data]")


def test_unlabelled_is_a_reserved_word(folder: Path) -> None:
    """In events and in a label column it says that nobody knows; it is no class, even where the faults are given."""
    (folder / "events.csv").write_text(EVENTS + "pump 2,2011-03-01T00:02:00Z,2011-03-01T00:03:00Z,unlabelled\n")
    history = read(folder, events="events.csv", faults=["leak", "blocked"], strict=True)
    assert history.classes == ("normal", "leak", "blocked")
    assert len(history.events) == 2
    assert history.unlabelled.start_ms.tolist() == [parse_time_ms("2011-03-01T00:02:00Z")]
    assert history.fingerprint != read(folder, events="events.csv", end="2011-03-01T00:02:00Z").fingerprint
    (folder / "samples.csv").write_text("device,time,flow,state\np,1,1,normal\np,2,1,unlabelled\np,3,1,unlabelled\n")
    history = read(folder, label_column="state")
    assert history.classes == ("normal",)
    assert (history.unlabelled.start_ms.tolist(), history.unlabelled.end_ms.tolist()) == ([2000], [3000])
