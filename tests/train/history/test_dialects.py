"""How files are written: marks of numbers, lines before the header, packed files, workbooks; never a guess."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import xlsxwriter

from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import parse_time_ms
from rarefault.train.history import History, TableConfig, read_history
from rarefault.train.history.dialect.numbers import number_evidence, number_findings
from rarefault.train.history.notes import BAD_CELLS, BAD_LINES

START = parse_time_ms("2024-03-01T00:00:00Z")


def read(folder: Path, **keys: Any) -> History:
    """Read a folder with a [data] section of these keys."""
    return read_history(from_mapping({"samples": "samples.csv", **keys}, TableConfig, "[data]"), folder)


def write(folder: Path, rows: list[str], head: str = "time;device;rpm", name: str = "samples.csv") -> None:
    """Hourly rows of one device, whose values these are."""
    lines = [f"2024-03-01T{hour:02}:00:00Z;p1;{value}" for hour, value in enumerate(rows)]
    (folder / name).write_text("\n".join([head, *lines]) + "\n", "utf-8")


def test_decimal_commas(tmp_path: Path) -> None:
    """Without the key they are refused, not left out; with it whole numbers beside them are read, too."""
    write(tmp_path, ["3,0;20", "3,1;20,5", "3,2;"], "time;device;Druck;Strom")
    with pytest.raises(
        HistoryError, match=r"Druck holds '3,0' and no column a decimal point; set data.decimal = \",\""
    ):
        read(tmp_path, separator=";")
    history = read(tmp_path, separator=";", decimal=",")
    np.testing.assert_array_equal(history.values, [[3.0, 20], [3.1, 20.5], [3.2, np.nan]])
    assert not len(history.notes)


@pytest.mark.parametrize("keys", [{"thousands": "."}, {"thousands": ".", "decimal": ","}])
def test_thousands(tmp_path: Path, keys: dict[str, str]) -> None:
    """A point that parts thousands is none of a fraction."""
    write(tmp_path, ["985", "991", "999", "1.000", "1.004", "12.500", "998"])
    history = read(tmp_path, separator=";", **keys)
    assert history.values[:, 0].tolist() == [985, 991, 999, 1000, 1004, 12500, 998]


def test_a_thousand_or_one(tmp_path: Path) -> None:
    """Nothing shows which, so both readings are named; each key settles it."""
    write(tmp_path, ["985", "1.000", "12.500"])
    with pytest.raises(
        HistoryError, match=r"rpm holds '1.000' beside '985', which is 1.000 or 1000; .*thousands = \"\.\""
    ):
        read(tmp_path, separator=";")
    with pytest.raises(HistoryError, match=r"set data.thousands = \"\.\""):
        read(tmp_path, separator=";", decimal=",")
    assert read(tmp_path, separator=";", decimal=".").values[:, 0].tolist() == [985, 1, 12.5]


@pytest.mark.parametrize(
    ("cells", "separator", "keys"),
    [
        (["985", "1.000"], ";", ["thousands"]),
        (["985", "1.000"], ",", ["thousands"]),
        (["20.125", "19.875"], ";", ["thousands"]),  # three digits each, in a file that may be of any country
        (["20.125", "19.875"], ",", []),
        (["985", "1.000", "0.5"], ";", []),
        (["985", "1.000", "1200"], ";", []),
        (["0.985", "1.000"], ";", []),
        (["1.234,5"], ";", ["decimal", "thousands"]),
        (["1.234.567", "985"], ";", ["decimal", "thousands"]),
        (["1,234.5"], ";", ["thousands"]),
        (["1'234.5"], ";", ["thousands"]),
        (["1 234,5"], ";", ["decimal", "thousands"]),
        (["1\u202f234"], ";", ["thousands"]),
        (["20,5", "20"], ";", ["decimal"]),
        (["20,5", "20.5"], ";", []),  # one bad cell among others
        (["1,000", "985"], ";", ["thousands"]),
        (["1", "2", "n/a", "ERR 1,5"], ";", []),
        (["1e-05", "1.000"], ";", []),
    ],
)
def test_what_numbers_show(cells: list[str], separator: str, keys: list[str]) -> None:
    """The keys that a column needs, and none where a point is known to be the decimal mark."""
    evidence = {"x": number_evidence(pl.Series(cells))}
    assert [finding.key for finding in number_findings(evidence, separator)] == keys


def test_what_shows_it_may_be_in_another_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are judged together: of numbers with a point and of those without, each in blocks of their own."""
    (tmp_path / "samples.csv").write_text(
        "time,device,rpm\n" + "".join(f"{1709251200 + i},p,1.00{i}\n" for i in range(9))
    )
    assert read(tmp_path).values[0, 0] == 1.0
    with (tmp_path / "samples.csv").open("a") as file:
        file.writelines(f"{1709251300 + i},p,98{i}\n" for i in range(9))
    for size in (1, 60, 1 << 20):
        monkeypatch.setattr("rarefault.train.history.parsing.lines.BLOCK_BYTES", size)
        with pytest.raises(HistoryError, match=r"rpm holds '1.000' beside '980'"):
            read(tmp_path)
    with (tmp_path / "samples.csv").open("a") as file:
        file.write("1709251400,p,1234\n")
    assert read(tmp_path).values[-1, 0] == 1234


