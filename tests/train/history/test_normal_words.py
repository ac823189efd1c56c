"""Usual words for normal in any case and spelling, and a "fault" that covers most of the time."""

from pathlib import Path
from typing import Any

import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.train.dataset.split import SplitConfig
from rarefault.train.history import History, JournalConfig, TableConfig, read_history
from rarefault.train.history.notes import NO_LABELS, NORMAL_EVENTS, NORMAL_WORDS
from rarefault.train.history.parsing.normal import means_normal
from rarefault.train.runs.run_directory import RunDirectory

HOUR = 3600
START = 1_709_251_200


def read(folder: Path, labels: list[str], **keys: Any) -> History:
    """A machine with a sample an hour and these labels."""
    rows = "".join(f"{START + HOUR * i},p1,{20 + i},{label}\n" for i, label in enumerate(labels))
    (folder / "samples.csv").write_text("time,device,temp,machine_status\n" + rows)
    section = {"samples": "samples.csv", "label_column": "machine_status", **keys}
    return read_history(from_mapping(section, TableConfig, "[data]"), folder)


@pytest.mark.parametrize("word", ["NORMAL", "OK", "ok", "0", "0.0", "False", "No_Fault", "no fault", "none", ""])
def test_words_for_normal(tmp_path: Path, word: str) -> None:
    """Each of them is normal, and the other label is one event, from its first sample to the next that is normal."""
    history = read(tmp_path, [word] * 10 + ["BROKEN"] * 2 + [word] * 12)
    assert history.classes == ("normal", "BROKEN")
    assert (history.events.end_ms - history.events.start_ms).tolist() == [2 * HOUR * 1000]
    (note,) = history.notes
    assert (note.kind, note.count, note.problem) == (NORMAL_WORDS if word else NO_LABELS, 22, False)


def test_an_empty_label_says_nothing_where_others_say_normal(tmp_path: Path) -> None:
    """The run goes on over it, as in a log of changes."""
    history = read(tmp_path, ["OK", "", "BROKEN", "", "nan", "BROKEN", "ok"])
    assert (history.events.end_ms - history.events.start_ms).tolist() == [4 * HOUR * 1000]
    assert {note.kind: note.count for note in history.notes} == {NORMAL_WORDS: 2}


def test_configured_words_are_all_there_are(tmp_path: Path) -> None:
    """``normal`` takes the place of the usual words, a single word needs no list, and ``faults`` goes before words."""
    assert read(tmp_path, ["run", "OK", "run"], normal="run").classes == ("normal", "OK")
    assert read(tmp_path, ["run", "0", "run"], normal=["run"], faults=["0"]).classes == ("normal", "0")
    assert read(tmp_path, ["1", "0", "1"], faults=["0"]).classes == ("normal", "0")
    assert read(tmp_path, ["", "a", ""], normal=["", "x"]).classes == ("normal", "a")


def test_words_in_the_fault_log(tmp_path: Path) -> None:
    """Events that name no fault are left out, whatever their spelling."""
    (tmp_path / "events.csv").write_text(f"device,start,end,fault\np1,{START},{START},OK\np1,{START},{START},leak\n")
    history = read(tmp_path, ["OK"] * 3, events="events.csv", label_column="")
    assert (history.classes, history.notes.count(NORMAL_EVENTS)) == (("normal", "leak"), 1)


