"""Tables and journals in one training: channels, devices and faults of one name are one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import load_train_config
from rarefault.train.history import History, TogetherConfig, read_history
from rarefault.train.history.notes import COMMON_EVENTS, LACKING_CHANNELS, NAMED_MISSING
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.sources import load_sources

START = 1_704_067_200
STEP = 1800
#: Samples of each device in the table and after it in the journal.
TABLE, JOURNAL = 1000, 900


def is_leak(i: int) -> bool:
    """Whether the machine leaks at its i-th sample: for half a day, every few days."""
    return i // 24 % 7 == 3


def write_sources(folder: Path) -> None:
    """Two machines in a table with labels, then the same and a third one in a journal with a fault log."""
    rows = [
        f"{device},{START + STEP * i},{5 * is_leak(i) + i % 3},{i},{'leak' if is_leak(i) else 'OK'}"
        for device in ("p1", "p2")
        for i in range(TABLE)
    ]
    (folder / "old.csv").write_text("device,time,flow,energy,label\n" + "\n".join(rows) + "\n")
    journal = Journal(folder / "edge.journal", ("flow", "heat"), "normal")
    journal.begin()
    numbers = [journal.add_device(name)[0] for name in ("p1", "p2", "p3")]
    index = np.arange(TABLE, TABLE + JOURNAL)
    leaks = np.array([is_leak(i) for i in index.tolist()])
    for number in numbers:
        values = np.stack((5.0 * leaks + index % 3, 20.0 + index % 4), axis=1)
        values[7, 1] = -9999
        journal.append(np.full(JOURNAL, number, np.int32), (START + STEP * index) * 1000, values, 0)
    journal.commit()
    journal.close()
    events = [
        f"{device},{START + STEP * i},{START + STEP * (i + 23)},leak"
        for device in ("p1", "p2", "p3")
        for i in index.tolist()
        if is_leak(i) and not is_leak(i - 1)
    ]
    (folder / "events.csv").write_text("device,start,end,fault\n" + "\n".join(events) + "\n")


TOGETHER = """
[data]
format = "together"

[[data.sources]]
format = "table"
samples = "old.csv"
label_column = "label"
counters = "energy"

[[data.sources]]
format = "journal"
path = "edge.journal"
events = "events.csv"
missing = -9999
"""
TRAINING = """
[model]
preset = "tiny"
[training]
epochs = 1
cross_fit = false
refit = false
[trees]
rounds = 2
extra_trees = 2
[grid]
period_s = 1800
[split]
block_s = 86400
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, and a configuration that names both."""
    folder = tmp_path_factory.mktemp("together")
    write_sources(folder)
    (folder / "plant.toml").write_text(TOGETHER + TRAINING)
    return folder


def read(folder: Path, *sources: dict[str, Any]) -> History:
    """Read sources as one history."""
    return read_history(from_mapping({"sources": list(sources)}, TogetherConfig, "[data]"), folder)


def test_one_history(folder: Path) -> None:
    """Samples of both in order of time, the union of the channels, one class for both ways of naming it."""
    history = read_history(load_train_config(folder / "plant.toml").data, folder)
    assert history.devices == ("p1", "p2", "p3")
    assert (history.channels, history.counters) == (("flow", "energy", "heat"), ("energy",))
    assert history.classes == ("normal", "leak")
    assert len(history) == 2 * TABLE + 3 * JOURNAL
    assert (np.diff(history.time_ms) >= 0).all()
    third = history.device == 2
    assert np.isnan(history.values[third, 1]).all()
    assert np.isnan(history.values[~third & (history.time_ms < (START + STEP * TABLE) * 1000), 2]).all()
    assert set(history.events.device.tolist()) == {0, 1, 2}
    assert {note.kind for note in history.notes} >= {LACKING_CHANNELS, NAMED_MISSING}
    assert history.fingerprint == read_history(load_train_config(folder / "plant.toml").data, folder).fingerprint


def test_what_is_missing_in_one_is_missing_in_all(folder: Path) -> None:
    """As it will be live, where nothing says which source a sample would have come from."""
    history = read(
        folder,
        {"format": "table", "samples": "old.csv", "label_column": "label", "missing": [7]},
        {"format": "journal", "path": "edge.journal", "missing": [20]},
    )
    assert not np.isin(history.values, (7, 20)).any()


@pytest.mark.training
def test_describe_train_and_read_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command takes the section; a run keeps it, and the model keeps the codes for missing."""
    assert main(["describe", str(folder / "plant.toml"), "--json", str(folder / "out.json")]) == 0
    assert json.loads((folder / "out.json").read_text())["samples"] == 2 * TABLE + 3 * JOURNAL
    out = folder / "run"
    assert main(["train", str(folder / "plant.toml"), "--out", str(out)]) == 0
    run = RunDirectory(out)
    assert run.load_manifest().missing == (-9999.0,)
    sources = load_sources(run)
    assert len(sources.history) == 2 * TABLE + 3 * JOURNAL
    assert sources.notes == ()
    capsys.readouterr()
    assert main(["evaluate", str(out)]) == 0
    (folder / "moved").mkdir(exist_ok=True)
    (folder / "old.csv").rename(folder / "moved" / "old.csv")
    assert main(["evaluate", str(out)]) == 1
    assert "cannot be read any more" in capsys.readouterr().err
    (folder / "moved" / "old.csv").rename(folder / "old.csv")


