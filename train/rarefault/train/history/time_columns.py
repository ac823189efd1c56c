"""Columns of times of one source: what can be read two ways is settled by all of its rows, or refused."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Int32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.train.history.dialect.times import (
    number_finding,
    order_evidence,
    order_finding,
    rounded_number,
    short_year,
)
from rarefault.train.history.notes import AMBIGUOUS_TIMES, DOUBLED_HOURS, ReadNotes
from rarefault.train.history.parsing.lines import Block
from rarefault.train.history.parsing.text_form import TimeForm
from rarefault.train.history.parsing.times import Times, parse_times


class TimeColumns:
    """The times of one source.

    Args:
        form: zone, format and unit.
        zone_key: what messages call the key of the zone.
        prefix: of the other keys.
        all_columns: gives all columns of times of the source once more.
    """

    def __init__(
        self, form: TimeForm, zone_key: str, prefix: str, all_columns: Callable[[], Iterable[pl.Series]]
    ) -> None:
        self.form, self._zone_key, self._prefix, self._all = form, zone_key, prefix, all_columns
        self._numbers_known = bool(form.format or form.unit)

    def read(
        self, block: Block, column: pl.Series, name: str, optional: Bool | None = None, *, day_ends: bool = False
    ) -> Times:
        """A column of a block; lines that hold no time are refused.

        Args:
            block: the lines.
            column: text, numbers or date-times, [m].
            name: of the column, for messages.
            optional: lines that need no time, [m]; none by default.
            day_ends: a day without a time of the day is the midnight that ends it.

        Raises:
            HistoryError: times have no zone, or two readings.
        """
        needed = np.ones(len(column), bool) if optional is None else ~optional
        self._check_numbers(block, column, name)
        times = parse_times(column, self.form, day_ends=day_ends)
        if (times.undecided & block.good & needed).any():
            self._settle_order(block, name)
            times = parse_times(column, self.form, day_ends=day_ends)
        naive = times.naive & block.good & needed
        if not self.form.zone and naive.any():
            raise HistoryError(
                f"{block.quote(int(np.flatnonzero(naive)[0]))}: column {name!r} holds times without a time zone; "
                f'set {self._zone_key} to the zone that they are in, such as "UTC" or "Europe/Zurich"'
            )
        bad = ~times.good & needed
        if bad.any() and column.dtype == pl.String and not self.form.format:
            self._check_years(block, column.filter(pl.Series(bad & block.good)), name)
        wanted = f" in the format {self.form.format!r}" if self.form.format else " between 1970 and 2109"
        block.refuse(bad, f"{name} is no time{wanted}")
        return times

    def _check_numbers(self, block: Block, column: pl.Series, name: str) -> None:
        """HistoryError where numbers may count days as well as seconds, or were rounded."""
        if self._numbers_known or not (column.dtype.is_numeric() or column.dtype == pl.String):
            return
        if not column.cast(pl.String).str.contains(r"^\s*[\d.,]+([eE]\+?\d+)?\s*$").any():
            return
        if column.dtype == pl.String and (lost := rounded_number(column)):
            raise HistoryError(
                f"{block.path}: column {name!r} holds {lost!r}, which a spreadsheet has rounded: several times became "
                "one; write all digits of the column, or its times as text"
            )
        found = number_finding(column)
        if found is not None:
            raise HistoryError(f"{block.path}: column {name!r}: {found.sentence(self._prefix)}")
        # Where one block shows seconds, a later one that would fit both holds seconds, too.
        self._numbers_known = True

    def _settle_order(self, block: Block, name: str) -> None:
        """Find out whether the day or the month stands first; HistoryError where no date shows it."""
        found = order_evidence(self._all())
        if found.settled is None and (finding := order_finding(found)) is not None:
            raise HistoryError(f"{block.path}: column {name!r}: {finding.sentence(self._prefix)}")
        self.form = replace(self.form, day_first=found.settled)

    def _check_years(self, block: Block, text: pl.Series, name: str) -> None:
        if example := short_year(text):
            raise HistoryError(
                f"{block.path}: column {name!r} holds {example!r}, whose order nobody knows; set {self._prefix}"
                'time_format, such as "%d.%m.%y %H:%M" or "%m/%d/%y %H:%M"'
            )


def joined(columns: dict[str, pl.Series], name: str | tuple[str, ...]) -> pl.Series:
    """A column of times, or those of the day and of the time of the day as one, [m]."""
    if isinstance(name, str):
        return columns[name]
    day, clock = (columns[part] for part in name)
    if isinstance(day.dtype, pl.Datetime):  # a workbook's days
        day = day.dt.date()
    if isinstance(clock.dtype, pl.Datetime):
        clock = clock.dt.to_string("%H:%M:%S%.f")
    return day.cast(pl.String).str.strip_chars() + " " + clock.cast(pl.String).str.strip_chars()


_HOUR_MS = 3_600_000
#: So many usual steps may lie between the last row of the first hour and the first of the second.
_USUAL = 3


@dataclass(slots=True)
class _Hour:
    """The hour that the clocks were set back over, of one stream in one file: a row each."""

    places: list[tuple[Int64, int, int]] = field(default_factory=list)  # array of times, position, later time
    ms: list[int] = field(default_factory=list)
    example: str = ""


class DoubledHours:
    """Tells the two hours apart that the clocks show when they are set back, by the order of the rows.

    Where the times of one stream go back once within such hours, the second hour begins there; in a file whose newest
    row is first, where they go forward. If that leaves a gap that is unusual for the stream, it is a row out of order.
    What the rows do not show stays the earlier hour, and is noted.
    """

    def __init__(self) -> None:
        self._hours: dict[tuple[Path, int, int], _Hour] = {}
        self._steps: dict[tuple[Path, int], list[Int64]] = {}

    def add(self, block: Block, rows: Int64, stream: Int32, time_ms: Int64, later_ms: Int64) -> None:
        """Take rows of a block; ``time_ms`` is written to by :meth:`settle`.

        Args:
            block: the lines.
            rows: which of them, [n].
            stream: what is written in time order within the file, such as the device, [n].
            time_ms: the earlier time of each, [n].
            later_ms: the later time of each, [n].
        """
        doubled = np.flatnonzero(time_ms != later_ms)
        if not len(doubled):
            return
        for number in np.unique(stream[doubled]).tolist():
            key = (block.path, number)
            step = np.diff(time_ms[stream == number])
            self._steps.setdefault(key, []).append(step[step != 0])
        for i in doubled.tolist():
            day = int(time_ms[i]) // 172_800_000
            at = (block.path, int(stream[i]))
            # The hour is at night, so two days that begin at an even one hold it whole, whatever the zone.
            hour = self._hours.setdefault((*at, day), _Hour())
            hour.places.append((time_ms, i, int(later_ms[i])))
            hour.ms.append(int(time_ms[i]))
            hour.example = hour.example or block.quote(int(rows[i]))

    def settle(self, notes: ReadNotes) -> None:
        """Give the rows of each second hour their time."""
        for (path, stream, _), hour in self._hours.items():
            steps = np.concatenate(self._steps[path, stream])
            backwards = np.sign(steps).sum() < 0
            step = np.diff(hour.ms) * (-1 if backwards else 1)
            borders = np.flatnonzero(step < 0)
            if not len(borders) and len(step) == 1 and step[0] == 0:
                borders = np.zeros(1, np.int64)  # one row an hour
            usual = np.median(np.abs(steps)) if len(steps) else np.inf
            if len(borders) != 1 or _HOUR_MS + step[borders[0]] > _USUAL * usual:
                notes.add(AMBIGUOUS_TIMES, len(hour.ms), hour.example)
                continue
            first = int(borders[0]) + 1
            second = hour.places[:first] if backwards else hour.places[first:]
            for times, i, later in second:
                times[i] = later
            notes.add(DOUBLED_HOURS, len(hour.ms), hour.example, problem=False)
