"""Times, numbers and lines as they stand in files."""

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.times import parse_time_ms
from rarefault.train.history.notes import BAD_LINES, ReadNotes
from rarefault.train.history.parsing import lines
from rarefault.train.history.parsing.cells import parse_numbers
from rarefault.train.history.parsing.text_form import TextForm, TimeForm
from rarefault.train.history.parsing.times import parse_times

moments = st.datetimes(datetime(1971, 1, 1), datetime(2108, 1, 1))  # noqa: DTZ001  # hypothesis adds the zone
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(moments, zones), min_size=1, max_size=5), st.sampled_from("T "))
def test_times_with_a_zone_agree_with_the_runtime(given_times: list[tuple[datetime, timezone]], mark: str) -> None:
    """A column of ISO 8601 times gives the milliseconds that the daemon reads from the same text."""
    texts = [moment.replace(tzinfo=zone).isoformat(sep=mark) for moment, zone in given_times]
    times = parse_times(pl.Series(texts), TimeForm())
    assert times.good.all()
    assert times.ms.tolist() == [parse_time_ms(text) for text in texts]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e8, 4e9) | st.integers(10**8, 4 * 10**9) | st.floats(1e11, 4e12), min_size=1, max_size=5))
def test_epoch_numbers_agree_with_the_runtime(numbers: list[float]) -> None:
    """Epoch seconds and milliseconds mean the same as on the wire, as numbers and as text."""
    expected = [parse_time_ms(number) for number in numbers]
    assert parse_times(pl.Series([float(number) for number in numbers]), TimeForm()).ms.tolist() == expected
    assert parse_times(pl.Series([repr(number) for number in numbers]), TimeForm()).ms.tolist() == expected


@pytest.mark.parametrize("text", ["2011-02-30 00:00:00", "12:00", "", "yesterday", "-5", "nan", "9e20", "1969-12-31Z"])
def test_what_is_no_time(text: str) -> None:
    """Impossible dates, other text and times outside 1970 to 2109 are not good."""
    assert not parse_times(pl.Series([text]), TimeForm("UTC")).good.any()


def test_naive_times_need_a_zone() -> None:
    """A time without an offset is good only where a zone is given, and is that zone's local time."""
    column = pl.Series(["2011-07-01 12:00:00", "2011-07-01T12:00:00Z"])
    without = parse_times(column, TimeForm())
    assert without.naive.tolist() == [True, False]
    assert without.good.tolist() == [False, True]
    zurich = parse_times(column, TimeForm("Europe/Zurich"))
    assert zurich.good.all()
    assert (zurich.ms[1] - zurich.ms[0]) == 2 * 3_600_000


def test_local_times_when_the_clocks_change() -> None:
    """The hour that occurs twice is the earlier one and marked; the hour that does not exist is no time."""
    times = parse_times(pl.Series(["2011-10-30 02:30:00", "2011-03-27 02:30:00"]), TimeForm("Europe/Zurich"))
    assert times.ambiguous.tolist() == [True, False]
    assert times.good.tolist() == [True, False]
    assert times.ms[0] == parse_time_ms("2011-10-30T02:30:00+02:00")


def test_date_time_columns() -> None:
    """Date-times of a Parquet file: with a zone as they are, without one in the zone given."""
    moment = datetime(2011, 7, 1, 12, tzinfo=UTC)
    aware = pl.Series([moment, None]).dt.convert_time_zone("Europe/Zurich")
    naive = aware.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    assert parse_times(aware, TimeForm()).ms.tolist() == [parse_time_ms("2011-07-01T12:00:00Z"), 0]
    assert parse_times(aware, TimeForm()).good.tolist() == [True, False]
    assert parse_times(naive, TimeForm("UTC")).ms.tolist() == [parse_time_ms("2011-07-01T12:00:00Z"), 0]
    assert not parse_times(naive, TimeForm()).good.any()


def test_numbers() -> None:
    """Blanks and the usual words for nothing are missing; other text and infinities are bad cells."""
    values, bad = parse_numbers(pl.Series(["1.5", " -2e3 ", "", "NaN", "null", None, "inf", "12,5", "Bad Input"]))
    assert values[:2].tolist() == [1.5, -2000.0]
    assert all(math.isnan(value) for value in values[2:])
    assert np.flatnonzero(bad).tolist() == [6, 7, 8]


def test_lines_are_numbered_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a block, the same lines with the same numbers come back, and bad ones are named."""
    path = tmp_path / "samples.csv"
    path.write_bytes(
        b'\xef\xbb\xbfname,value\r\n"a, b",1\r\n\r\nc,2,3\r\nd\xff,4\r\n"e,5\r\nf\r\ng,7'  # no line end at the end
    )
    results = []
    for size in (1, 7, 1 << 20):
        monkeypatch.setattr(lines, "BLOCK_BYTES", size)
        notes, rows = ReadNotes(), []
        form = TextForm(encoding="latin-1")
        for block in lines.read_blocks(path, 2, form, lines.read_header(path, form)):
            block.report(notes)
            rows += [
                (int(block.line[i]), block.fields[0][i], block.fields[1][i])
                for i in np.flatnonzero(block.good).tolist()
            ]
        results.append((rows, str(notes)))
    assert results[0] == results[1] == results[2]
    rows, text = results[0]
    assert rows == [(2, "a, b", "1"), (5, "dÿ", "4"), (8, "g", "7")]
    assert text == f"3 {BAD_LINES} (first: samples.csv:4: 'c,2,3': 3 fields instead of 2)"


def test_headers(tmp_path: Path) -> None:
    """The first line that is not blank names the columns; an empty file and a repeated name are refused."""
    path = tmp_path / "samples.csv"
    path.write_text('\n"device", time\n')
    assert list(lines.read_header(path).names) == ["device", "time"]
    path.write_text("a,b,a\n")
    with pytest.raises(HistoryError, match="header names 'a' more than once"):
        lines.read_header(path)
    path.write_text("\n")
    with pytest.raises(HistoryError, match="the file is empty; a header line was expected"):
        lines.read_header(path)
