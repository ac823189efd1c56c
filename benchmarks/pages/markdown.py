"""Tables and numbers in Markdown."""

from collections.abc import Iterable, Sequence
from statistics import mean


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A table whose first ``words`` columns are words, flush left; the others are numbers, flush right."""
    lines = [_line(heads), "|" + "---|" * words + "--:|" * (len(heads) - words)]
    return "\n".join(lines + [_line(row) for row in rows])


def spread(values: Sequence[float], digits: int) -> str:
    """The mean, and the range in brackets where there are several; ``values`` are mean, least, largest or one alone."""
    return " ".join([number(values[0], digits), *([f"[{_range(values, digits)}]"] if len(values) > 1 else [])])


def number(value: float | None, digits: int) -> str:
    """Digits after the point, and commas between thousands; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}"


def commit(name: str) -> str:
    """The short form of a commit, ``-dirty`` where the tree had changes."""
    return f"`{name[:7]}{'-dirty' if name.endswith('-dirty') else ''}`"


def average(values: Sequence[float | None]) -> float | None:
    """The mean of those that are there; None where none is."""
    there = [value for value in values if value is not None]
    return mean(there) if there else None


def _range(values: Sequence[float], digits: int) -> str:
    return ", ".join(number(value, digits) for value in values[1:])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