def test_another_column_or_file_shows_the_mark(tmp_path: Path) -> None:
    """One decimal point anywhere settles what points are, whatever stands first."""
    write(tmp_path, ["985;1", "1.000;2"], "time;device;rpm;load")
    write(tmp_path, ["1.500;0.25"], "time;device;rpm;load", "z.csv")
    history = read(tmp_path, samples=["samples.csv", "z.csv"], separator=";")
    assert sorted(history.values[:, 0]) == [1.0, 1.5, 985.0]


@pytest.mark.parametrize(
    ("cell", "keys", "value"),
    [
        ("1.234,5", {"thousands": "."}, 1234.5),
        ("1,234.5", {"thousands": ","}, 1234.5),
        ("1'234.5", {"thousands": "'"}, 1234.5),
        ("1\u2019234,5", {"thousands": "'", "decimal": ","}, 1234.5),
        ("1\u00a0234 567,5", {"thousands": " ", "decimal": ","}, 1234567.5),
        ("-12.500", {"thousands": "."}, -12500),
        ("1.23", {"thousands": "."}, np.nan),  # not grouped: no number
        ("12.34.567", {"thousands": "."}, np.nan),
        ("1,5e3", {"decimal": ","}, 1500),
    ],
)
def test_marks_that_are_named(tmp_path: Path, cell: str, keys: dict[str, str], value: float) -> None:
    """Numbers in the named form are read; others cost their cell."""
    write(tmp_path, [cell, "7"])
    history = read(tmp_path, separator=";", **keys)
    np.testing.assert_array_equal(history.values[:, 0], [value, 7])
    assert history.notes.count(BAD_CELLS) == int(np.isnan(value))


def test_one_mark_cannot_be_both(tmp_path: Path) -> None:
    """A section that names one mark twice is refused."""
    with pytest.raises(ConfigError, match="thousands and decimal are both ','"):
        read(tmp_path, thousands=",", decimal=",")


HEADERS: list[tuple[str, dict[str, Any]]] = [
    ("time,device,x\n{row}", {}),
    ("sep=;\ntime;device;x\n{row;}", {}),
    ('"sep=;"\ntime;device;x\n{row;}', {"separator": ";"}),
    ("# made by a logger\n# firmware 3\ntime,device,x\n{row}# the end\n", {"comment": "#"}),
    ("Plant north\n\nExport of today, whole\ntime,device,x\n{row}", {"skip_rows": 3}),
    ("time,device,x\n,,[degC]\n{row}", {"skip_after_header": 1}),
    ('"TOA5","st","CR1000"\n"time","device","x"\n"TS","","degC"\n"","","Avg"\n{row}', {}),
    ("{row}", {"header": ["time", "device", "x"]}),
    ("time,device,x,\n{row,}", {}),
    ("time,device,x,,\n{row}", {}),
    ("time,device,x\n{row,}", {}),
    ("time,device,x\r{row}", {}),
]


@pytest.mark.parametrize(("text", "keys"), HEADERS)
def test_what_stands_before_the_rows(tmp_path: Path, text: str, keys: dict[str, Any]) -> None:
    """Preambles, units, a named separator, separators at the end of a line: nothing is lost and nothing noted."""
    row = "2024-03-01T00:00:00Z,p1,1.5\n2024-03-01T01:00:00Z,p1,2.5\n"
    text = (
        text.replace("{row}", row).replace("{row;}", row.replace(",", ";")).replace("{row,}", row.replace("\n", ",\n"))
    )
    (tmp_path / "samples.csv").write_text(text.replace("\n", "\r") if "\r" in text else text)
    history = read(tmp_path, **keys)
    assert (history.devices, history.channels, history.values[:, 0].tolist()) == (("p1",), ("x",), [1.5, 2.5])
    assert str(history.notes) == ""


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("Plant north\nwhole\ntime,device,x\n", "line 3 has the names of the columns; set data.skip_rows = 2"),
        ("# a\n# b\ntime,device,x\n", r"2 lines before .* begin with '#'; set data.comment = \"#\""),
        ("Plant\ntime;device;x\n", r"set data.separator = \";\"; line 2 .* set data.skip_rows = 1"),
    ],
)
def test_where_the_header_is(tmp_path: Path, text: str, remedy: str) -> None:
    """Where a later line has the columns, the message says how to get there."""
    (tmp_path / "samples.csv").write_text(text)
    with pytest.raises(HistoryError, match=remedy):
        read(tmp_path)


