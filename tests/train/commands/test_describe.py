"""``rarefault describe``: its tables, its JSON, and what it refuses."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.evaluation.wording import duration
from rarefault.train.history import Events, History, ReadNotes
from rarefault.train.history.summary import summarise as summary_module
from rarefault.train.history.summary.summarise import overlapping, summarise

MINUTE_MS = 60_000


def write_config(path: Path, text: str) -> Path:
    """A configuration file of this text."""
    path.write_text(text)
    return path


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """A table of two pumps on a grid of one minute: a gap, a constant, an empty and a growing channel, one leak."""
    rows = ["device,time,flow,same,none,energy"]
    for minute in [*range(30), *range(90, 120)]:
        rows.append(f"pump 1,{1298937600 + 60 * minute},{minute},7,,{100 + minute}")
        rows.append(f"pump 2,{1298937600 + 60 * minute + 30},{-minute},7,,{200 + 2 * minute}")
    rows.append(rows[-1])
    (tmp_path / "samples.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "events.csv").write_text(
        "device,start,end,fault\n"
        f"pump 1,{1298937600 + 60 * 10},{1298937600 + 60 * 14},leak\n"
        f"pump 1,{1298937600 + 60 * 12},{1298937600 + 60 * 16},leak\n"
        f"pump 2,{1298937600 + 60 * 50},{1298937600 + 60 * 51},worn\n"
    )
    return write_config(
        tmp_path / "plant.toml",
        """
        [data]
        format = "table"
        samples = ["samples.csv"]
        events = "events.csv"
        counters = ["energy"]
        [grid]
        period_s = 60
        max_hold_s = 120
        max_gap_s = 600
        [window]
        length = 16
        """,
    )


def described(config: Path, *arguments: str) -> dict[str, Any]:
    """The JSON result of a run that succeeds."""
    target = config.with_suffix(".json")
    assert main(["describe", str(config), "--json", str(target), *arguments]) == 0
    result: dict[str, Any] = json.loads(target.read_text())
    return result


def test_json_result(plant: Path) -> None:
    """Devices, channels, classes, notes and findings of a small history are as they were made."""
    result = described(plant)
    assert (result["samples"], result["events"], result["period_s"]) == (120, 3, 60.0)
    assert [device["name"] for device in result["devices"]] == ["pump 1", "pump 2"]
    assert result["devices"][0] == {
        "name": "pump 1",
        "samples": 60,
        "start": "2011-03-01T00:00:00.000Z",
        "end": "2011-03-01T01:59:00.000Z",
        "longest_gap_s": 61 * 60.0,
        "longest_gap_start": "2011-03-01T00:29:00.000Z",
        "gaps": 1,
        "bins": 59,  # the last bin never closes: nothing comes after it
    }
    channels = {channel["name"]: channel for channel in result["channels"]}
    assert channels["flow"]["minimum"] == -119
    assert channels["flow"]["maximum"] == 119
    assert channels["flow"]["missing"] == 0
    assert (channels["flow"]["interval_s"], channels["flow"]["interval_p90_s"]) == (60.0, 60.0)
    assert channels["flow"]["reports"] == "steady"
    assert (channels["none"]["interval_s"], channels["none"]["reports"]) == (None, "")
    assert result["log_shift"]["kind"] == "none"
    assert result["log_shift"]["text"].startswith("not looked for")
    assert channels["same"]["finding"] == "constant"
    assert channels["none"]["finding"] == "never reported"
    assert channels["none"]["missing"] == 1
    assert channels["energy"]["counter"] is True
    assert channels["energy"]["missing"] == pytest.approx(4 / 118)  # the first bin of each segment has no increase
    classes = {item["name"]: item for item in result["classes"]}
    assert classes["leak"]["events"] == 2
    assert classes["leak"]["overlapping"] == 1
    assert classes["leak"]["total_s"] == 480
    assert classes["leak"]["median_s"] == 240
    assert classes["leak"]["bins"] == 6
    assert classes["normal"]["bins"] == 118 - 6
    assert classes["normal"]["proportion"] == pytest.approx(112 / 118)
    assert result["overlapping"] == pytest.approx(2 / 3)
    assert [(note["kind"], note["count"]) for note in result["notes"]] == [("duplicate rows, dropped", 1)]
    assert any(text.startswith("channel none is never reported") for text in result["findings"])
    assert any(text.startswith("channel same is constant (7)") for text in result["findings"])
    assert any(text.startswith("class worn labels no bin of the grid") for text in result["findings"])
    assert any(
        text.startswith("class leak has 2 event(s) or blocks of long events, fewer than the 5 folds")
        for text in result["findings"]
    )


def test_tables(plant: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables name what was found, in words and units a person reads."""
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["describe", str(plant)]) == 0
    text = capsys.readouterr().out
    for part in ("2 device(s), 120 samples", "1.02 h", "2011-03-01 00:29", "gaps > 10 min", "4 channels", "counter",
                 "never reported", "3 events, 67 % overlap another (label: rarest)", "on a grid of 1 min", "94.92 %",
                 "duplicate rows, dropped", "samples.csv:122", "note: channel same is constant"):  # fmt: skip
        assert part in text


