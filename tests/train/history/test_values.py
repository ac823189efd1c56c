"""Values that are none: what no float32 holds, codes such as -9999; and events whose ends are days or lacking."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import parse_time_ms
from rarefault.train.history import History, TableConfig, read_history
from rarefault.train.history.notes import (
    FOREIGN_EVENTS,
    NAMED_MISSING,
    OPEN_EVENTS,
    OPEN_LATE,
    OPEN_UNLABELLED,
    TOO_LARGE,
    WHOLE_DAYS,
)
from rarefault.train.history.summary.findings import code_finding
from rarefault.train.history.summary.missing_codes import codes_of
from rarefault.train.runs.sources import adapt

SENTINELS = """\
time,device,temp
2024-03-01T00:00:00Z,p1,20
2024-03-01T01:00:00Z,p1,21
2024-03-01T02:00:00Z,p1,-9999
2024-03-01T03:00:00Z,p1,22
2024-03-01T04:00:00Z,p1,65535
2024-03-01T05:00:00Z,p1,1e+300
2024-03-01T06:00:00Z,p1,23
2024-03-01T07:00:00Z,p1,24
"""
ORDERS = """\
device,start,end,fault
P1,2024-03-02,2024-03-02,bearing
P1,2024-03-05,,seal
P2,2024-03-06,9999-12-31,bearing
P9,2024-03-06,2024-03-07,bearing
"""


def read(folder: Path, **keys: Any) -> History:
    """Read a folder with a [data] section of these keys."""
    return read_history(from_mapping({"samples": "samples.csv", **keys}, TableConfig, "[data]"), folder)


@pytest.fixture
def sentinels(tmp_path: Path) -> Path:
    """A table with two codes and a value that no float32 holds."""
    (tmp_path / "samples.csv").write_text(SENTINELS)
    return tmp_path


def test_what_no_float32_holds_is_missing(sentinels: Path) -> None:
    """It is missing in any case, counted by channel with its first place; strict reading refuses it."""
    history = read(sentinels)
    np.testing.assert_array_equal(history.values[:, 0], [20, 21, -9999, 22, 65535, np.nan, 23, 24])
    (note,) = history.notes
    assert (note.kind, note.count, note.parts) == (TOO_LARGE, 1, {"temp": (1, "samples.csv:7: 1e+300")})
    config = from_mapping({"samples": "samples.csv"}, TableConfig, "[data]")
    with pytest.raises(HistoryError, match=r"1 of 'temp' \(first: samples.csv:7: 1e\+300\)"):
        read_history(config, sentinels, strict=True)


def test_named_codes_are_missing(sentinels: Path) -> None:
    """``missing`` names codes that stand for no value; they are counted, too, and a single one needs no list."""
    history = read(sentinels, missing=[-9999, 65535])
    np.testing.assert_array_equal(history.values[:, 0], [20, 21, -np.inf, 22, -np.inf, np.nan, 23, 24])
    assert history.notes.count(NAMED_MISSING) == 2
    assert read(sentinels, missing=-9999).notes.count(NAMED_MISSING) == 1
    with pytest.raises(ConfigError, match="missing"):
        read(sentinels, missing=["-9999"])


def test_codes_are_a_finding(sentinels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the key, describe names the codes, where they are, and the key."""
    (sentinels / "plant.toml").write_text('[data]\nformat = "table"\nsamples = "samples.csv"\n')
    assert main(["describe", str(sentinels / "plant.toml"), "--json", str(sentinels / "out.json")]) == 0
    (finding,) = [text for text in json.loads((sentinels / "out.json").read_text())["findings"] if "codes" in text]
    assert "-9999 in temp (1 time)" in finding
    assert "65535 in temp (1 time)" in finding
    assert "data.missing = [-9999, 65535]" in finding
    assert finding in capsys.readouterr().out
    assert code_finding(read(sentinels, missing=[-9999, 65535])) is None


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([20.0, 21, 32767, 32767, 22], {32767.0: 2}),
        ([20.0, 8888, 8888, 8888, 21], {8888.0: 3}),  # nobody's code, but repeated and far larger than all else
        ([20.0, 8888, 21], {}),
        ([0.0] * 50 + [980.0, 1000, 990], {}),  # a machine that stands still
        ([9990.0, 9999, 9998, 9999], {}),  # a value among others
        ([0.0, 30000, 65535, 60000], {}),  # a counter of 16 bits that is used in full
        ([-9999.0, -9999], {}),  # nothing else: said as constant
        ([1.0, 2, -999.25, 3.4028234663852886e38], {-999.25: 1, 3.4028234663852886e38: 1}),
    ],
)
def test_what_looks_like_a_code(values: list[float], codes: dict[float, int]) -> None:
    """Codes that devices write, or repeated extremes, far outside of all else; not what machines measure."""
    assert codes_of(np.array([*values, np.nan])) == codes


