"""Regular blocks are parsed in one go, and give what the examination of every line gives."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.data import History
from rarefault.train.history.formats.table import TableConfig
from rarefault.train.history.parsing import lines, regular

CELLS = '1|-2.5| 3|4 ||nan|NaN|inf|-inf|1e400|1e39|1e3|+5|5.|.5|true|OFF|x|-|null|1,5|"7"|0x10|1_000|\u0663|12.000'
NUMBERS = st.sampled_from(CELLS.split("|"))
LINES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["p1", "p2", "", "pümp"]), NUMBERS, NUMBERS).map(",".join),
        st.sampled_from(["", " ", "p1,1", "p1,1,2,3", "p1,1,2,", "p1,\x1f,2", "p1,1\0,2", "p1,1,2\r"]),
    ),
    min_size=1,
    max_size=40,
)


def read(text: str, *, every_line: bool) -> tuple[History | None, str]:
    """The history of a file in blocks of a few lines; or the error."""
    with TemporaryDirectory() as name:
        path = Path(name) / "s.csv"
        path.write_bytes(text.encode())
        config = TableConfig(samples=("s.csv",))
        with (
            patch.object(lines, "BLOCK_BYTES", 150),
            patch.object(lines, "regular_fields", (lambda *_: None) if every_line else regular.regular_fields),
        ):
            try:
                history = config.read(Path(name))
            except HistoryError as error:
                return None, str(error).replace(name, "")
            return history, str(history.notes)


@given(rows=LINES, settled=st.booleans())
@settings(max_examples=300, deadline=None)
def test_both_ways_give_the_same_history_notes_and_errors(rows: list[str], settled: bool) -> None:
    """Whatever stands in the cells and however lines are damaged."""
    first = "p1,0.5,1\n" if settled else "p1,1,1\n"
    text = "device,a,b,time\n" + "".join(
        f"{row},{1_700_000_000 + 60 * i}\n" for i, row in enumerate([first.strip()] * 8 + rows + [first.strip()] * 8)
    )
    fast, fast_notes = read(text, every_line=False)
    slow, slow_notes = read(text, every_line=True)
    assert fast_notes == slow_notes
    assert (fast is None) == (slow is None)
    if fast is not None and slow is not None:
        assert fast.fingerprint == slow.fingerprint
        np.testing.assert_array_equal(fast.values, slow.values)


def test_plain_files_are_read_in_one_go(tmp_path: Path) -> None:
    """Otherwise the speed is gone, and nothing else would show it."""
    text = "device,a,time\n" + "".join(f"p1,{i / 2},{1_700_000_000 + 60 * i}\r\n" for i in range(100))
    (tmp_path / "s.csv").write_bytes(text.encode())
    taken: list[bool] = []

    def counted(*args: object) -> object:
        found = regular.regular_fields(*args)  # type: ignore[arg-type]
        taken.append(found is not None)
        return found

    with patch.object(lines, "BLOCK_BYTES", 500), patch.object(lines, "regular_fields", counted):
        history = TableConfig(samples=("s.csv",)).read(tmp_path)
    assert len(history) == 100
    assert len(taken) >= 3
    assert all(taken)


@pytest.mark.parametrize("text", [b"a,b\nc", b'"a",b', b"a,\x1f", b"a,b\0", b"a\rb,c", b"a,b,c\nd", b"\xff,1"])
def test_other_lines_are_left_to_the_examination(text: bytes) -> None:
    """Lines of other lengths, quotes, control characters, text that is none."""
    assert regular.regular_fields(text, 2, ",", {1}) is None
