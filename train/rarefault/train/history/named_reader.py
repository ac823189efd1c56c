"""What all readers of named devices share: names, times, words for normal, and the order of it all at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import NORMAL
from rarefault.train.history.data import UNLABELLED, History
from rarefault.train.history.finish import Draft, finish
from rarefault.train.history.parsing.cells import Names
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.natural import natural
from rarefault.train.history.parsing.normal import is_empty, means_normal
from rarefault.train.history.source import NamedSourceConfig


@dataclass(frozen=True, slots=True)
class KeyNames:
    """How messages call the keys of a section: those of a configuration file, or a command's arguments."""

    events: str = "data.events"
    time_zone: str = "data.time_zone"
    open_events: str = "data.open_events"
    prefix: str = "data."


class NamedReader:
    """One reading: names are numbered as they are met, and put in order at the end.

    Args:
        config: time zone, separator, faults, normal words and the rule for overlaps.
        base: folder that the events file is relative to.
        keys: what messages call the keys of ``config``.

    Attributes:
        draft: what has been read.
        notes: of the draft.
        devices, faults, units: names met so far.
        channels: names in the order of their first appearance.
        columns: names that channels may be chosen from, where these are more.
    """

    def __init__(self, config: NamedSourceConfig, base: Path, keys: KeyNames = KeyNames()) -> None:
        self.config, self.base, self.keys = config, base, keys
        self.draft = Draft()
        self.notes = self.draft.notes
        self.devices, self.faults, self.units = Names(), Names(), Names()
        self.channels: dict[str, None] = {}
        self.columns: dict[str, None] = {}

    def check_channels(self, where: str) -> None:
        """HistoryError where the configuration names a channel that is not in what was read, ``where``."""
        for key in ("channels", "counters"):
            named: tuple[str, ...] = getattr(self.config, key)
            known = list(self.channels)
            if lacking := [name for name in named if name not in known]:
                there = listed(list(self.columns) or known)
                raise HistoryError(f"data.{key}: no channel {listed(lacking)} in {where}; channels: {there}")

    def finish(self) -> History:
        """The history of what was read; devices and faults in their natural order."""
        config = self.config
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

    def spans_ms(self) -> Mapping[str, tuple[int, int]]:
        """First and last sample of each device, milliseconds since the epoch; (0, 0) for one without samples."""
        size = len(self.devices)
        first, last = np.full(size, np.iinfo(np.int64).max), np.zeros(size, np.int64)
        for piece in self.draft.pieces:
            np.minimum.at(first, piece.device, piece.time_ms)
            np.maximum.at(last, piece.device, piece.time_ms)
        spans = np.stack([np.minimum(first, last), last], axis=1).tolist()
        return {name: (low, high) for name, (low, high) in zip(self.devices.list(), spans, strict=True)}

    def is_normal(self, fault: pl.Series) -> Bool:
        """Which names stand for no fault, [m]."""
        return fault.is_in([name for name in fault.unique().to_list() if self.means_normal(name)]).to_numpy()

    def means_normal(self, name: str) -> bool:
        """Whether a name stands for no fault: a configured one or, where none is, a usual word that is no fault's."""
        if self.config.normal is not None:
            return name in {*self.config.normal, NORMAL}
        return name not in self.config.faults and means_normal(name)

    def is_known(self, fault: pl.Series) -> Bool:
        """Which names are faults, or the word for time of which nobody knows the class, [m]."""
        known = self.config.faults
        if known:
            return fault.is_in([*known, UNLABELLED]).to_numpy()
        return ~fault.is_in([name for name in fault.unique().to_list() if is_empty(name)]).to_numpy()


def as_text(column: pl.Series) -> pl.Series:
    """Names as text without surrounding blanks, "" where there is none; whole numbers are written without decimals."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        there = column.drop_nulls()
        if ((there == there.round()) & (there.abs() <= 2**53)).all():
            column = column.cast(pl.Int64)
    return column.cast(pl.String).fill_null("").str.strip_chars()
