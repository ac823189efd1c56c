"""Small files as plants have them: ``rarefault init --yes`` gives the right history, or leaves the file to a person."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.train.proposal.conftest import Made

from rarefault.runtime.cli import main
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.times import format_ms, parse_time_ms
from rarefault.train.history import read_history
from rarefault.train.history.notes import FOREIGN_EVENTS

HOUR_MS = 3_600_000
START = parse_time_ms("2024-03-01T00:00:00Z")
Init = Callable[..., Made]
Put = Callable[..., None]


def hours(row: str, count: int, first: int = 0) -> list[str]:
    """Rows of an hour each; ``{i}`` is the number, ``{t}`` the time."""
    return [row.format(i=i, t=f"2024-03-{1 + i // 24:02}T{i % 24:02}:00:00") for i in range(first, first + count)]


def test_decimal_commas_are_found(init: Init, put: Put) -> None:
    """Separator, comma, German names: no key is asked for."""
    rows = [f"2024-03-01T{i:02}:00:00+01:00;P1;{(30 + i) / 10:.1f};20,5".replace(".", ",") for i in range(12)]
    put("decimal_comma.csv", "Zeit;Maschine;Druck;Strom", *rows)
    made = init("decimal_comma.csv")
    assert made.data == {
        "format": "table",
        "samples": ["decimal_comma.csv"],
        "separator": ";",
        "decimal": ",",
        "time_column": "Zeit",
        "device_column": "Maschine",
    }
    history = made.read()
    assert (history.devices, history.channels) == (("P1",), ("Druck", "Strom"))
    np.testing.assert_allclose(history.values[:, 0], 3.0 + np.arange(12) / 10)


def test_thousands_stay_open(init: Init, put: Put) -> None:
    """``1.000`` is one or a thousand: the key stands in a comment, and the reader refuses until somebody answers."""
    values = ["985", "991", "999", "1.000", "1.004", "12.500", "998"]
    put("thousands.csv", "time;device;rpm", *(f"2024-03-01T{i:02}:00:00Z;p1;{v}" for i, v in enumerate(values)))
    made = init("thousands.csv")
    assert "thousands" not in made.data
    assert "decimal" not in made.data
    assert "'1.000' beside '985', which is 1.000 or 1000" in made.questions
    with pytest.raises(HistoryError, match=r"data\.thousands"):
        made.read()
    made.path.write_text(made.text.replace("# thousands = ...", 'thousands = "."'), "utf-8")
    assert made.read().values[:, 0].tolist() == [985, 991, 999, 1000, 1004, 12500, 998]


def test_the_order_of_days_is_read_off(init: Init, put: Put) -> None:
    """1, 2, 13 and 14 March."""
    rows = [f"{day:02}/03/2024 {hour:02}:30,p1,{day}.{hour:02}" for day in (1, 2, 13, 14) for hour in (0, 6, 12, 18)]
    put("day_first.csv", "time,device,temp", *rows)
    history = init("day_first.csv").read()
    days = [format_ms(int(time))[:10] for time in history.time_ms]
    assert days == [f"2024-03-{day:02}" for day in (1, 2, 13, 14) for _ in range(4)]


def test_an_order_that_no_row_shows_stays_open(init: Init, put: Put) -> None:
    """Samples of 1 to 3 March, or of January to March: neither is taken."""
    put("x.csv", "time,device,temp", *(f"0{1 + i % 3}/0{1 + i % 3}/2024 {i:02}:00,p1,{i}.5" for i in range(12)))
    made = init("x.csv")
    assert "# time_format = ..." in made.text
    with pytest.raises(HistoryError, match="time_format"):
        made.read()


def test_day_and_clock_in_two_columns(init: Init, put: Put) -> None:
    """12 rows at 12 times."""
    rows = [f"2024-03-{1 + i // 6:02},{i % 6 * 4:02}:00:00,p1,{10 + 4 * i}" for i in range(12)]
    put("two_columns.csv", "date,clock,device,temp", *rows)
    made = init("two_columns.csv")
    assert made.data["time_column"] == ["date", "clock"]
    assert made.read().time_ms.tolist() == [START + 4 * HOUR_MS * i for i in range(12)]


AUTUMN = ("2024-10-27 01:30", "2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 02:00", "2024-10-27 02:30",
          "2024-10-27 03:00")  # fmt: skip


def test_clocks_that_are_set_back(init: Init, put: Put) -> None:
    """Read as UTC, rows contradict each other, so the zone stays open; a named one settles it."""
    put("autumn.csv", "time,device,temp", *(f"{time},p1,{i}" for i, time in enumerate(AUTUMN, 1)))
    made = init("autumn.csv")
    assert "time_zone" not in made.data
    assert "2 row(s) contradict an earlier one" in made.questions
    with pytest.raises(HistoryError, match="time_zone"):
        made.read()
    history = init("autumn.csv", time_zone="Europe/Berlin").read()
    first = parse_time_ms("2024-10-26T23:30:00Z")
    assert history.time_ms.tolist() == [first + HOUR_MS // 2 * i for i in range(6)]
    assert history.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_tags_of_a_historian(init: Init, put: Put) -> None:
    """Devices and channels are parts of tags; what is of no good quality is missing."""
    rows = [
        f"PLANT.{machine}.{channel},{time},{value},{'Bad' if (i, channel) == (3, 'TEMP') else 'Good'}"
        for i, time in enumerate(row.split(",")[0] for row in hours("{t}Z,", 6))
        for machine, value in (("P1", 100 + i), ("P2", 200 + i))
        for channel in ("TEMP", "FLOW")
    ]
    put("historian_long.csv", "tag,timestamp,value,quality", *rows)
    history = init("historian_long.csv").read()
    assert (history.devices, history.channels, len(history)) == (("P1", "P2"), ("TEMP", "FLOW"), 12)
    assert np.isnan(history.values).sum(axis=0).tolist() == [2, 0]


def test_codes_for_no_value(init: Init, put: Put) -> None:
    """They are named with their counts, as a question, and taken for missing."""
    values = ["20", "21", "-9999", "22", "65535", "1e300", "23", "24"]
    put("sentinel.csv", "time,device,temp", *(f"2024-03-01T0{i}:00:00Z,p1,{v}" for i, v in enumerate(values)))
    made = init("sentinel.csv")
    assert made.data["missing"] == [-9999, 65535]
    assert "-9999 in temp: 1 times" in made.questions
    assert (~np.isfinite(made.read().values[:, 0])).sum() == 3


ORDERS = (
    "Asset;Reported;Closed;Code",
    "P1;2024-03-02;2024-03-02;bearing",
    "P1;2024-03-05;;seal",
    "P2;2024-03-06;9999-12-31;bearing",
    "P9;2024-03-06;2024-03-07;bearing",
)


def test_work_orders(init: Init, put: Put) -> None:
    """Days last to their end, open ones are unlabelled and said, a machine without samples is named."""
    put("samples.csv", "time,device,temp", *(hours("{t}Z,P1,{i}.5", 168) + hours("{t}Z,P2,{i}.5", 168)))
    put("work_orders.csv", *ORDERS)
    made = init("samples.csv", "work_orders.csv")
    events = made.data["events"]
    assert (events["device_column"], events["fault_column"], events["open"]) == ("Asset", "Code", "unlabelled")
    assert "2 event(s) have no end" in made.questions
    assert "of 'P9' no sample was met" in made.questions
    assert "days without a time of the day" in made.questions
    history = made.read()
    assert history.events.start_ms.tolist() == [START + 24 * HOUR_MS]
    assert history.events.end_ms.tolist() == [START + 48 * HOUR_MS]
    assert len(history.unlabelled) == 2
    assert history.notes.count(FOREIGN_EVENTS) == 1


def test_a_column_of_labels(init: Init, put: Put) -> None:
    """NORMAL is normal, BROKEN one event of two hours."""
    rows = [f"{row},{'BROKEN' if i in {10, 11} else 'NORMAL'}" for i, row in enumerate(hours("{t}Z,p1,{i}", 24))]
    put("status_labels.csv", "time,device,temp,machine_status", *rows)
    made = init("status_labels.csv")
    assert made.data["label_column"] == "machine_status"
    history = made.read()
    assert history.classes == ("normal", "BROKEN")
    assert (history.events.end_ms - history.events.start_ms).tolist() == [2 * HOUR_MS]


def test_brackets_in_names(init: Init, put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    """Names stand there as they are, in the file and in the terminal; the unit is read off."""
    rows = [
        f"{row},{'bearing [/outer]' if i in {4, 5} else 'normal'}" for i, row in enumerate(hours("{t}Z,p1,{i}", 24))
    ]
    put("brackets.csv", "time,device,speed [/min],label", *rows)
    made = init("brackets.csv")
    assert made.keys["channels"] == {"speed [/min]": {"unit": "/min"}}
    assert made.read().classes == ("normal", "bearing [/outer]")
    assert main(["init", "brackets.csv", "--yes", "--output", "again.toml"]) == 0
    shown = capsys.readouterr().out
    assert "bearing [/outer]" in shown
    assert Path("again.toml").read_text("utf-8") == made.text


def test_the_command_keeps_what_is_there(init: Init, put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that exists is not written over, and is no source."""
    put("a.csv", "time,device,temp", *hours("{t}Z,p1,{i}.5", 24))
    init("a.csv")
    assert main(["init", "a.csv", "--yes"]) != 0
    assert "plant.toml exists" in capsys.readouterr().err
    assert main(["init", ".", "--yes", "--force"]) == 0
    assert "plant.toml are no tables" not in Path("plant.toml").read_text("utf-8")


def test_recordings_of_nothing_are_said(init: Init, put: Put) -> None:
    """A recording without telemetry is refused if it is alone; beside tables it is left out and said."""
    put("r.jsonl", '{"topic": "a/b", "payload": "1"}')
    with pytest.raises(HistoryError, match=r"r.jsonl: of 0 messages none looks like telemetry.*rarefault presets"):
        init("r.jsonl")
    put("a.csv", "time,device,temp", *hours("{t}Z,p1,{i}.5", 24))
    made = init("a.csv", "r.jsonl")
    assert "r.jsonl: of 0 messages none looks like telemetry" in made.questions
    assert len(read_history(made.config.data, made.path.parent)) == 24
