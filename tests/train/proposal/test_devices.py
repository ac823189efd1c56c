"""What names a machine: columns, folders, names of files, or nothing."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from tests.train.proposal.conftest import Made

Init = Callable[..., Made]
Put = Callable[..., None]
DAY = datetime(2024, 3, 1)  # noqa: DTZ001 - as workbooks and logs have it


def day(number: int, rows: int = 96) -> list[str]:
    """Lines of one day of one machine."""
    step = timedelta(days=1) / rows
    times = [DAY + timedelta(days=number) + step * i for i in range(rows)]
    return ["time,temp", *(f"{time:%Y-%m-%dT%H:%M:%S}Z,{20 + i % 7}.5" for i, time in enumerate(times))]


def test_a_file_a_day_of_one_machine(init: Init, put: Put) -> None:
    """The days follow each other, so they are one machine's; a pattern takes later days as well."""
    for number in range(3):
        put(f"north/2024-03-0{number + 1}.csv", *day(number))
    made = init("north")
    assert made.data["samples"] == ["north/*.csv"]
    assert made.data["device"] == "north"
    assert "follow each other in time" in made.questions
    put("north/2024-03-10.csv", *day(9))
    assert (made.read().devices, len(made.read())) == (("north",), 4 * 96)


def test_a_folder_a_machine(init: Init, put: Put) -> None:
    """The folder is the device, the days within it are not."""
    for name in ("north", "south"):
        for number in range(2):
            put(f"history/{name}/2024-03-0{number + 1}.csv", *day(number))
    made = init("history")
    assert made.data["samples"] == ["history/{device}/*.csv"]
    assert (made.read().devices, len(made.read())) == (("north", "south"), 4 * 96)


def test_two_sites_with_machines_of_one_name(init: Init, put: Put) -> None:
    """They are four machines, and that is asked about."""
    for site in ("berlin", "wien"):
        for name in ("p1", "p2"):
            put(f"{site}/{name}/log.csv", *day(0))
    made = init("berlin", "wien")
    assert made.read().devices == ("berlin-p1", "berlin-p2", "wien-p1", "wien-p2")
    assert "QUESTION: several folders have a folder of one name" in made.questions


def test_two_sites_in_columns(init: Init, put: Put) -> None:
    """Site and machine together name four machines, whose rows do not overwrite each other."""
    rows = [
        f"2024-03-01T{hour:02}:00:00Z;{site};{name};{hour},5"
        for hour in range(24)
        for site in ("A", "B")
        for name in ("P1", "P2")
    ]
    put("x.csv", "timestamp;Standort;Maschine;Temp", *rows, encoding="utf-16")
    made = init("x.csv")
    assert made.data["device"] == "{Standort}-{Maschine}"
    assert (made.read().devices, len(made.read())) == (("A-P1", "A-P2", "B-P1", "B-P2"), 96)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (("pump_1.csv", "pump_2.csv"), "{device}.csv"),
        (("pump_1_2024-03-01.csv", "pump_2_2024-03-01.csv"), "{device+}_*.csv"),
    ],
)
def test_a_file_a_machine(init: Init, put: Put, names: tuple[str, ...], pattern: str) -> None:
    """Files with the same times are of different machines, named without the day."""
    for name in names:
        put(f"data/{name}", *day(0))
    made = init("data")
    assert made.data["samples"] == [f"data/{pattern}"]
    assert made.read().devices == ("pump_1", "pump_2")


def test_a_file_a_machine_beside_a_log(init: Init, put: Put) -> None:
    """The pattern matches the log as well, which the reader leaves out."""
    for name in ("press1.csv", "press2.csv"):
        put(f"data/{name}", *day(0))
    put("data/log.csv", "machine,start,end,fault", "press1,2024-03-01T04:00:00Z,2024-03-01T06:00:00Z,leak")
    made = init("data")
    assert made.data["samples"] == ["data/{device}.csv"]
    assert (made.read().devices, len(made.read().events)) == (("press1", "press2"), 1)


def test_a_file_a_machine_beside_other_tables(init: Init, put: Put) -> None:
    """No pattern leaves these out, so that each file is a source of its own."""
    for name in ("press1.csv", "press2.csv"):
        put(f"data/{name}", *day(0))
    put("data/machines.csv", "machine,model,age", "press1,x,18", "press2,y,7")
    put("data/log.csv", "machine,start,end,fault", "press2,2024-03-01T04:00:00Z,2024-03-01T06:00:00Z,leak")
    made = init("data")
    assert [source["device"] for source in made.data["sources"]] == ["press1", "press2"]
    assert (made.read().devices, len(made.read().events)) == (("press1", "press2"), 1)


def test_partitions(init: Init, tmp_path: Path) -> None:
    """Folders such as ``machine=a`` name the machine without that word."""
    for name in ("a", "b"):
        for number in range(2):
            folder = tmp_path / f"lake/machine={name}/date=2024-03-0{number + 1}"
            folder.mkdir(parents=True)
            times = [DAY + timedelta(days=number, minutes=15 * i) for i in range(96)]
            pl.DataFrame({"ts": times, "temp": [20.5 + i % 5 for i in range(96)]}).write_parquet(folder / "0.parquet")
    made = init("lake")
    assert made.data["samples"] == ["lake/machine={device}/*/0.parquet"]
    assert made.read().devices == ("a", "b")


def test_rows_that_only_a_column_tells_apart(init: Init, put: Put) -> None:
    """No name says what the column is, but rows of one time do; that is asked about."""
    rows = [f"2024-03-01T{hour:02}:00:00Z,{word},{hour}.5" for hour in range(24) for word in ("left", "right")]
    put("x.csv", "time,where,temp", *rows)
    made = init("x.csv")
    assert made.data["device_column"] == "where"
    assert "several rows have one time, and where tells them apart" in made.questions


def test_a_label_is_no_machine(init: Init, put: Put) -> None:
    """A status has the word machine in its name, too."""
    rows = [
        f"{i},{row.replace(',', ',', 1)},{'BROKEN' if i in {40, 41} else 'NORMAL'}" for i, row in enumerate(day(0)[1:])
    ]
    put("sensor.csv", ",timestamp,sensor_00,machine_status", *rows)
    made = init("sensor.csv")
    assert made.data["label_column"] == "machine_status"
    assert made.data["device"] == "sensor"


def test_files_that_nothing_tells_apart(init: Init, put: Put) -> None:
    """The names in a file that are not days, and times that follow each other: parts of one machine's history."""
    for number, name in enumerate(("part-a", "part-b")):
        put(f"x/{name}.csv", *day(number))
    made = init("x")
    assert made.data["device"] == "x"
    assert len(made.read()) == 192
