"""Long form, and devices from tags, constants and paths."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.telemetry.channels import ChannelSpec
from rarefault.train.history import History, TableConfig, read_history
from rarefault.train.history.dialect.tags import devices_are_tags
from rarefault.train.history.notes import BAD_CELLS, BAD_QUALITY, CONFLICTS, DUPLICATES, FOREIGN_TAGS, TOO_LARGE
from rarefault.train.history.parsing.pattern import Pattern

TAGS = {
    "time_column": "timestamp",
    "tag_column": "tag",
    "tag_pattern": "PLANT.{device}.{channel}",
    "quality_column": "quality",
}


def read(folder: Path, **keys: Any) -> History:
    """Read a folder with a [data] section of these keys."""
    return read_history(from_mapping({"samples": "samples.csv", **keys}, TableConfig, "[data]"), folder)


def historian() -> list[str]:
    """Six hours of two devices with two channels each; one value of each device has a bad quality."""
    rows = []
    for hour, device in itertools.product(range(6), (1, 2)):
        time = f"2024-03-01T{hour:02}:00:00Z"
        quality = "Bad" if hour == 3 else "Good"
        rows.append(f"PLANT.P{device}.TEMP,{time},{device}0{hour}.5,{quality}")
        rows.append(f"PLANT.P{device}.FLOW,{time},{device}0{hour},Good")
    return rows


def write(folder: Path, rows: list[str], name: str = "samples.csv") -> None:
    (folder / name).write_text("\n".join(["tag,timestamp,value,quality", *rows]) + "\n")


def test_a_historians_export(tmp_path: Path) -> None:
    """Tags are split to device and channel, values of one time are one sample, and bad ones are missing and counted."""
    write(tmp_path, historian())
    history = read(tmp_path, **TAGS)
    assert (history.devices, history.channels, len(history)) == (("P1", "P2"), ("TEMP", "FLOW"), 12)
    own = history.values[history.device == 0]
    np.testing.assert_array_equal(own[:, 0], [100.5, 101.5, 102.5, np.nan, 104.5, 105.5])
    np.testing.assert_array_equal(own[:, 1], [100, 101, 102, 103, 104, 105])
    (note,) = history.notes
    assert (note.kind, note.count, note.parts["TEMP"][0]) == (BAD_QUALITY, 2, 2)
    assert not note.problem


def test_rows_in_any_order_and_any_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tag after tag, newest first or shuffled, in one file or several, in blocks of any size: the same history."""
    rows = historian()
    write(tmp_path, rows)
    expected = read(tmp_path, **TAGS).fingerprint
    shuffled = random.Random(1).sample(rows, len(rows))
    for order in (sorted(rows), rows[::-1], shuffled):
        for size in (1, 100, 1 << 20):
            monkeypatch.setattr("rarefault.train.history.parsing.lines.BLOCK_BYTES", size)
            write(tmp_path, order)
            history = read(tmp_path, **TAGS, channels=["TEMP", "FLOW"])
            assert history.fingerprint == expected
    write(tmp_path, shuffled[:10])
    write(tmp_path, shuffled[10:], "z.csv")
    assert read(tmp_path, **TAGS, samples="*.csv", channels=["TEMP", "FLOW"]).fingerprint == expected


def test_repeated_values(tmp_path: Path) -> None:
    """A value that comes twice is one; of two different ones the later counts, whichever block they are in."""
    rows = [*historian(), "PLANT.P1.FLOW,2024-03-01T00:00:00Z,100,Good", "PLANT.P1.FLOW,2024-03-01T01:00:00Z,7,Good"]
    write(tmp_path, rows)
    write(tmp_path, rows[:1], "z.csv")
    history = read(tmp_path, **TAGS, samples=["samples.csv", "z.csv"])
    assert (history.notes.count(DUPLICATES), history.notes.count(CONFLICTS), len(history)) == (2, 1, 12)
    assert history.values[history.device == 0, 1].tolist() == [100, 7, 102, 103, 104, 105]


