"""Columns to numbers and names, all rows at once."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Float64, Int32
from rarefault.runtime.telemetry.values import WORDS
from rarefault.train.history.parsing.text_form import PLAIN, NumberForm

#: What programs write for an empty cell, in any case.
EMPTY = frozenset({"", "nan", "nat", "na", "n/a", "<na>", "null", "-"})
#: Text that stands for "no value", in any case; as a label "none" means no fault.
MISSING = ("none", *EMPTY)

#: A larger value would become infinite as a float32, which is what the model sees.
LARGEST = float(np.finfo(np.float32).max)


def beyond_float32(value: Float64) -> Bool:
    """Which finite values would become infinite as a float32."""
    return np.abs(value) > LARGEST  # NaN is not


def parse_numbers(
    values: pl.Series, states: Mapping[str, float] | None = None, form: NumberForm = PLAIN
) -> tuple[Float64, Bool]:
    """Values (NaN where there is none), [m], and the cells that hold something else than a finite number, [m].

    Booleans, and the words true, false, on and off, are 1 and 0. Where marks part thousands, all of them are parted.

    Args:
        values: text, numbers or Booleans, [m].
        states: number of each word that the channel may have, in place of these words; see
            :func:`rarefault.runtime.telemetry.values.number_of`, which reads live values by the same rule.
        form: of numbers as text.
    """
    if states is not None and values.dtype == pl.Boolean:
        values = values.cast(pl.String)
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        number = values.cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
        bad = np.isinf(number)
    elif states is None and form == PLAIN and not (parsed := values.cast(pl.Float64, strict=False)).null_count():
        number = parsed.to_numpy().copy()
        bad = np.isinf(number)
    else:
        text = values.cast(pl.String).str.strip_chars()
        parsed = plain_text(text, form).cast(pl.Float64, strict=False)
        if states is not None:
            parsed = text.replace_strict(dict(states), default=None, return_dtype=pl.Float64).fill_null(parsed)
        elif parsed.null_count() > text.null_count():
            words = text.str.to_lowercase().replace_strict(dict(WORDS), default=None, return_dtype=pl.Float64)
            parsed = parsed.fill_null(words)
        number = parsed.fill_null(np.nan).to_numpy().copy()
        missing = text.is_null() | text.str.to_lowercase().is_in(MISSING)
        bad = (parsed.is_null() & ~missing).to_numpy() | np.isinf(number)
    number[~np.isfinite(number)] = np.nan  # one bit pattern for all that is missing
    return number, bad


def plain_text(text: pl.Series, form: NumberForm) -> pl.Series:
    """Numbers as text with a point and without thousands' marks; text that is no number in that form stays none."""
    if form == PLAIN:
        return text
    if form.decimal == ".":
        plain = text
    else:  # a point is no decimal mark here
        plain = text.str.replace_all(".", "_", literal=True).str.replace_all(",", ".", literal=True)
    if form.thousands:
        mark = {".": "_", " ": "[ \u00a0\u202f\u2009]", "'": "['\u2019]"}.get(form.thousands, form.thousands)
        grouped = plain.str.contains(rf"^[+-]?\d{{1,3}}({mark}\d{{3}})+(\.\d*)?$").fill_null(value=False)
        plain = plain.zip_with(~grouped, plain.str.replace_all(mark, ""))
    return plain


class Names:
    """Names met so far, numbered in the order of their first appearance."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}

    def codes(self, values: pl.Series) -> Int32:
        """The number of each name (text, [m]), [m]."""
        text = values.cast(pl.String).fill_null("").str.strip_chars()
        met = text.unique(maintain_order=True).to_list()
        for name in met:
            self.code(name)
        codes = text.replace_strict(met, [self._code[name] for name in met], return_dtype=pl.Int32)
        return codes.to_numpy().astype(np.int32)

    def code(self, name: str) -> int:
        """The number of one name, new or known."""
        return self._code.setdefault(name, len(self._code))

    def __contains__(self, name: str) -> bool:
        return name in self._code

    def __len__(self) -> int:
        return len(self._code)

    def list(self) -> list[str]:
        """All names, by number."""
        return list(self._code)
