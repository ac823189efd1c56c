"""Reading a journal: by the daemon that writes it, and by others while it does."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import numpy as np

from rarefault.runtime.errors import DamagedJournalError, JournalError
from rarefault.runtime.inference.pipeline import DeviceClock, device_clocks
from rarefault.runtime.journal.records import SILENCE, AlarmRecord, Batch, Feedback, SetAside, unpack
from rarefault.runtime.journal.schema import ALARM_COLUMNS, SCHEMA
from rarefault.runtime.journal.verdicts import VerdictBatch, unpack_verdicts

T = TypeVar("T")
#: Error codes of SQLite where the content of a file is damaged, or cannot be read from the disk.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNREADABLE = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    8202,  # SQLITE_IOERR_DATA
)

_DAMAGED = "the file is damaged; its daemon puts it aside and goes on with what can be read (journal.on_damage)"


def is_sqlite(path: Path) -> bool:
    """Whether a file is one of SQLite; OSError where it cannot be read."""
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


class JournalTables:
    """What can be read of an open journal.

    Attributes:
        path: the file.
        channels: in the order of the values.
        meta: facts about the file, by name.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self.channels: tuple[str, ...] = ()
        self.meta: dict[str, str] = {}
        self._db = db

    def _check(self) -> None:
        """Read the facts about the file; JournalError where it is no journal of this release."""
        tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "meta" not in tables:
            raise JournalError(f"{self.path}: an SQLite file, but no journal of rarefault; name another file")
        self.meta = meta = dict(self._rows("SELECT name, value FROM meta"))
        if "schema" not in meta or "channels" not in meta:
            raise DamagedJournalError(f"{self.path}: {_DAMAGED}")
        if meta.get("schema") != str(SCHEMA):
            raise JournalError(
                f"{self.path}: a journal of form {meta.get('schema')}, this rarefault uses form {SCHEMA}; "
                "move it away, or go back to the release that wrote it"
            )
        try:
            self.channels = msgspec.json.decode(meta["channels"], type=tuple[str, ...])
        except msgspec.DecodeError as error:
            raise DamagedJournalError(f"{self.path}: {_DAMAGED}") from error

    def fact(self, name: str, type_: type[T]) -> T | None:
        """What :meth:`keep_fact` kept under a name; None where there is nothing, or nothing of that type."""
        row = next(self._rows("SELECT value FROM meta WHERE name = ?", (name,)), None)
        try:
            return None if row is None else msgspec.json.decode(row[0], type=type_)
        except msgspec.MsgspecError:
            return None

    def devices(self) -> dict[int, str]:
        """Names of the devices by their number in the journal."""
        return dict(self._rows("SELECT id, name FROM device ORDER BY id"))

    def batches(self, after_seq: int = 0) -> Iterator[Batch]:
        """Batches after a number, in order; DamagedJournalError where one is damaged."""
        for seq, received_ms, kind, samples, data in self._rows(
            "SELECT seq, received_ms, kind, samples, data FROM batch WHERE seq > ? ORDER BY seq", (after_seq,)
        ):
            try:
                n_channels = 0 if kind == SILENCE else len(self.channels)
                yield Batch(seq, received_ms, kind, *unpack(data, samples, n_channels))
            except (ValueError, TypeError) as error:
                raise DamagedJournalError(f"{self.path}: batch {seq} is damaged: {error}") from error

    def newest_seq(self) -> int:
        """Number of the last batch; 0 where there is none."""
        return self._number("SELECT coalesce(max(seq), 0) FROM batch")

    def samples(self) -> tuple[int, int]:
        """Number of samples, and of the bytes that they take."""
        (row,) = self._rows("SELECT coalesce(sum(samples), 0), coalesce(sum(length(data)), 0) FROM batch")
        return row[0], row[1]

    def alarms(self) -> Iterator[AlarmRecord]:
        """The alarms that were published, in order."""
        there = {row[1] for row in self._rows("PRAGMA table_info(alarm)")}
        columns = ALARM_COLUMNS if "detail" in there else ALARM_COLUMNS.replace(", detail", "")  # of an earlier release
        for row in self._rows(f"SELECT {columns} FROM alarm ORDER BY key"):  # noqa: S608 - our own names
            yield AlarmRecord(*row)

    def verdicts(self, from_ms: int = 0, after_key: int = 0) -> Iterator[VerdictBatch]:
        """Verdicts that were made from a time on and after a batch of them, in order; none in an older journal.

        Raises:
            DamagedJournalError: one of the batches is damaged.
        """
        if not self._has_table("verdict"):
            return
        for key, made_ms, model, verdicts, data in self._rows(
            "SELECT key, made_ms, model, verdicts, data FROM verdict WHERE key > ? AND made_ms >= ? ORDER BY key",
            (after_key, from_ms),
        ):
            try:
                yield VerdictBatch(key, made_ms, model, *unpack_verdicts(data, verdicts))
            except (ValueError, TypeError) as error:
                raise DamagedJournalError(f"{self.path}: verdicts {key} are damaged: {error}") from error

    def classes(self, model: str) -> tuple[str, ...]:
        """Names of the classes of a model that made verdicts, [K]; empty where it made none."""
        return self.fact(f"classes of {model}", tuple[str, ...]) or ()

    def feedback(self) -> Iterator[Feedback]:
        """The answers of people, in order."""
        for row in self._rows(
            "SELECT received_ms, device, alarm, answer, fault, start_ms, end_ms, note FROM feedback ORDER BY key"
        ):
            yield Feedback(*row)

    def set_aside(self) -> Iterator[SetAside]:
        """What could not be used, in order."""
        for row in self._rows("SELECT received_ms, topic, reason, detail, payload FROM rejected ORDER BY key"):
            yield SetAside(*row)

    def rejected(self, reason: str, since_ms: int) -> Iterator[tuple[int, SetAside]]:
        """What was set aside for a reason from a time on, in order, with the key of each."""
        for key, *row in self._rows(
            "SELECT key, received_ms, topic, reason, detail, payload FROM rejected "
            "WHERE reason = ? AND received_ms >= ? ORDER BY key",
            (reason, since_ms),
        ):
            yield key, SetAside(*row)

    def clocks(self) -> dict[str, DeviceClock]:
        """The devices' clocks as the last snapshot has them, by name; empty where there is none that can be read."""
        found: dict[str, DeviceClock] = {}
        for state in self.snapshot_parts():
            found |= device_clocks(state)
        return found

    def snapshot_parts(self) -> Iterator[bytes]:
        """The state of all devices in the last snapshot, in its parts; none where there is none."""
        keys = [("snapshot", "only", 1)]
        # Earlier releases have one part, and no table for more.
        if self._has_table("snapshot_part"):
            keys += [("snapshot_part", "part", part) for (part,) in self._rows("SELECT part FROM snapshot_part")]
        for table, key, part in keys:
            statement = f"SELECT state FROM {table} WHERE {key} = ?"  # noqa: S608 - our own names
            yield from [state for (state,) in self._rows(statement, (part,))]

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def _has_table(self, name: str) -> bool:
        return next(self._rows("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)), None) is not None

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """All rows; SQLite may meet the damage at any of them."""
        try:
            yield from self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _number(self, statement: str) -> int:
        """The one number that a statement gives."""
        ((number,),) = self._rows(statement)
        return int(number)

    def _error(self, error: sqlite3.Error) -> JournalError:
        kind = DamagedJournalError if is_damage(error) else JournalError
        return kind(f"{self.path}: {reason_of(error)}")

    def edge_nodes(self) -> list[bytes]:
        """The states of all edge nodes."""
        return [state for (state,) in self._rows("SELECT state FROM edge_node ORDER BY group_id, edge")]

    def births(self, group: str, edge: str) -> list[tuple[str, bytes, bool, int | None]]:
        """The devices of an edge node: name, birth, whether it is born, and since when its birth is expected."""
        rows = self._rows(
            "SELECT device, state, born, expected_ms FROM birth WHERE group_id = ? AND edge = ?", (group, edge)
        )
        return [(device, state, bool(born), expected_ms) for device, state, born, expected_ms in rows]


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
            self._number("SELECT count(*) FROM meta")
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


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error means that what is in the file is damaged, not that it cannot be had or written."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "Could not decode" in str(error)
    return code & 0xFF in _DAMAGE or code in _UNREADABLE


def reason_of(error: Exception) -> str:
    """The reason of an error, with what to do."""
    text = str(error)
    if "locked" in text:
        return "another process has it locked"
    if "full" in text:
        return "the disk is full; free some room"
    if isinstance(error, sqlite3.Error) and is_damage(error):
        return _DAMAGED
    if "unable to open" in text:
        return "the file or its folder cannot be opened; check their rights"
    return text
