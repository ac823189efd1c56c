"""Tables in long form: a row for each value, named by its tag, as historians and time series databases write them.

Rows of one device and time become one sample. They may be in any order: by time, or tag after tag.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Float64, Int32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.times import TIME_LIMIT_MS
from rarefault.train.history.assemble import Piece, drop_values
from rarefault.train.history.formats.table import TableConfig
from rarefault.train.history.named_reader import as_text
from rarefault.train.history.notes import BAD_QUALITY, CONFLICTS, DUPLICATES, FOREIGN_TAGS
from rarefault.train.history.parsing.cells import Names
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.parsing.lines import Block, line_text, place
from rarefault.train.history.parsing.natural import natural
from rarefault.train.history.parsing.pattern import Pattern

if TYPE_CHECKING:
    from rarefault.train.history.formats.table_reader import TableReader

#: Name of the part of a tag that is the channel.
CHANNEL = "channel"


@dataclass(slots=True)
class _Rows:
    """Values that stand together in a file (n of them).

    Attributes:
        path: the file.
        line: of each value, [n].
        device, channel: numbers, [n].
        time_ms: milliseconds since the epoch, [n].
        value: NaN where it is missing, [n].
    """

    path: Path
    line: Int64
    device: Int32
    channel: Int32
    time_ms: Int64
    value: Float64

    def select(self, chosen: Bool) -> "_Rows":
        """Some of them, [n]."""
        return _Rows(
            self.path,
            self.line[chosen],
            self.device[chosen],
            self.channel[chosen],
            self.time_ms[chosen],
            self.value[chosen],
        )


class LongForm:
    """Collects values to samples.

    Args:
        config: columns, patterns of tags and good qualities.
        reader: reads times, devices and numbers, and takes the samples.

    Attributes:
        names: of the parts of tags.
    """

    def __init__(self, config: TableConfig, reader: "TableReader") -> None:
        self.config, self.reader = config, reader
        self.patterns = [Pattern(text) for text in config.tag_pattern]
        self.names = {name for pattern in self.patterns for name in pattern.names}
        self.good = {str(word).strip().lower() for word in config.good}
        self.qualities: dict[str, None] = {}
        self.any_good = False
        self.channels = Names()
        self.parts: dict[str, dict[str, str] | None] = {}  # of each tag; None where no pattern fits
        self.held: list[_Rows] = []  # whose time is known only at the end
        self.pieces: list[Piece] = []

    def take(self, block: Block, columns: dict[str, pl.Series]) -> None:
        """Add the rows of a block."""
        reader, config = self.reader, self.config
        fits = self._split_tags(block, columns)
        time_ms, later_ms = reader.read_times(block, columns)
        name = reader.read_devices(block, columns)
        block.refuse((columns[CHANNEL] == "").to_numpy(), "no tag")
        block.report(reader.notes)
        chosen = block.good & fits
        if config.channels:
            reader.columns.update(dict.fromkeys(columns[CHANNEL].filter(pl.Series(chosen)).unique(maintain_order=True)))
            chosen &= columns[CHANNEL].is_in(list(config.channels)).to_numpy()
        rows = np.flatnonzero(chosen)
        if not len(rows):
            return
        names = columns[CHANNEL].gather(rows)
        channel = self.channels.codes(names)
        value = reader.numbers(block, rows, config.value_column, columns[config.value_column], names)
        if config.quality_column:
            self._drop_bad(block, rows, columns, value)
        device, time_ms, later_ms = reader.devices.codes(name.gather(rows)), time_ms[rows], later_ms[rows]
        stream = channel.astype(np.int64) << 32 | device
        reader.check_days(block, columns, rows, stream, time_ms)
        reader.doubled.add(block, rows, stream, time_ms, later_ms)
        found = _Rows(block.path, block.line[rows], device, channel, time_ms, value)
        doubled = time_ms != later_ms
        if doubled.any():
            self.held.append(found)  # its times are written to when all rows are known
        else:
            self._add(found)

    def finish(self) -> None:
        """Give the samples to the reader, in order of device and time."""
        for rows in self.held:
            self._add(rows)
        self.held.clear()
        self._check()
        channels = self.channels.list()
        self.reader.channels.update(dict.fromkeys(channels))
        if self.pieces:
            self.reader.draft.pieces.append(self._merged(channels))

    def _check(self) -> None:
        if self.parts and not any(self.parts.values()):
            raise HistoryError(
                f"data.tag_pattern: no tag fits {listed([one.text for one in self.patterns])}; tags there: "
                f"{listed(list(self.parts), 4)}"
            )
        if self.qualities and not self.any_good:
            raise HistoryError(
                f"data.good: no value has one of the qualities {listed(sorted(self.good))}; column "
                f"{self.config.quality_column!r} holds {listed(list(self.qualities), 6)}"
            )

    def _split_tags(self, block: Block, columns: dict[str, pl.Series]) -> Bool:
        """Add the parts of the tags as columns; rows whose tag fits no pattern are noted. Which ones fit, [m]."""
        tag = as_text(columns[self.config.tag_column])
        tags = tag.unique(maintain_order=True).to_list()
        for one in tags:
            if one not in self.parts:
                found = (parts for pattern in self.patterns if (parts := pattern.match(one)) is not None)
                self.parts[one] = next(found, None)
        for name in self.names:
            words = [(self.parts[one] or {}).get(name, "").strip() for one in tags]
            columns[name] = tag.replace_strict(tags, words, return_dtype=pl.String)
        fits = ~tag.is_in([one for one in tags if self.parts[one] is None and one]).to_numpy()
        for one in [one for one in tags if self.parts[one] is None and one]:
            which = (tag == one).to_numpy()
            first = block.quote(int(np.flatnonzero(which)[0]))
            self.reader.notes.add(FOREIGN_TAGS, int(which.sum()), first, at=one)
        return np.asarray(fits)

    def _drop_bad(self, block: Block, rows: Int64, columns: dict[str, pl.Series], value: Float64) -> None:
        """Take values whose quality is not good as missing, in place."""
        quality = as_text(columns[self.config.quality_column].gather(rows))
        good = quality.str.to_lowercase().is_in(list(self.good)).to_numpy()
        self.any_good |= bool(good.any())
        self.qualities.update(dict.fromkeys(quality.unique(maintain_order=True).to_list()))
        channel = columns[CHANNEL].gather(rows)
        for name in channel.filter(pl.Series(~good)).unique(maintain_order=True).to_list():
            which = ~good & (channel == name).to_numpy()
            first = block.quote(int(rows[np.flatnonzero(which)[0]]))
            self.reader.notes.add(BAD_QUALITY, int(which.sum()), first, problem=False, at=name)
        value[~good] = np.nan

    def _add(self, rows: _Rows) -> None:
        """Add a block's values as samples."""
        key, sample = np.unique(_keys(rows.device, rows.time_ms), return_inverse=True)
        codes, column = np.unique(rows.channel, return_inverse=True)
        self._note_repeats(rows, sample * len(codes) + column)
        values = np.full((len(key), len(codes)), np.nan)
        there = ~np.isnan(rows.value)
        values[sample[there], column[there]] = rows.value[there]
        line = np.full(len(key), np.iinfo(np.int64).max)
        np.minimum.at(line, sample, rows.line)
        names = self.channels.list()
        device, time_ms = _device_and_time(key)
        piece = Piece(device, time_ms, [names[i] for i in codes.tolist()], values, rows.path, line)
        drop_values([piece], self.config.missing, self.reader.notes)
        self.pieces.append(piece)

    def _note_repeats(self, rows: _Rows, cell: Int64) -> None:
        """Note values that repeat or contradict another one of the same device, time and channel."""
        order = np.argsort(cell, kind="stable")
        same = np.flatnonzero(np.diff(cell[order]) == 0)
        later, earlier = order[same + 1], order[same]
        equal = (rows.value[later] == rows.value[earlier]) | np.isnan(rows.value[later]) | np.isnan(rows.value[earlier])
        for kind, which in ((DUPLICATES, equal), (CONFLICTS, ~equal)):
            if which.any():
                line = int(rows.line[later[which]].min())
                self.reader.notes.add(kind, int(which.sum()), place(rows.path, line, line_text(rows.path, line)))

    def _merged(self, channels: list[str]) -> Piece:
        """All samples as one piece, without those of one device and time in several; ``pieces`` is emptied."""
        devices = self.reader.devices.list()
        by_name = np.array(sorted(range(len(devices)), key=lambda i: natural(devices[i])), np.int32)
        rank = np.argsort(by_name).astype(np.int32)  # so that the order of the rows makes no difference
        keys = [_keys(rank[piece.device], piece.time_ms) for piece in self.pieces]
        key, place_of = np.unique(np.concatenate(keys), return_inverse=True)
        bounds = np.cumsum([0, *map(len, keys)])
        values = np.full((len(key), len(channels)), np.nan)
        line = np.zeros(len(key), np.int64)
        path = self.pieces[0].path
        for i, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
            piece, sample = self.pieces[i], place_of[first:last]
            line[sample] = piece.line
            for j, name in enumerate(piece.channels):
                column, new = channels.index(name), piece.values[:, j]
                before = values[sample, column]
                self._note_overlap(piece, before, new)
                values[sample, column] = np.where(np.isnan(new), before, new)
            piece.values = np.empty((0, 0))
        self.pieces.clear()
        device, time_ms = _device_and_time(key)
        return Piece(by_name[device], time_ms, channels, values, path, line)

    def _note_overlap(self, piece: Piece, before: Float64, new: Float64) -> None:
        """Note values of a piece that an earlier one has as well."""
        both = ~np.isnan(before) & ~np.isnan(new)
        for kind, which in ((DUPLICATES, both & (before == new)), (CONFLICTS, both & (before != new))):
            if which.any():
                line = int(piece.line[which].min())
                where = place(piece.path, line, line_text(piece.path, line))
                self.reader.notes.add(kind, int(which.sum()), where)


def _keys(device: Int32, time_ms: Int64) -> Int64:
    """One number for device and time, in their order."""
    return device.astype(np.int64) * TIME_LIMIT_MS + time_ms


def _device_and_time(key: Int64) -> tuple[Int32, Int64]:
    device, time_ms = np.divmod(key, TIME_LIMIT_MS)
    return device.astype(np.int32), time_ms
