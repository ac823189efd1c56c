"""The journal: what the daemon has accepted and what it still owes, in one SQLite file.

A turn is one transaction: its samples, the verdicts and alarms that follow from them, and what the broker has
confirmed meanwhile. Messages are acknowledged only after it, so a process may be killed at any point: what was not
committed comes again from the broker, what was committed is not processed again. On start the last snapshot is restored
and the batches after it are pushed once more, only to bring the memory of the devices up to date; what follows from
them is in the outbox already, or was confirmed.

Tables: ``batch`` (samples of one turn), ``device``, ``snapshot``, ``outbox``, ``meta``.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from rarefault.runtime.daemon.outbox import Entry
from rarefault.runtime.errors import JournalError
from rarefault.runtime.grid import Float64, Int32, Int64

#: Version of the tables; a journal of another one is refused.
SCHEMA = 1

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE device (slot INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE batch (
    seq INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, samples INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE TABLE snapshot (
    only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, model TEXT NOT NULL, state BLOB NOT NULL
);
CREATE TABLE outbox (
    key INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, retain INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one turn.

    Attributes:
        seq: its number.
        received_ms: when it was committed, milliseconds since the epoch.
        device: slots, [M].
        time_ms: [M].
        values: in the order of the journal's channels, NaN = not reported, [M, C].
    """

    seq: int
    received_ms: int
    device: Int32
    time_ms: Int64
    values: Float64


class Journal:
    """One journal file, opened for one daemon.

    Args:
        path: the file; made if it is not there, readable by its owner only.
        channels: of the model; a journal with other channels is refused.
        sync: ``full`` survives a power failure, ``normal`` a killed process.

    Attributes:
        last_seq: number of the last batch.

    Raises:
        JournalError: the file cannot be used, is damaged, is of another release or of other channels, or another daemon
            has it open.
    """

    def __init__(self, path: Path, channels: tuple[str, ...], sync: str = "full") -> None:
        self.path = path
        self._channels = channels
        try:
            if not path.exists():
                path.touch(mode=0o600)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {'FULL' if sync == 'full' else 'NORMAL'}")
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._prepare()
            row = self._db.execute("SELECT max(seq) FROM batch").fetchone()
            kept = self._db.execute("SELECT seq FROM snapshot").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{path}: the journal cannot be used: {_reason(error)}") from error
        self.last_seq: int = max(row[0] or 0, kept[0] if kept else 0)

    def _prepare(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")  # takes the lock that a second daemon would need
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            for statement in _TABLES.split(";\n"):
                self._db.execute(statement)
            channels = msgspec.json.encode(self._channels).decode()
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", [("schema", str(SCHEMA)), ("channels", channels)])
        self._db.execute("COMMIT")
        if tables and "meta" not in tables:
            raise JournalError(f"{self.path}: an SQLite file, but no journal of rarefault; name another journal.path")
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        if meta.get("schema") != str(SCHEMA):
            raise JournalError(
                f"{self.path}: a journal of form {meta.get('schema')}, this rarefault writes form {SCHEMA}; "
                "move it away, or go back to the release that wrote it"
            )
        there = msgspec.json.decode(meta["channels"], type=tuple[str, ...])
        if there != self._channels:
            missing, extra = set(self._channels) - set(there), set(there) - set(self._channels)
            raise JournalError(
                f"{self.path}: the journal of a model with other channels (missing here: {sorted(extra)[:5]}, new: "
                f"{sorted(missing)[:5]}); name another journal.path, and keep this one for training"
            )

    def begin(self) -> None:
        """Begin a turn; everything until :meth:`commit` is kept together or not at all."""
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Keep the turn.

        Raises:
            JournalError: it could not be written (a full disk, say); nothing of it is kept, call :meth:`rollback`.
        """
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Forget the turn."""
        if self._db.in_transaction:
            self._db.rollback()
        self.last_seq = self._execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()[0]

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def add_device(self, slot: int, name: str) -> None:
        """Remember a device's slot."""
        self._execute("INSERT OR REPLACE INTO device VALUES (?, ?)", (slot, name))

    def devices(self) -> list[str]:
        """Names of the devices by slot."""
        return [name for (name,) in self._execute("SELECT name FROM device ORDER BY slot")]

    def append(self, device: Int32, time_ms: Int64, values: Float64, received_ms: int) -> None:
        """Keep the samples of a turn."""
        self.last_seq += 1
        data = pack(device, time_ms, values)
        self._execute("INSERT INTO batch VALUES (?, ?, ?, ?)", (self.last_seq, received_ms, len(time_ms), data))

    def batches(self, after_seq: int = 0) -> Iterator[Batch]:
        """Batches after a number, in order."""
        for seq, received_ms, samples, data in self._execute(
            "SELECT seq, received_ms, samples, data FROM batch WHERE seq > ? ORDER BY seq", (after_seq,)
        ):
            try:
                yield Batch(seq, received_ms, *unpack(data, samples, len(self._channels)))
            except ValueError as error:
                raise JournalError(f"{self.path}: batch {seq} is damaged: {error}") from error

    def save_snapshot(self, model_id: str, state: bytes) -> None:
        """Keep the memory of all devices as it is after the last batch."""
        self._execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?)", (self.last_seq, model_id, state))

    def load_snapshot(self) -> tuple[int, str, bytes] | None:
        """Number of the batch that it stands after, model and state; None where there is none."""
        row: tuple[int, str, bytes] | None = self._execute("SELECT seq, model, state FROM snapshot").fetchone()
        return row

    def forget_batches(self, before_ms: int, most_bytes: int) -> int:
        """Delete batches that the snapshot covers: those received before a time, and the oldest beyond a size."""
        covered = "seq <= (SELECT coalesce(max(seq), 0) FROM snapshot)"
        gone = self._execute(f"DELETE FROM batch WHERE {covered} AND received_ms < ?", (before_ms,)).rowcount  # noqa: S608
        (size,) = self._execute("SELECT coalesce(sum(length(data)), 0) FROM batch").fetchone()
        if size > most_bytes:
            newer = "SELECT seq, sum(length(data)) OVER (ORDER BY seq DESC) AS size FROM batch"
            gone += self._execute(
                f"DELETE FROM batch WHERE {covered} AND seq <= (SELECT max(seq) FROM ({newer}) WHERE size > ?)",  # noqa: S608
                (most_bytes,),
            ).rowcount
        return gone

    def put(self, entry: Entry) -> None:
        """Keep a message that is owed."""
        self._execute("INSERT INTO outbox VALUES (?, ?, ?, ?)", (entry.key, entry.topic, entry.payload, entry.retain))

    def forget(self, keys: list[int]) -> None:
        """Messages that were confirmed or given up."""
        self._executemany("DELETE FROM outbox WHERE key = ?", [(key,) for key in keys])

    def owed(self) -> Iterator[Entry]:
        """Messages that are owed, in order."""
        for key, topic, payload, retain in self._execute("SELECT * FROM outbox ORDER BY key"):
            yield Entry(key, topic, payload, bool(retain))

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {_reason(error)}") from error

    def _executemany(self, statement: str, rows: list[tuple[int]]) -> None:
        try:
            self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {_reason(error)}") from error


