"""Ranges of the past of one device: its verdicts, and its samples, in as many points as a screen can show.

A journal has no index by device, as one would cost the daemon more than it is worth to a reader. Rows are in order of
the time they were written at, so a range is found by halving, and what lies in it is searched by SQLite itself for the
device's number. That is done piece by piece, each in a transaction of its own, for a bounded time.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from rarefault.page.journal.queries import PageJournal
from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.errors import DamagedJournalError

#: Rows that are searched in one transaction, and how long a range may be searched, seconds.
ROWS, SEARCH_S = 5000, 4.0
#: What was written before a time cannot be of that time but for ``telemetry.max_future_s``, milliseconds; twice that.
AHEAD_MS = 600_000
#: Samples of a device may come so much out of order, milliseconds.
DISORDER_MS = 3_600_000
#: Points of a time line.
POINTS = 600


class VerdictHistory(msgspec.Struct, frozen=True):
    """Verdicts of a device over a range, in points of one or more verdicts each.

    Attributes:
        classes: of all models that made them, [K].
        time_ms: end of the last window of each point, [P].
        probabilities: by class, [K, P]: of a fault the highest of the point's verdicts, of ``normal`` the lowest.
        fault: index of the class of each point's verdicts: of several the fault with the most, [P].
        verdicts: number of all verdicts.
        reached_ms: until when the range was read, where there was no time for all of it; else None.
    """

    classes: list[str]
    time_ms: list[int]
    probabilities: list[list[float | None]]
    fault: list[int]
    verdicts: int
    reached_ms: int | None


class SampleHistory(msgspec.Struct, frozen=True):
    """Samples of a device over a range, as they came.

    Attributes:
        channels: [C].
        time_ms: [P].
        values: by channel, [C, P]; None where a channel was not reported.
        samples: number of all samples.
        thinned: whether only the lowest and the highest values of each piece of time are there.
        reached_ms: as of verdicts.
    """

    channels: list[str]
    time_ms: list[int]
    values: list[list[float | None]]
    samples: int
    thinned: bool
    reached_ms: int | None


class _Search:
    """Goes through the rows of a table from a time on, a piece in each transaction, until told to stop."""

    def __init__(self, path: Path, table: str, from_ms: int) -> None:
        self.path, self.table, self.from_ms = path, table, from_ms
        self.enough = False
        self.complete = False

    def pieces(self) -> Iterator[tuple[PageJournal, int, int]]:
        """Open journals, each with the key before a piece and the last key of it."""
        deadline = time.monotonic() + SEARCH_S
        with PageJournal(self.path) as journal:
            at = journal.first_from(self.table, self.from_ms - AHEAD_MS)
            heads = journal.heads()
            last = heads.verdict if self.table == "verdict" else heads.batch
        while at < last and not self.enough and time.monotonic() < deadline:
            with PageJournal(self.path) as journal:
                yield journal, at, min(at + ROWS, last)
            at += ROWS
        self.complete = self.enough or at >= last


def verdict_history(path: Path, device: int, from_ms: int, to_ms: int) -> VerdictHistory:
    """The verdicts of a device whose windows end in a range; JournalError where the journal cannot be read.

    Args:
        path: of the journal.
        device: its number there.
        from_ms, to_ms: milliseconds since the epoch.
    """
    search = _Search(path, "verdict", from_ms)
    classes: list[str] = []
    columns: dict[str, Int64] = {}  # by model
    end_ms, fault, posterior = [np.empty(0, np.int64)], [np.empty(0, np.int64)], list[Float64]()
    reached = from_ms
    for journal, after, last in search.pieces():
        for batch in journal.verdicts_of(device, after, last):
            own = batch.device == device
            reached = max(reached, int(batch.end_ms[own].max(initial=reached)))
            # The verdicts of a device are in order.
            search.enough = search.enough or reached > to_ms
            own &= (batch.end_ms >= from_ms) & (batch.end_ms <= to_ms)
            if not own.any():
                continue
            if batch.model not in columns:
                columns[batch.model] = _columns(journal.classes(batch.model), classes)
            column = columns[batch.model]
            if len(column) != batch.posterior.shape[1]:
                raise DamagedJournalError(f"{path}: the classes of model {batch.model} are not those of its verdicts")
            end_ms.append(batch.end_ms[own])
            fault.append(column[batch.fault[own]])
            found = np.full((int(own.sum()), len(classes)), np.nan)
            found[:, column] = batch.posterior[own]
            posterior.append(found)
    wide = np.full((sum(map(len, posterior)), len(classes)), np.nan)
    at = 0
    for found in posterior:
        wide[at : at + len(found), : found.shape[1]] = found
        at += len(found)
    reached_ms = None if search.complete else min(reached, to_ms)
    return _points(np.concatenate(end_ms), np.concatenate(fault), wide, classes, reached_ms)


def _columns(names: Sequence[str], classes: list[str]) -> Int64:
    """Places of names among all classes; new ones are put there."""
    classes += [name for name in names if name not in classes]
    return np.array([classes.index(name) for name in names], np.int64)


def _points(
    end_ms: Int64, fault: Int64, posterior: Float64, classes: list[str], reached_ms: int | None
) -> VerdictHistory:
    order = np.argsort(end_ms, kind="stable")
    end_ms, fault, posterior = end_ms[order], fault[order], posterior[order]
    starts = _starts(end_ms)
    n = len(starts)
    lasts = np.append(starts[1:], len(end_ms)) - 1 if n else starts
    low = np.fmin.reduceat(posterior, starts, axis=0) if n else posterior
    high = np.fmax.reduceat(posterior, starts, axis=0) if n else posterior
    normal = np.array([name == "normal" for name in classes], bool)
    shown = np.where(normal, low, high)
    votes = np.zeros((n, len(classes)), np.int64)
    np.add.at(votes, (np.searchsorted(starts, np.arange(len(fault)), side="right") - 1, fault), 1)
    faulty = np.where(normal, 0, votes)
    chosen = np.where(faulty.any(axis=1), faulty.argmax(axis=1), votes.argmax(axis=1)) if n else fault
    return VerdictHistory(
        classes=classes,
        time_ms=end_ms[lasts].tolist(),
        probabilities=[_nullable(shown[:, k], 3) for k in range(len(classes))],
        fault=chosen.tolist(),
        verdicts=len(end_ms),
        reached_ms=reached_ms,
    )


def _starts(time_ms: Int64) -> Int64:
    """Where points begin: equal pieces of time, so that gaps stay gaps."""
    if len(time_ms) <= POINTS:
        return np.arange(len(time_ms))
    piece = (time_ms - time_ms[0]) * POINTS // (time_ms[-1] - time_ms[0] + 1)
    return np.flatnonzero(np.diff(piece, prepend=-1))


def sample_history(path: Path, device: int, from_ms: int, to_ms: int, wanted: Sequence[str]) -> SampleHistory:
    """The samples of a device in a range; JournalError where the journal cannot be read.

    Args:
        path: of the journal.
        device: its number there.
        from_ms, to_ms: milliseconds since the epoch.
        wanted: the channels; those that the journal does not have are left out.
    """
    search = _Search(path, "batch", from_ms)
    time_ms, values = [np.empty(0, np.int64)], list[Float64]()
    channels: list[str] = []
    reached = from_ms
    for journal, after, last in search.pieces():
        channels = [name for name in wanted if name in journal.channels]
        columns = [journal.channels.index(name) for name in channels]
        for batch in journal.samples_of(device, after, last):
            own = batch.device == device
            reached = max(reached, int(batch.time_ms[own].max(initial=reached)))
            search.enough = search.enough or reached > to_ms + DISORDER_MS
            own &= (batch.time_ms >= from_ms) & (batch.time_ms <= to_ms)
            time_ms.append(batch.time_ms[own])
            values.append(batch.values[own][:, columns])
    times = np.concatenate(time_ms)
    table = np.concatenate(values) if values else np.empty((0, len(channels)))
    order = np.argsort(times, kind="stable")
    times, table = times[order], table[order]
    n, thinned = len(times), len(times) > 2 * POINTS
    if thinned:
        times, table = _thin(times, table)
    return SampleHistory(
        channels=channels,
        time_ms=times.tolist(),
        values=[_nullable(table[:, c], 9) for c in range(len(channels))],
        samples=n,
        thinned=thinned,
        reached_ms=None if search.complete else min(reached, to_ms),
    )


def _thin(time_ms: Int64, values: Float64) -> tuple[Int64, Float64]:
    """Of each piece of time the lowest values, then the highest."""
    starts = _starts(time_ms)
    lasts = np.append(starts[1:], len(time_ms)) - 1
    thin = np.empty((2 * len(starts), values.shape[1]))
    thin[0::2], thin[1::2] = np.fmin.reduceat(values, starts, axis=0), np.fmax.reduceat(values, starts, axis=0)
    times = np.empty(2 * len(starts), np.int64)
    times[0::2], times[1::2] = time_ms[starts], time_ms[lasts]
    return times, thin


def _nullable(column: Float64, digits: int) -> list[float | None]:
    """Numbers, with None for what is none; rounded, as JSON is text."""
    rounded = np.round(column, digits) if digits < 9 else column
    return [None if value != value else value for value in rounded.tolist()]  # noqa: PLR0124 - not a number