def test_a_label_holds_no_longer_than_samples_are_apart(tmp_path: Path) -> None:
    """Over a silence nobody knows when it changed; after the last sample nothing is said."""
    rows = [(0, "ok"), (1, "leak"), (2, "leak"), (50, "ok"), (51, "ok"), (52, "worn")]
    text = "".join(f"{START + HOUR * hour},p1,{hour},{label}\n" for hour, label in rows)
    (tmp_path / "samples.csv").write_text("time,device,temp,state\n" + text)
    section = from_mapping({"samples": "samples.csv", "label_column": "state"}, TableConfig, "[data]")
    events = read_history(section, tmp_path).events
    assert ((events.end_ms - events.start_ms) // (HOUR * 1000)).tolist() == [2, 0]


@pytest.mark.parametrize("word", ["failure", "0.5", "1", "leak", "stopped", "No. 5", "00:10"])
def test_other_words_are_faults(word: str) -> None:
    """What does not say that there is no fault is one."""
    assert not means_normal(word)


def test_a_single_text_is_a_list_of_one() -> None:
    """Wherever nothing but a list is wanted; a text that may be one itself stays one."""
    assert from_mapping({"samples": "a.csv", "normal": "0"}, TableConfig, "x").normal == ("0",)
    assert from_mapping({"path": "a.journal", "channels": "temp"}, JournalConfig, "x").path == "a.journal"
    with pytest.raises(ConfigError, match=r"normal\[1\]: expected `str`, got `int`"):
        from_mapping({"samples": "a.csv", "normal": ["0", 1]}, TableConfig, "x")
    with pytest.raises(ConfigError, match="folds"):
        from_mapping({"folds": [5]}, SplitConfig, "x")


@pytest.fixture
def mostly(tmp_path: Path) -> Path:
    """A configuration whose labels call normal by a word that nobody knows."""
    labels = ["leak" if i // 12 % 5 == 4 else "Lauf" for i in range(1400)]
    read(tmp_path, labels)
    (tmp_path / "plant.toml").write_text(
        '[data]\nformat = "table"\nsamples = "samples.csv"\nlabel_column = "machine_status"\n'
        '[model]\npreset = "tiny"\n[training]\nepochs = 1\ncross_fit = false\nrefit = false\n'
        "[trees]\nrounds = 2\nextra_trees = 0\n[grid]\nperiod_s = 3600\n[split]\nblock_s = 172800\n"
    )
    return tmp_path / "plant.toml"


def test_a_fault_of_most_of_the_time_is_refused(mostly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training names it, its share and the mends, before anything is fitted; describe says it, too."""
    out = mostly.parent / "run"
    assert main(["train", str(mostly), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "fault 'Lauf' covers 80% of the labelled time" in said.err
    assert 'data.normal = ["Lauf"]' in said.err
    assert "data.mostly_faulty = true" in said.err
    assert "fitting" not in said.out
    assert main(["describe", str(mostly)]) == 0
    assert "fault 'Lauf' covers" in capsys.readouterr().out


@pytest.mark.parametrize("run", [30, 60])
def test_faults_of_all_of_the_time_are_refused(mostly: Path, run: int, capsys: pytest.CaptureFixture[str]) -> None:
    """States such as Lauf and Halt: the names that may stand for normal are said, whether blocks can be cut or not."""
    read(mostly.parent, [("Lauf", "Halt", "leak")[i // run % 3] for i in range(1400)])
    out = mostly.parent / "run"
    assert main(["train", str(mostly), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "data.normal" in said.err
    assert "'Halt', 'Lauf', 'leak'" in said.err
    assert "fitting" not in said.out
    assert main(["describe", str(mostly)]) == 0
    assert "faults cover all of the labelled time ('Halt', 'Lauf', 'leak')" in capsys.readouterr().out


@pytest.mark.training
def test_the_mends_train(mostly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Either of the named keys leads to a model."""
    out = mostly.parent
    assert main(["train", str(mostly), "--out", str(out / "a"), "--set", 'data.normal="Lauf"']) == 0
    capsys.readouterr()
    assert "leak" in RunDirectory(out / "a").load_manifest().classes
    assert main(["train", str(mostly), "--out", str(out / "b"), "--set", "data.mostly_faulty=true"]) == 0


def test_nothing_but_empty_labels(tmp_path: Path) -> None:
    """There is no fault then, and no error."""
    history = read(tmp_path, [""] * 5)
    assert (history.classes, len(history.events)) == (("normal",), 0)


def test_the_right_words_by_default_after_reading_a_run(tmp_path: Path) -> None:
    """A section that has been written with its defaults is read as it was, without the key."""
    with pytest.raises(HistoryError, match="no file matches"):
        read_history(from_mapping({"samples": ["none.csv"], "normal": None}, TableConfig, "x"), tmp_path)