def test_tags_that_do_not_fit(tmp_path: Path) -> None:
    """They are left out, by tag, and none at all that fits is refused with some of them."""
    write(tmp_path, [*historian(), "PLANT.P1.TEMP.MAX,2024-03-01T00:00:00Z,9,Good"])
    history = read(tmp_path, **TAGS)
    (note,) = [note for note in history.notes if note.kind == FOREIGN_TAGS]
    assert list(note.parts) == ["PLANT.P1.TEMP.MAX"]
    assert note.problem
    history = read(tmp_path, **{**TAGS, "tag_pattern": "PLANT.{device}.{channel+}"})
    assert history.channels == ("TEMP", "FLOW", "TEMP.MAX")
    several = ["{device}.{channel}", "PLANT.{device}.{channel}.MAX", "PLANT.{device}.{channel}"]
    assert read(tmp_path, **{**TAGS, "tag_pattern": several}).notes.count(CONFLICTS) == 1
    with pytest.raises(
        HistoryError, match=r"data.tag_pattern: no tag fits 'X.\{device\}.\{channel\}'; tags there: 'PLANT"
    ):
        read(tmp_path, **{**TAGS, "tag_pattern": "X.{device}.{channel}"})


def test_qualities(tmp_path: Path) -> None:
    """Words in any case, numbers and Booleans; where none is good, the words that are there are named."""
    write(tmp_path, historian())
    assert read(tmp_path, **TAGS, good=["GOOD", "bad"]).notes.count(BAD_QUALITY) == 0
    with pytest.raises(HistoryError, match=r"data.good: no value has .*'fine'.*; column 'quality' holds 'Good', 'Bad'"):
        read(tmp_path, **TAGS, good=["fine"])
    frame = pl.read_csv(tmp_path / "samples.csv", infer_schema=False)
    for quality, good in ((pl.lit(192), [192]), (pl.lit(value=True), [True])):
        frame.with_columns(quality=quality).write_parquet(tmp_path / "s.parquet")
        assert not len(read(tmp_path, **TAGS, samples="s.parquet", good=good).notes)


def test_channels_of_a_database(tmp_path: Path) -> None:
    """A column for the device and one for the channel, as Influx writes them, with comments before the header."""
    lines = ["#group,false,false", "_time,host,_field,_value"]
    lines += [f"2024-03-01T00:00:0{i}Z,p{i % 2},temp,{i}" for i in range(4)] + ["2024-03-01T00:00:00Z,p0,rpm,1e300"]
    (tmp_path / "samples.csv").write_text("\n".join(lines) + "\n")
    history = read(
        tmp_path, comment="#", time_column="_time", device_column="host", tag_column="_field", value_column="_value"
    )
    assert (history.devices, history.channels, len(history)) == (("p0", "p1"), ("temp", "rpm"), 4)
    assert history.notes.count(TOO_LARGE) == 1


def test_the_doubled_hour_of_each_tag(tmp_path: Path) -> None:
    """Tags one after the other do not look like clocks that are set back."""
    clocks = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    rows = [f"PLANT.P1.{tag},2024-10-27 {c},{i},Good" for tag in ("TEMP", "FLOW") for i, c in enumerate(clocks)]
    write(tmp_path, rows)
    history = read(tmp_path, **TAGS, time_zone="Europe/Berlin")
    assert set(np.diff(history.time_ms).tolist()) == {1_800_000}
    assert history.values.tolist() == [[i, i] for i in range(6)]


def test_one_machine_one_file_a_day(tmp_path: Path) -> None:
    """A constant names the only device, whatever the files are called."""
    for day in (1, 2):
        (tmp_path / f"2024-03-0{day}.csv").write_text(f"time,x\n2024-03-0{day}T00:00:00Z,{day}\n")
    history = read(tmp_path, samples="*.csv", device="pump 1")
    assert (history.devices, history.values[:, 0].tolist()) == (("pump 1",), [1, 2])
    with pytest.raises(
        HistoryError, match=r"no column 'device'; .*data.device_column, or the only device as data.device"
    ):
        read(tmp_path, samples="*.csv")


