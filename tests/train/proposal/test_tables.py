"""Kinds of tables and columns: logs, labels, states, counters, units, sheets; what is left open, what is said."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter
from tests.train.proposal.conftest import Made

from rarefault.runtime.errors import HistoryError

Init = Callable[..., Made]
Put = Callable[..., None]
START = datetime(2024, 3, 1)  # noqa: DTZ001 - as workbooks and logs have it


def telemetry(rows: int = 300, form: str = "%Y-%m-%dT%H:%M:%SZ", device: str = "p1") -> list[str]:
    """Lines of a sample every ten minutes."""
    times = [START + timedelta(minutes=10 * i) for i in range(rows)]
    return ["time,device,temp", *(f"{time:{form}},{device},{20 + i * 7 % 11}.5" for i, time in enumerate(times))]


def test_units_states_counters_and_text(init: Init, put: Put) -> None:
    """A line of units, comments before the header, words that are states, a meter, a column of remarks."""
    rows = [
        f"{START + timedelta(minutes=i):%Y-%m-%dT%H:%M:%S}Z,m1,{50 + i % 9}.1,{1000 + i * 0.8:.1f},"
        f"{('OPEN', 'SHUT', 'AUTO')[i // 50 % 3]},seen by {i}"
        for i in range(400)
    ]
    head = ("# export", "# of 2024", "time,machine,power,meter,valve,note", "ISO,-,kW,kWh,-,-")
    put("x.csv", *head, *rows)
    made = init("x.csv")
    assert (made.data["comment"], made.data["skip_after_header"]) == ("#", 1)
    assert made.data["counters"] == ["meter"]
    channels = made.keys["channels"]
    assert channels["power"] == {"unit": "kW"}
    assert channels["valve"] == {"states": {"AUTO": 0, "OPEN": 1, "SHUT": 2}}
    assert "'note' hold(s) text" in made.questions
    assert set(made.read().channels) == {"power", "meter", "valve"}


def test_constant_and_empty_channels_are_said(init: Init, put: Put) -> None:
    """They stay channels."""
    put("x.csv", "time,device,temp,zero,none", *(f"{line},0," for line in telemetry(48)[1:]))
    made = init("x.csv")
    assert "'zero (0)', 'none (empty)' never change(s)" in made.questions


def test_a_list_of_anomalies(init: Init, put: Put) -> None:
    """Starts and ends without a header, as Lookout for Equipment takes them: all events are of one fault."""
    put("data.csv", *telemetry())
    put("labels.csv", "2024-03-01T04:00:00.000000Z,2024-03-01T06:00:00.000000Z",
        "2024-03-02T04:00:00.000000Z,2024-03-02T05:30:00.000000Z")  # fmt: skip
    made = init("data.csv", "labels.csv")
    assert made.data["events"]["header"] == ["start", "end"]
    assert made.data["events"]["fault"] == "fault"
    assert "no column tells kinds of faults apart" in made.questions
    assert len(made.read().events) == 2


CMMS = (
    "Asset;Reported at;Closed at;Code;Comment",
    'p1;01.03.2024 04:00;01.03.2024 06:00;BEAR;"hot; replaced"',
    "p1;02.03.2024 04:00;02.03.2024 05:00;INSP;",
)


def test_a_log_in_another_zone_than_the_samples_stays_open(init: Init, put: Put) -> None:
    """Samples have offsets and events none: a wrong zone would move all events, so the reader refuses until told."""
    put("data.csv", *telemetry())
    put("orders.csv", *CMMS)
    made = init("data.csv", "orders.csv")
    assert "time_zone" not in made.data["events"]
    assert made.data["events"]["ignore"] == ["INSP"]
    assert "'INSP' (1) look like work that is no fault" in made.questions
    with pytest.raises(HistoryError, match=r"data\.events\.time_zone"):
        made.read()
    history = init("data.csv", "orders.csv", time_zone="Europe/Berlin").read()
    assert history.events.start_ms.tolist() == [int(datetime.fromisoformat("2024-03-01T03:00:00Z").timestamp() * 1000)]
    # The file shows the preview as if it were UTC, and says so.
    assert "which is open" in made.proposal.previews[0].title


def test_the_samples_show_the_order_of_a_logs_days(init: Init, put: Put) -> None:
    """Read the other way, the events would lie outside of the samples."""
    put("data.csv", *telemetry(form="%Y-%m-%d %H:%M:%S"))
    rows = [f"p1;0{d}.03.2024 0{h}:00;0{d}.03.2024 0{h + 1}:00;BEAR;" for d in (1, 2) for h in (1, 4, 7)]
    put("orders.csv", CMMS[0], *rows)
    made = init("data.csv", "orders.csv")
    assert made.data["time_zone"] == "UTC"
    assert made.data["events"]["time_format"] == "%d.%m.%Y %H:%M"
    assert "12 of 12 times of events are within the samples" in made.questions
    assert len(made.read().events) == 6


def days(count: int = 20) -> list[str]:
    """Lines of a sample every four hours."""
    times = [START + timedelta(hours=4 * i) for i in range(6 * count)]
    return ["time,device,temp", *(f"{time:%Y-%m-%d %H:%M:%S},p1,{20 + i * 7 % 11}.5" for i, time in enumerate(times))]


def test_days_of_a_far_future_are_ends_of_open_events(init: Init, put: Put) -> None:
    """A day without a clock, of digits and points alone, among times with one."""
    put("data.csv", *days())
    put("orders.csv", *CMMS, "p1;13.03.2024 04:00;31.12.9999;SEAL;", "p1;14.03.2024 04:00;;SEAL;")
    made = init("data.csv", "orders.csv")
    assert made.data["events"]["end_column"] == "Closed at"
    assert made.data["events"]["open"] == "unlabelled"
    history = made.read()
    assert (len(history.events), len(history.unlabelled.device)) == (1, 2)


def test_a_comment_of_several_lines_hides_no_names(init: Init, put: Put) -> None:
    """Most lines are parts of comments, and have fewer fields than the one with the names."""
    put("data.csv", *telemetry())
    rows = [f'p1,2024-03-0{day}T04:00:00Z,2024-03-0{day}T05:00:00Z,BEAR,"hot,\nloud,\nreplaced"' for day in (1, 2)]
    put("orders.csv", "Asset,Reported at,Closed at,Code,Comment", *rows)
    made = init("data.csv", "orders.csv")
    assert made.data["events"]["fault_column"] == "Code"
    assert len(made.read().events) == 2


def test_a_column_of_a_workbook_that_is_mostly_empty(init: Init, put: Put, tmp_path: Path) -> None:
    """The names are in the first row, though most rows end before the last of them."""
    put("data.csv", *telemetry(form="%Y-%m-%d %H:%M:%S"))
    with xlsxwriter.Workbook(str(tmp_path / "orders.xlsx")) as book:
        form = book.add_format({"num_format": "dd.mm.yyyy hh:mm"})
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["Asset", "Reported at", "Closed at", "Code", "Comment"])
        for i in range(4):
            sheet.write(i + 1, 0, "p1")
            sheet.write_datetime(i + 1, 1, START + timedelta(hours=9 * i + 1), form)
            sheet.write_datetime(i + 1, 2, START + timedelta(hours=9 * i + 2), form)
            sheet.write_row(i + 1, 3, ["BEAR", "hot"] if i == 2 else ["BEAR"])
    made = init("data.csv", "orders.xlsx")
    assert "skip_rows" not in made.data["events"]
    assert made.data["events"]["start_column"] == "Reported at"
    assert len(made.read().events) == 4


def test_the_open_order_of_a_day_beside_its_clock(init: Init, put: Put) -> None:
    """The formats to choose from read day and clock together, and so does the preview."""
    put("data.csv", "Datum;Uhrzeit;temp", *(f"0{1 + i // 24}.03.2024;{i % 24:02}:00:00;{i % 7}" for i in range(72)))
    made = init("data.csv")
    assert 'time_format = "%d.%m.%Y %H:%M:%S"' in made.questions
    assert made.proposal.previews
    assert "cannot be read" not in made.questions


def test_log_and_samples_in_sheets_of_one_workbook(init: Init, tmp_path: Path) -> None:
    """A title above the header, a sheet of samples, one of events, one of nothing."""
    with xlsxwriter.Workbook(str(tmp_path / "halle.xlsx")) as book:
        form = book.add_format({"num_format": "dd.mm.yyyy hh:mm"})
        sheet = book.add_worksheet("Daten")
        sheet.write(0, 0, "Messdaten Halle 3")
        sheet.write_row(2, 0, ["Zeit", "Anlage", "Druck [bar]"])
        for i in range(200):
            sheet.write_datetime(3 + i, 0, START + timedelta(minutes=10 * i), form)
            sheet.write_row(3 + i, 1, ["A1", 5 + i % 7 / 10])
        sheet = book.add_worksheet("Störungen")
        sheet.write_row(0, 0, ["Anlage", "Von", "Bis", "Fehler"])
        for i in range(3):
            sheet.write(i + 1, 0, "A1")
            sheet.write_datetime(i + 1, 1, START + timedelta(hours=9 * i + 1), form)
            sheet.write_datetime(i + 1, 2, START + timedelta(hours=9 * i + 2), form)
            sheet.write(i + 1, 3, "Leck")
        book.add_worksheet("Notizen").write(0, 0, "nichts")
    made = init("halle.xlsx")
    assert (made.data["sheet"], made.data["skip_rows"], made.data["events"]["sheet"]) == ("Daten", 2, "Störungen")
    history = made.read()
    assert (history.channels, len(history), len(history.events)) == (("Druck [bar]",), 200, 3)


def test_files_of_two_kinds(init: Init, put: Put) -> None:
    """Two sources of one history, with one log for both, whose events count once."""
    put("a.csv", *telemetry())
    put("b.csv", "Zeit;Maschine;Druck", *(line.replace(",", ";").replace(".5", ",5") for line in telemetry(100)[1:]))
    put("log.csv", "machine,start,end,fault", "p1,2024-03-01T04:00:00Z,2024-03-01T06:00:00Z,leak")
    made = init("a.csv", "b.csv", "log.csv")
    assert made.data["format"] == "together"
    history = made.read()
    assert (set(history.channels), len(history.events)) == ({"temp", "Druck"}, 1)


def test_files_of_one_kind_with_and_without_special_letters(init: Init, put: Put) -> None:
    """Text that is the same in both encodings is of the kind of the others."""
    put("d/a.csv", *telemetry(device="Kuehler"))
    put("d/b.csv", *telemetry(device="Kühler"), encoding="cp1252")
    made = init("d")
    assert (made.data["samples"], made.data["encoding"]) == (["d/*.csv"], "cp1252")
    assert made.read().devices == ("Kuehler", "Kühler")


def test_days_of_a_spreadsheet_with_a_comma(init: Init, put: Put) -> None:
    """They may be seconds as well, so the unit stays open; the column is found all the same."""
    put("x.csv", "Date;device;temp", *(f"{45352 + i / 144:.6f};p1;{i % 9},5".replace(".", ",") for i in range(200)))
    made = init("x.csv")
    assert made.data["time_column"] == "Date"
    assert "# time_unit = ..." in made.text
    assert 'time_unit = "excel"' in made.questions


def test_tags_without_a_machine(init: Init, put: Put) -> None:
    """They are channels of the only machine, not machines."""
    rows = [
        f"{name};{time};{i % 7},5"
        for i, time in enumerate(line.partition(",")[0] for line in telemetry(60)[1:])
        for name in ("TEMP_01", "FLOW_01", "PRESS")
    ]
    put("x.csv", "Tag;Zeitstempel;Wert", *rows)
    made = init("x.csv")
    assert (made.data["tag_column"], made.data["value_column"]) == ("Tag", "Wert")
    assert "if these are machines and not what is measured" in made.questions
    assert set(made.read().channels) == {"TEMP_01", "FLOW_01", "PRESS"}
    assert made.read().devices == ("x",)


def test_truth_values_are_labels_by_their_name(init: Init, put: Put) -> None:
    """What is on and off is a channel, an anomaly of 0.0 and 1.0 a label."""
    rows = [f"{line},{str(i % 40 < 20).lower()},{float(100 < i < 130)}" for i, line in enumerate(telemetry()[1:])]
    put("x.csv", telemetry()[0] + ",pump_on,anomaly", *rows)
    made = init("x.csv")
    assert made.data["label_column"] == "anomaly"
    assert made.read().channels == ("temp", "pump_on")


def test_names_of_channels_may_have_words_of_labels(init: Init, put: Put) -> None:
    """Values decide."""
    rows = [f"{line.rpartition(',')[0]},{i % 7}.5,{i % 5}" for i, line in enumerate(telemetry(60)[1:])]
    put("x.csv", "time,device,Label Printer Temp,class_room_temp", *rows)
    made = init("x.csv")
    assert "label_column" not in made.data
    assert made.read().channels == ("Label Printer Temp", "class_room_temp")


def test_truth_values_of_parquet(init: Init, tmp_path: Path) -> None:
    """A Boolean column is a label by its name alone."""
    times = [START + timedelta(minutes=10 * i) for i in range(100)]
    frame = {"ts": times, "temp": [i % 7 + 0.5 for i in range(100)], "on": [i % 20 < 10 for i in range(100)]}
    pl.DataFrame({**frame, "anomaly": [40 < i < 60 for i in range(100)]}).write_parquet(tmp_path / "x.parquet")
    made = init("x.parquet")
    assert made.data["label_column"] == "anomaly"
    assert made.read().channels == ("temp", "on")


def test_like_parts_are_said(init: Init, put: Put) -> None:
    """Channels that differ in a prefix alone."""
    rows = [f"{line.split(',')[0]},{i % 5}.5,{i % 7}.5,{i % 3}.5,{i % 4}.5" for i, line in enumerate(telemetry(60)[1:])]
    put("x.csv", "Timestamp,P1_TEMP,P1_FLOW,P2_TEMP,P2_FLOW", *rows)
    assert 'units = ["P1_", "P2_"]' in init("x.csv").questions


def test_a_log_with_one_time_is_said(init: Init, put: Put) -> None:
    """So is a table without times; the samples are proposed all the same."""
    put("telemetry.csv", *telemetry())
    put("failures.csv", "datetime,machine,failure", "2024-03-01T04:00:00Z,p1,comp1", "2024-03-01T08:00:00Z,p1,comp2")
    put("machines.csv", "machine,model,age", "p1,model3,18")
    made = init(".")
    assert "only datetime holds times: add a column with the end" in made.questions
    assert "machines.csv: no column holds times" in made.questions
    assert len(made.read()) == 300


def test_a_label_without_a_word_for_normal(init: Init, put: Put) -> None:
    """The commonest is taken, as a question."""
    words = ["running"] * 200 + ["clogged"] * 40 + ["running"] * 60
    put("x.csv", telemetry()[0] + ",condition", *(f"{a},{b}" for a, b in zip(telemetry()[1:], words, strict=True)))
    made = init("x.csv")
    assert made.data["normal"] == ["running"]
    assert made.read().classes == ("normal", "clogged")


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("notes.csv", ("hello", "world"), r"notes.csv: no column holds times"),
        ("rows.csv", ("time,device,temp",), "rows.csv: holds no row below"),
        ("log.csv", ("device,start,end,fault", "p1,2024-03-01T04:00Z,2024-03-01T05:00Z,leak"), "is a log of events"),
        ("empty.csv", ("",), r"empty.csv: the file is empty"),
    ],
)
def test_what_cannot_be_used_is_named(init: Init, put: Put, name: str, lines: tuple[str, ...], message: str) -> None:
    """The error names the file and what to do."""
    put(name, *lines)
    with pytest.raises(HistoryError, match=message):
        init(name)


def test_a_refusal_of_the_reader_becomes_a_question(init: Init, put: Put) -> None:
    """Rows of one day without times of the day cannot be read, and the file says why."""
    put("x.csv", "date,device,temp", *(f"2024-03-0{1 + i % 3},p1,{i}.5" for i in range(12)))
    made = init("x.csv")
    assert "this cannot be read like this" in made.questions
    assert "days without a time of the day" in made.questions
    assert "rarefault-init" not in made.text  # the names are those of the real files


def test_a_log_of_durations_is_no_telemetry(init: Init, put: Put) -> None:
    """It is left out and said, with what to do."""
    put("samples.csv", *telemetry())
    put("log.csv", "device,start,duration_min,fault", *(f"p1,2024-03-0{i}T05:00:00Z,{30 + i},leak" for i in (1, 2)))
    made = init("samples.csv", "log.csv")
    assert "log.csv: looks like a log of events, but only start holds times" in made.questions
    assert len(made.read()) == 300


def test_samples_without_names_lose_no_row(init: Init, put: Put) -> None:
    """The first line holds a time and words that come again: it is a row."""
    put("s.csv", *(f"2024-03-01T{i:02d}:00:00Z,p{i % 2},20.5,{i}" for i in range(24)))
    made = init("s.csv")
    assert made.data["header"][0] == "time"
    history = made.read()
    assert (len(history), history.devices) == (24, ("p0", "p1"))
