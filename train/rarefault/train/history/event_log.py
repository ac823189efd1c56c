"""Devices, faults and the events file, as all readers of named devices take them."""

from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Int32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import NORMAL
from rarefault.train.history.data import NO_UNIT, UNLABELLED, History
from rarefault.train.history.finish import Draft, EventPiece, finish, refuse_reversed
from rarefault.train.history.notes import (
    AMBIGUOUS_TIMES,
    FOREIGN_EVENTS,
    NORMAL_EVENTS,
    OPEN_EVENTS,
    OPEN_LATE,
    OPEN_UNLABELLED,
    UNKNOWN_FAULTS,
    WHOLE_DAYS,
)
from rarefault.train.history.parsing.cells import Names, has_no_end, is_day, next_day, parse_times
from rarefault.train.history.parsing.frames import SUFFIXES, folder_contents, listed, read_frames
from rarefault.train.history.parsing.lines import Block
from rarefault.train.history.parsing.natural import natural
from rarefault.train.history.parsing.normal import means_normal, says_nothing
from rarefault.train.history.source import NamedSourceConfig

EVENT_COLUMNS = ("device", "start", "end", "fault")
#: Column that may be there: the part of the device that the event is of.
UNIT_COLUMN = "unit"


class NamedReader:
    """One reading: names are numbered as they are met, and put in order at the end.

    Args:
        config: time zone, separator, faults, normal words and the rule for overlaps.
        base: folder that the events file is relative to.

    Attributes:
        draft: what has been read.
        devices, faults, units: names met so far.
        channels: names in the order of their first appearance.
        last_ms: last sample of each device, by name; events without an end last to it.
        events_key, time_zone_key, open_key: what names the events file, the zone and the rule for events without an
            end, for messages.
    """

    events_key, time_zone_key, open_key = "data.events", "data.time_zone", "data.open_events"

    def __init__(self, config: NamedSourceConfig, base: Path) -> None:
        self.settings, self.base = config, base
        self.draft = Draft()
        self.notes = self.draft.notes
        self.devices, self.faults, self.units = Names(), Names(), Names()
        self.channels: dict[str, None] = {}
        self.seen: dict[str, None] = {}  # columns that channels may be chosen from
        self.last_ms: dict[str, int] = {}

    def check_channels(self, where: str) -> None:
        """HistoryError where the configuration names a channel that is not in what was read, ``where``."""
        for key in ("channels", "counters"):
            wanted: tuple[str, ...] = getattr(self.settings, key)
            known = list(self.channels)
            if lacking := [name for name in wanted if name not in known]:
                there = listed(list(self.seen) or known)
                raise HistoryError(f"data.{key}: no channel {listed(lacking)} in {where}; channels: {there}")

    def events_path(self) -> Path | None:
        """The events file, None where there is none."""
        return self.base / self.settings.events if self.settings.events else None

    def finish(self) -> History:
        """The history of what was read; devices and faults in their natural order."""
        config = self.settings
        devices, faults = self.devices.list(), self.faults.list()
        by_name = sorted(range(len(devices)), key=lambda i: natural(devices[i]))
        slot = np.empty(len(devices), np.int32)
        slot[by_name] = np.arange(len(devices))
        for piece in self.draft.pieces:
            piece.device = slot[piece.device]
        for log in self.draft.events:
            log.device = slot[log.device]
        order = list(config.faults) or sorted(faults, key=natural)
        return finish(
            config,
            self.draft,
            devices=[devices[i] for i in by_name],
            channels=list(config.channels or self.channels),
            counters=list(config.counters),
            faults=faults,
            fault_order=[name for name in order if name != UNLABELLED],
            units=self.units.list(),
        )

    def read_events(self, path: Path) -> None:
        """Take the events of a file; those of devices that were not met are left out and noted.

        Raises:
            HistoryError: it is not there, cannot be read, lacks a column, holds times without a zone, or events without
                an end while nothing says what these mean.
        """
        if not path.is_file():
            raise HistoryError(f"{self.events_key}: there is no file {path}; {folder_contents(path.parent, SUFFIXES)}")
        self._find_last()
        needed = dict.fromkeys(EVENT_COLUMNS, f"a file of events has the columns {', '.join(EVENT_COLUMNS)}")
        for block, columns in read_frames(path, needed, self.settings.separator, self.settings.encoding):
            all_devices = as_text(columns["device"])
            start_ms = self.times(block, columns["start"], "start")
            end_ms, open_ = self._ends(block, columns["end"])
            block.report(self.notes)
            late = self._last(all_devices) < start_ms if open_.any() else open_
            end_ms = np.where(open_ & block.good, np.maximum(self._last(all_devices), start_ms), end_ms)
            rows = np.flatnonzero(refuse_reversed(block, start_ms, end_ms, self.notes))
            device, fault = all_devices.gather(rows), as_text(columns["fault"]).gather(rows)
            open_, late = open_[rows], late[rows]
            normal, known = self.is_normal(fault), self.is_known(fault)
            here = device.is_in(self.devices.list()).to_numpy()
            self.note(NORMAL_EVENTS, block, rows, normal, problem=False)
            self.note(UNKNOWN_FAULTS, block, rows, ~normal & ~known)
            self._note_foreign(block, rows, device, ~normal & known & ~here)
            wanted = ~normal & known & here
            self.note(OPEN_LATE, block, rows, wanted & open_ & late)
            wanted &= ~(open_ & late)
            unlabelled = wanted & open_ & (self.settings.open_events == "unlabelled")
            self.note(OPEN_UNLABELLED, block, rows, unlabelled, problem=False)
            self.note(OPEN_EVENTS, block, rows, wanted & open_ & ~unlabelled, problem=False)
            fault = fault.zip_with(pl.Series(~unlabelled), pl.Series([UNLABELLED]).new_from_index(0, len(fault)))
            kept = np.flatnonzero(wanted)
            if len(kept):
                self.draft.events.append(
                    EventPiece(
                        self.devices.codes(device.gather(kept)),
                        start_ms[rows[kept]],
                        end_ms[rows[kept]],
                        self.faults.codes(fault.gather(kept)),
                        self._units(columns[UNIT_COLUMN].gather(rows[kept])) if UNIT_COLUMN in columns else None,
                    )
                )

    def _ends(self, block: Block, column: pl.Series) -> tuple[Int64, Bool]:
        """Ends of events, [m], and which of them have none, [m]; a day without a time ends with the day."""
        open_ = has_no_end(column) & block.good
        if open_.any() and self.settings.open_events == "refuse":
            raise HistoryError(
                f"{block.quote(int(np.flatnonzero(open_)[0]))}: the event has no end; set {self.open_key} to "
                '"last" (it lasts to the last sample of its device) or to "unlabelled" (nobody knows that time), or '
                "write its end"
            )
        day = is_day(column) & ~open_
        if day.any():
            column = column.zip_with(pl.Series(~day), next_day(column))
            self.note(WHOLE_DAYS, block, np.arange(len(day)), day & block.good, problem=False)
        return self.times(block, column, "end", open_), open_

    def _find_last(self) -> None:
        """Find the last sample of each device, where nobody has said it."""
        if not self.last_ms:
            last = np.zeros(len(self.devices), np.int64)
            for piece in self.draft.pieces:
                np.maximum.at(last, piece.device, piece.time_ms)
            self.last_ms = dict(zip(self.devices.list(), last.tolist(), strict=True))

    def _last(self, device: pl.Series) -> Int64:
        return np.array([self.last_ms.get(name, 0) for name in device.to_list()], np.int64)

    def _note_foreign(self, block: Block, rows: Int64, device: pl.Series, which: Bool) -> None:
        names = device.filter(pl.Series(which))
        for name in names.unique(maintain_order=True).to_list():
            own = which & (device == name).to_numpy()
            first = block.quote(int(rows[np.flatnonzero(own)[0]]))
            self.notes.add(FOREIGN_EVENTS, int(own.sum()), first, at=name)

    def _units(self, column: pl.Series) -> Int32:
        """Numbers of the named units, -1 where none is named, [m]."""
        return np.array([self.units.code(name) if name else NO_UNIT for name in as_text(column).to_list()], np.int32)

    def times(self, block: Block, column: pl.Series, name: str, but: Bool | None = None) -> Int64:
        """A column of times as milliseconds, [m]; the block's lines that hold none are refused, ``but`` [m] not."""
        times = parse_times(column, self.settings.time_zone)
        needed = np.ones(len(column), bool) if but is None else ~but
        naive = times.naive & block.good & needed
        if not self.settings.time_zone and naive.any():
            raise HistoryError(
                f"{block.quote(int(np.flatnonzero(naive)[0]))}: column {name!r} holds times without a time zone; "
                f'set {self.time_zone_key} to the zone that they are in, such as "UTC" or "Europe/Zurich"'
            )
        block.refuse(~times.good & needed, f"{name} is no time between 1970 and 2109")
        self.note(AMBIGUOUS_TIMES, block, np.arange(len(block.line)), times.ambiguous & block.good)
        return times.ms

    def is_normal(self, fault: pl.Series) -> Bool:
        """Which names stand for no fault, [m]."""
        return fault.is_in([name for name in fault.unique().to_list() if self.means_normal(name)]).to_numpy()

    def means_normal(self, name: str) -> bool:
        """Whether a name stands for no fault: a configured one or, where none is, a usual word that is no fault's."""
        if self.settings.normal is not None:
            return name in {*self.settings.normal, NORMAL}
        return name not in self.settings.faults and means_normal(name)

    def is_known(self, fault: pl.Series) -> Bool:
        """Which names are faults, or say that nobody knows, [m]."""
        known = self.settings.faults
        if known:
            return fault.is_in([*known, UNLABELLED]).to_numpy()
        return ~fault.is_in([name for name in fault.unique().to_list() if says_nothing(name)]).to_numpy()

    def note(self, kind: str, block: Block, rows: Int64, which: Bool, *, problem: bool = True) -> None:
        """Note the chosen ones (``which`` [n]) of some rows ([n]) of a block."""
        if which.any():
            first = int(rows[np.flatnonzero(which)[0]])
            self.notes.add(kind, int(which.sum()), block.quote(first), problem=problem)


def as_text(column: pl.Series) -> pl.Series:
    """Names as text without surrounding blanks, "" where there is none; whole numbers are written without decimals."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        there = column.drop_nulls()
        if ((there == there.round()) & (there.abs() <= 2**53)).all():
            column = column.cast(pl.Int64)
    return column.cast(pl.String).fill_null("").str.strip_chars()