def test_fields_too_many_are_still_bad(tmp_path: Path) -> None:
    """Only empty fields at the end of a line are none; a filled one makes it a bad line."""
    (tmp_path / "samples.csv").write_text("time,device,x\n1709251200,p1,1,,\n1709251260,p1,2,,3\n1709251320,p1\n")
    history = read(tmp_path)
    assert (len(history), history.notes.count(BAD_LINES)) == (1, 2)
    assert "5 fields instead of 3" in str(history.notes)


def test_packed_files(tmp_path: Path) -> None:
    """Gzip under any name, a zip archive as the files in it, and one file of an archive by its path."""
    rows = "time,device,x\n1709251200,{0},1\n1709251260,{0},2\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows.format("a").encode()))
    with zipfile.ZipFile(tmp_path / "rest.zip", "w") as archive:
        archive.writestr("b.csv", rows.format("b"))
        archive.writestr("deep/c.csv", rows.format("c") + "bad\n")
    history = read(tmp_path, samples=["*.gz", "*.zip"])
    assert history.devices == ("a", "b", "c")
    assert len(history) == 6
    assert [note.example for note in history.notes] == ["c.csv:4: 'bad': 1 field instead of 3"]
    assert read(tmp_path, samples="rest.zip/deep/c.csv").devices == ("c",)
    assert read(tmp_path, samples="a.csv.gz", device_column="", channels=["x"]).devices == ("a",)


def test_damaged_packages(tmp_path: Path) -> None:
    """They are named, not read halfway."""
    packed = gzip.compress(b"time,device,x\n" + b"1709251200,a,1\n" * 2000)
    (tmp_path / "samples.csv").write_bytes(packed[:-20])
    with pytest.raises(HistoryError, match=r"samples.csv: is packed and damaged"):
        read(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(HistoryError, match=r"x.zip: cannot be read as a zip archive"):
        read(tmp_path, samples="x.zip")


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    """A workbook with a title, dates and two sheets, of which the second has a day and a clock."""
    book = xlsxwriter.Workbook(tmp_path / "plant.xlsx")
    date = book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
    sheets: dict[str, list[list[Any]]] = {
        "telemetry": [["Plant north"], [], ["time", "device", "x"], [45352.0, "p1", 1.5], [], [45352.25, "p1", 2]],
        "notes": [["time", "device", "x"], [45352.5, "p1", 3]],
    }
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for row, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                dated = name == "telemetry" and column == 0 and isinstance(cell, float)
                sheet.write(row, column, cell, date if dated else None)
    book.close()
    return tmp_path


def test_workbooks(workbook: Path) -> None:
    """A sheet is a table; where there are several the section names it; numbers of days are not taken for seconds."""
    keys = {"samples": "plant.xlsx", "time_zone": "UTC"}
    with pytest.raises(HistoryError, match=r"has the sheets 'telemetry', 'notes'; .*data.sheet"):
        read(workbook, **keys)
    history = read(workbook, **keys, sheet="telemetry", skip_rows=2)
    assert history.time_ms.tolist() == [START, START + 6 * 3_600_000]
    assert history.values[:, 0].tolist() == [1.5, 2]
    with pytest.raises(
        HistoryError, match=r"'45352.5' is a day as spreadsheets count them.*set data.time_unit = \"excel\""
    ):
        read(workbook, **keys, sheet="notes")
    assert read(workbook, **keys, sheet="notes", time_unit="excel").time_ms.tolist() == [START + 12 * 3_600_000]
    with pytest.raises(HistoryError, match=r"no sheet 'x'; sheets there: 'telemetry', 'notes'"):
        read(workbook, **keys, sheet="x")


def test_parquet_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is read in parts is the file, with the numbers of its rows."""
    frame = pl.DataFrame(
        {"device": ["a"] * 7, "time": [1709251200 + i for i in range(7)], "x": [1.0 * i for i in range(7)]}
    )
    frame.with_columns(
        pl.when(pl.col("time") == 1709251205).then(None).otherwise(pl.col("time")).alias("time")
    ).write_parquet(tmp_path / "s.parquet")
    for rows in (1, 2, 7, 100):
        monkeypatch.setattr("rarefault.train.history.parsing.frames.PARQUET_ROWS", rows)
        history = read(tmp_path, samples="s.parquet")
        assert history.values[:, 0].tolist() == [0, 1, 2, 3, 4, 6]
        assert "s.parquet: row 6: time is no time" in str(history.notes)
