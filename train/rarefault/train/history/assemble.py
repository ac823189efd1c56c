"""From the pieces that readers cut out of files to one history: ordered in time, without duplicates."""

import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rarefault.runtime.arrays import Bool, Float64, Int32, Int64
from rarefault.runtime.inference.missing import NO_VALUE_HERE, stands_for_none
from rarefault.runtime.times import TIME_LIMIT_MS
from rarefault.train.history.notes import CONFLICTS, DUPLICATES, NAMED_MISSING, TOO_LARGE, UNORDERED, ReadNotes
from rarefault.train.history.parsing.cells import beyond_float32
from rarefault.train.history.parsing.lines import line_text, place

#: Rows that are moved at a time.
_ROWS = 1 << 16
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(slots=True)
class Piece:
    """Samples (m of them) that stand together in a file and report the same channels (c of them).

    Attributes:
        device: index into the devices, [m].
        time_ms: milliseconds since the epoch, [m].
        channels: names of the reported channels, [c].
        values: physical units, NaN = not reported, [m, c].
        path: the file.
        line: number of each sample's line in it, [m].
        stream: what is written in time order within the file, such as one component; "" is each device by itself.
        journal: whether the file is a journal, in order of arrival: late and repeated samples are normal there, and
            ``line`` is the number of the batch.
        numbered: what a journal's ``line`` is the number of.
    """

    device: Int32
    time_ms: Int64
    channels: Sequence[str]
    values: Float64
    path: Path
    line: Int64 | Int32
    stream: str = ""
    journal: bool = False
    numbered: str = "batch"

    def __len__(self) -> int:
        return len(self.time_ms)

    def select(self, mask: Bool) -> "Piece":
        """The samples where ``mask`` [m] is true."""
        if mask.all():
            return self
        return Piece(
            self.device[mask],
            self.time_ms[mask],
            self.channels,
            self.values[mask],
            self.path,
            self.line[mask],
            self.stream,
            self.journal,
            self.numbered,
        )


def drop_values(pieces: Iterable[Piece], missing: Sequence[float], notes: ReadNotes) -> None:
    """Take values as missing, and note them by channel: those that no float32 holds, and the named ones."""
    for piece in pieces:
        ended = np.isinf(piece.values)
        for kind, named, problem in (
            (TOO_LARGE, beyond_float32(piece.values), True),
            (NAMED_MISSING, stands_for_none(piece.values, missing), False),
        ):
            which = named & ~ended
            if not which.any():
                continue
            for i in np.flatnonzero(which.any(axis=0)).tolist():
                rows = np.flatnonzero(which[:, i])
                where = f"{piece.path.name}:{piece.line[rows[0]]}: {piece.values[rows[0], i]:g}"
                notes.add(kind, len(rows), where, problem=problem, at=piece.channels[i])
            piece.values[which] = NO_VALUE_HERE if kind == NAMED_MISSING else np.nan


def assemble(pieces: list[Piece], channels: Sequence[str], notes: ReadNotes) -> tuple[Int32, Int64, Float64]:
    """Device [M], time [M] and values [M, C] of all pieces, sorted by time (stable); duplicates are dropped.

    ``pieces`` is emptied on the way, so that its memory serves the result.
    """
    _note_unordered((piece for piece in pieces if not piece.journal), notes)
    offsets = np.cumsum([0, *(len(piece) for piece in pieces)])
    device = np.concatenate([piece.device for piece in pieces]) if pieces else np.empty(0, np.int32)
    time_ms = np.concatenate([piece.time_ms for piece in pieces]) if pieces else np.empty(0, np.int64)
    origin = [(piece.path, piece.line, piece.numbered if piece.journal else "") for piece in pieces]
    values = _joined(pieces, channels)
    order = _order(time_ms)
    if order is not None:
        for i in range(len(channels)):
            values[:, i] = values[order, i]  # in place: values are in memory once
        device, time_ms = device[order], time_ms[order]

    def find(row: int) -> tuple[bool, str]:
        """Whether a row is a file's own fault, and where it is from."""
        source = row if order is None else int(order[row])
        i = int(np.searchsorted(offsets, source, "right")) - 1
        path, line, journal = origin[i]
        number = int(line[source - offsets[i]])
        return not journal, f"{path.name}: {journal} {number}" if journal else _place(path, number)

    repeated, contradicting = _find_all_repeats(device, time_ms, values)
    if len(contradicting):
        problem, example = find(int(contradicting[0]))
        notes.add(CONFLICTS, len(contradicting), example, problem=problem)
    if len(repeated):
        problem, example = find(int(repeated[0]))
        notes.add(DUPLICATES, len(repeated), example, problem=problem)
        keep = np.ones(len(device), bool)
        keep[repeated] = False
        device, time_ms, values = device[keep], time_ms[keep], _kept(values, keep)
    return device, time_ms, values


def room(rows: int, columns: int) -> Float64:
    """An array [rows, columns] of zeros, whose memory goes back to the system as soon as nobody holds it."""
    memory = mmap.mmap(-1, max(8 * rows * columns, 1))
    return np.frombuffer(memory, np.float64, rows * columns).reshape(rows, columns)