def pack(device: Int32, time_ms: Int64, values: Float64) -> bytes:
    """Samples as bytes: slots, times, which values are there (one bit each), and these, little-endian."""
    known = ~np.isnan(values)
    parts = (device.astype("<i4"), time_ms.astype("<i8"), np.packbits(known), values[known].astype("<f8"))
    return b"".join(part.tobytes() for part in parts)


def unpack(data: bytes, samples: int, n_channels: int) -> tuple[Int32, Int64, Float64]:
    """What :func:`pack` packed; ValueError where it cannot be that."""
    bits = -(-samples * n_channels // 8)
    if len(data) < 12 * samples + bits:
        raise ValueError(f"{len(data)} bytes are too few for {samples} samples of {n_channels} channels")
    device = np.frombuffer(data, "<i4", samples).astype(np.int32)
    time_ms = np.frombuffer(data, "<i8", samples, 4 * samples).astype(np.int64)
    packed = np.frombuffer(data, np.uint8, bits, 12 * samples)
    known = np.unpackbits(packed, count=samples * n_channels).astype(bool).reshape(samples, n_channels)
    values = np.full((samples, n_channels), np.nan)
    values[known] = np.frombuffer(data, "<f8", offset=12 * samples + bits)
    return device, time_ms, values


def _reason(error: Exception) -> str:
    text = str(error)
    if "locked" in text:
        return "another daemon has it open; give each its own journal.path"
    if "full" in text:
        return "the disk is full; free some room"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged; move it away, and the daemon starts a new one"
    return text
