"""The journal: what the daemon has accepted and what it still owes, in one SQLite file.

A turn is one transaction: its samples, the verdicts and alarms that follow from them, what was set aside, and what the
broker has confirmed meanwhile. Messages are acknowledged only after it, so a process may be killed at any point: what
was not committed comes again from the broker, what was committed is not processed again. On start the last snapshot is
restored and the batches after it are pushed once more, only to bring the memory of the devices up to date; what follows
from them is in the outbox already, or was confirmed.

Tables: ``batch`` (samples of one turn), ``device``, ``snapshot`` and ``snapshot_part``, ``outbox``, ``alarm`` (those
published), ``verdict`` (those of a turn in each row), ``feedback`` (answers of people), ``rejected`` (what was set
aside), ``origin`` (on which topic each device came first, where two devices could share a name), ``edge_node`` and
``birth`` (what Sparkplug's data cannot be read without), ``meta``.

Others may read the file while the daemon runs (:class:`~rarefault.runtime.journal.reader.JournalReader`); a
second daemon is kept out by a lock on the file ``PATH.lock``.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.arrays import Float64, Int32, Int64
from rarefault.runtime.errors import DamagedJournalError, JournalError
from rarefault.runtime.journal.files import has_turns_after, lock
from rarefault.runtime.journal.reader import JournalTables, reason_of
from rarefault.runtime.journal.records import SAMPLES, SILENCE, AlarmRecord, Entry, Feedback, SetAside, pack
from rarefault.runtime.journal.schema import ADDED, ADDED_COLUMNS, ALARM_COLUMNS, SCHEMA, TABLES, statements
from rarefault.runtime.journal.verdicts import pack_verdicts

#: Batches that one clean-up deletes at most, so that it does not hold up a turn.
CLEAN_UP = 20_000
#: After an unclean end the whole file is looked through, for so long at most.
CHECK_S = 20.0

#: Newest batches that are looked at to find when the last samples were received.
RECENT = 1000


class Journal(JournalTables):
    """One journal file, opened for one daemon.

    Args:
        path: the file; made if it is not there, readable by its owner only.
        channels: of the model; a journal with other channels is refused.
        sync: ``full`` survives a power failure, ``normal`` a killed process.

    Attributes:
        last_seq: number of the last batch.
        bytes: that the samples take.
        rejected_bytes: that the payloads take which were set aside.
        verdict_bytes: that the verdicts take.

    Raises:
        DamagedJournalError: what is in the file is damaged.
        JournalError: the file cannot be used, is of another release or of other channels, or another daemon has it
            open.
    """

    def __init__(self, path: Path, channels: tuple[str, ...], sync: str = "full") -> None:
        try:
            self._lock = lock(path)
            if not path.exists():
                path.touch(mode=0o600)
            db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{path}: the journal cannot be used: {_words(error)}") from error
        super().__init__(path, db)
        self.last_seq = self.bytes = self.rejected_bytes = self.verdict_bytes = 0
        self._model_named = ""  # the model whose classes are noted
        try:
            self._execute("PRAGMA journal_mode = WAL")
            self._execute(f"PRAGMA synchronous = {'FULL' if sync == 'full' else 'NORMAL'}")
            self._prepare(channels)
            self._measure()
        except JournalError:
            self.close()
            raise

    def _prepare(self, channels: tuple[str, ...]) -> None:
        self._clean = self._number("SELECT count(*) FROM sqlite_master") == 0
        if self._lost_turns():
            raise DamagedJournalError(f"{self.path}: SQLite's log of it is damaged; turns are lost")
        if self._clean:
            self._execute("BEGIN IMMEDIATE")
            for statement in statements(TABLES):
                self._execute(statement)
            self._execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
            self._execute("INSERT INTO meta VALUES ('channels', ?)", (msgspec.json.encode(channels).decode(),))
            self._execute("COMMIT")
        self._check()
        self._migrate()
        if self.channels != channels:
            missing, extra = set(channels) - set(self.channels), set(self.channels) - set(channels)
            raise JournalError(
                f"{self.path}: the journal of a model with other channels (missing here: {sorted(extra)[:5]}, new: "
                f"{sorted(missing)[:5]}); name another journal.path, and keep this one for training"
            )
        self._clean = self._clean or "clean" in self.meta
        if not self._clean:
            self._look_through()

    def _migrate(self) -> None:
        """Give an older journal of the same form what was added to the form since; nothing in it is lost."""
        for statement in statements(ADDED):
            self._execute(statement)
        for table, columns in ADDED_COLUMNS.items():
            there = {row[1] for row in self._rows(f"PRAGMA table_info({table})")}
            for name, form in columns.items():
                if name not in there:
                    self._execute(f"ALTER TABLE {table} ADD COLUMN {name} {form}")

    def _lost_turns(self) -> bool:
        """Whether SQLite's log has turns behind the place where SQLite takes it to end."""
        log = self.path.with_name(f"{self.path.name}-wal")
        if not log.exists() or log.stat().st_size == 0:
            return False
        try:
            # How many frames SQLite reads; to open its index of them here would, on closing, drop SQLite's locks.
            ((_, read, _),) = self._rows("PRAGMA wal_checkpoint(PASSIVE)")
        except DamagedJournalError:
            raise
        except JournalError:
            return False  # a full disk: the next start looks again
        return has_turns_after(log, read)

    def _look_through(self) -> None:
        """Find damage that a power cut has left; JournalTables finds the rest when it comes to it."""
        deadline = time.monotonic() + CHECK_S
        self._db.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
        try:
            found = [row[0] for row in self._db.execute("PRAGMA quick_check(1)")]
        except sqlite3.Error as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise self._error(error) from error
            found = ["ok"]
        finally:
            self._db.set_progress_handler(None, 0)
        if found != ["ok"]:
            raise DamagedJournalError(f"{self.path}: the file is damaged ({' '.join(found[0].split())})")

    def _measure(self) -> None:
        """Find out what is there; later it is kept up to date."""
        kept = self._number("SELECT coalesce(max(seq), 0) FROM snapshot")
        self.last_seq = max(self.newest_seq(), kept)
        _, self.bytes = self.samples()
        self.verdict_bytes = self._number("SELECT coalesce(sum(length(data)), 0) FROM verdict")
        self._measure_rejected()

    def _measure_rejected(self) -> None:
        self.rejected_bytes = self._number("SELECT coalesce(sum(length(payload)), 0) FROM rejected")

    def begin(self) -> None:
        """Begin a turn; everything until :meth:`commit` is kept together or not at all."""
        self._execute("BEGIN IMMEDIATE")
        if self._clean:
            self._execute("DELETE FROM meta WHERE name = 'clean'")

    def commit(self) -> None:
        """Keep the turn.

        Raises:
            JournalError: it could not be written (such as on a full disk); nothing is kept, call :meth:`rollback`.
        """
        self._execute("COMMIT")
        self._clean = False

    def note(self, name: str, value: str) -> None:
        """Keep a fact about the file."""
        self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def rollback(self) -> None:
        """Forget the turn."""
        if self._db.in_transaction:
            self._execute("ROLLBACK")
        self._model_named = ""
        self._measure()

    def close(self) -> None:
        """Give the file back."""
        super().close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def keep_fact(self, name: str, value: msgspec.Struct) -> None:
        """Keep something that the daemon knows of itself."""
        self.note(name, msgspec.json.encode(value).decode())

    def forget_fact(self, name: str) -> None:
        """Keep it no longer."""
        self._execute("DELETE FROM meta WHERE name = ?", (name,))

    def add_device(self, name: str) -> tuple[int, int | None]:
        """Number of a device, and the time of its last sample where it was forgotten once."""
        self._execute(
            "INSERT INTO device (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET forgotten_ms = NULL", (name,)
        )
        ((number, newest_ms),) = self._rows("SELECT id, newest_ms FROM device WHERE name = ?", (name,))
        return number, newest_ms

    def present(self) -> dict[int, tuple[str, int | None]]:
        """By number: name of each device, and the time of its last sample where it was forgotten and came back."""
        rows = self._rows("SELECT id, name, newest_ms FROM device WHERE forgotten_ms IS NULL ORDER BY id")
        return {number: (name, newest_ms) for number, name, newest_ms in rows}

    def forget_device(self, number: int, newest_ms: int, now_ms: int) -> None:
        """Remember of a device only when its last sample was."""
        self._execute("DELETE FROM origin WHERE device = ?", (number,))
        self._execute("UPDATE device SET newest_ms = ?, forgotten_ms = ? WHERE id = ?", (newest_ms, now_ms, number))

    def note_origins(self, topics: Mapping[str, str]) -> None:
        """Keep the topics on which devices, which the journal knows, came first."""
        self._executemany(
            "INSERT OR REPLACE INTO origin SELECT id, ? FROM device WHERE name = ?",
            ((topic, device) for device, topic in topics.items()),
        )

    def origins(self) -> dict[str, str]:
        """The topic on which each device came first, by name."""
        return dict(self._rows("SELECT name, topic FROM origin JOIN device ON device.id = origin.device"))

    def keep_edge_nodes(
        self,
        states: Iterable[tuple[str, str, bytes]],
        births: Iterable[tuple[str, str, str, bytes]],
        lives: Iterable[tuple[bool, int | None, str, str, str]],
        forgotten: Iterable[tuple[str, str]],
    ) -> None:
        """Keep what is known of edge nodes.

        Args:
            states: group, id and state of nodes that have changed.
            births: group, id, device and birth of devices that were born.
            lives: whether devices are born, and since when their birth is expected; group, id and device.
            forgotten: group and id of nodes of which nothing is to be known any more.
        """
        for key in forgotten:
            for table in ("edge_node", "birth"):
                self._execute(f"DELETE FROM {table} WHERE group_id = ? AND edge = ?", key)  # noqa: S608 - our own names
        self._executemany("INSERT OR REPLACE INTO edge_node VALUES (?, ?, ?)", states)
        self._executemany(
            "INSERT INTO birth (group_id, edge, device, state) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET state = excluded.state",
            births,
        )
        self._executemany(
            "UPDATE birth SET born = ?, expected_ms = ? WHERE group_id = ? AND edge = ? AND device = ?", lives
        )

    def alarm(self, id_: str) -> AlarmRecord | None:
        """The alarm of an id."""
        row = next(
            self._rows(
                f"SELECT {ALARM_COLUMNS} FROM alarm WHERE id = ? ORDER BY key DESC",  # noqa: S608 - our own names
                (id_,),
            ),
            None,
        )
        return None if row is None else AlarmRecord(*row)

    def latest_alarm(self, device: str) -> AlarmRecord | None:
        """The state of a device that was published last."""
        row = next(
            self._rows(
                f"SELECT {ALARM_COLUMNS} FROM alarm WHERE device = ? ORDER BY key DESC LIMIT 1",  # noqa: S608 - ours
                (device,),
            ),
            None,
        )
        return None if row is None else AlarmRecord(*row)

    def knows_device(self, name: str) -> bool:
        """Whether the journal has samples of a device, or had."""
        return next(self._rows("SELECT 1 FROM device WHERE name = ?", (name,)), None) is not None

    def named_faults(self) -> set[str]:
        """The states that were published, and the faults that people have named."""
        rows = self._rows("SELECT state FROM alarm UNION SELECT fault FROM feedback WHERE fault != ''")
        return {name for (name,) in rows}

    def answered(self, feedback: Feedback) -> bool:
        """Whether there is an answer that stands, to the same alarm or of the same stretch of time."""
        row = next(
            self._rows(
                "SELECT answer FROM feedback WHERE device = ? AND alarm = ? "
                "AND (alarm != '' OR (start_ms = ? AND end_ms = ?)) ORDER BY key DESC LIMIT 1",
                (feedback.device, feedback.alarm, feedback.start_ms, feedback.end_ms),
            ),
            None,
        )
        return row is not None and row[0] != "retracted"

    def last_published(self) -> dict[str, str]:
        """The state of each device that was published last, by name."""
        return dict(
            self._rows("SELECT device, state FROM alarm WHERE key IN (SELECT max(key) FROM alarm GROUP BY device)")
        )

    def recent(self, samples: int) -> int:
        """Number of the batch after which there are that many samples, or all."""
        for seq, n in self._rows("SELECT seq, samples FROM batch ORDER BY seq DESC"):
            samples -= n
            if samples < 0:
                return int(seq)
        return 0

    def received(self) -> tuple[int, int]:
        """When the last samples were received, by nine in ten of them and by half; 0 where there are none.

        A clock that was wrong for a moment does not count with either.
        """
        rows = self._rows("SELECT received_ms FROM batch ORDER BY seq DESC LIMIT ?", (RECENT,))
        received = sorted(row[0] for row in rows)
        return (received[len(received) // 10], received[len(received) // 2]) if received else (0, 0)

    def append(self, device: Int32, time_ms: Int64, values: Float64, received_ms: int) -> None:
        """Keep the samples of a turn."""
        self._append(received_ms, SAMPLES, len(time_ms), pack(device, time_ms, values))

    def append_silence(self, device: Int32, newest_ms: Int64, received_ms: int) -> None:
        """Keep that devices fell silent."""
        empty = np.empty((len(device), 0))
        self._append(received_ms, SILENCE, len(device), pack(device, newest_ms, empty))

    def _append(self, received_ms: int, kind: int, samples: int, data: bytes) -> None:
        self.last_seq += 1
        self._execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?)", (self.last_seq, received_ms, kind, samples, data))
        self.bytes += len(data)

    def save_snapshot(self, model_id: str, parts: Iterable[bytes]) -> int:
        """Keep the memory of all devices as it is after the last batch, and return its size, bytes.

        Args:
            model_id: of the model whose memory it is.
            parts: of the state, one at least; each is written before the next is made.
        """
        size = number = 0
        for number, state in enumerate(parts):
            if number == 0:
                self._execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?)", (self.last_seq, model_id, state))
            else:
                self._execute("INSERT OR REPLACE INTO snapshot_part VALUES (?, ?)", (number, state))
            size += len(state)
        self._execute("DELETE FROM snapshot_part WHERE part > ?", (number,))
        return size

    def load_snapshot(self) -> tuple[int, str] | None:
        """Number of the batch that the snapshot stands after, and its model; None where there is none."""
        for seq, model in list(self._rows("SELECT seq, model FROM snapshot")):
            return seq, model
        return None

    def clean_up(self, before_ms: int, most_bytes: int, most_rejected_bytes: int, most_verdict_bytes: int) -> int:
        """Delete what is old or too much, oldest first, a bounded number at a time.

        Args:
            before_ms: what came before goes.
            most_bytes: samples beyond go; those which the snapshot does not cover stay in any case.
            most_rejected_bytes: what was set aside goes beyond.
            most_verdict_bytes: verdicts beyond go.

        Returns:
            Number of batches deleted.
        """
        gone = last = 0
        for seq, received_ms, size in self._rows(
            "SELECT seq, received_ms, length(data) FROM batch WHERE seq <= (SELECT coalesce(max(seq), 0) FROM snapshot)"
            " ORDER BY seq LIMIT ?",
            (CLEAN_UP,),
        ):
            if received_ms >= before_ms and self.bytes <= most_bytes:
                break
            self.bytes -= size
            gone, last = gone + 1, seq
        self._execute("DELETE FROM batch WHERE seq <= ?", (last,))
        last = 0
        if self.rejected_bytes > most_rejected_bytes:
            self._measure_rejected()  # some may have been taken back meanwhile, by 'rarefault retake'
        for key, received_ms, size in self._rows(
            "SELECT key, received_ms, length(payload) FROM rejected ORDER BY key LIMIT ?", (CLEAN_UP,)
        ):
            if received_ms >= before_ms and self.rejected_bytes <= most_rejected_bytes:
                break
            self.rejected_bytes -= size
            last = key
        self._execute("DELETE FROM rejected WHERE key <= ?", (last,))
        last = 0
        for key, made_ms, size in self._rows(
            "SELECT key, made_ms, length(data) FROM verdict ORDER BY key LIMIT ?", (CLEAN_UP,)
        ):
            if made_ms >= before_ms and self.verdict_bytes <= most_verdict_bytes:
                break
            self.verdict_bytes -= size
            last = key
        self._execute("DELETE FROM verdict WHERE key <= ?", (last,))
        self._execute("DELETE FROM device WHERE forgotten_ms < ?", (before_ms,))
        # The last word on a device stays as long as the device.
        last_words = "SELECT max(key) FROM alarm JOIN device ON device.name = alarm.device GROUP BY device"
        self._execute(f"DELETE FROM alarm WHERE said_ms < ? AND key NOT IN ({last_words})", (before_ms,))  # noqa: S608
        self._execute("DELETE FROM feedback WHERE received_ms < ?", (before_ms,))
        return gone

    def count(self, table: str) -> int:
        """Number of rows of a table."""
        return self._number(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names

    def insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Put rows into a table as they are, save those whose keys are there."""
        if rows:
            places = ", ".join("?" * len(rows[0]))
            self._executemany(f"INSERT OR IGNORE INTO {table} VALUES ({places})", rows)  # noqa: S608 - our own names

    def put(self, entry: Entry) -> None:
        """Keep a message that is owed."""
        self._execute(
            "INSERT INTO outbox (key, topic, payload, retain, sink) VALUES (?, ?, ?, ?, ?)",
            (entry.key, entry.topic, entry.payload, entry.retain, entry.sink),
        )

    def forget(self, keys: list[int]) -> None:
        """Messages that were confirmed or given up."""
        self._executemany("DELETE FROM outbox WHERE key = ?", ((key,) for key in keys))

    def owed(self) -> Iterator[Entry]:
        """Messages that are owed, to whichever sink, in order."""
        for key, topic, payload, retain, sink in self._rows(
            "SELECT key, topic, payload, retain, sink FROM outbox ORDER BY key"
        ):
            yield Entry(key, topic, payload, bool(retain), sink)

    def note_alarms(self, alarms: Iterable[AlarmRecord]) -> None:
        """Keep alarms that were published."""
        self._executemany(
            f"INSERT INTO alarm ({ALARM_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own names
            ((a.published_ms, a.id, a.device, a.state, a.since_ms, a.end_ms, a.model, a.detail) for a in alarms),
        )

    def append_verdicts(
        self,
        device: Int32,
        end_ms: Int64,
        fault: Int64,
        posterior: Float64,
        made_ms: int,
        model: str,
        classes: Sequence[str],
    ) -> None:
        """Keep the verdicts of a turn.

        Args:
            device: numbers of the devices in the journal, [W].
            end_ms: ends of the windows, [W].
            fault: index of each verdict's class, [W].
            posterior: calibrated probabilities, [W, K].
            made_ms: when they were made.
            model: id of the model.
            classes: its classes, [K].
        """
        if model != self._model_named:
            self.note(f"classes of {model}", msgspec.json.encode(classes).decode())
            self._model_named = model
        data = pack_verdicts(device, end_ms, fault, posterior)
        self._execute(
            "INSERT INTO verdict (made_ms, model, verdicts, data) VALUES (?, ?, ?, ?)",
            (made_ms, model, len(end_ms), data),
        )
        self.verdict_bytes += len(data)

    def note_feedback(self, feedback: Iterable[Feedback]) -> None:
        """Keep the answers of people."""
        self._executemany(
            "INSERT INTO feedback (received_ms, device, alarm, answer, fault, start_ms, end_ms, note) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((f.received_ms, f.device, f.alarm, f.answer, f.fault, f.start_ms, f.end_ms, f.note) for f in feedback),
        )

    def note_rejected(self, rejected: Iterable[SetAside]) -> None:
        """Keep what could not be used."""
        rows = [(r.received_ms, r.topic, r.reason, r.detail, r.payload) for r in rejected]
        self._executemany(
            "INSERT INTO rejected (received_ms, topic, reason, detail, payload) VALUES (?, ?, ?, ?, ?)", rows
        )
        self.rejected_bytes += sum(len(row[4]) for row in rows)

    def _executemany(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        try:
            self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._error(error) from error


def _words(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else reason_of(error)
