"""Blocks of lines that hold neither quotes nor mistakes, split and parsed by polars' reader of CSV in one go."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

#: Stands for the separator once quotes are resolved; lines that hold one are refused.
FIELD = "\x1f"
#: What makes lines irregular: they are examined one by one.
_IRREGULAR = (b'"', b"\0", FIELD.encode())


@dataclass(frozen=True, slots=True)
class RawLines:
    """Lines of a block, split only where one is quoted in a message.

    Attributes:
        raw: the lines, in UTF-8.
    """

    raw: bytes

    def __getitem__(self, row: int) -> str:
        return self.raw.split(b"\n")[row].rstrip(b"\r").decode()


def regular_fields(raw: bytes, n_fields: int, separator: str, numbers: Collection[int]) -> list[pl.Series] | None:
    r"""The columns of lines that all have the same number of fields; None where some need another look.

    >>> [column.to_list() for column in regular_fields(b"p1,3.5\np2,", 2, ",", {1})]
    [['p1', 'p2'], [3.5, None]]
    >>> regular_fields(b"p1,3.5\np2", 2, ",", {1})

    Args:
        raw: whole lines, without the end of the last.
        n_fields: of a line, at least two.
        separator: between the fields.
        numbers: the fields that are parsed as numbers; if one of them is none, the lines need another look.
    """
    if any(mark in raw for mark in _IRREGULAR):
        return None
    if b"\r" in raw:
        raw = raw.removesuffix(b"\r").replace(b"\r\n", b"\n")
        if b"\r" in raw:
            return None
    rows = occurrences(raw, b"\n") + 1
    # The reader refuses lines with more fields, so where the sum is right, each is.
    if n_fields < 2 or occurrences(raw, separator.encode()) != (n_fields - 1) * rows:
        return None
    try:
        if not raw.isascii():
            raw.decode()  # columns of numbers are not checked by the reader
        frame = pl.read_csv(
            raw,
            has_header=False,
            separator=separator,
            quote_char=None,
            schema={str(i): pl.Float64 if i in numbers else pl.String for i in range(n_fields)},
            glob=False,
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return None
    columns = frame.get_columns()
    if frame.height != rows or any(columns[i].is_infinite().any() for i in numbers):
        return None
    return [c.fill_null("") if c.dtype == pl.String and c.null_count() else c for c in columns]


def occurrences(raw: bytes, byte: bytes) -> int:
    """How often a byte occurs; of frequent ones, faster than their own count."""
    return int(np.count_nonzero(np.frombuffer(raw, np.uint8) == ord(byte)))
