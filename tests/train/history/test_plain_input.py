"""Plain input that programs stumble over: names in brackets, odd column types, old line ends, no temporary folder."""

import ast
import os
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.errors import ConfigError, HistoryError
from rarefault.runtime.settings import from_mapping
from rarefault.train.commands.console import PlainConsole
from rarefault.train.config import DecisionConfig
from rarefault.train.history import History, TableConfig, read_history
from rarefault.train.history.notes import BAD_CELLS, BAD_LINES, TEXT_COLUMNS
from rarefault.train.report import plots

ROOT = Path(__file__).parents[3]
#: Names that are orders to a terminal, a markup, a formula or an emoji somewhere.
NASTY = ("p[/x]", "[bold]q")
CHANNELS = ("speed [/min]", "[red]t$x^$")
FAULTS = ("leak [/x]", "[red]$worn^$", ":smile:")

TRAINING = """
[model]
preset = "tiny"
[training]
epochs = 1
cross_fit = false
refit = false
[trees]
rounds = 2
extra_trees = 2
[split]
block_s = 86400
[grid]
period_s = 1800
"""


def read(folder: Path, **keys: Any) -> History:
    """Read a folder with a [data] section of these keys."""
    return read_history(from_mapping({"samples": "samples.csv", **keys}, TableConfig, "[data]"), folder)


