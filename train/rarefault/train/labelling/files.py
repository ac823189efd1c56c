"""What is labelled and with what, from the journal and the fault log, and the labels as a file."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.records import SAMPLES
from rarefault.runtime.times import format_ms
from rarefault.train.history import JournalConfig, ReadNotes
from rarefault.train.history.data import NO_UNIT
from rarefault.train.history.events.log import read_events
from rarefault.train.history.named_reader import KeyNames, NamedReader
from rarefault.train.history.parsing.natural import natural
from rarefault.train.labelling.rows import LOG, Row, Span

COLUMNS = ("device", "start", "end", "fault", "source", "unit")


def device_spans(journal: JournalReader) -> dict[str, Span]:
    """Samples of each device in the journal, in the natural order of the names."""
    names = journal.devices()
    size = max(names, default=0) + 1
    count, first, last = np.zeros(size, np.int64), np.full(size, np.iinfo(np.int64).max), np.zeros(size, np.int64)
    for batch in journal.batches():
        if batch.kind == SAMPLES:
            named = batch.device < size
            device, time_ms = batch.device[named], batch.time_ms[named]
            count += np.bincount(device, minlength=size)
            np.minimum.at(first, device, time_ms)
            np.maximum.at(last, device, time_ms)
    found = {name: Span(int(count[i]), int(first[i]), int(last[i])) for i, name in names.items() if count[i]}
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def read_fault_log(
    path: Path, section: JournalConfig, spans: Mapping[str, Span], keys: KeyNames
) -> tuple[list[Row], ReadNotes]:
    """Events of a fault log, and what was wrong with it.

    Args:
        path: CSV or Parquet file with the columns device, start, end, fault, and perhaps unit.
        section: how it is read.
        spans: samples of each device; events of others are left out and noted.
        keys: what messages call the keys of the section.

    Raises:
        HistoryError: it cannot be read.
    """
    log = str(path) if isinstance(section.events, str) else msgspec.structs.replace(section.events, path=str(path))
    reader = NamedReader(msgspec.structs.replace(section, events=log), Path(), keys)
    for name in spans:
        reader.devices.code(name)
    read_events(reader, {name: (span.first_ms, span.last_ms) for name, span in spans.items()})
    devices, faults, units = reader.devices.list(), reader.faults.list(), [*reader.units.list(), ""]
    rows = [
        Row(devices[device], start, end, faults[fault], LOG, units[unit])
        for piece in reader.draft.events
        for device, start, end, fault, unit in zip(
            piece.device.tolist(),
            piece.start_ms.tolist(),
            piece.end_ms.tolist(),
            piece.fault.tolist(),
            [NO_UNIT] * len(piece.fault) if piece.unit is None else piece.unit.tolist(),
            strict=True,
        )
    ]
    return rows, reader.notes


def write_labels(path: Path, rows: Iterable[Row]) -> None:
    """Write the labels as CSV; the file appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(COLUMNS)
            out.writerows(
                (r.device, format_ms(r.start_ms), format_ms(r.end_ms), r.fault, r.source, r.unit) for r in rows
            )
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
