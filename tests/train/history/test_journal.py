"""Journals of the daemon as history: what the edge saw is what is learnt from."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.settings import from_mapping
from rarefault.train.history import History, JournalConfig, TableConfig, read_history
from rarefault.train.history.notes import CONFLICTS, DUPLICATES, NAMELESS_SAMPLES

T0 = 1_704_067_200_000
CHANNELS = ("flow", "meter")
EVENTS = "device,start,end,fault\npump 2,1704067260,1704067320,leak\npump 9,1704067260,1704067320,leak\n"


def fill(path: Path, turns: list[list[tuple[str, int, float, float]]], channels: tuple[str, ...] = CHANNELS) -> Path:
    """A journal of turns of samples: device, seconds after T0, values."""
    journal = Journal(path, channels, "normal")
    journal.begin()
    for turn in turns:
        numbers = np.array([journal.add_device(name)[0] for name, *_ in turn], np.int32)
        times = np.array([T0 + 1000 * second for _, second, *_ in turn])
        journal.append(numbers, times, np.array([values for _, _, *values in turn]), T0)
    journal.append_silence(numbers[:1], times[:1], T0)
    journal.commit()
    journal.close()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a journal of two pumps: one sample late, one delivered twice."""
    nan = float("nan")
    turns = [
        [("pump 10", 0, 1.5, 10.0), ("pump 2", 0, 2.5, nan)],
        [("pump 2", 120, 2.7, 21.0)],
        [("pump 2", 60, 2.6, 20.0), ("pump 2", 120, 2.7, 21.0)],
        [("pump 10", 60, nan, 12.0)],
    ]
    fill(tmp_path / "edge.journal", turns)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def read(folder: Path, *, strict: bool = False, **keys: object) -> History:
    """Read a folder with a [data] section of these keys."""
    config = from_mapping({"format": "journal", "path": "edge.journal", **keys}, JournalConfig, "[data]")
    return read_history(config, folder, strict=strict)


