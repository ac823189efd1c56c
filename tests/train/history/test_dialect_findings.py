"""What files show of how they are written, without any configuration; and that a section made of it reads them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rarefault.runtime.settings import from_mapping
from rarefault.train.history import TableConfig, read_history
from rarefault.train.history.dialect.head import dialect_findings, encoding_finding

ROWS = "".join(f"2024-03-01T0{hour}:00:00Z;P1;3,{hour};2{hour}\n" for hour in range(5))

FILES: list[tuple[str, dict[str, Any]]] = [
    ("Zeit;Maschine;Druck;Strom\n" + ROWS, {"separator": ";", "decimal": ",", "time_column": "Zeit"}),
    ("sep=;\nZeit;Maschine;Druck;Strom\n" + ROWS, {"decimal": ",", "time_column": "Zeit"}),
    (
        "Export of today\nZeit;Maschine;Druck;Strom\n;;bar;A\n" + ROWS,
        {"separator": ";", "skip_rows": 1, "skip_after_header": 1, "decimal": ",", "time_column": "Zeit"},
    ),
    ("# made\n# by\nt,device,x\n1709251200,a,1.5\n1709251260,a,2.5\n", {"comment": "#", "time_column": "t"}),
    (
        "date,clock,device,x\n2024-03-01,00:00,p,1\n2024-03-01,04:00,p,2\n",
        {"time_column": ["date", "clock"], "time_zone": "UTC"},
    ),
    (
        "time,device,x\n01/03/2024 00:30,p,1\n13/03/2024 00:30,p,2\n",
        {"time_column": "time", "time_format": "%d/%m/%Y %H:%M", "time_zone": "UTC"},
    ),
    (
        "time;device;rpm\n" + "".join(f"45352.{i};p;{rpm}\n" for i, rpm in enumerate(("985", "1.000", "12.500"))),
        {"separator": ";", "thousands": ".", "time_column": "time", "time_unit": "excel", "time_zone": "UTC"},
    ),
    ("time,device,x\n2024-03-01T00:00:00Z,p,1\n", {"time_column": "time"}),
    (
        "tag,timestamp,value,quality\n"
        + "".join(f"NORTH.P{d}.{c},2024-03-01T0{h}:00:00Z,1.5,Good\n" for h in range(3) for d in "12" for c in "AB"),
        {
            "time_column": "timestamp",
            "tag_column": "tag",
            "tag_pattern": "NORTH.{device}.{channel}",
            "quality_column": "quality",
        },
    ),
    (
        '"TOA5","st"\n"TS","x"\n"TS","degC"\n"","Avg"\n"2024-03-01 00:00:00",1.5\n',
        {"time_column": "TS", "time_zone": "UTC"},
    ),
]


@pytest.mark.parametrize(("text", "keys"), FILES)
def test_a_section_made_of_the_findings_reads_the_file(tmp_path: Path, text: str, keys: dict[str, Any]) -> None:
    """The keys are those that are needed and no others."""
    (tmp_path / "samples.csv").write_text(text)
    findings = dialect_findings(tmp_path / "samples.csv")
    assert {finding.key: finding.value for finding in findings} == keys
    assert all(finding.evidence for finding in findings)
    device = (
        {}
        if "device" in text or "tag" in text
        else {"device_column": "Maschine"}
        if "Maschine" in text
        else {"device": "p"}
    )
    config = from_mapping({"samples": "samples.csv", **keys, **device}, TableConfig, "[data]")
    history = read_history(config, tmp_path, strict=True)
    assert len(history)
    assert not len(history.notes)


def test_what_is_open_names_the_other_reading(tmp_path: Path) -> None:
    """Where a file leaves two readings, the finding has both."""
    (tmp_path / "s.csv").write_text("time;device;rpm\n01/03/2024 00:30;p;985\n02/03/2024 00:30;p;1.000\n")
    found = {finding.key: finding for finding in dialect_findings(tmp_path / "s.csv")}
    assert found["time_format"].other == 'time_format = "%m/%d/%Y %H:%M"'
    assert found["thousands"].other == 'decimal = "."'
    assert found["separator"].other == ""
    assert found["thousands"].sentence() == (
        "rpm holds '1.000' beside '985', which is 1.000 or 1000; set data.thousands = \".\", or data.decimal = \".\""
    )


@pytest.mark.parametrize(
    ("encoding", "found"),
    [("utf-8", None), ("utf-8-sig", None), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("latin-1", "cp1252")],
)
def test_encodings(tmp_path: Path, encoding: str, found: str | None) -> None:
    """UTF-16 is known by its bytes; what is no UTF-8 may be one of several."""
    (tmp_path / "s.csv").write_bytes("time,device,x\n1709251200,Kühler,1\n".encode(encoding))
    finding = encoding_finding(tmp_path / "s.csv")
    assert (finding and finding.value) == found
    assert found != "cp1252" or (finding and "Kühler" in finding.evidence and finding.other)


def test_parquet_has_times_only(tmp_path: Path) -> None:
    """A file with types needs no word about its numbers."""
    pl.DataFrame({"x": [1.5], "when": [1709251200], "device": ["p"]}).write_parquet(tmp_path / "s.parquet")
    assert [(one.key, one.value) for one in dialect_findings(tmp_path / "s.parquet")] == [("time_column", "when")]