def nasty_rows() -> list[str]:
    """Two devices over weeks, a fault in every few hours, deterministic."""
    rows = [f"time,device,{CHANNELS[0]},{CHANNELS[1]},label"]
    for device in NASTY:
        for i in range(1600):
            fault = {4: 1, 9: 2, 12: 3}.get(i // 25 % 14, 0)
            label = FAULTS[fault - 1] if fault else "OK"
            speed, heat = 1000 + 40 * (fault == 1) + i % 7, 20 + 9 * (fault == 2) - 9 * (fault == 3) + i % 5
            heat = 65535 if i % 400 == 7 else heat  # a sensor's word for "no value"
            rows.append(f"{1709251200 + 1800 * i},{device},{speed},{heat},{label}")
    return rows


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose devices, channels, faults and files have names in brackets."""
    folder = tmp_path_factory.mktemp("[nasty]")
    (folder / "samples [x].csv").write_text("\n".join(nasty_rows()) + "\n")
    data = '[data]\nformat = "table"\nsamples = "samples [x].csv"\nlabel_column = "label"\n'
    (folder / "[red]plant.toml").write_text(data + TRAINING)
    return folder / "[red]plant.toml"


def test_brackets_in_describe(nasty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables and notes show the names as they are."""
    assert main(["describe", str(nasty)]) == 0
    said = capsys.readouterr().out
    for name in (*NASTY, *CHANNELS, *FAULTS):
        assert name in said


@pytest.mark.training
def test_brackets_in_train_and_evaluate(nasty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training ends with its scores and its report; both show the names as they are, and evaluate does."""
    out = nasty.parent / "[bold]run"
    assert main(["train", str(nasty), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for name in (*FAULTS, str(out)):
        assert name in said
    report = (out / "report.html").read_text(encoding="utf-8")
    for name in ("leak [/x]", "[red]$worn^$", ":smile:", f"65535 in {CHANNELS[1]} (8 times)", "data.missing = [65535]"):
        assert name in report
    assert main(["evaluate", str(out), "--part", "validation", "--report", str(nasty.parent / "[x].html")]) == 0
    assert "[red]$worn^$" in capsys.readouterr().out


def test_plots_take_names_as_they_are() -> None:
    """A name between dollars is no formula, and one that begins with an underscore is in the legend."""
    svg = plots.confusion([[3, 1], [0, 2]], ("normal", r"a$\frac{$"))
    assert r"a$\frac{$" in svg


def test_console_prints_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither markup nor emoji, and control characters are visible."""
    PlainConsole().print("[/x] :smile: [red]a[/red] \x1b[31m\x07")
    assert capsys.readouterr().out == "[/x] :smile: [red]a[/red] \\x1b[31m\\x07\n"


def _calls() -> list[tuple[Path, str, ast.Call]]:
    """Every call in the packages: file, name of what is called, call."""
    found = []
    for portion in ("train", "export", "runtime"):
        for path in sorted((ROOT / portion / "rarefault").rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    found.append((path.relative_to(ROOT), name, node))
    return found


def test_every_print_goes_through_the_plain_console() -> None:
    """No other console is made, no markup is asked for, and the bar's texts are plain, too."""
    made = 0
    for path, name, call in _calls():
        where = f"{path}:{call.lineno}"
        given = {word.arg: word.value for word in call.keywords}
        if name == "PlainConsole":
            made += 1
        assert name not in {"Console", "rprint", "from_markup"}, where
        if name == "TextColumn":
            assert ast.unparse(given["markup"]) == "False", where
        elif name in {"status", "track"} and call.args and path.parts[0] != "runtime":
            # These take their text as markup, whatever the console.
            text = call.args[0]
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            values = [part.value for part in parts if isinstance(part, ast.FormattedValue)]
            assert all(isinstance(v, ast.Call) and getattr(v.func, "id", "") == "len" for v in values), where
            assert isinstance(text, (ast.JoinedStr, ast.Constant)), where
        else:
            assert "markup" not in given or str(path).endswith("console.py"), where
    assert made >= 8


def test_old_line_ends(tmp_path: Path) -> None:
    """Files whose lines end in carriage returns alone are read as others are."""
    (tmp_path / "samples.csv").write_bytes(b'device,time,temp\rp1,1709251200,1\rp1,1709251260,"2"\r')
    history = read(tmp_path)
    assert history.values[:, 0].tolist() == [1.0, 2.0]
    assert not len(history.notes)


def test_lone_carriage_returns_and_open_quotes(tmp_path: Path) -> None:
    """A line with a carriage return between quotes, or whose quote opens late, costs itself alone."""
    (tmp_path / "samples.csv").write_bytes(
        b'device,time,temp\np1,1709251200,"1"\np1,1709251260,"2"\r3\np1,"170"9"1260",4\n"p1",1709251320,5\n'
    )
    history = read(tmp_path)
    assert history.values[:, 0].tolist() == [1.0, 5.0]
    assert history.notes.count(BAD_LINES) == 2


def test_booleans_and_words_for_them_are_numbers(tmp_path: Path) -> None:
    """In text and in Parquet true is 1 and false is 0, as in the daemon."""
    (tmp_path / "samples.csv").write_text("device,time,on\np1,1709251200,true\np1,1709251260,FALSE\np1,1709251320,x\n")
    history = read(tmp_path)
    assert history.values[:2, 0].tolist() == [1.0, 0.0]
    assert history.notes.count(BAD_CELLS) == 1
    pl.read_csv(tmp_path / "samples.csv").head(2).with_columns(on=pl.Series([True, False])).write_parquet(
        tmp_path / "samples.parquet"
    )
    assert read(tmp_path, samples="samples.parquet").values[:, 0].tolist() == [1.0, 0.0]


def test_parquet_columns_of_any_type(tmp_path: Path) -> None:
    """Columns that hold no numbers are left out and said; decimals, text marked as binary and Booleans are read."""
    frame = pl.DataFrame(
        {
            "device": pl.Series([b"p1", b"p1"], dtype=pl.Binary),
            "time": pl.Series([1709251200, 1709251260]),
            "temp": pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)),
            "list": pl.Series([[1], [2]]),
            "took": pl.Series([1, 2]).cast(pl.Duration("ms")),
            "raw": pl.Series([b"\xff", b"\x00"], dtype=pl.Binary),
            "parts": pl.Series([{"a": 1}, {"a": 2}]),
        }
    )
    frame.write_parquet(tmp_path / "samples.parquet")
    history = read(tmp_path, samples="samples.parquet")
    assert (history.devices, history.channels) == (("p1",), ("temp",))
    assert history.values[:, 0].tolist() == [1.5, 2.5]
    assert history.notes.count(TEXT_COLUMNS) == 4
    with pytest.raises(HistoryError, match=r"column 'list' is of type List\(Int64\), which cannot be read"):
        read(tmp_path, samples="samples.parquet", device_column="list")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1....", "is Parquet: give it a name that ends in .parquet"),
        (b"\x1f\x8b\x08\x00", "is packed and damaged"),
        (b"PK\x03\x04", "is a zip archive or a spreadsheet"),
        (b"", "the file is empty"),
        (b'"a\rb",c\n', "the header line cannot be read|no column 'device'"),
        (b'time,device,"temp\n[degC]"\n1709251200,p1,1\n', "the header line has a quote that is not closed"),
        ("time,device,temp\n".encode("utf-16-le"), 'NUL characters.*set data.encoding = "utf-16-le"'),
        (b"\0" * 4096, r"^\S+: the header line holds NUL characters: the file is damaged.{,100}$"),
        (b"x" * 5000, r"no column 'device'; columns there: 'x{117}\.\.\.'"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, said: str) -> None:
    """Other files under the name of a table are named for what they are."""
    (tmp_path / "samples.csv").write_bytes(content)
    with pytest.raises(HistoryError, match=said):
        read(tmp_path)


def test_lines_with_nul_characters_are_skipped(tmp_path: Path) -> None:
    """What a power failure leaves at the end of a file, or in it, is no device, and no wall of text in the notes."""
    rows = b"device,time,temp\np1,1709251200,1\np\x001,1709251260,2\np1,1709251320,3\n" + b"\0" * 4096
    (tmp_path / "samples.csv").write_bytes(rows)
    history = read(tmp_path)
    assert (history.devices, history.values[:, 0].tolist()) == (("p1",), [1, 3])
    (note,) = history.notes
    assert (note.kind, note.count) == (BAD_LINES, 2)
    (tmp_path / "samples.csv").write_bytes(b"device,time,temp\np1,1709251200,1\n" + b"\0" * 4096)
    (note,) = read(tmp_path).notes
    assert note.example == "samples.csv:3: a NUL character, as damaged files have them"


def test_a_column_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    """So that nobody has to look up how columns are named; those of an events file have fixed names."""
    (tmp_path / "samples.csv").write_text("Asset,time,temp\np1,1709251200,1\n")
    with pytest.raises(HistoryError, match=r"no column 'device'.*; name the one meant as data.device_column"):
        read(tmp_path)
    (tmp_path / "events.csv").write_text("Asset,start,end,fault\n")
    with pytest.raises(HistoryError, match="a file of events has the columns device, start, end, fault"):
        read(tmp_path, device_column="Asset", events="events.csv")
    with pytest.raises(HistoryError, match=r"no file but that of data.events matches"):
        read(tmp_path, device_column="Asset", events="samples.csv")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"channels": ["temp", "temp"]}, "channels names 'temp' more than once"),
        ({"faults": ["leak", "worn", "leak"]}, "faults names 'leak' more than once"),
        ({"faults": ["leak "]}, "faults names 'leak ': write it without the blanks"),
        ({"normal": [" run"]}, "normal names ' run': write it without the blanks"),
        ({"separator": "tab"}, r"separator: invalid enum value 'tab'; must be ',', ';', '\\t', '\|'$"),
        ({"start": date(2024, 3, 1)}, "start: expected .*; must be a day, a time and an offset, such as 2024-03-01T00"),
        ({"start": "2024-03-01"}, "start: .*; must be a day, a time and an offset, such as 2024-03-01T00:00:00Z$"),
    ],
)
def test_keys_that_cannot_be_meant(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    """They are refused with what may stand there, before anything is read."""
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, **keys)


