"""Devices, faults and the events file, as all readers of named devices take them."""

import re
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.cells import Names, parse_times
from rarefault.train.history.config import JournalConfig, TableConfig
from rarefault.train.history.data import NO_UNIT, NORMAL, UNLABELLED, Bool, History, Int32, Int64
from rarefault.train.history.finish import Draft, EventPiece, finish, refuse_reversed
from rarefault.train.history.frames import SUFFIXES, folder_contents, listed, read_frames
from rarefault.train.history.lines import Block
from rarefault.train.history.notes import AMBIGUOUS_TIMES, FOREIGN_EVENTS, NORMAL_EVENTS, UNKNOWN_FAULTS

EVENT_COLUMNS = ("device", "start", "end", "fault")
#: Column that may be there: the part of the device that the event is of.
UNIT_COLUMN = "unit"


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts ``pump 2`` before ``pump 10``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


class NamedReader:
    """One reading: names are numbered as they are met, and put in order at the end.

    Args:
        config: time zone, separator, faults, normal words and the rule for overlaps.
        base: folder that the events file is relative to.

    Attributes:
        draft: what has been read.
        devices, faults, units: names met so far.
        channels: names in the order of their first appearance.
        events_key, time_zone_key: what names the events file and the zone, for messages.
    """

    events_key, time_zone_key = "data.events", "data.time_zone"

    def __init__(self, config: TableConfig | JournalConfig, base: Path) -> None:
        self.settings, self.base = config, base
        self.draft = Draft()
        self.notes = self.draft.notes
        self.devices, self.faults, self.units = Names(), Names(), Names()
        self.channels: dict[str, None] = {}

    def check_channels(self, where: str) -> None:
        """HistoryError where the configuration names a channel that is not in what was read, ``where``."""
        for key in ("channels", "counters"):
            wanted: tuple[str, ...] = getattr(self.settings, key)
            known = list(self.channels)
            if lacking := [name for name in wanted if name not in known]:
                raise HistoryError(f"data.{key}: no channel {listed(lacking)} in {where}; channels: {listed(known)}")

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
            HistoryError: it is not there, cannot be read, lacks a column, or holds times without a zone.
        """
        if not path.is_file():
            raise HistoryError(f"{self.events_key}: there is no file {path}; {folder_contents(path.parent, SUFFIXES)}")
        for block, columns in read_frames(path, EVENT_COLUMNS, self.settings.separator):
            start_ms = self.times(block, columns["start"], "start")
            end_ms = self.times(block, columns["end"], "end")
            block.report(self.notes)
            rows = np.flatnonzero(refuse_reversed(block, start_ms, end_ms, self.notes))
            device, fault = as_text(columns["device"]).gather(rows), as_text(columns["fault"]).gather(rows)
            normal, known = self.is_normal(fault), self.is_known(fault)
            here = device.is_in(self.devices.list()).to_numpy()
            self.note(NORMAL_EVENTS, block, rows, normal, problem=False)
            self.note(UNKNOWN_FAULTS, block, rows, ~normal & ~known)
            self.note(FOREIGN_EVENTS, block, rows, ~normal & known & ~here)
            kept = np.flatnonzero(~normal & known & here)
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

    def _units(self, column: pl.Series) -> Int32:
        """Numbers of the named units, -1 where none is named, [m]."""
        return np.array([self.units.code(name) if name else NO_UNIT for name in as_text(column).to_list()], np.int32)

    def times(self, block: Block, column: pl.Series, name: str) -> Int64:
        """A column of times as milliseconds, [m]; the block's lines that hold none are refused."""
        times = parse_times(column, self.settings.time_zone)
        naive = times.naive & block.good
        if not self.settings.time_zone and naive.any():
            raise HistoryError(
                f"{block.quote(int(np.flatnonzero(naive)[0]))}: column {name!r} holds times without a time zone; "
                f'set {self.time_zone_key} to the zone that they are in, such as "UTC" or "Europe/Zurich"'
            )
        block.refuse(~times.good, f"{name} is no time between 1970 and 2109")
        self.note(AMBIGUOUS_TIMES, block, np.arange(len(block.line)), times.ambiguous & block.good)
        return times.ms

    def is_normal(self, fault: pl.Series) -> Bool:
        """Which names stand for no fault, [m]."""
        return fault.is_in([*self.settings.normal, NORMAL]).to_numpy()

    def is_known(self, fault: pl.Series) -> Bool:
        """Which names are faults, or say that nobody knows, [m]."""
        known = self.settings.faults
        return (fault.is_in([*known, UNLABELLED]) if known else fault != "").to_numpy()

    def note(self, kind: str, block: Block, rows: Int64, which: Bool, *, problem: bool = True) -> None:
        """Note the chosen ones (``which`` [n]) of some rows ([n]) of a block."""
        if which.any():
            first = int(rows[np.flatnonzero(which)[0]])
            self.notes.add(kind, int(which.sum()), block.quote(first), problem=problem)


def as_text(column: pl.Series) -> pl.Series:
    """Names as text without surrounding blanks, "" where there is none; whole numbers are written without decimals."""
    if column.dtype.is_float() and (column.drop_nulls() == column.drop_nulls().round()).all():
        column = column.cast(pl.Int64)
    return column.cast(pl.String).fill_null("").str.strip_chars()
