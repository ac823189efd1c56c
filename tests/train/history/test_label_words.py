"""The words of a fault log, and answers that people took back, in ``rarefault label``."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.journal.records import AlarmRecord, Feedback
from rarefault.runtime.journal.writer import Journal

T0 = 1_704_067_200_000  # 2024-01-01
MINUTE = 60_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal of a pump, one sample a minute for 100 minutes, and the log of a plant that speaks its own words."""
    journal = Journal(tmp_path / "edge.journal", ("flow",), "normal")
    journal.begin()
    number, _ = journal.add_device("p")
    times = T0 + np.arange(101) * MINUTE
    journal.append(np.full(101, number, np.int32), times, np.ones((101, 1)), T0)
    said = (("a1", 10, "leak"), ("a2", 20, "normal"), ("a3", 70, "worn"), ("a4", 80, "normal"))
    journal.note_alarms(
        [AlarmRecord(T0, name, "p", state, T0 + at * MINUTE, T0 + at * MINUTE, "m") for name, at, state in said]
    )
    journal.commit()
    journal.close()
    (tmp_path / "log.csv").write_text(
        "device,start,end,fault\n"
        "p,2024-01-01T00:10:00Z,2024-01-01T00:20:00Z,BROKEN\n"
        "p,2024-01-01T00:20:00Z,2024-01-01T00:40:00Z,OK\n"
        "p,2024-01-01T00:40:00Z,2024-01-01T00:50:00Z,Cleaning\n",
        encoding="utf-8",
    )
    return tmp_path


def labelled(folder: Path, *words: str) -> tuple[list[tuple[str, str]], dict[str, object]]:
    """Fault and start of every row that is no unlabelled time, and the result."""
    out, result = folder / "labels.csv", folder / "result.json"
    assert main(["label", str(folder / "edge.journal"), "-o", str(out), "--force", "--json", str(result), *words]) == 0
    with out.open(newline="", encoding="utf-8") as file:
        rows = [(row["fault"], row["start"][11:16]) for row in csv.DictReader(file) if row["fault"] != "unlabelled"]
    return rows, json.loads(result.read_text(encoding="utf-8"))


def test_words_that_mean_normal_and_the_known_faults(folder: Path) -> None:
    """Without them OK is normal, as usual, and every other word a fault; with them cleaning is left out and said."""
    log = ["--log", str(folder / "log.csv")]
    rows, _ = labelled(folder, *log)
    assert rows == [("BROKEN", "00:10"), ("Cleaning", "00:40")]
    rows, _ = labelled(folder, *log, "--normal", "OK", "Cleaning")
    assert rows == [("BROKEN", "00:10")]
    rows, result = labelled(folder, *log, "--normal", "OK", "--faults", "BROKEN", "LEAK")
    assert rows == [("BROKEN", "00:10")]
    (note,) = [str(note) for note in result["notes"] if "Cleaning" in str(note)]  # type: ignore[attr-defined]
    assert note.startswith("log.csv: 1 ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--normal", "OK"], "name the log in --log"),
        (["--faults", "leak"], "name the log in --log"),
        (["--log", "LOG", "--faults", "OK", "leak", "--normal", "OK"], "faults and normal both name OK"),
        (["--log", "LOG", "--faults", "unlabelled"], "'unlabelled' is reserved"),
    ],
)
def test_words_that_cannot_be(
    folder: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused with exit code 2."""
    words = [str(folder / "log.csv") if word == "LOG" else word for word in words]
    assert main(["label", str(folder / "edge.journal"), "-o", str(folder / "labels.csv"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_answers_that_were_taken_back_are_as_if_not_said(folder: Path) -> None:
    """Of an alarm, of a stretch, and given again afterwards; the last word counts, and it is counted."""

    def said(alarm: str, word: str, fault: str = "", minutes: tuple[int, int] | None = None) -> Feedback:
        start, end = (T0 + minutes[0] * MINUTE, T0 + minutes[1] * MINUTE) if minutes else (None, None)
        return Feedback(T0, "p", alarm, word, fault, start, end, "")  # type: ignore[arg-type]

    journal = Journal(folder / "edge.journal", ("flow",), "normal")
    journal.note_feedback(
        [
            said("a1", "confirmed"),
            said("a3", "confirmed"),
            said("", "confirmed", "worn", (30, 35)),
            said("", "confirmed", "worn", (50, 55)),
            said("a1", "retracted"),
            said("", "retracted", "", (30, 35)),
            said("", "retracted", "", (50, 56)),
            said("a3", "retracted"),
            said("a3", "confirmed", "cracked"),
        ]
    )
    journal.close()
    rows, result = labelled(folder)
    assert rows == [("worn", "00:50"), ("cracked", "01:10")]
    answers = result["answers"]
    assert isinstance(answers, dict)
    assert (answers["used"], answers["replaced"], answers["retracted"]) == (2, 0, 3)
    assert [u["why"] for u in answers["unused"]] == ["there is no answer that counts to take back"]
    assert "3 answer(s) were taken back" in result["notes"]  # type: ignore[operator]