def test_folders_of_machines(tmp_path: Path) -> None:
    """Parts of the path are columns: the device of a folder, the day of a file, hive partitions."""
    for device, day in itertools.product(("P1", "P2"), (1, 2)):
        folder = tmp_path / "data" / device
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"2024-03-0{day}.csv").write_text("clock,x\n" + "".join(f"0{h}:00:00,{h}\n" for h in range(3)))
        hive = tmp_path / "hive" / f"device={device}" / f"day={day}"
        hive.mkdir(parents=True)
        pl.DataFrame({"time": [1709251200 + day], "x": [1.0]}).write_parquet(hive / "0.parquet")
    history = read(tmp_path, samples="data/{device}/{date}.csv", time_column=["date", "clock"], time_zone="UTC")
    assert (history.devices, history.channels, len(history)) == (("P1", "P2"), ("x",), 12)
    assert len(set(history.time_ms.tolist())) == 6
    absolute = from_mapping({"samples": "data/{device}/{date}.csv"}, TableConfig, "[data]").absolute(tmp_path)
    same = read(tmp_path, samples=list(absolute.samples), time_column=["date", "clock"], time_zone="UTC")
    assert same.fingerprint == history.fingerprint
    history = read(tmp_path, samples="hive/device={device}/*/*.parquet")
    assert (history.devices, len(history)) == (("P1", "P2"), 4)


def test_tags_that_are_taken_for_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Describe says so, with the pattern that they have."""
    write(tmp_path, historian())
    section = '[data]\nformat = "table"\nsamples = "samples.csv"\ntime_column = "timestamp"\ndevice_column = "tag"\n'
    (tmp_path / "plant.toml").write_text(section)
    assert main(["describe", str(tmp_path / "plant.toml")]) == 0
    assert 'data.tag_pattern, such as "PLANT.{device}.{channel}"' in capsys.readouterr().out
    assert devices_are_tags(("P1", "P2"), ("value",)) is None
    assert devices_are_tags(("h1.P1", "h1.P2"), ("temp",)) is None


def test_files_that_are_no_device_each(tmp_path: Path) -> None:
    """Days are no devices, and files of one name in several folders are not one device."""
    for name in ("2024-03-01.csv", "2024-03-02.csv", "a/part-0.csv", "b/part-0.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("time,x\n1709251200,1\n")
    with pytest.raises(
        HistoryError, match=r"'2024-03-01', '2024-03-02' are days, so each would be a device; .*data.device"
    ):
        read(tmp_path, samples="*.csv", device_column="")
    with pytest.raises(HistoryError, match=r"would be one device, 'part-0'; name the device by a part of the path"):
        read(tmp_path, samples="*/*.csv", device_column="")
    assert read(tmp_path, samples="{device}/*.csv").devices == ("a", "b")


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    """They cost themselves alone and are counted by tag."""
    write(tmp_path, [*historian(), "PLANT.P1.MODE,2024-03-01T00:00:00Z,AUTO,Good"])
    history = read(tmp_path, **TAGS)
    (note,) = [note for note in history.notes if note.kind == BAD_CELLS]
    assert list(note.parts) == ["MODE"]
    assert np.isnan(history.values[:, history.channels.index("MODE")]).all()


def test_braces_and_brackets_in_the_folders_name(tmp_path: Path) -> None:
    """They are no part and no pattern."""
    folder = tmp_path / "[a]{b} {device}"
    folder.mkdir()
    (folder / "P1.csv").write_text("time,x\n1709251200,1\n")
    for samples, keys in (("{device}.csv", {}), ("P1.csv", {"device": "P1"}), ("P*.csv", {"device_column": ""})):
        section = from_mapping({"samples": samples, **keys}, TableConfig, "[data]")
        assert read_history(section, folder).devices == ("P1",)
        assert read_history(section.absolute(folder), Path("/")).devices == ("P1",)


def test_words_of_a_channel(tmp_path: Path) -> None:
    """What a channel's words are holds for its tag alone, in long form as in wide."""
    write(
        tmp_path,
        [*historian(), *(f"PLANT.P1.MODE,2024-03-01T0{i}:00:00Z,{w},Good" for i, w in enumerate(("AUTO", "MAN")))],
    )
    config = from_mapping({"samples": "samples.csv", **TAGS}, TableConfig, "[data]")
    specs = {"MODE": ChannelSpec(states={"AUTO": 2.0, "MAN": 5.0})}
    history = read_history(config, tmp_path, channels=specs)
    mode = history.values[:, history.channels.index("MODE")]
    assert mode[~np.isnan(mode)].tolist() == [2.0, 5.0]
    assert history.notes.count(BAD_CELLS) == 0