def test_a_word_or_a_number() -> None:
    """Where a key takes either, the message says both."""
    with pytest.raises(ConfigError, match=r"raise_threshold: invalid enum value 'high'; must be 'auto' or a number$"):
        from_mapping({"raise_threshold": "high"}, DecisionConfig, "x")


def test_a_fault_may_not_be_named_as_the_lack_of_a_class(tmp_path: Path) -> None:
    """``unknown`` is a verdict of its own; it is refused before the fitting, not after it."""
    (tmp_path / "samples.csv").write_text("device,time,temp,label\np1,1709251200,1,OK\np1,1709251260,2,unknown\n")
    with pytest.raises(HistoryError, match=r"a fault is named 'unknown'.*'unlabelled'"):
        read(tmp_path, label_column="label")


def test_a_label_column_that_holds_anything_else(tmp_path: Path) -> None:
    """A column with a value of its own in every row is no label."""
    rows = "".join(f"p1,{1709251200 + i},{i}\n" for i in range(1200))
    (tmp_path / "samples.csv").write_text("device,time,temp\n" + rows)
    with pytest.raises(HistoryError, match=r"'temp' holds more than 1000 different labels: .*data.label_column"):
        read(tmp_path, label_column="temp")


@pytest.mark.slow
def test_no_room_for_temporary_files(nasty: Path) -> None:
    """Where nothing can be written, as on a read-only root, a training says so and names the mend."""
    environment = {key: value for key, value in os.environ.items() if key not in {"MPLCONFIGDIR", "XDG_CONFIG_HOME"}}
    result = subprocess.run(
        [sys.executable, "-m", "rarefault.runtime.cli", "train", str(nasty), "--out", str(nasty.parent / "none")],
        env={**environment, "HOME": "/proc/nowhere", "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].endswith("no folder for temporary files can be written to: set TMPDIR to one")


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (".", r"'\.' is a folder; name the files in it, as in \./\*\.csv"),
        ("a**b.csv", r"'a\*\*b.csv' is no pattern for files"),
        ("a\0.csv", "no file matches"),
    ],
)
def test_what_names_no_files(tmp_path: Path, samples: str, said: str) -> None:
    """Folders and broken patterns are named with the mend."""
    with pytest.raises(HistoryError, match=said):
        read(tmp_path, samples=samples)


def test_a_channel_that_is_not_there(tmp_path: Path) -> None:
    """The sentence lists those that are."""
    (tmp_path / "samples.csv").write_text("device,time,temp\np1,1709251200,1\n")
    with pytest.raises(HistoryError, match=r"no channel 'tmp' in 'samples.csv'; channels: 'temp'"):
        read(tmp_path, channels="tmp")


def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    """It would be the name of a device."""
    (tmp_path / os.fsdecode(b"p\xff.csv")).write_text("time,temp\n1709251200,1\n")
    with pytest.raises(HistoryError, match=r"the name of the file 'p\\udcff.csv' is not UTF-8; rename it"):
        read(tmp_path, samples="*.csv", device_column="")
