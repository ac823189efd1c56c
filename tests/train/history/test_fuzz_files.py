"""Files of every sort: ``describe`` gives a summary or one clear sentence, never an unexpected error."""

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rarefault.runtime.cli import main

#: Files of each kind; thousands where ``RAREFAULT_FUZZ`` says so.
FILES = int(os.environ.get("RAREFAULT_FUZZ", "150"))

fuzz = settings(
    max_examples=FILES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

ALL_KEYS = st.fixed_dictionaries(
    {},
    optional={
        "label_column": st.sampled_from(["label", "temp", "time"]),
        "device_column": st.sampled_from(["device", "", "temp"]),
        "separator": st.sampled_from([",", ";", "\\t"]),
        "time_zone": st.sampled_from(["UTC", "Europe/Zurich", "Asia/Kathmandu"]),
        "events": st.sampled_from(["samples.csv", "events.csv"]),
        "encoding": st.sampled_from(["latin-1", "utf-16", "cp1252", "utf-8"]),
        "open_events": st.sampled_from(["last", "unlabelled"]),
        "overlap": st.sampled_from(["file order", "rarest"]),
        "decimal": st.sampled_from([",", "."]),
        "thousands": st.sampled_from([" ", "'", ",", "."]),
        "time_format": st.sampled_from(["%d/%m/%Y %H:%M", "%Y%m%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %I %p", "%d.%m.%y %z"]),
        "time_unit": st.sampled_from(["s", "us", "ns", "excel", "excel1904"]),
        "comment": st.sampled_from(["#", "p"]),
        "device": st.sampled_from(["p1", "{device}", "a-{device}-{temp}"]),
        "tag_column": st.sampled_from(["device", "label", "time"]),
        "tag_pattern": st.sampled_from(["p{channel}", "{channel+}/{site}", "*{channel}"]),
        "value_column": st.sampled_from(["temp", "label", "time"]),
        "quality_column": st.sampled_from(["temp", "label"]),
        "time_column": st.sampled_from(["temp", "time"]),
    },
)
#: Few of the optional keys at once, so that some files get as far as their rows.
KEYS = st.builds(
    lambda keys, kept: {key: value for i, (key, value) in enumerate(keys.items()) if i in kept},
    ALL_KEYS,
    st.sets(st.integers(0, 18), max_size=4),
)
TIMES = [
    *("2024-03-01T00:00:00Z", "2024-03-01 00:10", "2024-03-31 02:30", "2024-10-27 02:30", "9999-12-31", "0000-01-01"),
    *("01/03/2024 00:00", "13.03.2024 5:06 PM", "03/14/2024", "1 Mar 2024 25:00", "20240301", "45352.5", "1.7E+12"),
    *("1709251200", "1709251200123", "-1", "1e300", "nan", "2024-03-01", "2024-03-02T00:00:00+23:59", "", "2024-13-45"),
]
CELLS = st.sampled_from(
    [
        *TIMES,
        *("p1", "p2", "[/x]", "[red]p", ":smile:", "1", "1.5", "1e300", "-1.18e42", "3e38", "inf", "NaN", "true", "OK"),
        *("1.000", "1.234,5", "1'000", "12:30", "Bad", "a/b", "#"),
        *("-9999", "65535", "9" * 400, "0x10", "1_000", "1,5", '"', '""', '"a,b"', '"a"b"', "'", "\x1b[31m", "\x1f"),
        *(
            "\x00",
            "\r",
            "unknown",
            "no data",
            "unlabelled",
            "normal",
            "0.0",
            "é",
            "\u202e",
            "x" * 300,
            "\ufeff",
            "3e38",
        ),
    ]
)


def rows_of(cells: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    """Rows that mostly have as many fields as the header."""
    usual = st.tuples(st.sampled_from(["p1", "p2"]) | cells, st.sampled_from(TIMES) | cells, cells, cells)
    return st.lists(usual.map(list) | st.lists(cells, max_size=6), max_size=8)


def csv_bytes() -> st.SearchStrategy[bytes]:
    """CSV files in random dialects, with odd cells, cut and damaged."""

    def write(rows: list[list[str]], header: list[str], mark: str, end: str, encoding: str, bom: bytes) -> bytes:
        text = end.join(mark.join(row) for row in [header, *rows]) + end
        return bom + text.encode(encoding, "replace")

    headers = st.just(["device", "time", "temp", "label"]) | st.lists(CELLS, min_size=1, max_size=5)
    made = st.builds(
        write,
        rows_of(CELLS),
        headers,
        st.sampled_from([",", ",", ",", ";", "\t"]),
        st.sampled_from(["\n", "\n", "\r\n", "\r"]),
        st.sampled_from(["utf-8", "utf-8", "latin-1", "utf-16"]),
        st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xff\xfe", b"PAR1", b"\x1f\x8b"]),
    )
    damaged = st.builds(lambda raw, at, junk: raw[: at % (len(raw) + 1)] + junk + raw[at % (len(raw) + 1) :],
                        made, st.integers(0, 500), st.binary(max_size=4))  # fmt: skip
    return made | made | damaged | st.binary(max_size=80)


def column_types() -> dict[str, tuple[Any, st.SearchStrategy[Any]]]:
    """Types of Parquet columns, with their values."""
    whole = st.integers(-(2**63), 2**63 - 1)
    small = st.integers(0, 5)
    moment = st.datetimes()
    near = st.integers(0, 100_000).map(lambda s: datetime.fromtimestamp(1_709_251_200 + s, UTC).replace(tzinfo=None))
    return {
        "text": (pl.String, CELLS),
        "names": (pl.String, st.sampled_from(["p1", "p2"])),
        "times": (pl.String, st.sampled_from(TIMES)),
        "float": (pl.Float64, st.floats()),
        "float32": (pl.Float32, st.floats(width=32)),
        "int": (pl.Int64, whole),
        "epoch": (pl.Int64, st.integers(1_709_251_200, 1_709_351_200)),
        "uint": (pl.UInt64, st.integers(0, 2**64 - 1)),
        "int8": (pl.Int8, st.integers(-128, 127)),
        "int128": (pl.Int128, st.integers(-(2**100), 2**100)),
        "bool": (pl.Boolean, st.booleans()),
        "null": (pl.Null, st.none()),
        "date": (pl.Date, st.dates(date(1, 1, 1), date(9999, 12, 31))),
        "us": (pl.Datetime("us"), moment | near),
        "ns": (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
        "ms": (pl.Datetime("ms"), moment | near),
        "utc": (pl.Datetime("us", "UTC"), near.map(lambda t: t.replace(tzinfo=UTC))),
        "raw us": (pl.Int64, whole),
        "raw date": (pl.Int32, st.integers(-(2**31), 2**31 - 1)),
        "time": (pl.Time, st.times()),
        "duration": (pl.Duration("us"), st.timedeltas(timedelta(-9999), timedelta(9999))),
        "decimal": (pl.Decimal(20, 4), st.integers(-(10**12), 10**12).map(lambda n: Decimal(n) / 10_000)),
        "categorical": (pl.Categorical, st.sampled_from(["p1", "OK", "leak"])),
        "enum": (pl.Enum(["p1", "OK", "leak"]), st.sampled_from(["p1", "OK", "leak"])),
        "binary": (pl.Binary, st.binary(max_size=4) | st.just(b"p1")),
        "list": (pl.List(pl.Int64), st.lists(small, max_size=3)),
        "array": (pl.Array(pl.Int64, 2), st.lists(small, min_size=2, max_size=2)),
        "struct": (pl.Struct({"a": pl.Int64}), st.fixed_dictionaries({"a": small})),
    }


TYPES = column_types()
RAW: dict[str, Any] = {"ns": pl.Datetime("ns"), "raw us": pl.Datetime("us"), "raw date": pl.Date}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Small tables whose columns are of any type, mostly with sensible names and times."""
    height = draw(st.integers(0, 6))
    names = draw(st.lists(st.sampled_from(["temp", "flow", "label", "[/x]", ""]), unique=True, max_size=4))
    usual = {
        "device": st.sampled_from(["names", "names", "names", *TYPES]),
        "time": st.sampled_from(["times", "us", "utc", "epoch", "us", *TYPES]),
    }
    columns = {}
    for name in ["device", "time", *names]:
        kind = draw(usual.get(name, st.sampled_from(list(TYPES))))
        dtype, values = TYPES[kind]
        cells = draw(st.lists(values | st.none() if draw(st.booleans()) else values, min_size=height, max_size=height))
        column = pl.Series(name, cells, dtype, strict=False)
        columns[name] = column.cast(RAW[kind]) if kind in RAW else column
    return pl.DataFrame(list(columns.values()))


def toml(keys: dict[str, str]) -> str:
    """A [data] section with these keys."""
    return '[data]\nformat = "table"\n' + "".join(f'{key} = "{value}"\n' for key, value in keys.items())


@pytest.fixture
def describe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[dict[str, str]], str]:
    """Runs ``describe`` in ``tmp_path`` and returns what it said; an unexpected error fails the test."""

    def run(keys: dict[str, str]) -> str:
        config = tmp_path / "plant.toml"
        config.write_text(toml(keys), encoding="utf-8")
        code = main(["describe", str(config)])
        said = capsys.readouterr()
        assert "unexpected" not in said.err, said.err
        assert code in {0, 1, 2}
        assert (code == 0) == (said.err == ""), said.err
        return said.out + said.err

    return run


@pytest.mark.slow
def test_csv(tmp_path: Path, describe: Callable[[dict[str, str]], str]) -> None:
    """Whatever bytes a CSV file holds, in samples and in events."""
    outcomes = set()

    @fuzz
    @given(csv_bytes(), csv_bytes(), KEYS)
    @example(b"device,time,temp\np,2024-03-01T00:00:00Z,1\n", b"", {})
    def check(samples: bytes, events: bytes, keys: dict[str, str]) -> None:
        (tmp_path / "samples.csv").write_bytes(samples)
        (tmp_path / "events.csv").write_bytes(events.replace(b"temp", b"end").replace(b"time", b"start"))
        said = describe({"samples": "samples.csv", **keys})
        outcomes.add("fingerprint" in said)

    check()
    assert outcomes == {True, False}


@pytest.mark.slow
def test_parquet(tmp_path: Path, describe: Callable[[dict[str, str]], str]) -> None:
    """Whatever types the columns of a Parquet file are of, in samples and in events."""
    outcomes = set()

    @fuzz
    @given(frames(), frames(), KEYS, st.binary(max_size=6), st.integers(0, 20))
    def check(samples: pl.DataFrame, events: pl.DataFrame, keys: dict[str, str], junk: bytes, damage: int) -> None:
        samples.write_parquet(tmp_path / "samples.parquet")
        log = events.rename({"time": "start"}).rename({"temp": "end", "label": "fault"}, strict=False)
        log.write_parquet(tmp_path / "events.parquet")
        if not damage:
            raw = (tmp_path / "samples.parquet").read_bytes()
            (tmp_path / "samples.parquet").write_bytes(raw[: len(raw) // 2] + junk + raw[len(raw) // 2 + len(junk) :])
        if "events" in keys:
            keys = {**keys, "events": "events.parquet"}
        said = describe({"samples": "samples.parquet", **keys})
        outcomes.add("fingerprint" in said)

    check()
    assert outcomes == {True, False}
