"""The phm2015 reader: the traps of the format, and what is known of the real plants."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.runtime.times import parse_time_ms
from rarefault.train.history import History, Phm2015Config, label_bins, read_history
from rarefault.train.history.notes import (
    BAD_LINES,
    CONFLICTS,
    DUPLICATES,
    REPEATED_EVENTS,
    REVERSED_EVENTS,
    UNKNOWN_FAULTS,
    UNORDERED,
)

SENSORS = """\
1,2011-03-01 00:00:10,1,2,3,4,5,6,7,8
2,2011-03-01 00:05:00,1,2,3,4,5,6,7,8
1,2011-03-01 00:15:10,1,2,3,4,1139,6,7,8
"""
METERS = "1,2011-03-01 00:00:20,100.5,3\n1,2011-03-01 00:15:20,101.5,4\n"
FAULTS = "2011-02-28 23:00:10,2011-02-28 23:15:00,3\n2011-02-28 23:15:00,2011-02-28 23:20:00,6\n"


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """A folder with one small, sound plant."""
    (tmp_path / "plant_7a.csv").write_text(SENSORS)
    (tmp_path / "plant_7b.csv").write_text(METERS)
    (tmp_path / "plant_7c.csv").write_text(FAULTS)
    return tmp_path


def read(folder: Path, *, strict: bool = False, allow_incomplete: bool = False, **keys: object) -> History:
    """Read a folder with a [data] section of these keys."""
    config = Phm2015Config(path=".", **keys)  # type: ignore[arg-type]  # the tests' own literals
    return read_history(config, folder, strict=strict, allow_incomplete=allow_incomplete)


def test_a_sound_plant(plant: Path) -> None:
    """Rows become samples sorted by time, with their own channels only; events are one hour later; no notes."""
    history = read(plant, strict=True)
    assert history.devices == ("plant_7",)
    assert history.channels[:3] == ("c1.S1", "c1.S2", "c1.S3")
    assert history.channels[-3:] == ("c2.R4", "z1.E1", "z1.E2")
    assert history.classes == ("normal", "fault_3", "fault_6")
    assert history.counters == ("z1.E1",)
    assert np.flatnonzero(history.counter_mask).tolist() == [16]
    assert history.time_ms.tolist() == [
        parse_time_ms(f"2011-03-01T{time}Z") for time in ("00:00:10", "00:00:20", "00:05:00", "00:15:10", "00:15:20")
    ]
    assert history.values[3, 4] == 1139  # out of range, but data
    assert np.isnan(history.values[3, 8:]).all()
    assert history.events.start_ms[0] == parse_time_ms("2011-03-01T00:00:10Z")
    assert history.events.fault.tolist() == [1, 2]
    assert len(history.notes) == 0


def test_the_shift_is_a_setting(plant: Path) -> None:
    """With time_shift_s = 0 the log's own times stay."""
    assert read(plant, time_shift_s=0).events.start_ms[0] == parse_time_ms("2011-02-28T23:00:10Z")


def test_start_and_end_limit_samples_and_events(plant: Path) -> None:
    """Samples outside [start, end) and events that do not touch it are left out."""
    history = read(plant, start=datetime(2011, 3, 1, 0, 5, tzinfo=UTC), end=datetime(2011, 3, 1, 0, 15, tzinfo=UTC))
    assert len(history) == 1
    assert history.classes == ("normal", "fault_3")


def test_select_keeps_all_but_the_samples(plant: Path) -> None:
    """A selection has the chosen samples and the whole's names, events and fingerprint."""
    history = read(plant)
    part = history.select(history.time_ms < parse_time_ms("2011-03-01T00:05:00Z"))
    assert len(part) == 2
    assert part.values.shape == (2, 18)
    assert part.events is history.events
    assert part.fingerprint == history.fingerprint


def test_the_fingerprint_names_the_content(plant: Path) -> None:
    """The same files give the same fingerprint; one changed value or another shift gives another."""
    first = read(plant).fingerprint
    assert read(plant).fingerprint == first
    assert read(plant, time_shift_s=0).fingerprint != first
    (plant / "plant_7a.csv").write_text(SENSORS.replace("1139", "1138"))
    assert read(plant).fingerprint != first


