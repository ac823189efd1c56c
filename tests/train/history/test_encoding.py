"""Text in other encodings than UTF-8: two machines stay two, and the key is named."""

from pathlib import Path
from typing import Any

import pytest

from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.train.history import History, TableConfig, read_history

ROWS = "device,time,temp\nKühler,1709251200,1\nKöhler,1709251200,2\n"


def read(folder: Path, **keys: Any) -> History:
    """Read a folder with a [data] section of these keys."""
    return read_history(from_mapping({"samples": "samples.csv", **keys}, TableConfig, "[data]"), folder)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig"])
def test_a_named_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    """Names come out as they are, with the numbers of their lines."""
    (tmp_path / "samples.csv").write_bytes((ROWS + "x,y\n").encode(encoding))
    history = read(tmp_path, encoding=encoding)
    assert set(history.devices) == {"Kühler", "Köhler"}
    assert [note.example for note in history.notes] == ["samples.csv:4: 'x,y': 2 fields instead of 3"]


def test_what_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """With the file, the line, the byte and the key; the two machines do not become one."""
    (tmp_path / "samples.csv").write_bytes(ROWS.encode("latin-1"))
    with pytest.raises(HistoryError, match=r"samples.csv: line 2: byte 0xfc is not UTF-8; set data.encoding .*cp1252"):
        read(tmp_path)
    (tmp_path / "samples.csv").write_bytes(ROWS.encode("utf-16"))
    with pytest.raises(HistoryError, match=r'is UTF-16 text; set data.encoding = "utf-16"'):
        read(tmp_path)


def test_events_are_read_in_it_too(tmp_path: Path) -> None:
    """The same key holds for the file of events."""
    (tmp_path / "samples.csv").write_bytes(ROWS.encode("cp1252"))
    (tmp_path / "events.csv").write_bytes(
        "device,start,end,fault\nKühler,1709251200,1709251200,Störung\n".encode("cp1252")
    )
    assert read(tmp_path, events="events.csv", encoding="cp1252").classes == ("normal", "Störung")


def test_what_does_not_fit_the_encoding_is_refused(tmp_path: Path) -> None:
    """A file that is not what the key says, and a key that names no encoding of text."""
    (tmp_path / "samples.csv").write_bytes(b"\xff\xfed\x00\x00\xd8x\x00")
    with pytest.raises(HistoryError, match=r"is not text in data.encoding = 'utf-16'"):
        read(tmp_path, encoding="utf-16")
    for name in ("klingon", "base64", "\0"):
        with pytest.raises(ConfigError, match="encoding: no text encoding"):
            read(tmp_path, encoding=name)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_utf8_is_not_read_as_something_else(tmp_path: Path, encoding: str) -> None:
    """In an encoding of single bytes UTF-8 would be other letters; plain ASCII is the same in both."""
    (tmp_path / "samples.csv").write_text(ROWS, "utf-8")
    with pytest.raises(HistoryError, match=r'is UTF-8 text, not .*; set data.encoding = "utf-8"'):
        read(tmp_path, encoding=encoding)
    (tmp_path / "samples.csv").write_text("device,time,temp\nK,1709251200,1\n")
    assert read(tmp_path, encoding=encoding).devices == ("K",)
