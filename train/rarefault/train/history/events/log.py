"""The log of faults: intervals of faults of named devices, as CSV or Parquet or a workbook."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Int32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.train.history.data import NO_UNIT, UNLABELLED
from rarefault.train.history.events.config import EventsConfig
from rarefault.train.history.finish import EventPiece, refuse_reversed
from rarefault.train.history.keys import TimeColumn
from rarefault.train.history.named_reader import NamedReader, as_text
from rarefault.train.history.notes import (
    AMBIGUOUS_TIMES,
    FOREIGN_EVENTS,
    IGNORED_EVENTS,
    NORMAL_EVENTS,
    ONLY_DEVICE,
    OPEN_EVENTS,
    OPEN_LATE,
    OPEN_UNLABELLED,
    OUTSIDE_EVENTS,
    UNKNOWN_FAULTS,
    WHOLE_DAYS,
)
from rarefault.train.history.parsing.files import SUFFIXES, folder_contents, listed
from rarefault.train.history.parsing.frames import column_names, read_frames
from rarefault.train.history.parsing.lines import Block
from rarefault.train.history.parsing.packed import exists
from rarefault.train.history.parsing.times import has_no_end, is_day
from rarefault.train.history.source import text_form, time_form
from rarefault.train.history.time_columns import TimeColumns, joined

#: First and last sample of each device, milliseconds since the epoch.
Spans = Mapping[str, tuple[int, int]]


def events_path(reader: NamedReader) -> Path | None:
    """The file of events, None where there is none."""
    log = reader.config.event_log
    return None if log is None else reader.base / log.path


def read_events(reader: NamedReader, spans_ms: Spans | None = None) -> None:
    """Add the events of the log to a reader's draft; those of devices that it has not met are left out and noted.

    Nothing happens where its section names no log.

    Args:
        reader: has met the devices.
        spans_ms: first and last sample of each device; by default of the reader's samples.

    Raises:
        HistoryError: it is not there, cannot be read, lacks a column, holds times without a zone or with two readings,
            or events without an end while no rule for these is set.
    """
    log = reader.config.event_log
    if log is not None:
        _LogReader(reader, log, reader.spans_ms() if spans_ms is None else spans_ms).read()


@dataclass(slots=True)
class _Rows:
    """The usable lines of a block (n of m).

    Attributes:
        line: their positions in the block, [n].
        device, fault: names, [n].
        start_ms, end_ms: milliseconds since the epoch, [n].
        open: which have no end, [n]; ``end_ms`` is the last sample of the device there.
        first_ms, last_ms: first and last sample of the device, (0, 0) where it has none, [n].
    """

    line: Int64
    device: pl.Series
    fault: pl.Series
    start_ms: Int64
    end_ms: Int64
    open: Bool
    first_ms: Int64
    last_ms: Int64


class _LogReader:
    """One reading of a log.

    Args:
        reader: whose draft the events are added to.
        log: the section, complete.
        spans_ms: first and last sample of each device.
    """

    def __init__(self, reader: NamedReader, log: EventsConfig, spans_ms: Spans) -> None:
        self.reader, self.log, self.spans_ms = reader, log, spans_ms
        self.path = reader.base / log.path
        own = self.mapped = isinstance(reader.config.events, EventsConfig) and reader.keys.prefix == "data."
        self.prefix = "data.events." if own else reader.keys.prefix
        self.open_key = "data.events.open" if own else reader.keys.open_events
        self.form = text_form(log, self.prefix)
        zone_key = "data.events.time_zone" if own else reader.keys.time_zone
        prefix = "data.events." if reader.keys.prefix == "data." else reader.keys.prefix
        self.times = TimeColumns(time_form(log), zone_key, prefix, self._all_times)
        self.device = log.device
        self.offset_ms = round(log.offset_s * 1000)

    def read(self) -> None:
        if not exists(self.path):
            folder = folder_contents(self.path.parent, SUFFIXES)
            raise HistoryError(f"{self.reader.keys.events}: there is no file {self.path}; {folder}")
        needed = self._needed()
        columns_of_times = {*_names(self.log.start_column), *_names(self.log.end_column)}
        wanted = {self.log.unit_column, *columns_of_times, *needed}
        for block, columns in read_frames(self.path, needed, self.form, wanted.__contains__):
            rows = self._parse(block, columns)
            chosen = self._choose(block, rows)
            if chosen.any():
                self.reader.draft.events.append(self._piece(columns, rows, chosen))

    def _needed(self) -> dict[str, str]:
        """The columns that must be there, and what to do where one is not."""
        log = self.log
        columns = {"start_column": log.start_column, "end_column": log.end_column}
        if not log.fault:
            columns["fault_column"] = log.fault_column
        if not self.device:
            self._choose_device()
        if not self.device:
            columns["device_column"] = log.device_column
        remedy = "a file of events has the columns device, start, end, fault; name others in a section [data.events]"
        found = {
            name: f"name the one meant as data.events.{key}" for key, one in columns.items() for name in _names(one)
        }
        return found if self.mapped else dict.fromkeys(found, remedy)

    def _choose_device(self) -> None:
        """Without a column for it, the only device is the one that is meant."""
        log, there = self.log, set(column_names(self.path, self.form))
        if log.device_column and log.device_column in there:
            return
        devices = self.reader.devices.list()
        others = there - {"", *_names(log.start_column), *_names(log.end_column), log.fault_column, log.unit_column}
        if len(devices) == 1 and not (log.device_column and others):  # another column may name devices
            self.device = devices[0]
            self.reader.notes.add(ONLY_DEVICE, 1, f"{self.path.name}: {self.device!r}", problem=False)
        elif not log.device_column:
            raise HistoryError(
                f"{self.path}: has no column for devices, and the samples are of {listed(devices)}; name the one that "
                "the events are of as data.events.device"
            )

    def _all_times(self) -> Iterator[pl.Series]:
        names = {*_names(self.log.start_column), *_names(self.log.end_column)}
        for _, columns in read_frames(self.path, {}, self.form, names.__contains__):
            yield joined(columns, self.log.start_column)
            yield joined(columns, self.log.end_column)

    def _parse(self, block: Block, columns: dict[str, pl.Series]) -> _Rows:
        """Read times and names; lines that hold none are noted."""
        notes, log = self.reader.notes, self.log
        device = as_text(_column(block, columns, log.device_column, self.device))
        started = self.times.read(block, joined(columns, log.start_column), _named(log.start_column))
        block.note(notes, AMBIGUOUS_TIMES, started.ambiguous & block.good)
        end_ms, open_ = self._ends(block, joined(columns, log.end_column))
        block.report(notes)
        spans = np.array([self.spans_ms.get(name, (0, 0)) for name in device.to_list()], np.int64).reshape(-1, 2)
        first_ms, last_ms = spans[:, 0], spans[:, 1]
        start_ms = started.ms + self.offset_ms
        end_ms = np.where(open_ & block.good, np.maximum(last_ms, start_ms), end_ms + self.offset_ms)
        line = np.flatnonzero(refuse_reversed(block, start_ms, end_ms, notes))
        return _Rows(
            line,
            device.gather(line),
            as_text(_column(block, columns, log.fault_column, log.fault)).gather(line),
            start_ms[line],
            end_ms[line],
            open_[line],
            first_ms[line],
            last_ms[line],
        )

    def _ends(self, block: Block, column: pl.Series) -> tuple[Int64, Bool]:
        """Ends of events as logged, [m], and which of them have none, [m]; a day without a time ends with the day."""
        notes, form = self.reader.notes, self.times.form
        open_ = has_no_end(column, form) & block.good
        if open_.any() and self.log.open == "refuse":
            raise HistoryError(
                f"{block.quote(int(np.flatnonzero(open_)[0]))}: the event has no end; set {self.open_key} to "
                '"last" (it lasts to the last sample of its device) or to "unlabelled" (nobody knows that time), or '
                "write its end"
            )
        ended = self.times.read(block, column, _named(self.log.end_column), open_, day_ends=True)
        block.note(notes, WHOLE_DAYS, is_day(column, form) & ~open_ & block.good, problem=False)
        block.note(notes, AMBIGUOUS_TIMES, ended.ambiguous & block.good)
        return ended.ms, open_

    def _choose(self, block: Block, rows: _Rows) -> Bool:
        """Which lines are events of faults of known devices, [n]; the others are noted by reason.

        Open events become unlabelled time where the section wants that.
        """
        reader = self.reader

        def note(kind: str, which: Bool, *, problem: bool = True) -> None:
            block.note(reader.notes, kind, which, rows.line, problem=problem)

        ignored = rows.fault.is_in(list(self.log.ignore)).to_numpy()
        self._note_by_word(block, rows, rows.fault, ignored, IGNORED_EVENTS, problem=False)
        normal, known = reader.is_normal(rows.fault) & ~ignored, reader.is_known(rows.fault)
        here: Bool = rows.device.is_in(reader.devices.list()).to_numpy()
        note(NORMAL_EVENTS, normal, problem=False)
        note(UNKNOWN_FAULTS, ~ignored & ~normal & ~known)
        chosen = ~ignored & ~normal & known
        self._note_by_word(block, rows, rows.device, chosen & ~here, FOREIGN_EVENTS)
        chosen &= here
        late = rows.open & (rows.last_ms < rows.start_ms)
        note(OPEN_LATE, chosen & late)
        chosen &= ~late
        outside = chosen & (rows.last_ms > 0) & ((rows.end_ms < rows.first_ms) | (rows.start_ms > rows.last_ms))
        self._note_by_word(block, rows, rows.device, outside, OUTSIDE_EVENTS, problem=False)
        unlabelled = chosen & rows.open & (self.log.open == "unlabelled")
        note(OPEN_UNLABELLED, unlabelled, problem=False)
        note(OPEN_EVENTS, chosen & rows.open & ~unlabelled, problem=False)
        word = pl.Series([UNLABELLED]).new_from_index(0, len(unlabelled))
        rows.fault = rows.fault.zip_with(pl.Series(~unlabelled), word)
        return np.asarray(chosen)

    def _note_by_word(
        self, block: Block, rows: _Rows, words: pl.Series, which: Bool, kind: str, *, problem: bool = True
    ) -> None:
        """Note lines by their device or fault (``words`` [n])."""
        for name in words.filter(pl.Series(which)).unique(maintain_order=True).to_list():
            own = which & (words == name).to_numpy()
            first = block.quote(int(rows.line[np.flatnonzero(own)[0]]))
            self.reader.notes.add(kind, int(own.sum()), first, problem=problem, at=name)

    def _piece(self, columns: dict[str, pl.Series], rows: _Rows, chosen: Bool) -> EventPiece:
        """The chosen lines, with numbers for names."""
        kept, unit = np.flatnonzero(chosen), self.log.unit_column
        return EventPiece(
            self.reader.devices.codes(rows.device.gather(kept)),
            rows.start_ms[kept],
            rows.end_ms[kept],
            self.reader.faults.codes(rows.fault.gather(kept)),
            _units(self.reader, columns[unit].gather(rows.line[kept])) if unit in columns else None,
        )


def _names(column: TimeColumn) -> tuple[str, ...]:
    return (column,) if isinstance(column, str) else column


def _named(column: TimeColumn) -> str:
    return " and ".join(_names(column))


def _column(block: Block, columns: dict[str, pl.Series], name: str, constant: str) -> pl.Series:
    """A column, or one word in every line, [m]."""
    return pl.Series([constant]).new_from_index(0, len(block.line)) if constant else columns[name]


def _units(reader: NamedReader, column: pl.Series) -> Int32:
    """Numbers of the named units, -1 where none is named, [n]."""
    return np.array([reader.units.code(name) if name else NO_UNIT for name in as_text(column).to_list()], np.int32)