def test_problems_are_counted_with_the_first_example(plant: Path) -> None:
    """Bad lines, duplicates, contradictions, unordered times, unknown codes and reversed events: each counted."""
    (plant / "plant_7a.csv").write_text(
        SENSORS + "1,2011-03-01 00:15:10,1,2,3,4,1139,6,7,8\n"  # line 4: as line 3
        "1,2011-03-01 00:15:10,9,2,3,4,1139,6,7,8\n"  # line 5: contradicts line 3
        "2,2011-03-01 00:01:00,1,2,3,4,5,6,7,8\n"  # line 6: older than line 2
        "\n"
        "1,2011-03-01 00:3\n"  # line 8
        "x,2011-03-01 00:30:10,1,2,3,4,5,6,7,8\n"
        "1,2011-13-01 00:30:10,1,2,3,4,5,6,7,8\n"
        "1,2011-03-01 00:30:10,1,2,three,4,5,6,7,8\n"
    )
    (plant / "plant_7c.csv").write_text(
        FAULTS + "2011-02-28 23:30:00,2011-02-28 23:29:00,1\n"
        "2011-02-28 23:30:00,2011-02-28 23:31:00,7\n2011-02-28 23:30:00,2011-02-28 23:31:00,\n" + FAULTS
    )
    history = read(plant)
    notes = history.notes
    assert {note.kind: note.count for note in notes} == {
        BAD_LINES: 4,
        REVERSED_EVENTS: 1,
        UNKNOWN_FAULTS: 2,
        UNORDERED: 1,
        CONFLICTS: 1,
        DUPLICATES: 1,
        REPEATED_EVENTS: 2,
    }
    text = str(notes)
    assert "plant_7a.csv:8: '1,2011-03-01 00:3': 2 fields instead of 10" in text
    assert "(first: plant_7a.csv:6: '2,2011-03-01 00:01:00,1,2,3,4,5,6,7,8')" in text
    assert "(first: plant_7a.csv:4: '1,2011-03-01 00:15:10,1,2,3,4,1139,6,7,8')" in text
    assert "(first: plant_7a.csv:5: '1,2011-03-01 00:15:10,9,2,3,4,1139,6,7,8')" in text
    assert "(first: plant_7c.csv:3: '2011-02-28 23:30:00,2011-02-28 23:29:00,1')" in text
    assert "(first: plant_7c.csv:4: '2011-02-28 23:30:00,2011-02-28 23:31:00,7')" in text
    assert len(history) == 7
    assert np.diff(history.time_ms).min() >= 0
    assert len(history.events) == 4


@pytest.mark.parametrize(
    ("file", "line", "kind"),
    [
        ("plant_7a.csv", "1,2011-03-01 00:3\n", BAD_LINES),
        ("plant_7a.csv", "1,2011-03-01 00:15:10,1,2,3,4,1139,6,7,8\n", DUPLICATES),
        ("plant_7b.csv", "1,2011-03-01 00:00:21,1,2\n", UNORDERED),
        ("plant_7c.csv", "2011-02-28 23:30:00,2011-02-28 23:31:00,9\n", UNKNOWN_FAULTS),
        ("plant_7c.csv", "2011-02-28 23:30:00,2011-02-28 23:29:00,1\n", REVERSED_EVENTS),
    ],
)
def test_strict_refuses_each_problem(plant: Path, file: str, line: str, kind: str) -> None:
    """With strict reading any of these problems is fatal, and the message holds the count and the line."""
    with (plant / file).open("a") as handle:
        handle.write(line)
    assert read(plant).notes.count(kind) == 1
    with pytest.raises(HistoryError, match=f"strict reading found 1 kind.*\n  1 {kind} .first: {file}:[345]: "):
        read(plant, strict=True)


def test_missing_files_are_named(plant: Path) -> None:
    """A missing folder, plant or file is named, with what is there instead."""
    with pytest.raises(HistoryError, match=r"data.path: the folder .*nowhere does not exist"):
        read_history(Phm2015Config(path="nowhere"), plant)
    with pytest.raises(
        HistoryError, match=r"plant_8a.csv, plant_8b.csv, plant_8c.csv missing .* complete plants there: 7"
    ):
        read(plant, plants=(8,))
    (plant / "plant_7b.csv").unlink()
    with pytest.raises(HistoryError, match=r"data.plants: plant_7b.csv missing in .*; complete plants there: none"):
        read(plant, plants=(7,))
    with pytest.raises(HistoryError, match=r"no plant in .* is complete .*; some files are there of plants 7"):
        read(plant)
    (plant / "empty").mkdir()
    with pytest.raises(HistoryError, match=r"there are no plant_Na.csv.*; .*empty holds no .csv file"):
        read(plant / "empty")


def test_a_history_without_samples_is_refused(plant: Path) -> None:
    """Empty or unusable sensor files, or a span that holds nothing, end in a sentence and not in an empty training."""
    with pytest.raises(HistoryError, match="there is no sample between start and end in what was read"):
        read(plant, start=datetime(2012, 1, 1, tzinfo=UTC))
    (plant / "plant_7a.csv").write_text("")
    (plant / "plant_7b.csv").write_text("zone,time,E1,E2\n")
    with pytest.raises(
        HistoryError, match=r"there is no sample in what was read; 1 bad lines, skipped .*plant_7b.csv:1"
    ):
        read(plant)


