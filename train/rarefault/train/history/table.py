"""Tables in long form: a row is a device, a time, channel values and perhaps a label.

CSV files have a header line; Parquet files bring their own types. Files may differ in their channels, and a row may
leave cells empty: a channel that is not reported is missing from that sample, no more. A label column becomes events:
each run of one label over a device's samples, from the first to the last of them; an empty label says nothing and the
run goes on. Values outside a sensor's range are left as they are; the model clips what it is given.
"""

import re
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.assemble import Piece
from rarefault.train.history.cells import Names, parse_numbers, parse_times
from rarefault.train.history.config import TableConfig
from rarefault.train.history.data import NORMAL, Bool, History, Int64
from rarefault.train.history.finish import Draft, EventPiece, finish, refuse_reversed
from rarefault.train.history.frames import SUFFIXES, find_files, folder_contents, listed, read_frames
from rarefault.train.history.lines import Block
from rarefault.train.history.notes import (
    AMBIGUOUS_TIMES,
    BAD_CELLS,
    FOREIGN_EVENTS,
    NORMAL_EVENTS,
    TEXT_COLUMNS,
    UNKNOWN_FAULTS,
    UNKNOWN_LABELS,
)
from rarefault.train.history.runs import NO_FAULT, SILENT, Labels, label_runs

EVENT_COLUMNS = ("device", "start", "end", "fault")


def read_table(config: TableConfig, base: Path) -> History:
    """Read samples and events; see ``read.read_history``."""
    return _Reader(config, base).read()


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts ``pump 2`` before ``pump 10``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


