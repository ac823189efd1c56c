"""The learning curve: what a history is, what is kept, and its tables and chart."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from benchmarks.learning_curve import SOURCES, Row, Task, grown, merged, run
from benchmarks.pages.learning_curve import chart, scores
from benchmarks.quality import tep_simulated

from rarefault.train.config import load_train_config
from rarefault.train.dataset.split import Block
from rarefault.train.history import read_history

#: As little as a training can be.
SMALL = ("trees.rounds=3", "trees.extra_trees=0", "training.cross_fit=false", "training.refit=false")


def test_a_larger_history_holds_the_smaller_ones() -> None:
    """The seed draws the order in which blocks are added; they stay in order of time."""
    blocks = [Block("a", at, at + 10, "train") for at in range(0, 800, 10)]
    sizes = [grown(blocks, part, 3) for part in (1 / 16, 1 / 4, 1.0)]
    assert [len(some) for some in sizes] == [5, 20, 80]
    assert set(sizes[0]) < set(sizes[1])
    assert sizes[2] == blocks
    assert sizes[1] == sorted(sizes[1], key=lambda block: block.start_ms)
    assert grown(blocks, 1 / 4, 4) != sizes[1]


def test_what_is_held_out_is_in_no_history(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same days of plant 31 are held out for all sizes and seeds; all faults of the log are known to each."""
    monkeypatch.setenv("RAREFAULT_DATA", str(data_dir))
    times: dict[str, list[Any]] = {"train": [], "test": []}
    days = []
    for number, (part, seed) in enumerate(((1 / 8, 0), (1.0, 1))):
        folder = tmp_path / str(number)
        folder.mkdir()
        days.append(SOURCES["plant31"](Task("plant31", "trees", part, seed), folder))
        for name, found in times.items():
            history = read_history(load_train_config(folder / f"{name}.toml").data, folder)
            assert len(history.classes) == 7
            found.append(history.time_ms)
    assert days[0] == pytest.approx(days[1] / 8, rel=0.2)
    assert times["test"][0].tolist() == times["test"][1].tolist()
    assert not set(times["train"][1].tolist()) & set(times["test"][1].tolist())
    assert set(times["train"][0].tolist()) < set(times["train"][1].tolist())


@pytest.mark.training
def test_a_training_is_scored_and_kept(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been trained is read back; other settings are another training."""
    monkeypatch.setenv("RAREFAULT_DATA", str(data_dir))
    task = Task("plant31", "trees", 1 / 16, 0, SMALL)
    row = run(task, folder=tmp_path)
    assert 0 < row["macro_f1"] < 1
    assert row["log_loss"] > 0
    assert row["windows"] > 1000
    assert set(row["f1"]) == {"normal", *(f"fault_{code}" for code in range(1, 7))}
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(row | {"macro_f1": 0.123}), encoding="utf-8")
    assert run(task, folder=tmp_path)["macro_f1"] == 0.123
    assert Task("plant31", "trees", 1 / 16, 0).file(tmp_path) != file


@pytest.mark.slow
def test_simulated_plants_are_held_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twenty plants four are held out, one teaches the smallest model; all faults are known to each."""
    pytest.importorskip("tep_studio", reason="the benchmark's own environment has tep-studio")
    plans = [tep_simulated.Plan(n, 0.2, (tep_simulated.Event(n + 1, 0.02, 0.18),), ((0.0, 1.0),), 7) for n in range(20)]
    files = [tmp_path / f"plant-{plan.plant:02d}-x.npz" for plan in plans]
    for plan, file in zip(plans, files, strict=True):
        tep_simulated.keep(plan, file)
    monkeypatch.setattr(tep_simulated, "prepare", lambda: files)
    SOURCES["tep-simulated"](Task("tep-simulated", "both", 1 / 16, 0), tmp_path)
    found = {
        name: read_history(load_train_config(tmp_path / f"{name}.toml").data, tmp_path) for name in ("train", "test")
    }
    assert found["test"].devices == ("plant_00", "plant_05", "plant_10", "plant_15")
    assert len(found["train"].devices) == 1
    assert found["train"].classes == found["test"].classes
    assert len(found["train"].classes) == 21


def test_rows_that_are_not_run_again_stay() -> None:
    earlier = [_row("trees", 0.5, 0, 0.4), _row("trees", 0.5, 1, 0.6)]
    found = merged(earlier, [_row("trees", 0.5, 1, 0.7), _row("network", 0.5, 0, 0.2)])
    assert [(row["experts"], row["seed"], row["macro_f1"]) for row in found] == [
        ("network", 0, 0.2), ("trees", 0, 0.4), ("trees", 1, 0.7),
    ]  # fmt: skip


def test_the_table_has_a_dash_where_nothing_was_run() -> None:
    """Mean and range over the seeds; days of history from the rows."""
    of = {"rows": [_row("trees", 0.5, 0, 0.4), _row("trees", 0.5, 1, 0.6), _row("both", 1.0, 0, 0.8)]}
    text = scores(of, "plant31", "macro_f1").splitlines()
    assert text[2:] == ["| 70 | – | 0.500 [0.400, 0.600] | – | 2 |", "| 140 | – | – | 0.800 | 1 |"]
    assert scores(of, "tep-simulated", "macro_f1") == "Nothing has been run yet."


def test_the_chart_shows_what_was_run() -> None:
    """A dot for each mean that there is, in each of the two panels; higher scores stand higher."""
    of = {"rows": [_row("trees", 0.5, 0, 0.4), _row("trees", 1.0, 0, 0.8), _row("both", 1.0, 0, 0.9)]}
    root = ET.fromstring(chart(of, "plant31"))
    name = "{http://www.w3.org/2000/svg}"
    dots = root.findall(f"{name}circle")
    assert len(dots) == 6
    lower, higher = (float(dot.attrib["cy"]) for dot in dots[:2])
    assert higher < lower
    assert [text.text for text in root.findall(f"{name}text")].count("trees alone") == 2


def _row(experts: str, history: float, seed: int, score: float) -> Row:
    about = {"data": "plant31", "days": 140 * history, "windows": 100, "log_loss": 1 - score, "seconds": 1.0}
    return about | {"experts": experts, "history": history, "seed": seed, "macro_f1": score, "f1": {}, "commit": "abc"}
