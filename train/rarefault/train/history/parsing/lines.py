"""CSV files block by block, with the number of every line and a count of those that cannot be used.

Polars' own CSV reader leaves malformed lines undefined. Here a line is a record: it is split by polars, but counted,
numbered and, where it is wrong, set aside on its own. Memory stays that of one block, whatever the size of the file.
"""

import codecs
import csv
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.train.history.notes import BAD_LINES, ReadNotes
from rarefault.train.history.parsing.packed import ZIP, opened
from rarefault.train.history.parsing.records import whole_records
from rarefault.train.history.parsing.regular import FIELD, RawLines, occurrences, regular_fields
from rarefault.train.history.parsing.text_form import COMMAS, SEPARATORS, UTF8, Separator, TextForm

#: Bytes read at a time, of telemetry and of a log.
BLOCK_BYTES, ALL_BYTES = 1 << 22, 1 << 30

#: How files begin that are no text, and what to do about each.
_FOREIGN = {
    b"PAR1": "is Parquet: give it a name that ends in .parquet",
    ZIP: "is a zip archive or a spreadsheet: give it a name that ends in .zip or .xlsx",
}
#: How the first line of a file of Campbell Scientific begins, whose second names the columns, and how many follow that.
_TOA5, _TOA5_AFTER = '"TOA5"', 2
#: A first line that names the separator, as spreadsheets take it.
_SEP = re.compile(r'"?sep=(.)"?;*', re.IGNORECASE)
#: Files of which a row has no text.
ROWS = (".parquet", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


@dataclass(slots=True)
class Block:
    """Consecutive lines of a file (m of them), split into fields.

    Attributes:
        path: the file.
        line: number of each line in the file, from 1, [m].
        text: the lines, by row.
        fields: the columns, each [m]: text, null where a line has too few, or numbers where they were asked for.
        good: the lines that nothing was found wrong with yet, [m].
    """

    path: Path
    line: Int64
    text: "pl.Series | RawLines"
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

    def note(
        self, notes: ReadNotes, kind: str, which: Bool, rows: Int64 | None = None, *, problem: bool = True
    ) -> None:
        """Note some of the block's lines, with the first of them as the example.

        Args:
            notes: where it is counted.
            kind: what was found.
            which: the lines, [m]; with ``rows``, of those, [n].
            rows: some of the lines, [n]; all by default.
            problem: whether strict reading refuses it.
        """
        if which.any():
            first = int(np.flatnonzero(which)[0])
            example = self.quote(first if rows is None else int(rows[first]))
            notes.add(kind, int(which.sum()), example, problem=problem)

    def quote(self, row: int) -> str:
        """One of the lines as messages quote it."""
        return place(self.path, int(self.line[row]), self.text[row])


def place(path: Path, line: int, text: str) -> str:
    """A line as messages quote it; of Parquet or a workbook, which have no text, the number of the row."""
    if path.suffix.lower() in ROWS:
        return f"{path.name}: row {line}"
    text = text.strip(" \t\r\n\0")
    if not text:
        return f"{path.name}:{line}"
    return f"{path.name}:{line}: {text[:117] + '...' if len(text) > 120 else text!r}"


def line_text(path: Path, line: int) -> str:
    """The text of one line of a file, for an example; "" where it is not at hand in UTF-8."""
    try:
        for first, raw in _chunks(path, 1 << 20, UTF8):
            text = _text(path, first, raw, "data.")
            if line < first + text.count("\n") + 1:
                return text.split("\n")[line - first].rstrip("\r")
    except HistoryError:
        pass  # in another encoding: the number of the line is enough
    return ""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the rows of a file.

    Attributes:
        names: of the columns, "" where one has none.
        last: number of the last line before the rows.
        separator: between the fields.
    """

    names: tuple[str, ...]
    last: int
    separator: Separator

    @property
    def nameless(self) -> int:
        """How many columns at the end have no name, as where lines end in a separator."""
        return len(self.names) - max((i + 1 for i, name in enumerate(self.names) if name), default=0)


def read_header(path: Path, form: TextForm = COMMAS) -> Header:
    """Names of the columns: of the section, or of the first line that is neither blank nor a comment.

    A first line ``sep=;`` names the separator, and in a file that begins with "TOA5" the second line the columns.

    Raises:
        HistoryError: the file is empty or cannot be read, or the header cannot be.
    """
    separator = form.separator or ","
    if form.header:
        return Header(form.header, form.skip_rows + form.skip_after_header, separator)
    toa5 = False
    for number, text in first_lines(path, form):
        if (named := _SEP.fullmatch(text.strip(" "))) and named[1] in SEPARATORS:
            separator = form.separator or cast(Separator, named[1])
            continue
        if not toa5 and text.startswith(_TOA5) and not form.skip_rows:
            toa5 = True
            continue
        after = _TOA5_AFTER if toa5 and not form.skip_after_header else form.skip_after_header
        return Header(_names(path, text, separator), number + after, separator)
    raise HistoryError(f"{path}: the file is empty; a header line was expected")


def names_itself(line: str) -> bool:
    """Whether a first line names the separator, or a maker whose files have a form of their own."""
    return line.startswith(_TOA5) or _SEP.fullmatch(line.strip(" ")) is not None


def first_lines(path: Path, form: TextForm) -> Iterator[tuple[int, str]]:
    """The lines from the header on, with their numbers; blank ones and comments are left out."""
    for first, raw in _chunks(path, 1 << 16, form.encoding, form.prefix):
        for number, line in enumerate(_text(path, first, raw, form.prefix).split("\n"), first):
            stripped = line.strip("\r")
            if number > form.skip_rows and stripped.strip() and not is_comment(stripped, form):
                yield number, stripped


def is_comment(line: str, form: TextForm) -> bool:
    """Whether a line is left out because of how it begins."""
    return bool(form.comment) and line.lstrip().startswith(form.comment)


def _names(path: Path, text: str, separator: str) -> tuple[str, ...]:
    """The names in a header line."""
    if "\0" in text:
        raise HistoryError(
            f"{path}: the header line holds NUL characters: the file is damaged or, where every other "
            'character is one, UTF-16; set data.encoding = "utf-16-le" or "utf-16-be" then'
        )
    try:
        rows = list(csv.reader([text, ""], delimiter=separator))
    except csv.Error as error:
        raise HistoryError(f"{path}: the header line cannot be read: {error}") from error
    if len(rows) < 2:
        raise HistoryError(
            f"{path}: the header line has a quote that is not closed: write each column's name on one line"
        )
    names = tuple(name.strip() for name in rows[0])
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise HistoryError(f"{path}: the header names {', '.join(map(repr, twice))} more than once")
    return names


def read_blocks(
    path: Path,
    n_fields: int,
    form: TextForm = COMMAS,
    header: Header | None = None,
    numbers: Callable[[], Collection[int]] = tuple,
) -> Iterator[Block]:
    """The file's lines that are neither blank nor comments, split into ``n_fields`` fields, a block at a time.

    Fields without a name at the end of a line may be left out, and separators at its end are none of its fields.

    Args:
        path: the file.
        n_fields: of a line.
        form: encoding, comments and, without a header, separator.
        header: what stands before the rows; by default nothing.
        numbers: says before each block which fields may be read as numbers, if all of the block's are some.

    Raises:
        HistoryError: the file cannot be read, or is not in that encoding.
    """
    last = 0 if header is None else header.last
    separator: str = (form.separator or ",") if header is None else header.separator
    fewest = n_fields - (0 if header is None else header.nameless)
    plain = not (form.records or form.comment)
    for first, raw in _chunks(path, ALL_BYTES if form.records else BLOCK_BYTES, form.encoding, form.prefix):
        if plain and first > last and (fields := regular_fields(raw, n_fields, separator, numbers())) is not None:
            line = first + np.arange(len(fields[0]))
            yield Block(path, line, RawLines(raw), fields, np.ones(len(line), bool))
            continue
        text = pl.Series([_text(path, first, raw, form.prefix)]).str.split("\n").explode().str.strip_chars_end("\r")
        number = first + np.arange(len(text))
        if form.records and text.str.contains('"', literal=True).any():
            at, records = whole_records(text.to_list(), separator, fewest, n_fields)
            number, text = number[at], pl.Series(records)
        filled = (text.str.strip_chars() != "").to_numpy()
        filled &= number > last
        if form.comment:
            filled &= ~text.str.strip_chars_start().str.starts_with(form.comment).to_numpy()
        if filled.any():
            yield _split(path, number[filled], text.filter(pl.Series(filled)), (fewest, n_fields), separator)


def _chunks(path: Path, size: int, encoding: str, prefix: str = "data.") -> Iterator[tuple[int, bytes]]:
    """Whole lines, about ``size`` bytes at a time, each with the number of its first line."""
    number, rest = 1, b""
    for chunk in _bytes(path, size, encoding, prefix):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest += chunk
            continue
        yield number, rest + chunk[: cut - 1]
        number += occurrences(rest, b"\n") + occurrences(chunk, b"\n")
        rest = chunk[cut:]
    if rest:
        yield number, rest


def _bytes(path: Path, size: int, encoding: str, prefix: str) -> Iterator[bytes]:
    """The file in UTF-8, without a byte order mark, its lines ended by line feeds, about ``size`` bytes at a time."""
    old_ends = False
    with opened(path) as file:
        for number, chunk in enumerate(_in_utf8(path, iter(partial(file.read, size), b""), encoding, prefix)):
            if not number:
                old_ends = b"\r" in chunk and b"\n" not in chunk
            text = chunk if number else chunk.removeprefix(codecs.BOM_UTF8)
            yield text.replace(b"\r", b"\n") if old_ends else text


def _in_utf8(path: Path, chunks: Iterator[bytes], encoding: str, prefix: str) -> Iterator[bytes]:
    """A file's bytes in UTF-8; what is UTF-8 already is not checked here.

    Raises:
        HistoryError: it is no text, or not in that encoding.
    """
    name = codecs.lookup(encoding).name
    decoder = None if name == UTF8 else codecs.getincrementaldecoder(encoding)()
    # Text in UTF-8 can be read in any encoding of single bytes, to other letters; the other way hardly ever.
    check = codecs.getincrementaldecoder(UTF8)() if decoder and not name.startswith("utf") else None
    foreign = False
    for number, chunk in enumerate(chunks):
        if not number:
            if found := next((what for magic, what in _FOREIGN.items() if chunk.startswith(magic)), None):
                raise HistoryError(f"{path}: {found}")
            if decoder is None and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise HistoryError(f'{path}: is UTF-16 text; set {prefix}encoding = "utf-16"')
        if check is not None:
            foreign |= not chunk.isascii()
            try:
                check.decode(chunk)
            except UnicodeDecodeError:
                check = None
        yield chunk if decoder is None else _recoded(path, decoder, chunk, encoding, prefix)
    if decoder is not None:
        yield _recoded(path, decoder, b"", encoding, prefix, final=True)
    if check is not None and foreign:
        raise HistoryError(
            f'{path}: is UTF-8 text, not {encoding}; set {prefix}encoding = "utf-8", and read files that are not as a '
            "source of their own"
        )


def _recoded(
    path: Path, decoder: codecs.IncrementalDecoder, chunk: bytes, encoding: str, prefix: str, *, final: bool = False
) -> bytes:
    try:
        return decoder.decode(chunk, final).encode(errors="replace")
    except UnicodeError as error:
        raise HistoryError(f"{path}: is not text in {prefix}encoding = {encoding!r}: {error}") from error


def _text(path: Path, first: int, raw: bytes, prefix: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = first + raw[: error.start].count(b"\n")
        raise HistoryError(
            f"{path}: line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; set {prefix}encoding to what the file "
            'is written in, such as "cp1252" or "latin-1"'
        ) from error


def _split(path: Path, line: Int64, text: pl.Series, n_fields: tuple[int, int], separator: str) -> Block:
    """Lines as a block; they have at least the first and at most the second number of fields."""
    fewest, most = n_fields
    quotes = text.str.count_matches('"', literal=True).to_numpy()
    foreign = text.str.contains(FIELD, literal=True).to_numpy()
    damaged = text.str.contains("\0", literal=True).to_numpy()
    plain = text.str.replace_all(separator, FIELD, literal=True)
    broken = quotes % 2 == 1
    if quotes.any():
        quoted = np.flatnonzero((quotes > 0) & ~broken)
        resolved = _resolve(text[quoted].to_list(), separator)
        broken[quoted] = [row is None for row in resolved]
        plain = plain.scatter(quoted, [row or "" for row in resolved])
    count = plain.str.count_matches(FIELD, literal=True).to_numpy().astype(np.int64) + 1
    fields = plain.str.split_exact(FIELD, most - 1).struct.unnest().get_columns() if most > 1 else [plain]
    block = Block(path, line, text, fields, np.ones(len(line), bool))
    block.refuse(broken, "a quote that is not closed")
    block.refuse(foreign, "a control character that separates fields")
    block.refuse(damaged, "a NUL character, as damaged files have them")
    if (long := count > most).any():
        # Separators at the end of a line, as spreadsheets write them, are no fields.
        filled = plain.filter(pl.Series(long)).str.strip_chars_end(f"{FIELD} \t")
        there = filled.str.count_matches(FIELD, literal=True).to_numpy() + 1
        count[long] = np.where(there <= most, most, count[long])
        if most == 1:
            fields[0] = plain.str.split(FIELD).list.first()
    for n in np.unique(count[(count < fewest) | (count > most)]).tolist():
        block.refuse(count == n, f"{n} field{'s' if n > 1 else ''} instead of {most}")
    return block


def _resolve(lines: list[str], separator: str) -> list[str | None]:
    """Lines with quotes, their fields parted by ``FIELD``; None for a line whose quotes cannot be resolved."""
    try:
        rows = list(csv.reader(lines, delimiter=separator))
    except csv.Error:
        rows = []
    # A quote that is still open at the end of a line would take the next one with it.
    if len(rows) == len(lines):
        return [FIELD.join(row) for row in rows]
    return [_resolve_one(line, separator) for line in lines]


def _resolve_one(line: str, separator: str) -> str | None:
    try:
        rows = list(csv.reader([line, ""], delimiter=separator))
    except csv.Error:
        return None
    return FIELD.join(rows[0]) if len(rows) == 2 else None
