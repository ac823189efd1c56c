"""Reading tables, in wide or long form: devices, times, numbers and labels of every row."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from rarefault.runtime.arrays import Bool, Float64, Int32, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import NORMAL
from rarefault.runtime.proposal.finding import Finding
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.assemble import Piece, room
from rarefault.train.history.data import UNLABELLED, History
from rarefault.train.history.dialect.numbers import NumberEvidence, number_findings
from rarefault.train.history.dialect.times import is_clock
from rarefault.train.history.events.log import events_path, read_events
from rarefault.train.history.formats.long_form import LongForm
from rarefault.train.history.formats.table import TableConfig
from rarefault.train.history.label_column import EMPTY, NO_FAULT, LabelPiece, label_events
from rarefault.train.history.named_reader import NamedReader, as_text
from rarefault.train.history.notes import BAD_CELLS, NO_LABELS, NORMAL_WORDS, TEXT_COLUMNS, UNKNOWN_LABELS
from rarefault.train.history.parsing.cells import Names, parse_numbers
from rarefault.train.history.parsing.files import find_files, listed
from rarefault.train.history.parsing.frames import column_names, read_frames
from rarefault.train.history.parsing.lines import ROWS, Block, read_header
from rarefault.train.history.parsing.normal import is_empty
from rarefault.train.history.parsing.pattern import filled, names_in
from rarefault.train.history.parsing.text_form import PLAIN
from rarefault.train.history.parsing.times import is_day
from rarefault.train.history.source import text_form, time_form
from rarefault.train.history.time_columns import DoubledHours, TimeColumns, joined

#: A column with more labels than this names something else.
MOST_LABELS = 1000
#: A day in the name of a file.
_DAY_NAME = re.compile(r"(19|20)\d\d[-_.]?(0\d|1[0-2])[-_.]?([0-2]\d|3[01])")
Columns = dict[str, pl.Series]


class TableReader(NamedReader):
    """One reading."""

    config: TableConfig

    def __init__(self, config: TableConfig, base: Path, specs: ChannelSpecs) -> None:
        super().__init__(config, base)
        self.specs = specs
        self.form = text_form(config, "data.")
        self.paths: dict[Path, dict[str, str]] = {}  # with the parts of each that have a name
        self.time_names = (config.time_column,) if isinstance(config.time_column, str) else config.time_column
        self.clock = TimeColumns(time_form(config), self.keys.time_zone, "data.", self._all_times)
        self.doubled = DoubledHours()
        self.long = LongForm(config, self) if config.tag_column else None
        self.evidence: dict[str, NumberEvidence] = {}
        # How numbers are written, wherever they stand; whether some cell shows it.
        self.settled = False
        self.label_names = Names()
        self.labels: list[LabelPiece] = []
        self.empty_is_normal = False
        self.label_at: dict[str, str] = {}  # the first place of each label

    def read(self) -> History:
        """Read all files, then the log."""
        log = events_path(self)
        for pattern in self.config.samples:
            for path, parts in find_files(self.base, pattern).items():
                if path != log:  # a pattern such as *.csv may match the events, too
                    self.paths.setdefault(path, parts)
        self._check_file_names()
        for path in self.paths:
            self._read_samples(path)
        self._check_numbers()
        self.doubled.settle(self.notes)
        if self.long is not None:
            self.long.finish()
        self._check()
        if self.labels:
            self._read_labels()
            self.draft.events.append(label_events(self.labels, self.label_names.list(), self._fault_of))
        read_events(self)
        return self.finish()

    def _check(self) -> None:
        """Something was read, and all channels that the configuration names are in it."""
        names = listed([path.name for path in self.paths])
        if not self.paths:
            raise HistoryError("data.samples: no file but that of data.events matches; name the files of the samples")
        if not len(self.devices):
            problems = f"; {self.notes}" if len(self.notes) else ""
            if "is no time" in problems and not self.config.time_format:
                problems += "; if times are written in a way of their own, set data.time_format"
            raise HistoryError(f"data.samples: no usable row in {names}{problems}")
        if not self.channels and not self.config.channels:
            raise HistoryError(f"data.samples: no column with numbers besides device, time and label in {names}")
        self.check_channels(names)

    def _check_file_names(self) -> None:
        """HistoryError where devices are named after files whose names are days, or are not of one file each."""
        config = self.config
        if config.device_column or config.device or (self.long is not None and "device" in self.long.names):
            return
        stems = [_stem(path) for path in self.paths]
        remedy = (
            'name the device by a part of the path, as in samples = "{device}/*.csv", or the only one as data.device'
        )
        if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
            same = listed([str(path) for path in self.paths if _stem(path) == twice], 3)
            raise HistoryError(f"data.device_column: {same} would be one device, {twice!r}; {remedy}")
        if len(stems) > 1 and all(_DAY_NAME.search(stem) for stem in stems):
            raise HistoryError(f"data.device_column: {listed(stems, 3)} are days, so each would be a device; {remedy}")

    # -- columns

    def _needed(self, path: Path) -> dict[str, str]:
        """The columns that must be in a file, and what to do where one is not."""
        config, parts = self.config, self._parts(path)
        needed: dict[str, str] = {}
        if config.device:
            needed |= dict.fromkeys(names_in(config.device), "data.device names it")
        else:
            needed[config.device_column] = "name the one meant as data.device_column, or the only device as data.device"
        needed |= dict.fromkeys(self.time_names, "name the one meant as data.time_column")
        keys = ("tag_column", "value_column", "quality_column") if config.tag_column else ("label_column",)
        needed |= {getattr(config, key): f"name the one meant as data.{key}" for key in keys}
        return {name: remedy for name, remedy in needed.items() if name and name not in parts}

    def _parts(self, path: Path) -> set[str]:
        """Names of columns that stand in no file: parts of its path, or of tags."""
        parts = set(self.paths[path])
        return parts if self.long is None else parts | self.long.names

    def _frames(self, path: Path, wanted: set[str] | None) -> Iterator[tuple[Block, Columns]]:
        """The blocks of a file, with the parts of its path as columns; of other columns all, or the wanted ones."""
        parts = self.paths[path]
        needed = self._needed(path)
        every = (lambda _: True) if wanted is None else wanted.__contains__
        for block, columns in read_frames(path, needed, self.form, every, self._is_number):
            if both := sorted(set(columns) & self._parts(path)):
                raise HistoryError(
                    f"{path}: has a column {both[0]!r}, and data.samples or data.tag_pattern have it in braces: give "
                    "the part in braces another name, and name the one that is meant"
                )
            for name, text in parts.items():
                columns[name] = pl.Series([text]).new_from_index(0, len(block.line))
            yield block, columns

    def _all_times(self) -> Iterator[pl.Series]:
        for path in self.paths:
            for _, columns in self._frames(path, set()):
                yield joined(columns, self.config.time_column)

    def _read_samples(self, path: Path) -> None:
        config = self.config
        wanted = {*config.channels} if config.channels or self.long else None
        chosen: list[str] | None = None
        for block, columns in self._frames(path, wanted):
            if self.long is not None:
                self.long.take(block, columns)
                continue
            if chosen is None:
                chosen = self._choose_channels(path, columns)
                self.channels.update(dict.fromkeys(chosen))
            self._take(block, columns, chosen)
            shown = config.decimal == "." or any(one.point for one in self.evidence.values())
            self.settled = shown and config.numbers == PLAIN

    def _choose_channels(self, path: Path, columns: Columns) -> list[str]:
        config = self.config
        own = {"", *self._needed(path), *self._parts(path)}
        if config.channels:
            self.columns.update(dict.fromkeys(name for name in column_names(path, self.form) if name not in own))
            return [name for name in config.channels if name in columns]
        chosen = []
        for name, column in columns.items():
            if name in own:
                continue
            value, bad = parse_numbers(column, self._states(name), config.numbers)
            if bad.any() and np.isnan(value).all():
                self._note_numbers(name, column, bad)
                self.notes.add(TEXT_COLUMNS, 1, f"{path.name}: {name!r}", problem=False)
            else:
                chosen.append(name)
        return chosen

    # -- rows

    def read_times(self, block: Block, columns: Columns) -> tuple[Int64, Int64]:
        """Times of a block's rows, and the later ones of those that occurred twice, milliseconds, [m] each."""
        times = self.clock.read(block, joined(columns, self.config.time_column), " and ".join(self.time_names))
        return times.ms, times.later_ms

    def read_devices(self, block: Block, columns: Columns) -> pl.Series:
        """Names of the devices of a block's rows, [m]; rows without one are refused."""
        config = self.config
        parts = names_in(config.device)
        if parts:
            names = [as_text(columns[part]) for part in parts]
            for name in names:
                block.refuse((name == "").to_numpy(), "no device")
            return filled(config.device, names)
        if config.device:
            return pl.Series([config.device]).new_from_index(0, len(block.line))
        if config.device_column:
            name = as_text(columns[config.device_column])
            block.refuse((name == "").to_numpy(), "no device")
            return name
        return pl.Series([_stem(block.path)]).new_from_index(0, len(block.line))

    def numbers(self, block: Block, rows: Int64, name: str, column: pl.Series, channel: pl.Series | None) -> Float64:
        """A column's values in some rows ([n]) of a block, [n]; cells that hold no number are noted.

        Args:
            block: the lines.
            rows: which of them, [n].
            name: of the column.
            column: all of it, [m].
            channel: the channel of each of the rows, [n]; None is the column.
        """
        column = column if len(rows) == len(column) else column.gather(rows)
        value, bad = self._parse(name, column, channel)
        self._note_numbers(name, column, bad)
        if not bad.any():
            return value
        words = [name] if channel is None else channel.filter(pl.Series(bad)).unique(maintain_order=True).to_list()
        for word in words:
            own = bad if channel is None else bad & (channel == word).to_numpy()
            at = int(np.flatnonzero(own)[0])
            example = f"{block.quote(int(rows[at]))}: {word} is {column[at]!r}"
            self.notes.add(BAD_CELLS, int(own.sum()), example, at=word)
        return value

    def _parse(self, name: str, column: pl.Series, channel: pl.Series | None) -> tuple[Float64, Bool]:
        """As :func:`parse_numbers`, with the words of the channel of each row ([n]), or of the column."""
        form = self.config.numbers
        if channel is None:
            return parse_numbers(column, self._states(name), form)
        value, bad = parse_numbers(column, None, form)
        for word, spec in self.specs.items():
            if spec.states and (rows := channel.eq_missing(word).arg_true()).len():
                at = rows.to_numpy()
                value[at], bad[at] = parse_numbers(column.gather(at), spec.states, form)
        return value, bad

    def _is_number(self, name: str) -> bool:
        """Whether a column is one of numbers that are written in the usual way: nothing needs their text any more."""
        return self.settled and name in self.channels and not self._states(name)

    def _states(self, channel: str) -> Mapping[str, float] | None:
        """The words of a channel."""
        spec = self.specs.get(channel)
        return (spec.states or None) if spec is not None else None

    def _take(self, block: Block, columns: Columns, channels: list[str]) -> None:
        config = self.config
        time_ms, later_ms = self.read_times(block, columns)
        name = self.read_devices(block, columns)
        block.report(self.notes)
        rows = np.flatnonzero(block.good)
        if not len(rows):
            return
        if len(rows) < len(name):
            name, time_ms, later_ms = name.gather(rows), time_ms[rows], later_ms[rows]
        device = self.devices.codes(name)
        self.check_days(block, columns, rows, device, time_ms)
        self.doubled.add(block, rows, device, time_ms, later_ms)
        values = room(len(rows), len(channels))
        for i, channel in enumerate(channels):
            values[:, i] = self.numbers(block, rows, channel, columns[channel], None)
        self.draft.pieces.append(
            Piece(device, time_ms, channels, values, block.path, block.line[rows].astype(np.int32))
        )
        if config.label_column:
            label = as_text(columns[config.label_column]).gather(rows)
            self._note_labels(block, rows, label)
            self.labels.append(LabelPiece(device, time_ms, self.label_names.codes(label)))

    def check_days(self, block: Block, columns: Columns, rows: Int64, stream: Int32, time_ms: Int64) -> None:
        """HistoryError where all times are days without a time of the day, and a stream ([n]) has several rows in one.

        So days would be all that is left of the times, and their rows would contradict each other.
        """
        if len(self.time_names) > 1:
            return
        column = columns[self.time_names[0]]
        if not is_day(column.gather(rows[:1]), self.clock.form).all():
            return
        if not is_day(column.gather(rows), self.clock.form).all():
            return
        if len(np.unique(np.stack([stream.astype(np.int64), time_ms]), axis=1).T) == len(rows):
            return
        clock = next((name for name, one in columns.items() if one.dtype == pl.String and is_clock(one)), None)
        remedy = (
            f'the times of the day are in {clock!r}: set data.time_column = ["{self.time_names[0]}", "{clock}"]'
            if clock
            else f'if they are in another column, set data.time_column = ["{self.time_names[0]}", "its name"]'
        )
        raise HistoryError(
            f"{block.path}: column {self.time_names[0]!r} holds days without a time of the day, with several rows for "
            f"a day; {remedy}"
        )

    # -- numbers that can be read two ways

    def _note_numbers(self, channel: str, column: pl.Series, bad: Bool) -> None:
        """Remember what the numbers of a channel show of how they are written; ``bad`` are no numbers, [m] each."""
        config = self.config
        if column.dtype != pl.String or config.thousands or config.decimal == ".":
            return
        known = any(one.point for one in self.evidence.values())
        other = column.filter(pl.Series(bad)) if bad.any() else column.head(0)
        self.evidence.setdefault(channel, NumberEvidence()).take(column, other, points=not known)

    def _check_numbers(self) -> None:
        """HistoryError where numbers are written in another way than the section says, or may be."""
        if not self.evidence:
            return
        path = next(iter(self.paths))
        separator = "," if path.suffix.lower() in ROWS else read_header(path, self.form).separator
        findings = number_findings(self.evidence, separator)
        if self.config.decimal == ",":
            found = next(((name, one.grouped) for name, one in self.evidence.items() if one.grouped), None)
            grouped = [] if found is None else [Finding("thousands", ".", f"{found[0]} holds {found[1]!r}")]
            findings = [one for one in findings if one.key == "thousands" and one.value != ","] or grouped
        if findings:
            names = listed([path.name for path in self.paths], 3)
            raise HistoryError(f"{names}: {'; '.join(one.sentence() for one in findings)}")

    # -- labels

    def _note_labels(self, block: Block, rows: Int64, label: pl.Series) -> None:
        """Note unknown labels, and the first place of each label; ``label`` [n] is of some rows ([n]) of a block."""
        names = label.unique(maintain_order=True).to_list()
        unknown = ~(self.is_known(label) | self.is_normal(label))
        unknown &= ~label.is_in([name for name in names if self._is_empty(name)]).to_numpy()
        block.note(self.notes, UNKNOWN_LABELS, unknown, rows)
        for name in names:
            if name in self.label_at:
                continue
            if len(self.label_at) >= MOST_LABELS:
                raise HistoryError(
                    f"{block.path}: column {self.config.label_column!r} holds more than {MOST_LABELS} different "
                    "labels: name the column of the labels as data.label_column"
                )
            self.label_at[name] = block.quote(int(rows[int(label.index_of(name) or 0)]))

    def _read_labels(self) -> None:
        """Decide what empty labels mean, and note which labels were taken for normal."""
        count = sum(np.bincount(piece.label, minlength=len(self.label_names)) for piece in self.labels)
        samples = dict(zip(self.label_names.list(), np.asarray(count).tolist(), strict=True))
        self.empty_is_normal = self.config.normal is None and all(
            self._fault_of(name) != NO_FAULT for name in samples if not self._is_empty(name)
        )
        for name, n in samples.items():
            if self._is_empty(name) and self.empty_is_normal:
                self.notes.add(NO_LABELS, n, self.label_at[name], problem=False)
            elif name != NORMAL and self.means_normal(name):
                self.notes.add(NORMAL_WORDS, n, self.label_at[name], problem=False, at=name)

    def _is_empty(self, label: str) -> bool:
        return is_empty(label) and not self.means_normal(label) and label not in self.config.faults

    def _fault_of(self, label: str) -> int:
        """Number of a label's fault; a label that is not among the known faults counts as none."""
        if self.means_normal(label):
            return NO_FAULT
        if self._is_empty(label):
            return NO_FAULT if self.empty_is_normal else EMPTY
        if self.config.faults and label not in {*self.config.faults, UNLABELLED}:
            return NO_FAULT
        return self.faults.code(label)


def _stem(path: Path) -> str:
    """The name of a file without what its ending says."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
