"""Names that are put together from parts in braces; how such names are read is the runtime's."""

from collections.abc import Sequence

import polars as pl

from rarefault.runtime.telemetry.pattern import PART, Pattern, escaped

__all__ = ["Pattern", "escaped", "filled", "names_in"]


def filled(template: str, parts: Sequence[pl.Series]) -> pl.Series:
    """A text with the parts in its braces, in their order, [m]."""
    pieces = [pl.lit(piece) for piece in PART.split(template)[::2]]
    words = [pl.col(str(i)) for i in range(len(parts))]
    both = [piece for pair in zip(pieces, words, strict=False) for piece in pair] + pieces[len(words) :]
    frame = pl.DataFrame([part.alias(str(i)) for i, part in enumerate(parts)])
    return frame.select(pl.concat_str(both)).to_series()


def names_in(template: str) -> tuple[str, ...]:
    """The names in the braces of a text."""
    return tuple(PART.findall(template))
