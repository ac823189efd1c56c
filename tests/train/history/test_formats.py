"""What each format of a history answers for itself: its paths, and which files it reads as they are."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.train.history import DataConfig, JournalConfig, Phm2015Config, TableConfig, absolute, source_of
from rarefault.train.history.formats import Source

#: A section of each format, and the places that it reads from the folder ``{base}``.
SECTIONS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "phm2015": ({"path": "plants"}, ("{base}/plants",)),
    "table": ({"samples": ["a.csv", "b/*.csv"], "events": "e.csv"}, ("{base}/a.csv", "{base}/b/*.csv")),
    "recording": (
        {"recordings": ["a.jsonl", "b/*.jsonl.gz"], "events": "e.csv", "telemetry": [{"preset": "shelly"}]},
        ("{base}/a.jsonl", "{base}/b/*.jsonl.gz"),
    ),
    "journal": ({"path": ["a.journal", "b.journal"], "events": "e.csv"}, ("{base}/a.journal", "{base}/b.journal")),
    "together": (
        {"sources": [{"format": "table", "samples": "a.csv"}, {"format": "journal", "path": "b.journal"}]},
        ("{base}/a.csv", "{base}/b.journal"),
    ),
}


def test_every_format_is_here() -> None:
    """A new format has its row in the table above."""
    assert {member.__struct_config__.tag for member in get_args(DataConfig)} == set(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_paths_are_made_absolute(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that was made absolute reads the same from any folder, and comes back from plain values as it was."""
    keys, places = SECTIONS[name]
    section: DataConfig = from_mapping({"format": name, **keys}, DataConfig, "[data]")  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    found = absolute(section, Path())
    assert found.places == tuple(place.format(base=tmp_path) for place in places)
    assert found.describe() == ", ".join(found.places)
    assert getattr(found, "events", "") in {"", str(tmp_path / "e.csv")}
    assert absolute(found, Path(os.sep)) == found
    assert from_mapping(msgspec.to_builtins(found), DataConfig, "split.json") == found  # type: ignore[arg-type]


def test_the_shared_keys_stand_in_every_format() -> None:
    """Keys of a source are the same ones with the same defaults, whatever its format."""
    shared = {"mostly_faulty", "missing", "encoding", "overlap", "event_times", "start", "end"}
    for member in get_args(Source):
        defaults = {field.name: field.default for field in msgspec.structs.fields(member)}
        assert shared <= set(defaults)
        assert defaults["overlap"] == "rarest"


def test_files_and_folders_find_their_format(tmp_path: Path) -> None:
    """What is named on a command line is read by the format that it is in."""
    table, journal = tmp_path / "a [1].csv", tmp_path / "edge.journal"
    table.write_text("device,time,x\n", encoding="utf-8")
    with closing(sqlite3.connect(journal)) as file:
        file.execute("create table t (x)")
    assert source_of([tmp_path]) == Phm2015Config(path=str(tmp_path))
    assert source_of([journal, journal]) == JournalConfig(path=(str(journal), str(journal)))
    assert source_of([table]) == TableConfig(samples=(str(table),))
    for mixed in ([table, journal], [tmp_path, table], [tmp_path, tmp_path]):
        with pytest.raises(HistoryError, match="no format reads all of these"):
            source_of(mixed)
