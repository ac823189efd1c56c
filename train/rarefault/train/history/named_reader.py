"""What all readers of named devices share: names, times, words for normal, and the order of it all at the end."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import NORMAL
from rarefault.train.history.data import UNLABELLED, History
from rarefault.train.history.finish import Draft, finish
from rarefault.train.history.notes import AMBIGUOUS_TIMES
from rarefault.train.history.parsing.cells import Names, parse_times
from rarefault.train.history.parsing.frames import listed
from rarefault.train.history.parsing.lines import Block
from rarefault.train.history.parsing.natural import natural
from rarefault.train.history.parsing.normal import is_empty, means_normal
from rarefault.train.history.source import NamedSourceConfig


@dataclass(frozen=True, slots=True)
class KeyNames:
    """How messages call the keys of a section: those of a configuration file, or a command's arguments."""

    events: str = "data.events"
    time_zone: str = "data.time_zone"
    open_events: str = "data.open_events"


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

    def events_path(self) -> Path | None:
        """The events file, None where there is none."""
        return self.base / self.config.events if self.config.events else None

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

    def last_samples(self) -> dict[str, int]:
        """The last sample of each device, milliseconds since the epoch; 0 for one without samples."""
        last = np.zeros(len(self.devices), np.int64)
        for piece in self.draft.pieces:
            np.maximum.at(last, piece.device, piece.time_ms)
        return dict(zip(self.devices.list(), last.tolist(), strict=True))

    def times(self, block: Block, column: pl.Series, name: str, optional: Bool | None = None) -> Int64:
        """A column of times as milliseconds, [m]; lines that hold none are refused.

        Args:
            block: the lines.
            column: text, numbers or date-times, [m].
            name: of the column, for messages.
            optional: lines that need no time, [m]; none by default.

        Raises:
            HistoryError: times have no zone, and none is set.
        """
        times = parse_times(column, self.config.time_zone)
        needed = np.ones(len(column), bool) if optional is None else ~optional
        naive = times.naive & block.good & needed
        if not self.config.time_zone and naive.any():
            raise HistoryError(
                f"{block.quote(int(np.flatnonzero(naive)[0]))}: column {name!r} holds times without a time zone; "
                f'set {self.keys.time_zone} to the zone that they are in, such as "UTC" or "Europe/Zurich"'
            )
        block.refuse(~times.good & needed, f"{name} is no time between 1970 and 2109")
        block.note(self.notes, AMBIGUOUS_TIMES, times.ambiguous & block.good)
        return times.ms

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