def test_a_model_takes_the_codes_as_missing_live(tiny_export: Path) -> None:
    """Whoever pushes a code into the pipeline gets the verdicts that a missing value would give."""
    model = load_model(tiny_export / "tiny.onnx")
    rng = np.random.default_rng(3)
    n, c = 400, len(model.manifest.channels)
    time_ms = 1_298_937_600_000 + np.arange(n) * model.manifest.grid.period_ms
    values = rng.normal(700, 10, (n, c))
    holes = rng.random((n, c)) < 0.2
    found = []
    for missing, filler in (((), np.nan), ((-9999.0, 65535.0), -9999.0), ((-9999.0,), np.nan)):
        manifest = model.manifest.from_json(
            model.manifest.to_json().replace('"missing":[]', f'"missing":{list(missing)}')
        )
        assert manifest.missing == missing
        pipeline = Pipeline(manifest, model.step, model.model_id)
        device = np.full(n, pipeline.slot("m"))
        found.append(pipeline.push(device, time_ms, np.where(holes, filler, values)).posterior)
        assert pipeline.named_missing == (holes.sum() if filler == -9999 else 0)
    assert len(found[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Hourly samples of two machines over ten days, and work orders."""
    start = parse_time_ms("2024-03-01T00:00:00Z") // 1000
    rows = [f"{device},{start + 3600 * hour},{hour % 7}" for device in ("P1", "P2") for hour in range(240)]
    (tmp_path / "samples.csv").write_text("device,time,temp\n" + "\n".join(rows) + "\n")
    (tmp_path / "events.csv").write_text(ORDERS)
    return tmp_path


def spans(history: History) -> list[tuple[str, str, int, int]]:
    """Device, fault, start and end of each event, in hours since the first sample."""
    events, first = history.events, int(history.time_ms[0])
    return [
        (history.devices[d], history.classes[f], (a - first) // 3_600_000, (b - first) // 3_600_000)
        for d, f, a, b in zip(
            events.device.tolist(), events.fault.tolist(), events.start_ms.tolist(), events.end_ms.tolist(), strict=True
        )
    ]


def test_open_events_are_asked_about(orders: Path) -> None:
    """An event without an end can be read two ways; the sentence names the line, the key and both."""
    with pytest.raises(HistoryError, match=r"events.csv:3: .*data.open_events to \"last\".*\"unlabelled\""):
        read(orders, events="events.csv", time_zone="UTC")


def test_what_programs_write_for_no_time_is_no_end(orders: Path) -> None:
    """An event whose end is NaT is open like one whose end is empty, no bad line."""
    (orders / "events.csv").write_text(ORDERS.replace("05,,", "05,NaT,").replace("9999-12-31", "<NA>"))
    history = read(orders, events="events.csv", time_zone="UTC", open_events="last")
    assert history.notes.count(OPEN_EVENTS) == 2


def test_open_events_last_to_the_last_sample(orders: Path) -> None:
    """A day is the whole day, open events end with the samples, and a machine without samples is named."""
    history = read(orders, events="events.csv", time_zone="UTC", open_events="last")
    assert spans(history) == [("P1", "bearing", 24, 48), ("P1", "seal", 96, 239), ("P2", "bearing", 120, 239)]
    notes = {note.kind: note for note in history.notes}
    assert {kind: note.count for kind, note in notes.items()} == {WHOLE_DAYS: 2, OPEN_EVENTS: 2, FOREIGN_EVENTS: 1}
    assert list(notes[FOREIGN_EVENTS].parts) == ["P9"]


def test_open_events_are_unlabelled(orders: Path) -> None:
    """Their time is of no class: neither the fault nor normal."""
    history = read(orders, events="events.csv", time_zone="UTC", open_events="unlabelled")
    assert spans(history) == [("P1", "bearing", 24, 48)]
    assert history.classes == ("normal", "bearing")
    assert (history.unlabelled.device.tolist(), history.notes.count(OPEN_UNLABELLED)) == ([0, 1], 2)
    assert history.unlabelled.end_ms.tolist() == [int(history.time_ms[-1])] * 2


def test_days_end_where_the_zone_has_midnight(orders: Path) -> None:
    """The day on which the clocks are set forward has 23 hours."""
    (orders / "events.csv").write_text("device,start,end,fault\nP1,2024-03-31,2024-03-31,seal\n")
    history = read(orders, events="events.csv", time_zone="Europe/Zurich")
    assert history.events.end_ms[0] - history.events.start_ms[0] == 23 * 3_600_000


def test_open_events_after_the_last_sample(orders: Path) -> None:
    """They label nothing and are counted."""
    (orders / "events.csv").write_text("device,start,end,fault\nP1,2025-01-01T00:00:00Z,,seal\n")
    history = read(orders, events="events.csv", open_events="last")
    assert (len(history.events), history.notes.count(OPEN_LATE)) == (0, 1)


def test_label_takes_a_log_with_open_events(tmp_path: Path) -> None:
    """``rarefault label`` asks about them as a history does, and lets them last to the journal's last sample."""
    journal = Journal(tmp_path / "edge.journal", ("temp",), "normal")
    journal.begin()
    number = journal.add_device("P1")[0]
    first = parse_time_ms("2024-03-01T00:00:00Z")
    journal.append(np.full(48, number, np.int32), first + 3_600_000 * np.arange(48), np.ones((48, 1)), 0)
    journal.commit()
    journal.close()
    (tmp_path / "log.csv").write_bytes("device,start,end,fault\nP1,2024-03-02T00:00:00Z,,Störung\n".encode("cp1252"))
    command = [
        "label",
        str(tmp_path / "edge.journal"),
        "--log",
        str(tmp_path / "log.csv"),
        "-o",
        str(tmp_path / "o.csv"),
    ]
    assert main([*command, "--encoding", "cp1252"]) == 1
    assert main([*command, "--encoding", "cp1252", "--open-events", "last"]) == 0
    assert "P1,2024-03-02T00:00:00.000Z,2024-03-02T23:00:00.000Z,Störung" in (tmp_path / "o.csv").read_text("utf-8")


def test_new_data_lacks_what_the_model_takes_as_missing(sentinels: Path, tiny_export: Path) -> None:
    """A retraining without the key goes on with the codes of the model that it starts from."""
    tiny = load_model(tiny_export / "tiny.onnx").manifest
    manifest = msgspec.structs.replace(tiny, channels=("temp",), counters=(), missing=(-9999.0,))
    history = adapt(read(sentinels), manifest, "the new data", "the run")
    np.testing.assert_array_equal(history.values[:, 0], [20, 21, -np.inf, 22, 65535, np.nan, 23, 24])