class _Reader:
    """One reading: names are numbered as they are met, and put in order at the end."""

    def __init__(self, config: TableConfig, base: Path) -> None:
        self.config, self.base = config, base
        self.draft = Draft()
        self.notes = self.draft.notes
        self.devices, self.faults, self.label_names = Names(), Names(), Names()
        self.labels: list[Labels] = []
        self.channels: dict[str, None] = {}  # in the order of their first appearance

    def read(self) -> History:
        config = self.config
        events = self.base / config.events if config.events else None
        found = dict.fromkeys(path for pattern in config.samples for path in find_files(self.base, pattern))
        paths = [path for path in found if path != events]  # a pattern such as *.csv may match the events, too
        for path in paths:
            self._read_samples(path)
        self._check(paths)
        if self.labels:
            self.draft.events.append(label_runs(self.labels, self.label_names.list(), self._fault_of))
        if events is not None:
            self._read_events(events)
        devices, faults = self.devices.list(), self.faults.list()
        by_name = sorted(range(len(devices)), key=lambda i: natural(devices[i]))
        slot = np.empty(len(devices), np.int32)
        slot[by_name] = np.arange(len(devices))
        for piece in self.draft.pieces:
            piece.device = slot[piece.device]
        for log in self.draft.events:
            log.device = slot[log.device]
        return finish(
            config,
            self.draft,
            devices=[devices[i] for i in by_name],
            channels=list(config.channels or self.channels),
            counters=list(config.counters),
            faults=faults,
            fault_order=list(config.faults) or sorted(faults, key=natural),
        )

    def _check(self, paths: list[Path]) -> None:
        """Something was read, and all channels that the configuration names are in it."""
        names = listed([path.name for path in paths])
        if not len(self.devices):
            problems = f"; {self.notes}" if len(self.notes) else ""
            raise HistoryError(f"data.samples: no usable row in {names or 'any file'}{problems}")
        if not self.channels and not self.config.channels:
            raise HistoryError(f"data.samples: no column with numbers besides device, time and label in {names}")
        for key in ("channels", "counters"):
            wanted: tuple[str, ...] = getattr(self.config, key)
            known = list(self.channels)
            if lacking := [name for name in wanted if name not in known]:
                raise HistoryError(f"data.{key}: no channel {listed(lacking)} in {names}; channels: {listed(known)}")

    # --- samples

    def _read_samples(self, path: Path) -> None:
        config = self.config
        needed = (config.device_column, config.time_column, config.label_column)
        chosen: list[str] | None = None
        for block, columns in read_frames(path, needed, config.separator):
            if chosen is None:
                chosen = self._choose_channels(path, columns)
                self.channels.update(dict.fromkeys(chosen))
            self._take(block, columns, chosen)

    def _choose_channels(self, path: Path, columns: dict[str, pl.Series]) -> list[str]:
        config = self.config
        if config.channels:
            return [name for name in config.channels if name in columns]
        own = {"", config.device_column, config.time_column, config.label_column}
        chosen = []
        for name, column in columns.items():
            if name in own:
                continue
            value, bad = parse_numbers(column)
            if bad.any() and np.isnan(value).all():
                self.notes.add(TEXT_COLUMNS, 1, f"{path.name}: {name!r}", problem=False)
            else:
                chosen.append(name)
        return chosen

    def _take(self, block: Block, columns: dict[str, pl.Series], channels: list[str]) -> None:
        config = self.config
        time_ms = self._times(block, columns[config.time_column], config.time_column)
        if config.device_column:
            name = _text(columns[config.device_column])
            block.refuse((name == "").to_numpy(), "no device")
        else:
            name = pl.Series([block.path.stem]).new_from_index(0, len(block.line))
        block.report(self.notes)
        rows = np.flatnonzero(block.good)
        if not len(rows):
            return
        device = self.devices.codes(name.gather(rows))
        values = np.empty((len(rows), len(channels)))
        for i, channel in enumerate(channels):
            values[:, i], bad = parse_numbers(columns[channel].gather(rows))
            if bad.any():
                first = int(rows[np.flatnonzero(bad)[0]])
                example = f"{block.quote(first)}: {channel} is {columns[channel][first]!r}"
                self.notes.add(BAD_CELLS, int(bad.sum()), example)
        self.draft.pieces.append(Piece(device, time_ms[rows], channels, values, block.path, block.line[rows]))
        if config.label_column:
            label = _text(columns[config.label_column]).gather(rows)
            unknown = ~(self._is_known(label) | self._is_normal(label) | (label == "").to_numpy())
            self._note(UNKNOWN_LABELS, block, rows, unknown)
            self.labels.append(Labels(device, time_ms[rows], self.label_names.codes(label)))

    def _times(self, block: Block, column: pl.Series, name: str) -> Int64:
        times = parse_times(column, self.config.time_zone)
        naive = times.naive & block.good
        if not self.config.time_zone and naive.any():
            raise HistoryError(
                f"{block.quote(int(np.flatnonzero(naive)[0]))}: column {name!r} holds times without a time zone; "
                'set data.time_zone to the zone that they are in, such as "UTC" or "Europe/Zurich"'
            )
        block.refuse(~times.good, f"{name} is no time between 1970 and 2109")
        self._note(AMBIGUOUS_TIMES, block, np.arange(len(block.line)), times.ambiguous & block.good)
        return times.ms

    # --- events

    def _read_events(self, path: Path) -> None:
        if not path.is_file():
            raise HistoryError(f"data.events: there is no file {path}; {folder_contents(path.parent, SUFFIXES)}")
        for block, columns in read_frames(path, EVENT_COLUMNS, self.config.separator):
            start_ms = self._times(block, columns["start"], "start")
            end_ms = self._times(block, columns["end"], "end")
            block.report(self.notes)
            rows = np.flatnonzero(refuse_reversed(block, start_ms, end_ms, self.notes))
            device, fault = _text(columns["device"]).gather(rows), _text(columns["fault"]).gather(rows)
            normal, known = self._is_normal(fault), self._is_known(fault)
            here = device.is_in(self.devices.list()).to_numpy()
            self._note(NORMAL_EVENTS, block, rows, normal, problem=False)
            self._note(UNKNOWN_FAULTS, block, rows, ~normal & ~known)
            self._note(FOREIGN_EVENTS, block, rows, ~normal & known & ~here)
            kept = np.flatnonzero(~normal & known & here)
            if len(kept):
                self.draft.events.append(
                    EventPiece(
                        self.devices.codes(device.gather(kept)),
                        start_ms[rows[kept]],
                        end_ms[rows[kept]],
                        self.faults.codes(fault.gather(kept)),
                    )
                )

    def _is_normal(self, fault: pl.Series) -> Bool:
        return fault.is_in([*self.config.normal, NORMAL]).to_numpy()

    def _is_known(self, fault: pl.Series) -> Bool:
        return (fault.is_in(list(self.config.faults)) if self.config.faults else fault != "").to_numpy()

    def _fault_of(self, label: str) -> int:
        """Number of a label's fault; a label that is not among the known faults counts as none."""
        if label in self.config.normal or label == NORMAL:
            return NO_FAULT
        if not label:
            return SILENT
        if self.config.faults and label not in self.config.faults:
            return NO_FAULT
        return self.faults.code(label)

    def _note(self, kind: str, block: Block, rows: Int64, which: Bool, *, problem: bool = True) -> None:
        """Note the chosen ones (``which`` [n]) of some rows ([n]) of a block."""
        if which.any():
            first = int(rows[np.flatnonzero(which)[0]])
            self.notes.add(kind, int(which.sum()), block.quote(first), problem=problem)


def _text(column: pl.Series) -> pl.Series:
    """Names as text without surrounding blanks, "" where there is none; whole numbers are written without decimals."""
    if column.dtype.is_float() and (column.drop_nulls() == column.drop_nulls().round()).all():
        column = column.cast(pl.Int64)
    return column.cast(pl.String).fill_null("").str.strip_chars()