def test_late_and_repeated_samples_are_normal(folder: Path) -> None:
    """Samples come in order of time, a repeated one once; strict reading has nothing against either."""
    history = read(folder, counters=["meter"], strict=True)
    assert history.devices == ("pump 2", "pump 10")
    assert (history.channels, history.counters) == (CHANNELS, ("meter",))
    assert history.device.tolist() == [1, 0, 0, 1, 0]
    assert ((history.time_ms - T0) // 1000).tolist() == [0, 0, 60, 60, 120]
    np.testing.assert_array_equal(history.values[:, 0], [1.5, 2.5, 2.6, np.nan, 2.7])
    assert history.notes.count(DUPLICATES) == 1
    assert "edge.journal: batch 3" in str(history.notes)


def test_it_equals_a_table_of_the_same_samples(folder: Path) -> None:
    """Journal and table of the same samples and events are one history, down to the fingerprint."""
    (folder / "samples.csv").write_text(
        "device,time,flow,meter\n"
        "pump 10,1704067200,1.5,10\npump 2,1704067200,2.5,\npump 2,1704067320,2.7,21\npump 2,1704067260,2.6,20\n"
        "pump 10,1704067260,,12\n"
    )
    table = from_mapping({"samples": ["samples.csv"], "events": "events.csv"}, TableConfig, "[data]")
    assert read(folder, events="events.csv").fingerprint == read_history(table, folder).fingerprint


def test_events_of_devices_without_samples_are_noted(folder: Path) -> None:
    """The events file is that of tables; what it says of devices that the journal does not have is a problem."""
    history = read(folder, events="events.csv")
    assert history.classes == ("normal", "leak")
    assert history.events.start_ms.tolist() == [T0 + 60_000]
    with pytest.raises(HistoryError, match="events of devices without samples"):
        read(folder, events="events.csv", strict=True)


def test_of_two_samples_at_one_time_the_later_arrival_counts(tmp_path: Path) -> None:
    """A corrected value replaces the first one, as in the daemon, and is said."""
    fill(tmp_path / "edge.journal", [[("p", 0, 1.0, 1.0)], [("p", 0, 2.0, 1.0)]])
    history = read(tmp_path)
    assert history.values[-1, 0] == 2.0
    assert history.notes.count(CONFLICTS) == 1


def test_several_journals_with_other_channels(folder: Path) -> None:
    """After a model with another channel there is another journal; together they have the channels of both."""
    fill(folder / "new.journal", [[("pump 2", 600, 3.0, 7.0)]], ("flow", "speed"))
    history = read(folder, path=["edge.journal", "new.journal"])
    assert history.channels == ("flow", "meter", "speed")
    np.testing.assert_array_equal(history.values[-1], [3.0, np.nan, 7.0])
    chosen = read(folder, path=["edge.journal", "new.journal"], channels=["speed", "flow"])
    np.testing.assert_array_equal(chosen.values[-1], [7.0, 3.0])


def test_samples_of_forgotten_devices_are_dropped(folder: Path) -> None:
    """A device whose name is gone from the journal has no samples any more."""
    with sqlite3.connect(folder / "edge.journal") as db:
        db.execute("DELETE FROM device WHERE name = 'pump 10'")
    history = read(folder)
    assert history.devices == ("pump 2",)
    assert history.notes.count(NAMELESS_SAMPLES) == 2


def test_a_daemon_may_be_writing(folder: Path) -> None:
    """While a daemon holds the journal, what is committed is read."""
    journal = Journal(folder / "edge.journal", CHANNELS, "normal")
    journal.begin()
    values: Float64 = np.ones((1, 2))
    times: Int64 = np.array([T0 + 900_000])
    journal.append(np.array([1], np.int32), times, values, T0)
    assert len(read(folder)) == 5
    journal.commit()
    assert len(read(folder)) == 6
    journal.close()


def foreign(path: Path) -> None:
    """An SQLite file of somebody else."""
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE something (x)")


def damaged_batch(path: Path) -> None:
    """A journal with half of a batch."""
    with sqlite3.connect(path) as db:
        db.execute("UPDATE batch SET data = substr(data, 1, 5) WHERE seq = 2")


def scribbled(path: Path) -> None:
    """A journal whose pages are overwritten."""
    data = bytearray(path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "there is no such journal"),
        (lambda path: path.write_text("device,time\n"), "is no journal of the daemon"),
        (foreign, "an SQLite file, but no journal of rarefault"),
        (damaged_batch, "batch 2 is damaged"),
        (scribbled, "the file is damaged"),
    ],
    ids=["missing", "a table", "foreign", "a damaged batch", "damaged"],
)
def test_what_is_no_journal_is_refused(folder: Path, spoil: Callable[[Path], object], words: str) -> None:
    """One sentence names the key and the file."""
    spoil(folder / "edge.journal")
    with pytest.raises(HistoryError, match=rf"data\.path: .*edge\.journal.*{words}"):
        read(folder)


def test_channels_that_are_not_there_are_named(folder: Path) -> None:
    """A counter that the journal does not have is refused with those that it has."""
    with pytest.raises(HistoryError, match=r"data\.counters: no channel 'energy' in 'edge.journal'; channels: 'flow'"):
        read(folder, counters=["energy"])
    with pytest.raises(ConfigError, match="'unlabelled' is reserved"):
        read(folder, faults=["unlabelled"])


def test_describe_reads_a_journal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command shows devices, channels and what is unlabelled."""
    config = folder / "edge.toml"
    config.write_text(
        '[data]\nformat = "journal"\npath = "edge.journal"\nevents = "events.csv"\ncounters = ["meter"]\n'
        "[grid]\nperiod_s = 60\nmax_gap_s = 600\nmax_hold_s = 60\n"
    )
    (folder / "events.csv").write_text("device,start,end,fault\npump 2,1704067260,1704067320,unlabelled\n")
    assert main(["describe", str(config)]) == 0
    out = capsys.readouterr().out
    assert "pump 10" in out
    assert "counter" in out
    assert "unlabelled" in out