def test_json_on_standard_output(plant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json - standard output is JSON alone; the tables go to standard error."""
    assert main(["describe", str(plant), "--json", "-"]) == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)["samples"] == 120
    assert "pump 1" in streams.err


def test_period(plant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--period describes the classes on another grid; an impossible one is bad usage."""
    assert described(plant, "--period", "120")["devices"][0]["bins"] == 29
    assert described(plant, "--period", "7200")["max_gap_s"] == 7200
    with pytest.raises(SystemExit, match="2"):
        main(["describe", str(plant), "--period", "0"])
    assert "must be a whole number of milliseconds, at least 0.001 s, got 0" in capsys.readouterr().err


def test_strict_and_other_errors(plant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--strict fails on the duplicate row with exit 1; a missing file does too; an unknown key is exit 2."""
    assert main(["describe", str(plant), "--strict"]) == 1
    assert "1 duplicate rows, dropped (first: samples.csv:122: " in capsys.readouterr().err
    (plant.parent / "events.csv").unlink()
    assert main(["describe", str(plant)]) == 1
    assert "data.events: there is no file" in capsys.readouterr().err
    assert main(["describe", str(write_config(plant, '[data]\nformat = "phm2015"\npaht = "x"\n'))]) == 2
    assert "data.paht: unknown key; did you mean 'path'" in capsys.readouterr().err


def test_a_fault_log_alone(tmp_path: Path) -> None:
    """Only plant_Nc.csv: events and proportions over the log's own span, or over [start, end) where it is given."""
    (tmp_path / "plant_1c.csv").write_text(
        "2011-03-01 00:00:00,2011-03-01 01:00:00,1\n2011-03-01 03:00:00,2011-03-01 04:00:00,2\n"
    )
    text = '[data]\nformat = "phm2015"\npath = "."\nplants = [1]\ntime_shift_s = 0\n'
    result = described(write_config(tmp_path / "log.toml", text))
    assert result["devices"][0]["samples"] == 0
    assert result["devices"][0]["bins"] == 16
    assert [(item["name"], item["bins"]) for item in result["classes"]] == [
        ("normal", 16 - 4 - 4), ("fault_1", 4), ("fault_2", 4),
    ]  # fmt: skip
    assert result["findings"][0] == "there are no samples: a fault log alone can be described, not learnt from"
    limits = "start = 2011-03-01T00:00:00Z\nend = 2011-03-02T00:00:00Z\n"
    result = described(write_config(tmp_path / "log.toml", text + limits))
    assert result["devices"][0]["bins"] == 96
    assert result["devices"][0]["end"] == "2011-03-02T00:00:00.000Z"


def test_plant_1_from_the_command_line(data_dir: Path, tmp_path: Path) -> None:
    """The documented recipe as a configuration gives the quoted proportions of plant 1."""
    config = write_config(
        tmp_path / "plant_1.toml",
        f"""
        [data]
        format = "phm2015"
        path = "{data_dir}/phm2015"
        plants = [1]
        time_shift_s = 0
        overlap = "file order"
        event_times = "rounded"
        start = 2009-08-18T18:00:00Z
        end = 2012-11-09T00:00:00Z
        """,
    )
    shares = [100 * item["proportion"] for item in described(config)["classes"]]
    assert shares == pytest.approx([68.06, 4.83, 3.75, 3.39, 0.06, 0.65, 19.26], abs=0.1)


def test_plant_31_from_the_command_line(data_dir: Path, tmp_path: Path) -> None:
    """Plant 31: the longest gap of a component is 12.8 days, four of five events overlap, component 5 ends in March."""
    config = write_config(tmp_path / "p.toml", f'[data]\nformat = "phm2015"\npath = "{data_dir}/phm2015"\n')
    result = described(config)
    channels = {channel["name"]: channel for channel in result["channels"]}
    assert max(channel["longest_gap_s"] for channel in result["channels"]) / 86400 == pytest.approx(12.8, abs=0.05)
    assert channels["c5.S1"]["last"][:10] == "2011-03-22"
    assert result["overlapping"] == pytest.approx(0.8, abs=0.01)
    assert sum(item["proportion"] for item in result["classes"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("seconds", "offset_s", "finding"),
    [
        ([-8, -5, -3, 2], 0, "100% of the samples come within 45 s of a border of the grid's bins, 75% before and 25%"),
        ([-8, -5, -3, 2], 450, ""),
        ([-8, -5, -3, -2], 0, ""),  # all in one bin
        ([-300, -100, 100, 300], 0, ""),  # evenly over the period
    ],
)
def test_samples_at_the_borders_of_bins(tmp_path: Path, seconds: list[int], offset_s: int, finding: str) -> None:
    """Devices that report at the quarters of the hour, a little too soon or too late, need borders elsewhere."""
    start = datetime(2011, 3, 1, 6, tzinfo=UTC)
    times = [start + timedelta(minutes=15 * i, seconds=seconds[i % 4]) for i in range(1, 41)]
    rows = "".join(f"p,{time.isoformat()},{i}\n" for i, time in enumerate(times))
    (tmp_path / "samples.csv").write_text("device,time,flow\n" + rows)
    config = write_config(
        tmp_path / "p.toml",
        f'[data]\nformat = "table"\nsamples = ["samples.csv"]\n[grid]\nperiod_s = 900\noffset_s = {offset_s}\n',
    )
    texts = [text for text in described(config)["findings"] if "border" in text]
    assert len(texts) == bool(finding)
    if finding:
        assert texts[0].startswith(finding)
        assert texts[0].endswith("set grid.offset_s = 450")


def test_chunks_give_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history is gridded piece by piece; where it is cut makes no difference."""
    rng = np.random.default_rng(0)
    time_ms = np.sort(rng.integers(0, 500 * MINUTE_MS, 300))
    history = History(
        devices=("a", "b", "log only"),
        channels=("x", "meter"),
        classes=("normal", "f"),
        counters=("meter",),
        device=rng.integers(0, 2, 300).astype(np.int32),
        time_ms=time_ms,
        values=np.where(rng.random((300, 2)) < 0.3, np.nan, time_ms[:, None] * [-1.0, 1.0]),
        events=Events(
            np.array([0, 1, 2], np.int32),
            np.array([5, 100, 0]) * MINUTE_MS,
            np.array([50, 400, 90]) * MINUTE_MS,
            np.ones(3, np.int32),
        ),
        overlap="rarest",
        notes=ReadNotes(),
        fingerprint="",
    )
    grid = GridSpec(period_s=60, max_hold_s=120, max_gap_s=600)
    whole = summarise(history, grid)
    monkeypatch.setattr(summary_module, "CHUNK", 7)
    assert summarise(history, grid) == whole
    assert whole.devices[2].bins == 90


def test_overlapping_events() -> None:
    """Events overlap when they share time on one device; touching ends and other devices do not count."""
    events = Events(
        device=np.array([0, 0, 0, 0, 1], np.int32),
        start_ms=np.array([50, 0, 10, 30, 0]),
        end_ms=np.array([60, 30, 20, 40, 100]),
        fault=np.ones(5, np.int32),
    )
    assert overlapping(events).tolist() == [False, True, True, False, False]
    assert overlapping(Events.none()).tolist() == []


def test_durations() -> None:
    """Times are shown in the unit that a person would use."""
    assert [duration(seconds) for seconds in (None, 5, 900, 5400, 1_105_920, 1e9)] == [
        "", "5 s", "15 min", "1.5 h", "12.8 d", "11,574 d",
    ]  # fmt: skip


def test_a_log_of_another_zone(
    write_plant: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said with its mend, with a picture, and in the JSON; with the mend it is gone."""
    config = write_plant(tmp_path, days=40)
    events = [line.split(",") for line in (tmp_path / "events.csv").read_text().splitlines()]
    late = [
        [device, str(int(start) + 7_200_000), str(int(end) + 7_200_000), fault]
        for device, start, end, fault in events[1:]
    ]
    (tmp_path / "events.csv").write_text("\n".join(map(",".join, [events[0], *late])) + "\n")
    found = described(config)["log_shift"]
    assert (found["kind"], found["offset_s"]) == ("zone", -7200)
    text = capsys.readouterr().out
    assert "note: the log is 2 h late, as if its times were of another time zone" in text
    picture, under = text[text.index("log shifted by -14 h") :].splitlines()[:2]
    assert picture.index("█") == under.index("0") - 4  # two hours are four bars
    key = 'events = { path = "events.csv", offset_s = -7200 }'
    config.write_text(config.read_text().replace('events = "events.csv"', key))
    assert described(config)["log_shift"]["kind"] == "none"
    assert "log shift: the log fits the telemetry as it is" in capsys.readouterr().out


def test_how_often_channels_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The time between two values, steady or by exception, and a grid that is far from it."""
    rng = np.random.default_rng(0)
    rows = [f"{t},{t % 7}," for t in range(1_704_067_200, 1_704_067_200 + 36_000, 30)]
    by_exception = 1_704_067_200 + np.cumsum(rng.geometric(1 / 400, 80))
    rows += [f"{t},,{t % 5}" for t in by_exception.tolist()]
    (tmp_path / "samples.csv").write_text("time,steady,valve\n" + "\n".join(sorted(rows)) + "\n")
    section = 'format = "table"\nsamples = ["samples.csv"]\ndevice = "p"\n'
    config = write_config(tmp_path / "p.toml", f"[data]\n{section}[grid]\nperiod_s = 900\n")
    result = described(config)
    steady, valve = result["channels"]
    assert (steady["interval_s"], steady["interval_p90_s"], steady["reports"]) == (30, 30, "steady")
    step = np.diff(by_exception)
    assert (valve["interval_s"], valve["interval_p90_s"]) == (np.percentile(step, 50), np.percentile(step, 90))
    assert valve["reports"] == "by exception"
    text = capsys.readouterr().out
    assert "90 % within" in text
    assert "by exception" in text
    assert any("set grid.period_s nearer to 30" in finding for finding in result["findings"])
    short = described(config, "--period", "1")
    assert any("set grid.period_s to about 30" in finding for finding in short["findings"])
    fits = described(config, "--period", "60")
    assert not any("grid.period_s" in finding for finding in fits["findings"])