def test_windows_line_ends(plant: Path) -> None:
    """Files with CRLF and a byte order mark read the same."""
    before = read(plant).fingerprint
    for path in plant.glob("*.csv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(plant, strict=True).fingerprint == before


def test_a_fault_log_alone_can_be_read_for_description(plant: Path) -> None:
    """With allow_incomplete a plant of which only the log is here has events and no samples."""
    (plant / "plant_7a.csv").unlink()
    (plant / "plant_7b.csv").unlink()
    history = read(plant, allow_incomplete=True)
    assert (len(history), history.channels, len(history.events)) == (0, (), 2)


def test_several_plants(plant: Path) -> None:
    """Plants are devices in their order; channels are the union; events keep their device."""
    for letter, text in zip("abc", (SENSORS, METERS, FAULTS), strict=True):
        (plant / f"plant_12{letter}.csv").write_text(text.replace("1,2011", "3,2011"))
    history = read(plant)
    assert history.devices == ("plant_7", "plant_12")
    assert [name for name in history.channels if name.endswith(("S1", "E1"))] == [
        "c1.S1", "c2.S1", "c3.S1", "z1.E1", "z3.E1"
    ]  # fmt: skip
    assert history.events.device.tolist() == [0, 0, 1, 1]
    assert np.bincount(history.device).tolist() == [5, 5]


# --- the real plants


@pytest.fixture(scope="module")
def plant_31(data_dir: Path) -> History:
    """Plant 31, the only complete one here."""
    return read_history(Phm2015Config(path="phm2015"), data_dir)


def test_plant_31_is_what_is_known_of_it(plant_31: History, data_dir: Path) -> None:
    """Device, 44 channels, 562 events, and the duplicates: 79 rows of the sensor file, 11 of the energy file."""
    assert plant_31.devices == ("plant_31",)
    assert len(plant_31.channels) == 5 * 8 + 2 * 2
    assert plant_31.classes == ("normal", *(f"fault_{code}" for code in range(1, 7)))
    assert plant_31.counters == ("z1.E1", "z2.E1")
    assert len(plant_31.events) == 562
    rows = {letter: (data_dir / "phm2015" / f"plant_31{letter}.csv").read_text().splitlines() for letter in ("a", "b")}
    repeated = {letter: len(lines) - len(set(lines)) for letter, lines in rows.items()}
    assert repeated == {"a": 79, "b": 11}
    assert plant_31.notes.count(DUPLICATES) == 90
    assert plant_31.notes.count(BAD_LINES) == 0
    assert len(plant_31) == 79_916 + 34_978 - 90
    component_1 = plant_31.time_ms[~np.isnan(plant_31.values[:, plant_31.channels.index("c1.S1")])]
    assert np.diff(component_1).max() / 86_400_000 == pytest.approx(12.8, abs=0.05)


def test_events_are_of_the_component_whose_samples_they_begin_and_end_with(plant: Path) -> None:
    """After the shift; those that begin or end with no sample, or with those of several, are of none."""
    log = ("23:00:10,2011-02-28 23:15:10,3", "23:05:01,2011-02-28 23:05:01,1", "23:00:10,2011-02-28 23:20:00,6")
    (plant / "plant_7c.csv").write_text("".join(f"2011-02-28 {event}\n" for event in log))
    history = read(plant)
    assert history.units == ("c1", "c2")
    assert history.events.unit.tolist() == [0, 1, -1]


def test_each_fault_of_plant_31_is_of_one_component(plant_31: History) -> None:
    """All events of faults 1 to 5, and most of those of fault 6, which is everything else."""
    events = plant_31.events
    assert (events.unit[events.fault <= 5] >= 0).all()
    assert 0.7 < (events.unit[events.fault == 6] >= 0).mean() < 0.9
    assert plant_31.units == ("c1", "c2", "c3", "c4", "c5")


def test_after_the_shift_faults_begin_with_a_sample(plant_31: History) -> None:
    """With the default hour added, every start of codes 1, 2 and 3 lies within one second of a sensor sample."""
    chosen = plant_31.events.fault <= 3
    start_ms = plant_31.events.start_ms[chosen]
    at = np.clip(np.searchsorted(plant_31.time_ms, start_ms), 1, len(plant_31) - 1)
    distance = np.minimum(np.abs(plant_31.time_ms[at] - start_ms), np.abs(plant_31.time_ms[at - 1] - start_ms))
    assert chosen.sum() == 275
    assert distance.max() <= 1000


def test_the_quoted_class_proportions(data_dir: Path) -> None:
    """Plant 1's log with the documented recipe gives the proportions that are usually quoted, within 0.1 point."""
    start, end = datetime(2009, 8, 18, 18, tzinfo=UTC), datetime(2012, 11, 9, tzinfo=UTC)
    config = Phm2015Config(
        path="phm2015", plants=(1,), time_shift_s=0, overlap="file order", event_times="rounded", start=start, end=end
    )
    history = read_history(config, data_dir, allow_incomplete=True)
    period_s = 900
    index = np.arange(int(start.timestamp()) // period_s, int(end.timestamp()) // period_s)
    label = label_bins(history, np.zeros(len(index), int), index, GridSpec(period_s=period_s))
    share = 100 * np.bincount(label, minlength=7) / len(label)
    assert share.tolist() == pytest.approx([68.06, 4.83, 3.75, 3.39, 0.06, 0.65, 19.26], abs=0.1)
