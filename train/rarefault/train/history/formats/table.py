"""Tables in wide form, one column per channel: a row is a device, a time, channel values and perhaps a label.

CSV files have a header line; Parquet files bring their own types. Files may differ in their channels, and a row may
leave cells empty: a channel that is not reported is missing from that sample, no more. A label column becomes events:
each run of one label over a device's samples, until a sample with another one. At an empty label the run goes on; where
no other label means that there is no fault, the empty ones do. Values outside a sensor's range stay; the model clips
them.
"""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

import msgspec
import numpy as np
import polars as pl

from rarefault.runtime.arrays import Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import NORMAL
from rarefault.runtime.journal.summary import is_journal
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.assemble import Piece
from rarefault.train.history.data import UNLABELLED, History
from rarefault.train.history.event_log import read_events
from rarefault.train.history.label_column import EMPTY, NO_FAULT, LabelPiece, label_events
from rarefault.train.history.named_reader import NamedReader, as_text
from rarefault.train.history.notes import BAD_CELLS, NO_LABELS, NORMAL_WORDS, TEXT_COLUMNS, UNKNOWN_LABELS
from rarefault.train.history.parsing.cells import Names, parse_numbers
from rarefault.train.history.parsing.frames import find_files, listed, read_frames
from rarefault.train.history.parsing.lines import Block
from rarefault.train.history.parsing.normal import is_empty
from rarefault.train.history.source import NO_SPECS, Name, NamedSourceConfig

#: A column with more labels than this names something else.
MOST_LABELS = 1000


class TableConfig(NamedSourceConfig, frozen=True, kw_only=True, tag_field="format", tag="table"):
    """CSV (with a header line) or Parquet files in wide form: device, time, one column per channel, perhaps a label."""

    samples: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    """Files or glob patterns, relative to the configuration file. Every column that holds numbers and is none of the
    three below is a channel."""
    device_column: str = "device"
    """Column with the device's name; "" names each device after its file."""
    time_column: Name = "time"
    """ISO 8601, epoch seconds or epoch milliseconds."""
    label_column: str = ""
    """Column whose runs of one value become events; none by default."""

    @property
    def places(self) -> tuple[str, ...]:
        """Names and patterns of the files."""
        return self.samples

    @classmethod
    def of_paths(cls, paths: Sequence[Path]) -> Self | None:
        """Files of any name that are no journals."""
        if any(path.is_dir() or is_journal(path) for path in paths):
            return None
        return cls(samples=tuple(map(str, paths)))

    def absolute(self, base: Path) -> Self:
        """The section with its paths made absolute."""
        samples = tuple(_absolute_pattern(name, base.resolve()) for name in self.samples)
        return msgspec.structs.replace(self, samples=samples, events=self.absolute_events(base))

    def read(
        self,
        base: Path,
        *,
        allow_incomplete: bool = False,  # noqa: ARG002 - samples are always there
        specs: ChannelSpecs = NO_SPECS,
    ) -> History:
        """Read samples and events."""
        return _Reader(self, base, specs).read()


def _absolute_pattern(name: str, folder: Path) -> str:
    """A file or pattern from anywhere; brackets in the folder's name, or in that of one file, are no pattern."""
    if (folder / name).is_file():
        return glob.escape(str(folder / name))
    return str(Path(glob.escape(str(folder))) / name)


class _Reader(NamedReader):
    """One reading."""

    config: TableConfig

    def __init__(self, config: TableConfig, base: Path, specs: ChannelSpecs) -> None:
        super().__init__(config, base)
        self.specs = specs
        self.label_names = Names()
        self.labels: list[LabelPiece] = []
        self.empty_is_normal = False
        self.label_at: dict[str, str] = {}  # the first place of each label

    def read(self) -> History:
        events = self.events_path()
        found = dict.fromkeys(path for pattern in self.config.samples for path in find_files(self.base, pattern))
        paths = [path for path in found if path != events]  # a pattern such as *.csv may match the events, too
        for path in paths:
            self._read_samples(path)
        self._check(paths)
        if self.labels:
            self._read_labels()
            self.draft.events.append(label_events(self.labels, self.label_names.list(), self._fault_of))
        if events is not None:
            read_events(self, events)
        return self.finish()

    def _check(self, paths: list[Path]) -> None:
        """Something was read, and all channels that the configuration names are in it."""
        names = listed([path.name for path in paths])
        if not paths:
            raise HistoryError("data.samples: no file but that of data.events matches; name the files of the samples")
        if not len(self.devices):
            problems = f"; {self.notes}" if len(self.notes) else ""
            raise HistoryError(f"data.samples: no usable row in {names}{problems}")
        if not self.channels and not self.config.channels:
            raise HistoryError(f"data.samples: no column with numbers besides device, time and label in {names}")
        self.check_channels(names)

    def _read_samples(self, path: Path) -> None:
        config = self.config
        keys = ("device_column", "time_column", "label_column")
        needed = {getattr(config, key): f"name the one meant as data.{key}" for key in keys}
        chosen: list[str] | None = None
        for block, columns in read_frames(path, needed, config.separator, config.encoding):
            if chosen is None:
                chosen = self._choose_channels(path, columns)
                self.channels.update(dict.fromkeys(chosen))
            self._take(block, columns, chosen)

    def _choose_channels(self, path: Path, columns: dict[str, pl.Series]) -> list[str]:
        config = self.config
        own = {"", config.device_column, config.time_column, config.label_column}
        if config.channels:
            self.columns.update(dict.fromkeys(name for name in columns if name not in own))
            return [name for name in config.channels if name in columns]
        chosen = []
        for name, column in columns.items():
            if name in own:
                continue
            value, bad = parse_numbers(column, self._states(name))
            if bad.any() and np.isnan(value).all():
                self.notes.add(TEXT_COLUMNS, 1, f"{path.name}: {name!r}", problem=False)
            else:
                chosen.append(name)
        return chosen

    def _states(self, channel: str) -> Mapping[str, float] | None:
        """The words of a channel."""
        spec = self.specs.get(channel)
        return (spec.states or None) if spec is not None else None

    def _take(self, block: Block, columns: dict[str, pl.Series], channels: list[str]) -> None:
        config = self.config
        time_ms = self.times(block, columns[config.time_column], config.time_column)
        if config.device_column:
            name = as_text(columns[config.device_column])
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
            values[:, i], bad = parse_numbers(columns[channel].gather(rows), self._states(channel))
            if bad.any():
                first = int(rows[np.flatnonzero(bad)[0]])
                example = f"{block.quote(first)}: {channel} is {columns[channel][first]!r}"
                self.notes.add(BAD_CELLS, int(bad.sum()), example, at=channel)
        self.draft.pieces.append(Piece(device, time_ms[rows], channels, values, block.path, block.line[rows]))
        if config.label_column:
            label = as_text(columns[config.label_column]).gather(rows)
            self._note_labels(block, rows, label)
            self.labels.append(LabelPiece(device, time_ms[rows], self.label_names.codes(label)))

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