def test_a_log_that_two_sources_name_counts_once(folder: Path) -> None:
    """The same events in two sources are one each, and it is said; what one source repeats stays as it is."""
    rows = [f"p1,{START + STEP * i},{i % 3},{i}" for i in range(TABLE)]
    (folder / "bare.csv").write_text("device,time,flow,energy\n" + "\n".join(rows) + "\n")
    table = {"format": "table", "samples": "bare.csv", "events": "events.csv"}
    journal = {"format": "journal", "path": "edge.journal", "events": "events.csv"}
    alone, both = read(folder, journal), read(folder, table, journal)
    assert len(both.events) == len(alone.events)
    (note,) = [note for note in both.notes if note.kind == COMMON_EVENTS]
    assert note.count > 0


def test_overlapping_sources_are_refused(folder: Path) -> None:
    """Two records of one channel of one machine over the same time: which counts is not for guessing."""
    (folder / "more.csv").write_text(f"device,time,flow\np1,{START + STEP * (TABLE + 5)},1\n")
    said = r"old.csv, more.csv holds 'flow' of 'p1' until .*21T22:30.*, edge.journal from .*21T20:00.*: set end"
    with pytest.raises(HistoryError, match=said):
        read(
            folder,
            {"format": "journal", "path": "edge.journal"},
            {"format": "table", "samples": ["old.csv", "more.csv"]},
        )


def test_other_channels_of_the_same_time_are_welcome(folder: Path) -> None:
    """Two tables of one machine that hold other channels complete each other."""
    history = read(
        folder,
        {"format": "table", "samples": "old.csv", "channels": "flow"},
        {"format": "table", "samples": "old.csv", "channels": "energy"},
    )
    assert history.channels == ("flow", "energy")
    assert not np.isnan(history.values).all(axis=0).any()


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([], "sources"),
        ([{"format": "table"}], r"sources\[0\].samples: required, but missing"),
        ([{"format": "table", "samples": "a.csv", "sample": 1}], r"sources\[0\].sample: unknown key; did you mean"),
        (
            [{"format": "table", "samples": "a"}, {"format": "journal", "path": "b", "overlap": "file order"}],
            "all sources must have the same overlap",
        ),
        ([{"format": "together", "sources": []}], "sources"),
    ],
)
def test_bad_sections(sources: list[dict[str, Any]], said: str) -> None:
    """Each problem is named by the path of its key."""
    with pytest.raises(ConfigError, match=said):
        from_mapping({"sources": sources}, TogetherConfig, "[data]")


def test_a_journal_that_has_taken_nothing_yet(tmp_path: Path) -> None:
    """A source without samples brings none, and nothing else is wrong."""
    (tmp_path / "old.csv").write_text("device,time,flow\np1,1704067200,1\np1,1704069000,2\n")
    Journal(tmp_path / "edge.journal", ("flow",), "normal").close()
    sources = [{"format": "table", "samples": "old.csv"}, {"format": "journal", "path": "edge.journal"}]
    history = read_history(from_mapping({"sources": sources}, TogetherConfig, "[data]"), tmp_path)
    assert (history.devices, history.values[:, 0].tolist()) == (("p1",), [1, 2])
