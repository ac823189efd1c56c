"""CSV files block by block, with the number of every line and a count of those that cannot be used.

Polars' own CSV reader leaves malformed lines undefined. Here a line is a record: it is split by polars, but counted,
numbered and, where it is wrong, set aside on its own. Memory stays that of one block, whatever the size of the file.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.data import Bool, Int64
from rarefault.train.history.notes import BAD_LINES, ReadNotes

#: Bytes read at a time.
BLOCK_BYTES = 1 << 24

_FIELD = "\x1f"  # stands for the separator once quotes are resolved; occurs in no text file
_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Block:
    """Consecutive lines of a file (m of them), split into fields.

    Attributes:
        path: the file.
        line: number of each line in the file, from 1, [m].
        text: the lines.
        fields: the columns as text, each [m]; null where a line has too few.
        good: the lines that nothing was found wrong with yet, [m].
    """

    path: Path
    line: Int64
    text: pl.Series
    fields: list[pl.Series]
    good: Bool
    _why: list[tuple[Bool, str]] = field(default_factory=list)

    def refuse(self, bad: Bool, why: str) -> None:
        """Take lines (``bad`` [m]) out of the good ones."""
        new = bad & self.good
        if new.any():
            self._why.append((new, why))
            self.good &= ~bad

    def report(self, notes: ReadNotes) -> None:
        """Note how many lines were refused, with the first of them and the reason."""
        bad = np.flatnonzero(~self.good)
        if len(bad):
            first = int(bad[0])
            why = next(why for new, why in self._why if new[first])
            notes.add(BAD_LINES, len(bad), f"{self.quote(first)}: {why}")

    def quote(self, row: int) -> str:
        """One of the lines as messages quote it."""
        return place(self.path, int(self.line[row]), self.text[row])


def place(path: Path, line: int, text: str) -> str:
    """A line as messages quote it; of a Parquet file, which has no text, the number of the row."""
    if path.suffix.lower() == ".parquet":
        return f"{path.name}: row {line}"
    text = text.strip()
    return f"{path.name}:{line}: {text[:117] + '...' if len(text) > 120 else text!r}"


def line_text(path: Path, line: int) -> str:
    """The text of one line of a file, for an example."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if number == line:
                return raw.decode("utf-8", "replace").rstrip("\r\n")
    raise HistoryError(f"{path}: changed while it was read; line {line} is gone")


def read_header(path: Path, separator: str) -> list[str]:
    """The column names in the first line that is not blank.

    Raises:
        HistoryError: there is none, or a name occurs twice.
    """
    for _, raw in _chunks(path, 1 << 16):
        for text in raw.decode("utf-8", "replace").split("\n"):
            if text.strip():
                names = [name.strip() for name in next(csv.reader([text.strip("\r")], delimiter=separator))]
                if twice := sorted({name for name in names if names.count(name) > 1}):
                    raise HistoryError(f"{path}: the header names {', '.join(map(repr, twice))} more than once")
                return names
    raise HistoryError(f"{path}: the file is empty; a header line was expected")


def read_blocks(path: Path, n_fields: int, *, separator: str = ",", header: bool = False) -> Iterator[Block]:
    """The file's lines that are not blank, split into ``n_fields`` fields, a block at a time.

    Raises:
        HistoryError: the file cannot be read.
    """
    skip = header
    for first, raw in _chunks(path, BLOCK_BYTES):
        text = pl.Series([raw.decode("utf-8", "replace")]).str.split("\n").explode().str.strip_chars_end("\r")
        filled = (text.str.strip_chars() != "").to_numpy()
        if skip and filled.any():
            filled[np.flatnonzero(filled)[0]] = False
            skip = False
        if filled.any():
            line = first + np.flatnonzero(filled)
            yield _split(path, line, text.filter(pl.Series(filled)), n_fields, separator)


def _chunks(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines, about ``size`` bytes at a time, each with the number of its first line."""
    number, rest = 1, b""
    try:
        with path.open("rb") as file:
            start = True
            while chunk := file.read(size):
                if start:
                    chunk, start = chunk.removeprefix(_BOM), False
                cut = chunk.rfind(b"\n") + 1
                if not cut:
                    rest += chunk
                    continue
                yield number, rest + chunk[: cut - 1]
                number += rest.count(b"\n") + chunk.count(b"\n")
                rest = chunk[cut:]
    except OSError as error:
        raise HistoryError(f"{path}: cannot be read: {error.strerror}") from error
    if rest:
        yield number, rest


def _split(path: Path, line: Int64, text: pl.Series, n_fields: int, separator: str) -> Block:
    quotes = text.str.count_matches('"', literal=True).to_numpy()
    plain = text.str.replace_all(separator, _FIELD, literal=True)
    if quotes.any():
        quoted = np.flatnonzero((quotes > 0) & (quotes % 2 == 0))
        resolved = [_FIELD.join(row) for row in csv.reader(text[quoted].to_list(), delimiter=separator)]
        plain = plain.scatter(quoted, resolved)
    count = plain.str.count_matches(_FIELD, literal=True).to_numpy() + 1
    fields = plain.str.split_exact(_FIELD, n_fields - 1).struct.unnest().get_columns() if n_fields > 1 else [plain]
    block = Block(path, line, text, fields, np.ones(len(line), bool))
    block.refuse(quotes % 2 == 1, "a quote that is not closed")
    for n in np.unique(count[count != n_fields]).tolist():
        block.refuse(count == n, f"{n} field{'s' if n > 1 else ''} instead of {n_fields}")
    return block
