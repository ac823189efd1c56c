"""Journals of the daemon: the samples that the edge received, for training.

A journal holds samples in order of arrival. Late ones are taken as all others are, at their time; the broker may have
delivered some twice, which is normal and no fault of the file. Of two samples of one device and time the one that
arrived last counts, as in the daemon. A daemon may be writing the file: what is read is of one moment.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

import msgspec
import numpy as np

from rarefault.runtime.arrays import Float64, Int32, Int64
from rarefault.runtime.errors import HistoryError, JournalError
from rarefault.runtime.journal.reader import JournalReader, is_sqlite
from rarefault.runtime.journal.records import SAMPLES
from rarefault.runtime.journal.summary import is_journal
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.assemble import Piece
from rarefault.train.history.data import History
from rarefault.train.history.events.log import read_events
from rarefault.train.history.keys import Name
from rarefault.train.history.named_reader import NamedReader
from rarefault.train.history.notes import NAMELESS_SAMPLES
from rarefault.train.history.parsing.files import listed
from rarefault.train.history.source import NO_SPECS, NamedSourceConfig

#: Samples in a piece, at least; a turn of the daemon has few.
PIECE = 1 << 16

#: Number of the device, time, values and number of the batch of some samples.
_Samples = tuple[Int32, Int64, Float64, Int64]


class JournalConfig(NamedSourceConfig, frozen=True, kw_only=True, tag_field="format", tag="journal"):
    """Journals of the daemon: what it has received of its devices. A daemon may be writing them meanwhile."""

    path: Name | Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    """One journal, or several, relative to the configuration file."""

    @property
    def places(self) -> tuple[str, ...]:
        """The journals."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @classmethod
    def of_paths(cls, paths: Sequence[Path]) -> Self | None:
        """Journals, one or several."""
        return cls(path=tuple(map(str, paths))) if all(map(is_journal, paths)) else None

    def absolute(self, base: Path) -> Self:
        """The section with its paths made absolute."""
        paths = tuple(str(base.resolve() / name) for name in self.places)
        path = paths[0] if isinstance(self.path, str) else paths
        return msgspec.structs.replace(self, path=path, events=self.absolute_events(base))

    def read(
        self,
        base: Path,
        *,
        allow_incomplete: bool = False,  # noqa: ARG002 - a journal is complete
        specs: ChannelSpecs = NO_SPECS,  # noqa: ARG002 - its values are numbers
    ) -> History:
        """Read samples and events; a journal may be empty."""
        return _Reader(self, base).read()


def open_journal(path: Path, what: str) -> JournalReader:
    """Open a journal for reading.

    Args:
        path: the file.
        what: the key or argument that names it, for the message.

    Raises:
        HistoryError: there is no such file, or it is no journal that can be read.
    """
    try:
        if path.is_file() and not is_sqlite(path):
            raise HistoryError(f"{what}: {path} is no journal of the daemon; name the file that its journal.path names")
        return JournalReader(path)
    except OSError as error:
        raise HistoryError(f"{what}: {path} cannot be read: {error.strerror}") from error
    except JournalError as error:
        raise HistoryError(f"{what}: {error}") from error


class _Reader(NamedReader):
    """One reading."""

    config: JournalConfig

    def read(self) -> History:
        names = []
        for name in dict.fromkeys(self.config.places):
            path = self.base / name
            names.append(path.name)
            with open_journal(path, "data.path") as journal:
                try:
                    self._take(journal)
                except JournalError as error:
                    raise HistoryError(f"data.path: {error}") from error
        self.check_channels(listed(names))
        read_events(self)
        return self.finish()

    def _take(self, journal: JournalReader) -> None:
        """Add the samples of a journal, many batches to a piece."""
        devices = journal.devices()
        chosen = self.config.channels or journal.channels
        columns = [i for i, name in enumerate(journal.channels) if name in chosen]
        self.channels.update(dict.fromkeys(journal.channels))
        held: list[_Samples] = []
        count = 0
        for samples in self._batches(journal, devices, columns):
            held.append(samples)
            count += len(samples[0])
            if count >= PIECE:
                self._add(journal, held, devices, columns)
                held, count = [], 0
        if held:
            self._add(journal, held, devices, columns)

    def _batches(self, journal: JournalReader, devices: Mapping[int, str], columns: list[int]) -> Iterator[_Samples]:
        """Samples of devices that the journal names, a batch at a time."""
        known = np.zeros(max(devices, default=0) + 1, bool)
        known[list(devices)] = True
        for batch in journal.batches():
            if batch.kind != SAMPLES:
                continue
            named = known[np.minimum(batch.device, len(known) - 1)] & (batch.device < len(known))
            place = f"{journal.path.name}: batch {batch.seq}"
            self.notes.add(NAMELESS_SAMPLES, int((~named).sum()), place, problem=False)
            seq = np.full(int(named.sum()), batch.seq, np.int64)
            yield batch.device[named], batch.time_ms[named], batch.values[named][:, columns], seq

    def _add(
        self, journal: JournalReader, held: list[_Samples], devices: Mapping[int, str], columns: list[int]
    ) -> None:
        """Add samples as one piece."""
        device, time_ms, values, seq = (np.concatenate(parts) for parts in zip(*held, strict=True))
        code = np.zeros(max(devices, default=0) + 1, np.int32)
        for number in np.unique(device).tolist():
            code[number] = self.devices.code(devices[number].strip())
        channels = [journal.channels[i] for i in columns]
        self.draft.pieces.append(Piece(code[device], time_ms, channels, values, journal.path, seq, journal=True))
