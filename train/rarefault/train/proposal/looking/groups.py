"""Which tables are samples and which are logs of events, and which tables of samples are of one kind."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.train.history.dialect.numbers import number_evidence
from rarefault.train.history.dialect.tags import VALUE_WORDS
from rarefault.train.history.dialect.times import is_clock
from rarefault.train.history.parsing.cells import parse_numbers
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.frames import Columns
from rarefault.train.history.parsing.text_form import UTF8, NumberForm, TextForm
from rarefault.train.history.parsing.times import is_day
from rarefault.train.proposal.looking.look import Look
from rarefault.train.proposal.looking.words import DURATION, END, FAULT, START, TIME, best, filled, rank, time_names

#: Least share of a column's cells that are numbers, where it is one of numbers.
NUMERIC = 0.5
#: A table with more columns than this is no list of codes.
FEW_COLUMNS = 4
#: A column with at most so many different words names a kind of something.
FEW_WORDS = 40
_NO_TIMES = (
    "no column holds times that can be read ({}); write them like 2024-03-01T12:00:00Z, or write a [data] section with "
    "time_column and time_format by hand"
)

TimeColumn = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class EventTimes:
    """The columns of a log that hold the start and the end of events."""

    start: TimeColumn
    end: TimeColumn

    @property
    def names(self) -> set[str]:
        """Of all columns."""
        return {name for one in (self.start, self.end) for name in ((one,) if isinstance(one, str) else one)}


@dataclass(slots=True)
class Group:
    """Tables of samples of one kind.

    Attributes:
        looks: the tables.
        time: the column of times.
        columns: of all of them, one after the other, null where one has none, each [m].
        file: number of each row's table, [m].
        unseen: further files that are taken for such tables.
    """

    looks: list[Look]
    time: str
    columns: Columns = field(default_factory=dict)
    file: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    unseen: list[Path] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [look.path for look in self.looks]

    @property
    def name(self) -> str:
        """For people."""
        first = self.looks[0].name
        return first if len(self.looks) == 1 else f"{first} and {len(self.looks) - 1} more like it"


@dataclass(slots=True)
class Sorted:
    """Tables by what they hold.

    Attributes:
        groups: samples.
        logs: events, with the columns of their times.
        rest: tables that are neither, and why.
    """

    groups: list[Group] = field(default_factory=list)
    logs: list[tuple[Look, EventTimes]] = field(default_factory=list)
    rest: list[tuple[Look, str]] = field(default_factory=list)


def sort_tables(looks: Sequence[Look], events: Collection[Path]) -> Sorted:
    """Sort tables.

    Args:
        looks: the tables.
        events: files that are logs whatever they look like.
    """
    found = Sorted()
    kinds: dict[tuple[TextForm, str], list[Look]] = {}
    for look in looks:
        names = time_names(look.columns)
        own = event_times(look.columns, names, forced=look.path.resolve() in events)
        if own is not None:
            found.logs.append((look, own))
        elif look.path.resolve() in events:
            found.rest.append((look, "no two of its columns hold the times of start and end"))
        elif not look.rows:
            found.rest.append((look, "holds no row below the names of its columns"))
        elif not names:
            found.rest.append((look, _NO_TIMES.format(listed(list(look.columns), 6))))
        elif not _has_values(look.columns, names):
            found.rest.append((look, _why_not(look.columns, names)))
        else:
            time = best(names, TIME) or names[0]
            form = replace(look.form, separator=None if look.form.separator == "," else look.form.separator)
            kinds.setdefault((form, time), []).append(look)
    _join_plain(kinds)
    found.groups = [group_of(looks, time) for (_, time), looks in kinds.items()]
    return found


def _join_plain(kinds: dict[tuple[TextForm, str], list[Look]]) -> None:
    """Put tables without any special letter to those of the same kind that have some, in their encoding."""
    for (form, time), looks in list(kinds.items()):
        if form.encoding != UTF8 or not all(look.ascii for look in looks):
            continue
        for other, others in kinds.items():
            like = replace(other[0], encoding=UTF8) == form and other[1] == time
            if like and not other[0].encoding.startswith("utf"):
                others.extend(kinds.pop((form, time)))
                break


def event_times(columns: Columns, times: Sequence[str], *, forced: bool = False) -> EventTimes | None:
    """The columns of start and end where a table is a log of events; None where it is none.

    A log has two times a row, the second not before the first, and words or codes; what has fractions besides and no
    words is telemetry of intervals.

    Args:
        columns: by name, each [m].
        times: the columns that hold times.
        forced: whether a person says that it is one.
    """
    clocks = [name for name, one in columns.items() if one.dtype == pl.String and is_clock(filled(one))]
    if len(times) == 1 and len(clocks) == 2 and is_day(filled(columns[times[0]])).all():
        start = best(clocks, START) or clocks[0]
        end = next(name for name in clocks if name != start)
        return EventTimes((times[0], start), (times[0], end))
    if len(times) < 2:
        return None
    start = best(list(times), START) or times[0]
    others = [name for name in times if name != start]
    named = best(others, END)
    by_name = named is not None and rank(start, START) is not None
    end = named or others[0]
    if forced:
        return EventTimes(start, end)
    rest = {name: one for name, one in columns.items() if name not in times}
    if any(name.lower() in VALUE_WORDS for name in rest):
        return None
    words = best([name for name, one in rest.items() if not _fractional(one)], FAULT)
    measured = [name for name, one in rest.items() if _fractional(one)]
    if measured and words is None:
        return None
    return EventTimes(start, end) if by_name or len(measured) <= 1 else None


def is_numeric(column: pl.Series) -> bool:
    """Whether most cells are numbers, in whatever form."""
    there = filled(column)
    if not len(there):
        return False
    forms = (NumberForm(), NumberForm(",", "."), NumberForm(".", ","), NumberForm(",", " "))
    return max(float((~parse_numbers(there, {}, form)[1]).mean()) for form in forms) >= NUMERIC


def _fractional(column: pl.Series) -> bool:
    """Whether numbers with a fraction are in it."""
    there = filled(column)
    if there.dtype.is_float():
        return bool((there != there.round()).any())
    if there.dtype != pl.String:
        return False
    found = number_evidence(there)
    return is_numeric(there) and bool(found.point or found.comma or found.marked)


def _why_not(columns: Columns, times: Sequence[str]) -> str:
    """Why a table with times is neither samples nor events, and what to do about it."""
    if len(times) == 1 and best([name for name in columns if name not in times], FAULT) is not None:
        return (
            f"looks like a log of events, but only {times[0]} holds times: add a column with the end of each event, "
            "which may be empty"
        )
    return f"besides times ({', '.join(times)}) no column holds numbers or states"


def _has_values(columns: Columns, times: Sequence[str]) -> bool:
    """Whether a column besides those of times holds numbers, truth values or few words."""
    for name, one in columns.items():
        there = filled(one)
        if name in times or not len(there):
            continue
        if rank(name, DURATION) is not None and best([other for other in columns if other != name], FAULT) is not None:
            continue  # how long each fault of a log lasts
        measured = one.dtype == pl.Boolean or (is_numeric(one) and there.n_unique() > 1)
        name_of_something = rank(name, ("id", "code", "number", "nummer", "nr", *FAULT)) is not None
        if measured and (_fractional(one) or not name_of_something or len(columns) > FEW_COLUMNS):
            return True
        if rank(name, ("value", "wert", "status", "state")) is not None:
            return True
    return False


def group_of(looks: list[Look], time: str) -> Group:
    """Tables of one kind, with their columns one after the other."""
    types: dict[str, set[object]] = {}
    for look in looks:
        for name, column in look.columns.items():
            types.setdefault(name, set()).add(column.dtype)
    frames = []
    for look in looks:
        columns = [
            (one.cast(pl.String) if len(types[name]) > 1 else one).alias(name) for name, one in look.columns.items()
        ]
        frames.append(pl.DataFrame(columns))
    frame = pl.concat(frames, how="diagonal")
    file = np.repeat(np.arange(len(looks), dtype=np.int32), [len(one) for one in frames])
    return Group(looks, time, {name: frame[name] for name in frame.columns}, file)
