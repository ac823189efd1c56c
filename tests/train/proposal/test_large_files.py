"""Large files: the beginning, the middle and the end are looked at, and that is said."""

import gzip
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.train.proposal.conftest import Made

from rarefault.train.proposal.looking import excerpt as excerpts
from rarefault.train.proposal.looking.excerpt import MOST_BYTES, Excerpt, excerpt

Init = Callable[..., Made]
START = datetime(2020, 1, 1, tzinfo=UTC)
STEP_S = 10


def lines(first: int, count: int) -> str:
    """Samples of two devices."""
    times = [
        (START + timedelta(seconds=STEP_S * i)).strftime("%Y-%m-%dT%H:%M:%SZ") for i in range(first, first + count)
    ]
    return "".join(f"{moment},{name},{i % 97}.25,{i % 13}.5\n" for i, moment in enumerate(times) for name in "ab")


def write_large(path: Path, megabytes: int) -> int:
    """A CSV file of that size, whose last third has other values; the number of rows."""
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("time,device,temp,flow\n")
        while file.tell() < megabytes << 20:
            file.write(lines(rows, 5000))
            rows += 5000
    return rows


def test_a_large_file_is_proposed_from_three_parts(init: Init, tmp_path: Path) -> None:
    """In a fraction of the time that reading it takes; the parts that are left out are no gaps of the devices."""
    rows = write_large(tmp_path / "large.csv", 60)
    started = time.perf_counter()
    made = init("large.csv")
    assert time.perf_counter() - started < 20
    assert "beginning, middle and end of 1 large file(s)" in made.text.replace("\n# ", " ")
    assert "looked at" in made.proposal.previews[0].title
    devices = next(table for table in made.proposal.previews if "device(s)" in table.title)
    assert {row[3][:10] for row in devices.rows} == {f"{START + timedelta(seconds=STEP_S * (rows - 1)):%Y-%m-%d}"}
    assert "0 stretch(es) without a sample are longer" in made.text
    assert made.data == {
        "format": "table",
        "samples": ["large.csv"],
        "time_column": "time",
        "device_column": "device",
    }


def looked(tmp_path: Path, path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Excerpt, Path]:
    """An excerpt of a file with a small bound."""
    monkeypatch.setattr(excerpts, "MOST_BYTES", most)
    root = tmp_path / "root"
    root.mkdir()
    made = excerpt([path], root)
    return made, made.place(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_parts_are_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """In every encoding; the first and the last line are among them."""
    text = "time,device,temp,flow\n" + lines(0, 20_000)
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode(encoding))
    made, copy = looked(tmp_path, path, 400_000, monkeypatch)
    taken = copy.read_bytes().decode(encoding).splitlines()
    assert set(taken) <= set(text.splitlines())
    assert (taken[0], taken[-1]) == (text.splitlines()[0], text.splitlines()[-1])
    assert made.cuts() == 2
    assert 0 < made.share < 1


def test_packed_files_from_their_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can look into the middle of these."""
    noise = np.random.default_rng(0).random(50_000)
    text = "time,value\n" + "".join(f"{i},{value:.12f}\n" for i, value in enumerate(noise))
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    _, copy = looked(tmp_path, path, 300_000, monkeypatch)
    assert text.startswith(copy.read_text())
    assert copy.stat().st_size <= 300_000


def test_parquet_rows_from_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that can be read."""
    path = tmp_path / "x.parquet"
    pl.DataFrame({"n": np.arange(200_000), "x": np.random.default_rng(0).random(200_000)}).write_parquet(path)
    _, copy = looked(tmp_path, path, 400_000, monkeypatch)
    taken = pl.read_parquet(copy)["n"].to_list()
    assert (taken[0], taken[-1]) == (0, 199_999)
    assert 1000 < len(taken) < 100_000


def test_small_files_are_looked_at_as_they_are(tmp_path: Path) -> None:
    """No copy is made of these."""
    path = tmp_path / "x.csv"
    path.write_text("time,device,temp,flow\n" + lines(0, 10))
    root = tmp_path / "root"
    root.mkdir()
    made = excerpt([path], root)
    assert made.place(path).resolve() == path
    assert (made.share, made.describe()) == (1, "")
    assert path.stat().st_size < MOST_BYTES


def test_of_many_files_some(init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pattern names all of them, and that some were not looked at is said."""
    monkeypatch.setattr(excerpts, "MOST_FILES", 5)
    for number in range(20):
        body = "".join(f"{START + timedelta(days=number, hours=h):%Y-%m-%dT%H:%M:%SZ},{h}.5\n" for h in range(24))
        (tmp_path / "days").mkdir(exist_ok=True)
        (tmp_path / f"days/{START + timedelta(days=number):%Y-%m-%d}.csv").write_text("time,temp\n" + body)
    made = init("days")
    assert made.data["samples"] == ["days/*.csv"]
    assert "15 of 20 files were not looked at" in made.questions
    assert "0 stretch(es) without a sample are longer" in made.text
    assert len(made.read()) == 20 * 24


def test_machines_of_files_that_were_not_looked_at_are_known(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names are in the paths, so that a log is compared with all of them."""
    monkeypatch.setattr(excerpts, "MOST_FILES", 4)
    body = "time,temp\n" + "".join(f"{START + timedelta(hours=h):%Y-%m-%dT%H:%M:%SZ},{h % 7}.5\n" for h in range(48))
    for number in range(12):
        (tmp_path / f"fleet/m{number:02}").mkdir(parents=True)
        (tmp_path / f"fleet/m{number:02}/data.csv").write_text(body)
    rows = [f"m{number:02},2020-01-01T05:00:00Z,2020-01-01T08:00:00Z,leak" for number in range(12)]
    (tmp_path / "log.csv").write_text("\n".join(["machine,start,end,fault", *rows]))
    made = init("log.csv", "fleet")
    assert made.data["samples"] == ["fleet/{device}/data.csv"]
    assert "no sample was met" not in made.questions
    assert len(made.read().events) == 12