def _joined(pieces: list[Piece], channels: Sequence[str]) -> Float64:
    """The values of all pieces one below the other, [M, C]; ``pieces`` is emptied.

    A piece's memory is given back as soon as it is copied, and that of the result is taken as it fills, so that values
    are in memory once.
    """
    column = {name: i for i, name in enumerate(channels)}
    values = np.empty((sum(map(len, pieces)), len(channels)))
    at = 0
    pieces.reverse()
    while pieces:
        piece = pieces.pop()
        part = values[at : at + len(piece)]
        own = [column[name] for name in piece.channels]
        if own != list(range(len(channels))):
            part[:] = np.nan
        part[:, own] = piece.values
        at += len(piece)
    return values


def _order(time_ms: Int64) -> Int64 | None:
    """The order of the times (stable), [M]; None where they are in order."""
    if (np.diff(time_ms) >= 0).all():
        return None
    order = np.argsort(time_ms, kind="stable")
    return order.astype(np.uint32) if len(order) < 2**32 else order  # half of the memory


def _kept(values: Float64, keep: Bool) -> Float64:
    """The rows to keep, moved up in place."""
    to = 0
    for first in range(0, len(values), _ROWS):
        rows = values[first : first + _ROWS][keep[first : first + _ROWS]]
        values[to : to + len(rows)] = rows
        to += len(rows)
    return values[:to]


def _find_all_repeats(device: Int32, time_ms: Int64, values: Float64) -> tuple[Int64, Int64]:
    """As :func:`find_repeats`, of rows sorted by time, some at a time."""
    found: list[tuple[Int64, Int64]] = []
    first = 0
    while first < len(time_ms):
        last = min(first + _ROWS * 4, len(time_ms))
        last = int(np.searchsorted(time_ms, time_ms[last - 1], "right"))  # rows of one time stay together
        part = slice(first, last)
        repeated, contradicting = find_repeats(device[part], time_ms[part], values[part])
        found.append((repeated + first, contradicting + first))
        first = last
    none = np.empty(0, np.int64)
    return (
        np.concatenate([none, *(repeated for repeated, _ in found)]),
        np.concatenate([none, *(contradicting for _, contradicting in found)]),
    )


def find_repeats(device: Int32, time_ms: Int64, values: Float64) -> tuple[Int64, Int64]:
    """Rows (sorted by number) that equal an earlier row, and rows that contradict an earlier one in some channel.

    Only rows of one device and time are compared; a channel that one of them does not report is no contradiction.
    """
    none = np.empty(0, np.int64)
    if not len(time_ms):
        return none, none
    by_key = np.lexsort((device, time_ms))
    same = (np.diff(time_ms[by_key]) == 0) & (np.diff(device[by_key]) == 0)
    shared = np.r_[same, False] | np.r_[False, same]
    rows = by_key[shared]
    if not len(rows):
        return none, none
    group = np.cumsum(np.r_[True, ~same])[shared]
    digest = _row_digest(values, rows)
    by_digest = np.lexsort((digest, group))
    twin = (np.diff(group[by_digest]) == 0) & (np.diff(digest[by_digest]) == 0)
    later, earlier = rows[by_digest[1:][twin]], rows[by_digest[:-1][twin]]
    bits = values.view(np.int64)
    repeated = later[(bits[later] == bits[earlier]).all(axis=1)]

    left = ~np.isin(rows, repeated)
    rows, group = rows[left], group[left]
    begin = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    begin_of = np.repeat(begin, np.diff(np.r_[begin, len(rows)]))
    contradicting = np.zeros(len(rows), bool)
    for channel in range(values.shape[1]):
        value = values[rows, channel]
        last = np.maximum.accumulate(np.where(np.isnan(value), -1, np.arange(len(rows))))
        previous = np.r_[-1, last[:-1]]
        known = previous >= begin_of
        contradicting |= known & ~np.isnan(value) & (value != value[np.maximum(previous, 0)])
    return np.sort(repeated), np.sort(rows[contradicting])


def _row_digest(values: Float64, rows: Int64) -> NDArray[np.uint64]:
    """One number per row; equal rows have equal numbers."""
    digest = np.zeros(len(rows), np.uint64)
    with np.errstate(over="ignore"):
        for channel in range(values.shape[1]):
            digest = (digest ^ values[rows, channel].view(np.uint64)) * _MIX
            digest ^= digest >> np.uint64(29)
    return digest


def _note_unordered(pieces: Iterable[Piece], notes: ReadNotes) -> None:
    """Count the rows that are older than one before them in their stream of their file."""
    newest: dict[tuple[Path, str], Int64] = {}
    for piece in pieces:
        if not len(piece):
            continue
        key = (piece.path, piece.stream)
        before = newest.get(key, np.empty(0, np.int64))
        top = int(piece.device.max()) + 1
        if top > len(before):
            before = np.r_[before, np.full(top - len(before), -1)]
        order = np.argsort(piece.device, kind="stable")
        device, time = piece.device[order].astype(np.int64), piece.time_ms[order]
        first = np.r_[True, np.diff(device) != 0]
        # One running maximum serves all devices: each is lifted above the ones before it.
        lift = device * TIME_LIMIT_MS
        running = np.maximum.accumulate(np.maximum(time, np.where(first, before[device], -1)) + lift) - lift
        late = order[time < running]
        last = np.r_[first[1:], True]
        before[device[last]] = running[last]
        newest[key] = before
        if len(late):
            notes.add(UNORDERED, len(late), _place(piece.path, int(piece.line[late.min()])))


def _place(path: Path, line: int) -> str:
    return place(path, line, "" if path.suffix.lower() == ".parquet" else line_text(path, line))