def test_names_put_together(tmp_path: Path) -> None:
    """Two sites with the same machine are two devices, from columns, paths and tags alike."""
    for site in ("north", "south"):
        (tmp_path / f"{site}.csv").write_text("time,machine,x\n1709251200,P1,1\n1709251260,,2\n")
    history = read(tmp_path, samples="{site}.csv", device="{site}-{machine}")
    assert history.devices == ("north-P1", "south-P1")
    assert "no device" in str(history.notes)
    write(tmp_path, historian())
    assert read(tmp_path, **{**TAGS, "tag_pattern": "{site}.{device}.{channel}"}, device="{device}@{site}").devices == (
        "P1@PLANT",
        "P2@PLANT",
    )


def test_a_part_and_a_column_of_one_name(tmp_path: Path) -> None:
    """Nobody knows which is meant."""
    (tmp_path / "P1.csv").write_text("time,device,x\n1709251200,P2,1\n")
    with pytest.raises(
        HistoryError, match=r"has a column 'device', and data.samples or data.tag_pattern have it in braces"
    ):
        read(tmp_path, samples="{device}.csv")
    (tmp_path / "a.b.csv").write_text("time,x\n1709251200,1\n")
    with pytest.raises(HistoryError, match=r"a.b.csv does not fit '\{machine\}.csv'.*write \{name\+\}"):
        read(tmp_path, samples="{machine}.csv", device="{machine}")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"tag_column": "tag", "label_column": "state"}, "in long form no row has a label"),
        ({"tag_column": "tag", "tag_pattern": "{device}"}, r"has no \{channel\}"),
        ({"tag_column": "tag", "tag_pattern": "{device}{channel}"}, "stand beside each other"),
        ({"tag_column": "tag", "tag_pattern": "{device+}.{channel+}"}, "only one part may hold the marks"),
        ({"samples": "{a}/{a}.csv"}, "names {a} more than once"),
        ({"samples": "{a b}.csv"}, "no name of letters"),
        ({"samples": "{device}.csv", "tag_column": "t", "tag_pattern": "{device}.{channel}"}, "both have {device}"),
    ],
)
def test_patterns_that_cannot_be_meant(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    """They are refused before anything is read."""
    with pytest.raises(ConfigError, match=problem):
        read(tmp_path, **keys)


@pytest.mark.parametrize(
    ("pattern", "text", "parts"),
    [
        ("{device}/*.csv", "a/b.csv", {"device": "a"}),
        ("{device}/*.csv", "a/b/c.csv", None),
        ("**/{device}.csv", "x/y/p1.csv", {"device": "p1"}),
        ("**/{device}.csv", "p1.csv", {"device": "p1"}),
        ("[ab]/{device}_{day}.csv", "a/p1_3.csv", {"device": "p1", "day": "3"}),
        ("[!ab]/{device}_{day}.csv", "a/p1_3.csv", None),
        ("{device}_{day}.csv", "p_1_3.csv", None),
        ("{device+}_{day}.csv", "p_1_3.csv", {"device": "p_1", "day": "3"}),
        ("pump{n}.csv", "pumppump.csv", {"n": "pump"}),
    ],
)
def test_patterns_of_paths(pattern: str, text: str, parts: dict[str, str] | None) -> None:
    """A text fits in one way or not at all."""
    assert Pattern(pattern, path=True).match(text) == parts
