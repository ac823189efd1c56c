"""The pages of the documentation: their tables are what the results in git give."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.harness.machine import RESULTS
from benchmarks.pages.__main__ import CHARTS, TABLES, filled, made
from benchmarks.pages.quality import markdown
from benchmarks.quality.summary import Row, in_order, merged, read, summarise, write

ROOT = Path(__file__).parents[2]


def test_every_page_is_what_the_results_give() -> None:
    """Where this fails: ``python -m benchmarks.pages``."""
    stale = [str(path.relative_to(ROOT)) for path, text in made().items() if path.read_text(encoding="utf-8") != text]
    assert stale == []


def test_every_table_has_a_place_and_every_chart_is_shown() -> None:
    """Nothing is made that no page shows; every mark names a table that there is, or this ends the program."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
    assert [name for name in TABLES if f"<!-- table: {name}" not in text] == []
    assert [name for name in CHARTS if f"({Path(name).name})" not in text] == []


def test_a_mark_that_names_no_table_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"some\.md: there is no table quality\.scorse; there are: quality\.windows"):
        filled("<!-- table: quality.scorse plant31-day -->\n<!-- end of table -->\n", "some.md")


def test_the_pages_need_no_library() -> None:
    """They are made without torch, NumPy and what else the measurements need."""
    code = "import sys; sys.modules.update(dict.fromkeys(('numpy', 'torch', 'polars', 'msgspec', 'paho')))\n"
    code += "from benchmarks.pages.__main__ import made; print(len(made()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


def test_rows_are_summarised() -> None:
    """Means and ranges over seeds; other fold assignments stand beside; a class without windows has no column."""
    summary = summarise([_row(0, 0.5), _row(1, 0.8), _row(0, 0.6, dealing=1)])
    assert summary["plant31-day"]["windows"] == 100
    entry = summary["plant31-day"]["methods"]["rarefault"]
    assert entry["seeds"] == 2
    assert entry["macro_f1"] == [0.65, 0.5, 0.8]
    assert entry["f1"] == {"normal": [0.9, 0.9, 0.9], "fault_1": [0.65, 0.5, 0.8]}
    assert entry["coverage"]["normal"] == {"by_event": [0.9, 0.9, 0.9], "events": 4, "standard_error": 0.01}
    assert {number: one["macro_f1"] for number, one in entry["fold_assignments"].items()} == {"0": 0.5, "1": 0.6}
    text = markdown(summary)
    assert "| **rarefault** | 0.650 [0.500, 0.800] |" in text
    assert "| **rarefault** | 1 | 0.600 |" in text
    assert "fault_2" not in text


def test_what_is_run_anew_replaces_what_was_there_unless_it_is_less(tmp_path: Path) -> None:
    """A file of three seeds is not overwritten by a quick look at one, and methods that were not run stay."""
    earlier = summarise([_row(0, 0.5), _row(1, 0.6), _row(0, 0.3) | {"method": "LightGBM"}])
    found, kept = merged(earlier, summarise([_row(0, 0.9), _row(0, 0.4) | {"method": "LightGBM"}]))
    methods = found["plant31-day"]["methods"]
    assert methods["rarefault"]["macro_f1"] == [0.55, 0.5, 0.6]
    assert methods["LightGBM"]["macro_f1"] == [0.4]
    assert kept == ["plant31-day, rarefault: kept, of 2 seeds; run just now: 1"]
    assert earlier["plant31-day"]["methods"]["LightGBM"]["macro_f1"] == [0.3]
    ordered = in_order(found, ["tep-runs", "plant31-day"], ["LightGBM", "QUANT", "rarefault"])
    assert list(ordered["plant31-day"]["methods"]) == ["LightGBM", "rarefault"]
    write(tmp_path / "quality.json", ordered)
    assert read(tmp_path / "quality.json") == ordered


def test_the_file_in_git_is_small() -> None:
    """Raw rows stay out of git: one line for each method and data set."""
    for path in RESULTS.glob("*.json"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 300, path.name


def _row(seed: int, score: float, dealing: int = 0) -> Row:
    of_classes = {"normal": 0.9, "fault_1": score, "fault_2": None}
    numbers = dict.fromkeys(
        ("macro_recall", "lowest_recall", "macro_average_precision", "calibration_error", "log_loss"), 0.1
    )
    return {
        "data": "plant31", "protocol": "day", "dealing": dealing, "method": "rarefault", "seed": seed, "folds": 5,
        "macro_f1": score, "macro_f1_plain": score, "macro_recall_plain": score, **numbers,
        "f1_per_class": of_classes, "recall_per_class": of_classes, "windows": 100, "seconds": 1.0,
        "budget": {"false_alarms_per_device_day": 0.2, "macro_f1": score, "recall_per_class": of_classes},
        "coverage": {"normal": {"windows": 9, "events": 4, "by_event": 0.9, "standard_error": 0.01}},
        "commit": "abc", "machine": "x86_64",
    }  # fmt: skip
