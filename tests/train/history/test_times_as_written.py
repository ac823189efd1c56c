"""Times as people and programs write them: read right, settled by the data, or refused with the key to set."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import format_ms, parse_time_ms
from rarefault.train.history import History, TableConfig, read_history
from rarefault.train.history.dialect.times import format_of, number_finding, rounded_number
from rarefault.train.history.notes import AMBIGUOUS_TIMES, BAD_LINES, DOUBLED_HOURS, UNORDERED


def read(folder: Path, **keys: Any) -> History:
    """Read a folder with a [data] section of these keys."""
    return read_history(from_mapping({"samples": "samples.csv", **keys}, TableConfig, "[data]"), folder)


def write(folder: Path, times: list[str], device: str = "p1", name: str = "samples.csv", separator: str = ",") -> None:
    """Rows of one device at these times, whose values are 1, 2 and so on."""
    rows = [separator.join((time, device, str(i))) for i, time in enumerate(times, 1)]
    (folder / name).write_text("\n".join([separator.join(("time", "device", "x")), *rows]) + "\n", "utf-8")


def read_one(folder: Path, text: str, **keys: Any) -> str:
    """How one time is read, in UTC."""
    write(folder, [text], separator=";")
    return format_ms(int(read(folder, separator=";", **keys).time_ms[0]))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-03-01 05:06:07 UTC", "2024-03-01T05:06:07.000Z"),
        ("2024-03-01 05:06:07,500", "2024-03-01T05:06:07.500Z"),
        ("2024-03-01T05:06:07.123456789Z", "2024-03-01T05:06:07.123Z"),
        ("2024/03/01 5:06", "2024-03-01T05:06:00.000Z"),
        ("2024.03.01 05:06:07", "2024-03-01T05:06:07.000Z"),
        ("01-Mar-2024 05:06:07", "2024-03-01T05:06:07.000Z"),
        ("1 March 2024 5:06 PM", "2024-03-01T17:06:00.000Z"),
        ("01. Okt 2024 00:00", "2024-10-01T00:00:00.000Z"),
        ("Mar 3, 2024 12:30 am", "2024-03-03T00:30:00.000Z"),
        ("Fri, 01 Mar 2024 05:06:07 GMT", "2024-03-01T05:06:07.000Z"),
        ("20240301T050607Z", "2024-03-01T05:06:07.000Z"),
        ("20240301 0506", "2024-03-01T05:06:00.000Z"),
        ("2024-03-01t05:06:07z", "2024-03-01T05:06:07.000Z"),
        ("13/03/2024 05:06", "2024-03-13T05:06:00.000Z"),
        ("13.03.2024, 05:06:07", "2024-03-13T05:06:07.000Z"),
        ("03/13/2024 05:06:07 p.m.", "2024-03-13T17:06:07.000Z"),
        ("1709251200", "2024-03-01T00:00:00.000Z"),
        ("1709251200123", "2024-03-01T00:00:00.123Z"),
        ("1709251200123456", "2024-03-01T00:00:00.123Z"),
        ("1709251200123456789", "2024-03-01T00:00:00.123Z"),
        ("1.709251200123E+12", "2024-03-01T00:00:00.123Z"),
    ],
)
def test_what_can_be_read_one_way_only(tmp_path: Path, text: str, moment: str) -> None:
    """Needs no key but the zone."""
    assert read_one(tmp_path, text, time_zone="UTC") == moment


@pytest.mark.parametrize(
    ("text", "keys", "moment"),
    [
        ("01/03/2024 05:06", {"time_format": "%d/%m/%Y %H:%M"}, "2024-03-01T05:06:00.000Z"),
        ("01/03/2024 05:06", {"time_format": "%m/%d/%Y %H:%M"}, "2024-01-03T05:06:00.000Z"),
        ("01.03.24 5:06:07,25", {"time_format": "%d.%m.%y %H:%M:%S,%f"}, "2024-03-01T05:06:07.250Z"),
        ("5:06 pm 03/01/2024", {"time_format": "%I:%M %p %m/%d/%Y"}, "2024-03-01T17:06:00.000Z"),
        ("01.03.2024 05:06 +0200", {"time_format": "%d.%m.%Y %H:%M %z"}, "2024-03-01T03:06:00.000Z"),
        ("20240301", {"time_format": "%Y%m%d"}, "2024-03-01T00:00:00.000Z"),
        ("2024030105", {"time_format": "%Y%m%d%H"}, "2024-03-01T05:00:00.000Z"),
        ("202403010506", {"time_format": "%Y%m%d%H%M"}, "2024-03-01T05:06:00.000Z"),
        ("45352.5", {"time_unit": "excel"}, "2024-03-01T12:00:00.000Z"),
        ("45352,5", {"time_unit": "excel", "decimal": ","}, "2024-03-01T12:00:00.000Z"),
        ("43890.5", {"time_unit": "excel1904"}, "2024-03-01T12:00:00.000Z"),
        ("45352.0416666667", {"time_unit": "excel"}, "2024-03-01T01:00:00.000Z"),
        ("20240301", {"time_unit": "s"}, "1970-08-23T06:18:21.000Z"),
        ("5000000000", {"time_unit": "us"}, "1970-01-01T01:23:20.000Z"),
    ],
)
def test_what_the_section_says(tmp_path: Path, text: str, keys: dict[str, str], moment: str) -> None:
    """A format, or what a number counts."""
    assert read_one(tmp_path, text, time_zone="UTC", **keys) == moment


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("01/03/2024 05:06", r"time_format = \"%d/%m/%Y %H:%M\", or data.time_format = \"%m/%d/%Y %H:%M\""),
        ("1.3.2024 5:06:07,5", r"\"%d.%m.%Y %H:%M:%S,%f\", or .*\"%m.%d.%Y %H:%M:%S,%f\""),
        ("01-03-2024 5:06 PM", r"\"%d-%m-%Y %I:%M %p\""),
        ("01/03/24 05:06", r"whose order nobody knows; set data.time_format"),
        ("20240301", r"'20240301' is a day without marks, or a count of s .* \"%Y%m%d\", or data.time_unit = \"s\""),
        ("2024030105", r"\"%Y%m%d%H\", or data.time_unit = \"s\""),
        ("202403010506", r"\"%Y%m%d%H%M\", or data.time_unit = \"ms\""),
        ("20240301050607", r"\"%Y%m%d%H%M%S\", or data.time_unit = \"us\""),
        ("45352,5", r"time_unit = \"excel\", or data.time_unit = \"s\""),
        ("45352.5", r"time_unit = \"excel\", or data.time_unit = \"s\""),
        ("1.70925E+12", r"'1.70925E\+12', which a spreadsheet has rounded"),
        ("2024-03-01 05:06", r"holds times without a time zone; set data.time_zone"),
    ],
)
def test_what_can_be_read_two_ways(tmp_path: Path, text: str, remedy: str) -> None:
    """Is refused, with the readings as they would stand in the section."""
    zone = {} if "zone" in remedy else {"time_zone": "UTC"}
    with pytest.raises(HistoryError, match=remedy):
        read_one(tmp_path, text, **zone)


@pytest.mark.parametrize(("later", "first"), [("13/03/2024 00:00", "2024-03-01"), ("03/13/2024 00:00", "2024-01-03")])
def test_a_thirteenth_month_settles_the_order(tmp_path: Path, later: str, first: str) -> None:
    """Anywhere, in another file as well."""
    write(tmp_path, ["01/03/2024 00:00", "02/03/2024 00:00"])
    write(tmp_path, [later], name="z.csv")
    history = read(tmp_path, samples=["samples.csv", "z.csv"], time_zone="UTC")
    assert format_ms(int(history.time_ms[0])).startswith(first)


def test_both_orders_are_refused(tmp_path: Path) -> None:
    """Files that show one and the other are refused; with a format, a line that does not fit is bad."""
    write(tmp_path, ["01/03/2024 00:00", "13/03/2024 00:00", "03/14/2024 00:00"])
    with pytest.raises(HistoryError, match=r"'13/03/2024 00:00' has the day first and '03/14/2024 00:00' the month"):
        read(tmp_path, time_zone="UTC")
    history = read(tmp_path, time_zone="UTC", time_format="%d/%m/%Y %H:%M")
    assert (len(history), history.notes.count(BAD_LINES)) == (2, 1)
    assert "time is no time in the format '%d/%m/%Y %H:%M'" in str(history.notes)


def test_seconds_that_look_like_days(tmp_path: Path) -> None:
    """Counts of seconds are not refused where some of them are no day."""
    write(tmp_path, ["0", "30000", "90000"])
    assert read(tmp_path).time_ms.tolist() == [0, 30_000_000, 90_000_000]
    assert number_finding(pl.Series(["1709251200", "1709251260"])) is None
    assert number_finding(pl.Series([20240301, 20240332])) is None
    finding = number_finding(pl.Series([20240301.0, 20240302.0]))
    assert finding is not None
    assert finding.value == "%Y%m%d"


@pytest.mark.parametrize(
    ("text", "rounded"),
    [("1.70925E+12", True), ("1.7092512E+09", True), ("1.709251200E+09", False), ("1.709251200E+12", False),
     ("1.70925120E+12", True), ("1e3", False), ("1.709251200000000000e+09", False), ("x", False)],
)  # fmt: skip
def test_rounded_numbers(text: str, rounded: bool) -> None:
    """A time that has lost more than its second is known by its digits."""
    assert bool(rounded_number(pl.Series([text]))) == rounded


def test_formats_of_examples() -> None:
    """A proposal is the format of what stands there."""
    assert format_of("1/3/2024", day_first=True) == "%d/%m/%Y"
    assert format_of("01.03.2024 05:06:07.25", day_first=True) == "%d.%m.%Y %H:%M:%S.%f"
    assert format_of("01/03/2024 05:06:07 PM", day_first=False) == "%m/%d/%Y %I:%M:%S %p"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"time_format": "%H:%M"}, "time_format: '%H:%M' has no year"),
        ({"time_format": "%d.%m.%Y %H:%M %Z"}, "names of zones"),
        ({"time_format": "%d.%m.%Y", "time_unit": "s"}, "name one of them"),
        ({"time_unit": "minutes"}, "time_unit: invalid"),
        ({"time_column": ["a", "b", "c"]}, "time_column"),
    ],
)
def test_keys_that_cannot_be_meant(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    """They are refused before anything is read."""
    with pytest.raises(ConfigError, match=problem):
        read(tmp_path, **keys)


def test_date_and_clock_in_two_columns(tmp_path: Path) -> None:
    """Without the clock, days would be all that is left; the message names the column that has it."""
    rows = [f"2024-03-0{day},{hour:02}:00:00,p1,{day * hour}" for day in (1, 2) for hour in range(0, 24, 4)]
    (tmp_path / "samples.csv").write_text("\n".join(["date,clock,device,x", *rows]) + "\n")
    with pytest.raises(HistoryError, match=r"'date' holds days .*set data.time_column = \[\"date\", \"clock\"\]"):
        read(tmp_path, time_column="date", time_zone="UTC")
    history = read(tmp_path, time_column=["date", "clock"], time_zone="UTC")
    assert len(set(history.time_ms.tolist())) == 12
    assert format_ms(int(history.time_ms[-1])) == "2024-03-02T20:00:00.000Z"
    frame = pl.read_csv(tmp_path / "samples.csv", try_parse_dates=True)
    assert frame.schema["clock"] == pl.Time
    frame.write_parquet(tmp_path / "s.parquet")
    same = read(tmp_path, samples="s.parquet", time_column=["date", "clock"], time_zone="UTC")
    assert same.time_ms.tolist() == history.time_ms.tolist()


def test_one_row_a_day_is_fine(tmp_path: Path) -> None:
    """Days without a time of the day are times where each device has one row a day."""
    write(tmp_path, ["2024-03-01", "2024-03-02"])
    assert len(read(tmp_path, time_zone="UTC")) == 2


AUTUMN = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]


def utc(history: History) -> list[str]:
    """Hour and minute of each sample."""
    return [format_ms(int(time))[11:16] for time in history.time_ms]


def test_the_doubled_hour(tmp_path: Path) -> None:
    """The order of the rows tells the hours apart, for each device, in files of either direction."""
    write(tmp_path, [f"2024-10-27 {clock}" for clock in AUTUMN])
    history = read(tmp_path, time_zone="Europe/Berlin", time_format="%Y-%m-%d %H:%M")
    assert utc(history) == ["23:30", "00:00", "00:30", "01:00", "01:30", "02:00"]
    assert history.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert (history.notes.count(DOUBLED_HOURS), history.notes.count(AMBIGUOUS_TIMES)) == (4, 0)
    assert not history.notes.problems()
    write(tmp_path, [f"2024-10-27 {clock}" for clock in reversed(AUTUMN)])
    backwards = read(tmp_path, time_zone="Europe/Berlin")
    assert backwards.time_ms.tolist() == history.time_ms.tolist()
    assert backwards.values[:, 0].tolist() == [6, 5, 4, 3, 2, 1]
    assert backwards.notes.count(UNORDERED) == 5


def test_the_doubled_hour_of_several_devices(tmp_path: Path) -> None:
    """Each has its own order, whether their rows alternate or follow each other."""
    for rows in (
        [f"2024-10-27 {c},{d},1" for c in AUTUMN for d in "ab"],
        [f"2024-10-27 {c},{d},1" for d in "ab" for c in AUTUMN],
    ):
        (tmp_path / "samples.csv").write_text("\n".join(["time,device,x", *rows]) + "\n")
        history = read(tmp_path, time_zone="Europe/Berlin")
        for slot in (0, 1):
            own = history.time_ms[history.device == slot]
            assert set((own[1:] - own[:-1]).tolist()) == {1_800_000}


def test_one_row_an_hour(tmp_path: Path) -> None:
    """Of two rows at 02:00 the second is an hour later."""
    write(tmp_path, [f"2024-10-27 {clock}" for clock in ("01:00", "02:00", "02:00", "03:00")])
    assert utc(read(tmp_path, time_zone="Europe/Berlin")) == ["23:00", "00:00", "01:00", "02:00"]


@pytest.mark.parametrize(
    "clocks",
    [
        ("01:00", "02:30", "03:30"),
        ("02:00", "02:30", "02:10", "02:40", "02:20"),
        ("01:50", "02:00", "02:20", "02:10", "02:30", "02:40"),  # a row out of order
    ],
)
def test_what_the_order_does_not_show(tmp_path: Path, clocks: tuple[str, ...]) -> None:
    """Stays the earlier hour, and is a problem that is noted."""
    write(tmp_path, [f"2024-10-27 {clock}" for clock in clocks])
    history = read(tmp_path, time_zone="Europe/Berlin")
    assert history.notes.count(AMBIGUOUS_TIMES) == sum(clock.startswith("02") for clock in clocks)
    assert max(history.time_ms) <= parse_time_ms("2024-10-27T03:30:00+01:00")
    assert [note.kind for note in history.notes.problems()][-1:] != []


def test_the_doubled_hour_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a block ends does not matter."""
    write(tmp_path, [f"2024-10-27 {clock}" for clock in AUTUMN])
    expected = read(tmp_path, time_zone="Europe/Berlin").time_ms.tolist()
    for size in (1, 30, 50):
        monkeypatch.setattr("rarefault.train.history.parsing.lines.BLOCK_BYTES", size)
        assert read(tmp_path, time_zone="Europe/Berlin").time_ms.tolist() == expected
