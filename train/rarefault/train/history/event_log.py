"""The events file: intervals of faults of named devices, as CSV or Parquet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Int32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.train.history.data import NO_UNIT, UNLABELLED
from rarefault.train.history.finish import EventPiece, refuse_reversed
from rarefault.train.history.named_reader import NamedReader, as_text
from rarefault.train.history.notes import (
    FOREIGN_EVENTS,
    NORMAL_EVENTS,
    OPEN_EVENTS,
    OPEN_LATE,
    OPEN_UNLABELLED,
    UNKNOWN_FAULTS,
    WHOLE_DAYS,
)
from rarefault.train.history.parsing.cells import has_no_end, is_day, next_day
from rarefault.train.history.parsing.frames import SUFFIXES, folder_contents, read_frames
from rarefault.train.history.parsing.lines import Block

EVENT_COLUMNS = ("device", "start", "end", "fault")
#: Column that may be there: the part of the device that the event is of.
UNIT_COLUMN = "unit"


def read_events(reader: NamedReader, path: Path, last_ms: Mapping[str, int] | None = None) -> None:
    """Add the events of a file to a reader's draft; those of devices that it has not met are left out and noted.

    Args:
        reader: has met the devices.
        path: the file.
        last_ms: last sample of each device, to which events without an end last; by default of the reader's samples.

    Raises:
        HistoryError: it is not there, cannot be read, lacks a column, holds times without a zone, or events without
            an end while no rule for these is set.
    """
    if not path.is_file():
        raise HistoryError(f"{reader.keys.events}: there is no file {path}; {folder_contents(path.parent, SUFFIXES)}")
    last = reader.last_samples() if last_ms is None else last_ms
    needed = dict.fromkeys(EVENT_COLUMNS, f"a file of events has the columns {', '.join(EVENT_COLUMNS)}")
    for block, columns in read_frames(path, needed, reader.config.separator, reader.config.encoding):
        rows = _parse(reader, block, columns, last)
        chosen = _choose(reader, block, rows)
        if chosen.any():
            reader.draft.events.append(_piece(reader, columns, rows, chosen))


@dataclass(slots=True)
class _Rows:
    """The usable lines of a block (n of m).

    Attributes:
        line: their positions in the block, [n].
        device, fault: names, [n].
        start_ms, end_ms: milliseconds since the epoch, [n].
        open: which have no end, [n]; ``end_ms`` is the last sample of the device there.
        late: which of these begin after that, [n].
    """

    line: Int64
    device: pl.Series
    fault: pl.Series
    start_ms: Int64
    end_ms: Int64
    open: Bool
    late: Bool


def _parse(reader: NamedReader, block: Block, columns: dict[str, pl.Series], last_ms: Mapping[str, int]) -> _Rows:
    """Read times and names; lines that hold none are noted."""
    device = as_text(columns["device"])
    start_ms = reader.times(block, columns["start"], "start")
    end_ms, open_ = _ends(reader, block, columns["end"])
    block.report(reader.notes)
    late = np.zeros(len(open_), bool)
    if open_.any():
        last = np.array([last_ms.get(name, 0) for name in device.to_list()], np.int64)
        late = open_ & (last < start_ms)
        end_ms = np.where(open_ & block.good, np.maximum(last, start_ms), end_ms)
    line = np.flatnonzero(refuse_reversed(block, start_ms, end_ms, reader.notes))
    return _Rows(
        line,
        device.gather(line),
        as_text(columns["fault"]).gather(line),
        start_ms[line],
        end_ms[line],
        open_[line],
        late[line],
    )


def _ends(reader: NamedReader, block: Block, column: pl.Series) -> tuple[Int64, Bool]:
    """Ends of events, [m], and which of them have none, [m]; a day without a time ends with the day."""
    open_ = has_no_end(column) & block.good
    if open_.any() and reader.config.open_events == "refuse":
        raise HistoryError(
            f"{block.quote(int(np.flatnonzero(open_)[0]))}: the event has no end; set {reader.keys.open_events} to "
            '"last" (it lasts to the last sample of its device) or to "unlabelled" (nobody knows that time), or '
            "write its end"
        )
    day = is_day(column) & ~open_
    if day.any():
        column = column.zip_with(pl.Series(~day), next_day(column))
        block.note(reader.notes, WHOLE_DAYS, day & block.good, problem=False)
    return reader.times(block, column, "end", open_), open_


def _choose(reader: NamedReader, block: Block, rows: _Rows) -> Bool:
    """Which lines are events of faults of known devices, [n]; the others are noted by reason.

    Open events become unlabelled time where the section wants that.
    """

    def note(kind: str, which: Bool, *, problem: bool = True) -> None:
        block.note(reader.notes, kind, which, rows.line, problem=problem)

    normal, known = reader.is_normal(rows.fault), reader.is_known(rows.fault)
    here: Bool = rows.device.is_in(reader.devices.list()).to_numpy()
    note(NORMAL_EVENTS, normal, problem=False)
    note(UNKNOWN_FAULTS, ~normal & ~known)
    _note_foreign(reader, block, rows, ~normal & known & ~here)
    chosen = ~normal & known & here
    note(OPEN_LATE, chosen & rows.late)
    chosen &= ~rows.late
    unlabelled = chosen & rows.open & (reader.config.open_events == "unlabelled")
    note(OPEN_UNLABELLED, unlabelled, problem=False)
    note(OPEN_EVENTS, chosen & rows.open & ~unlabelled, problem=False)
    word = pl.Series([UNLABELLED]).new_from_index(0, len(unlabelled))
    rows.fault = rows.fault.zip_with(pl.Series(~unlabelled), word)
    return chosen


def _note_foreign(reader: NamedReader, block: Block, rows: _Rows, which: Bool) -> None:
    """Note events of devices without samples, by device."""
    for name in rows.device.filter(pl.Series(which)).unique(maintain_order=True).to_list():
        own = which & (rows.device == name).to_numpy()
        first = block.quote(int(rows.line[np.flatnonzero(own)[0]]))
        reader.notes.add(FOREIGN_EVENTS, int(own.sum()), first, at=name)


def _piece(reader: NamedReader, columns: dict[str, pl.Series], rows: _Rows, chosen: Bool) -> EventPiece:
    """The chosen lines, with numbers for names."""
    kept = np.flatnonzero(chosen)
    return EventPiece(
        reader.devices.codes(rows.device.gather(kept)),
        rows.start_ms[kept],
        rows.end_ms[kept],
        reader.faults.codes(rows.fault.gather(kept)),
        _units(reader, columns[UNIT_COLUMN].gather(rows.line[kept])) if UNIT_COLUMN in columns else None,
    )


def _units(reader: NamedReader, column: pl.Series) -> Int32:
    """Numbers of the named units, -1 where none is named, [n]."""
    return np.array([reader.units.code(name) if name else NO_UNIT for name in as_text(column).to_list()], np.int32)
