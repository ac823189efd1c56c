"""Reading a journal: by the daemon that writes it, and by others while it does."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Self, TypeVar

import msgspec
import numpy as np

from rarefault.runtime.daemon.records import SILENCE, AlarmRecord, Batch, Feedback, SetAside, unpack
from rarefault.runtime.errors import JournalError
from rarefault.runtime.pipeline import DeviceClock, device_clocks

T = TypeVar("T")
#: Version of the tables; a journal of another one is refused.
SCHEMA = 2


class JournalTables:
    """What can be read of an open journal.

    Attributes:
        path: the file.
        channels: in the order of the values.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self.channels: tuple[str, ...] = ()
        self._db = db

    def _check(self) -> None:
        """Read what the file says of itself; JournalError where it is no journal of this release."""
        tables = {name for (name,) in self._execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "meta" not in tables:
            raise JournalError(f"{self.path}: an SQLite file, but no journal of rarefault; name another file")
        meta = dict(self._execute("SELECT name, value FROM meta"))
        if meta.get("schema") != str(SCHEMA):
            raise JournalError(
                f"{self.path}: a journal of form {meta.get('schema')}, this rarefault uses form {SCHEMA}; "
                "move it away, or go back to the release that wrote it"
            )
        self.channels = msgspec.json.decode(meta["channels"], type=tuple[str, ...])

    def fact(self, name: str, type_: type[T]) -> T | None:
        """What :meth:`keep_fact` kept under a name; None where there is nothing, or nothing of that type."""
        row = self._execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        try:
            return None if row is None else msgspec.json.decode(row[0], type=type_)
        except msgspec.MsgspecError:
            return None

    def devices(self) -> dict[int, str]:
        """Names of the devices by their number in the journal."""
        return dict(self._execute("SELECT id, name FROM device ORDER BY id"))

    def batches(self, after_seq: int = 0) -> Iterator[Batch]:
        """Batches after a number, in order; JournalError where one is damaged."""
        for seq, received_ms, kind, samples, data in self._execute(
            "SELECT seq, received_ms, kind, samples, data FROM batch WHERE seq > ? ORDER BY seq", (after_seq,)
        ):
            try:
                n_channels = 0 if kind == SILENCE else len(self.channels)
                yield Batch(seq, received_ms, kind, *unpack(data, samples, n_channels))
            except ValueError as error:
                raise JournalError(f"{self.path}: batch {seq} is damaged: {error}") from error

    def newest_seq(self) -> int:
        """Number of the last batch; 0 where there is none."""
        return int(self._execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()[0])

    def samples(self) -> tuple[int, int]:
        """Number of samples, and of the bytes that they take."""
        row = self._execute("SELECT coalesce(sum(samples), 0), coalesce(sum(length(data)), 0) FROM batch").fetchone()
        return row[0], row[1]

    def alarms(self) -> Iterator[AlarmRecord]:
        """What was said of the devices, in order."""
        for row in self._execute("SELECT said_ms, id, device, state, since_ms, end_ms, model FROM alarm ORDER BY key"):
            yield AlarmRecord(*row)

    def feedback(self) -> Iterator[Feedback]:
        """What people said, in order."""
        for row in self._execute(
            "SELECT received_ms, device, alarm, answer, fault, start_ms, end_ms, note FROM feedback ORDER BY key"
        ):
            yield Feedback(*row)

    def set_aside(self) -> Iterator[SetAside]:
        """What could not be used, in order."""
        for row in self._execute("SELECT received_ms, topic, reason, detail, payload FROM rejected ORDER BY key"):
            yield SetAside(*row)

    def rejected(self, reason: str, since_ms: int) -> Iterator[tuple[int, SetAside]]:
        """What was set aside for a reason from a time on, in order, with the key of each."""
        for key, *row in self._execute(
            "SELECT key, received_ms, topic, reason, detail, payload FROM rejected "
            "WHERE reason = ? AND received_ms >= ? ORDER BY key",
            (reason, since_ms),
        ):
            yield key, SetAside(*row)

    def clocks(self) -> dict[str, DeviceClock]:
        """The devices' clocks as the last snapshot has them, by name; empty where there is none that can be read."""
        row = self._execute("SELECT state FROM snapshot").fetchone()
        return device_clocks(row[0]) if row is not None else {}

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {reason_of(error)}") from error


class JournalReader(JournalTables):
    """A journal that is only read; a daemon may be writing it meanwhile.

    Raises:
        JournalError: there is no such file, it cannot be read, or it is no journal of this release.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise JournalError(f"{path}: there is no such journal; the daemon's configuration names it in journal.path")
        try:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
        except sqlite3.Error as error:
            raise JournalError(f"{path}: the journal cannot be read: {reason_of(error)}") from error
        super().__init__(path, db)
        try:
            self._check()
            self._execute("BEGIN")  # all that is read is of one moment
            self._execute("SELECT 1 FROM meta").fetchone()
        except JournalError:
            db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def names_of(numbers: np.ndarray, devices: dict[int, str]) -> np.ndarray:
    """Names of devices that are given by their number in the journal, [M]."""
    table = np.array([devices.get(i, "") for i in range(max(devices, default=0) + 1)], dtype=np.str_)
    named: np.ndarray = table[numbers]
    return named


def reason_of(error: Exception) -> str:
    """What SQLite says, in words that say what to do."""
    text = str(error)
    if "locked" in text:
        return "another process has it locked"
    if "full" in text:
        return "the disk is full; free some room"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged; move it away, and the daemon starts a new one"
    if "unable to open" in text:
        return "the file or its folder cannot be opened; check their rights"
    return text
