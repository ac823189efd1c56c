"""Salvage: a damaged journal is put aside, and what can be read of it goes into a new one.

The new journal is made beside the damaged one, as ``PATH.partial`` while it is not complete. When it is, it is
called ``PATH.damaged-DATE.new``; from then on, whatever interrupts the daemon, the next start goes
on: the damaged file becomes ``PATH.damaged-DATE`` (with its ``-wal`` and ``-shm``), the new one becomes ``PATH``. The
damaged file itself is only read.

Tables are read by ranges of their keys; a range that cannot be read is halved until what is lost is small. Every row
must be what the daemon could have written, or counts as lost.
"""

import heapq
import io
import os
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.errors import JournalError
from rarefault.runtime.inference.manifest import NO_DATA
from rarefault.runtime.journal.reader import SCHEMA
from rarefault.runtime.journal.records import BROKER, SAMPLES, SILENCE, pack, unpack
from rarefault.runtime.journal.writer import PAGE, Journal, lock
from rarefault.runtime.times import parse_time_ms

#: Ranges of one table that are tried at most.
PROBES = 20_000
#: Rows of small tables, or bytes of samples, that are written at once.
ROWS, BYTES = 1000, 8 << 20
#: No journal has larger keys.
ENDLESS = 1 << 48

_NUMBER, _OPTIONAL = (int,), (int, type(None))
_TEXT, _BYTES = (str,), (bytes,)
#: Columns of the tables: the first is the key.
_TABLES: dict[str, dict[str, tuple[type, ...]]] = {
    "device": {"id": _NUMBER, "name": _TEXT, "newest_ms": _OPTIONAL, "forgotten_ms": _OPTIONAL},
    "alarm": {
        "key": _NUMBER, "said_ms": _NUMBER, "id": _TEXT, "device": _TEXT, "state": _TEXT, "since_ms": _NUMBER,
        "end_ms": _NUMBER, "model": _TEXT,
    },
    "feedback": {
        "key": _NUMBER, "received_ms": _NUMBER, "device": _TEXT, "alarm": _TEXT, "answer": _TEXT, "fault": _TEXT,
        "start_ms": _OPTIONAL, "end_ms": _OPTIONAL, "note": _TEXT,
    },
    "rejected": {
        "key": _NUMBER, "received_ms": _NUMBER, "topic": _TEXT, "reason": _TEXT, "detail": _TEXT, "payload": _BYTES,
    },
    "outbox": {"key": _NUMBER, "topic": _TEXT, "payload": _BYTES, "retain": _NUMBER, "sink": _TEXT},
    "snapshot": {"only": _NUMBER, "seq": _NUMBER, "model": _TEXT, "state": _BYTES},
    "batch": {"seq": _NUMBER, "received_ms": _NUMBER, "kind": _NUMBER, "samples": _NUMBER, "data": _BYTES},
}  # fmt: skip
#: Tables in which every key is there from the first to the last.
_DENSE = frozenset({"batch", "feedback", "rejected"})
#: What people call the rows.
_WORDS = {
    "device": "devices", "alarm": "alarms", "feedback": "answers", "rejected": "rejected messages",
    "outbox": "owed messages", "snapshot": "snapshots", "batch": "batches of samples",
}  # fmt: skip
#: What the new journal says of itself, whatever the damaged one says.
_OWN = frozenset({"schema", "channels", "clean", "damage", "damaged_ms"})

Row = tuple[Any, ...]


class Loss(msgspec.Struct, frozen=True):
    """What became of one table.

    Attributes:
        saved: rows in the new journal.
        lost: rows that could not be read, at most: there need not have been one for each key.
        more: whether the table's end could not be read either, so that there may have been more.
    """

    saved: int
    lost: int
    more: bool


class Damage(msgspec.Struct, frozen=True):
    """What a salvage has found; so it is in the new journal's ``meta``, as ``damage``.

    Attributes:
        aside: name of the file that was put aside, in the journal's folder.
        reason: how the damage showed.
        tables: what became of each.
        samples: that were saved.
    """

    aside: str
    reason: str
    tables: dict[str, Loss]
    samples: int

    def sentence(self) -> str:
        """In words, what was saved and lost."""
        saved = [f"{loss.saved} {_WORDS[name]}" for name, loss in self.tables.items() if loss.saved]
        lost = [
            f"{loss.lost} {_WORDS[name]}{' or more' if loss.more else ''}"
            for name, loss in self.tables.items()
            if loss.lost or loss.more
        ]
        return (
            f"it was put aside as {self.aside}; saved: {', '.join(saved) or 'nothing'}; "
            f"lost, at most: {', '.join(lost) or 'nothing that is known'}"
        )


@dataclass(frozen=True)
class Salvaged:
    """What the daemon must know to go on.

    Attributes:
        damage: what is kept of it.
        judged_ms: by device, the end of the last window of which something was said, or the time of its last sample.
        silent: devices of which the latter holds.
    """

    damage: Damage
    judged_ms: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)

    def judged(self, device: str, end_ms: int, *, silent: bool = False) -> None:
        """Something was said of a device."""
        if end_ms > self.judged_ms.get(device, -1):
            self.judged_ms[device] = end_ms
            (self.silent.add if silent else self.silent.discard)(device)


def salvage(
    path: Path, channels: tuple[str, ...], model_id: str, reason: str, alive: Callable[[], object] = lambda: None
) -> Salvaged:
    """Put a damaged journal aside, and make a new one of what can be read of it.

    Args:
        path: of the journal, which nobody has open.
        channels: of the present model; samples are saved where they are of the same.
        model_id: of the present model.
        reason: how the damage showed.
        alive: called now and then, as this may take minutes.

    Raises:
        JournalError: another daemon has the journal, it is not of these channels or of this release, or the new file
            cannot be written. The damaged one is where it was.
    """
    descriptor = -1
    try:
        descriptor = lock(path)
        partial = _beside(path, ".partial")
        _remove(partial)
        try:
            return _salvage(path, partial, _Target(channels, model_id, reason, alive))
        finally:
            _remove(partial)
    except (OSError, JournalError) as error:
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise JournalError(f"{path}: the journal is damaged ({reason}), and cannot be put aside: {text}") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def finish(path: Path) -> None:
    """Finish a salvage that was interrupted between the completion of the new journal and its coming into use.

    Raises:
        JournalError: another daemon has the journal, or the files cannot be moved.
    """
    complete = sorted(path.parent.glob(f"{path.name}.damaged-*.new"))
    if not complete:
        return
    try:
        descriptor = lock(path)
        try:
            _swap(path, complete[-1])
        finally:
            os.close(descriptor)
    except OSError as error:
        raise JournalError(f"{path}: the damaged journal cannot be put aside: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Target:
    channels: tuple[str, ...]
    model_id: str
    reason: str
    alive: Callable[[], object]


def _salvage(path: Path, partial: Path, target: _Target) -> Salvaged:
    now_ms = time.time_ns() // 1_000_000
    aside = _free_name(path, now_ms)
    new = Journal(partial, target.channels, "normal")
    try:
        with _readable(path, partial) as old:
            copy = _Copy(path, old, new, target)
            copy.run()
        damage = Damage(aside.name, target.reason, copy.losses, new.samples()[0])
        new.begin()
        new.note("damaged_ms", str(now_ms))
        new.note("damage", msgspec.json.encode(damage).decode())
        new.commit()
    finally:
        new.close()
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    complete = _beside(aside, ".new")
    partial.rename(complete)
    _swap(path, complete)
    return Salvaged(damage, copy.said.judged_ms, copy.said.silent)


def _swap(path: Path, complete: Path) -> None:
    """The damaged file last, so that it is never without its log; each step may be the last before a power cut."""
    aside = complete.with_name(complete.name.removesuffix(".new"))
    for suffix in ("-wal", "-shm", ""):
        if _beside(path, suffix).exists():
            _beside(path, suffix).replace(_beside(aside, suffix))
    complete.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(partial: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock", ".mended", ".mended-wal", ".mended-shm"):
        _beside(partial, suffix).unlink(missing_ok=True)


def _free_name(path: Path, now_ms: int) -> Path:
    stem = _beside(path, f".damaged-{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%dT%H%M%SZ}")
    names = (stem if n == 0 else _beside(stem, f"-{n}") for n in range(1_000_000))
    return next(name for name in names if not any(_beside(name, s).exists() for s in ("", "-wal", "-shm", ".new")))


@contextmanager
def _readable(path: Path, partial: Path) -> Iterator[sqlite3.Connection]:
    """The damaged file, or where its beginning is lost, a copy with the beginning of a new journal.

    Every journal is made in the same way, so that its first page is the same save for the length of the file.
    """
    if (db := _opened(path)) is None:
        mended = _beside(partial, ".mended")
        for log in (True, False):
            _mend(path, partial, mended, log=log)
            if (db := _opened(mended)) is not None:
                break
        else:
            raise JournalError("not even a mended copy of it can be opened")
    try:
        yield db
    finally:
        db.close()


def _opened(path: Path) -> sqlite3.Connection | None:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    try:
        db.execute("PRAGMA cell_size_check = ON")
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        db.close()
        return None
    if names < {*_TABLES, "meta"}:
        db.close()
        return None
    return db


def _mend(path: Path, partial: Path, mended: Path, *, log: bool) -> None:
    for suffix in ("-wal", "-shm"):
        _beside(mended, suffix).unlink(missing_ok=True)
    shutil.copyfile(path, mended)
    if log and _beside(path, "-wal").exists():
        shutil.copyfile(_beside(path, "-wal"), _beside(mended, "-wal"))
    with sqlite3.connect(partial) as fresh:
        fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    fresh.close()
    with partial.open("rb") as file:
        first = bytearray(file.read(PAGE))
    pages = -(-max(mended.stat().st_size, partial.stat().st_size) // PAGE)
    first[28:32] = pages.to_bytes(4, "big")
    with mended.open("r+b") as file:
        file.write(first)
        file.truncate(pages * PAGE)


class _Table:
    """Reads what can be read of one table.

    Attributes:
        unread: number of keys that cannot be read.
        more: whether the end of the table cannot be read.
    """

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        self._db = db
        self._columns = ", ".join(self._there(name))
        self._key = next(iter(_TABLES[name]))
        self._name = name
        self.unread = 0
        self.more = False

    def _there(self, name: str) -> list[str]:
        """The columns, with its default for one that an older journal does not have yet."""
        try:
            there = {row[1] for row in self._db.execute(f"PRAGMA table_info({name})")}
        except sqlite3.Error:
            there = set()
        return [f"'{BROKER}'" if column == "sink" and column not in there else column for column in _TABLES[name]]

    def rows(self) -> Iterator[Row]:
        """Rows in no order; some may come twice."""
        top = self._top()
        ranges = [(-top, 1, top)] if top else []  # the largest first
        probes = 0
        while ranges and probes < PROBES:
            _, low, high = heapq.heappop(ranges)
            probes += 1
            for descending in (False, True):
                try:
                    for row in self._range(low, high, descending=descending):
                        low, high = (low, row[0] - 1) if descending else (row[0] + 1, high)
                        yield row
                    low = high + 1
                except sqlite3.Error:
                    # Go on from the other end.
                    continue
                break
            if low == high:
                self.unread += 1
            elif low < high:
                middle = (low + high) // 2
                for part in ((low, middle), (middle + 1, high)):
                    heapq.heappush(ranges, (part[0] - part[1], *part))
        self.unread += sum(high - low + 1 for _, low, high in ranges)

    def _range(self, low: int, high: int, *, descending: bool) -> Iterator[Row]:
        order = "DESC" if descending else "ASC"
        for row in self._db.execute(
            f"SELECT {self._columns} FROM {self._name} WHERE {self._key} BETWEEN ? AND ? "  # noqa: S608 - our own names
            f"ORDER BY {self._key} {order}",
            (low, high),
        ):
            if not low <= row[0] <= high:
                raise sqlite3.DatabaseError("keys out of order")
            low, high = (low, row[0] - 1) if descending else (row[0] + 1, high)
            yield row

    def _top(self) -> int:
        """The largest key that can be read, or is likely to be."""
        try:
            ((top,),) = self._db.execute(f"SELECT max({self._key}) FROM {self._name}").fetchall()  # noqa: S608
            if top is not None and top > ENDLESS:
                raise sqlite3.DatabaseError("an impossible key")
        except sqlite3.Error:
            self.more = True
            top = 0
            # In steps that grow from what is known, until none leads further.
            while (further := max((self._after(top + (1 << k)) for k in range(48)), default=0)) > top:
                top = further
        return top or 0

    def _after(self, key: int) -> int:
        """The first key from one on; 0 where that cannot be read, or there is none."""
        try:
            found = self._db.execute(
                f"SELECT {self._key} FROM {self._name} WHERE {self._key} >= ? ORDER BY {self._key} LIMIT 1",  # noqa: S608
                (min(key, ENDLESS),),
            ).fetchall()
        except sqlite3.Error:
            return 0
        return found[0][0] if found and key <= found[0][0] <= ENDLESS else 0


class _Copy:
    """Copies table by table, in bounded memory.

    Attributes:
        losses: by table.
        said: what is known of each device.
    """

    def __init__(self, path: Path, old: sqlite3.Connection, new: Journal, target: _Target) -> None:
        self._path, self._old, self._new, self._target = path, old, new, target
        self.losses: dict[str, Loss] = {}
        self.said = Salvaged(Damage("", "", {}, 0))
        self._known = np.zeros(1, bool)  # by number, which devices have a name
        self._ours = False  # whether the samples are of the present channels

    def run(self) -> None:
        """Copy all; JournalError where the old journal is sound enough to say that it is not ours."""
        self._ours = self._meta()
        self._devices()
        self._table("alarm", self._alarm)
        self._table("feedback", lambda row: row)
        self._table("rejected", lambda row: row)
        self._table("outbox", self._owed)
        self._table("snapshot", self._snapshot)
        self._table("batch", self._batch)

    def _meta(self) -> bool:
        meta: dict[str, str] = {}
        for order in ("ASC", "DESC"):
            try:
                meta |= dict(self._old.execute(f"SELECT name, value FROM meta ORDER BY name {order}"))  # noqa: S608
            except sqlite3.Error:
                continue
        schema, channels = meta.get("schema"), meta.get("channels")
        if schema is not None and schema != str(SCHEMA):
            raise JournalError(f"it is of form {schema}, this rarefault uses form {SCHEMA}; move it away")
        ours = msgspec.json.encode(self._target.channels).decode()
        if channels is not None and channels != ours:
            raise JournalError("it is that of a model with other channels; name another journal.path")
        self._new.begin()
        for name, value in meta.items():
            if name not in _OWN and isinstance(name, str) and isinstance(value, str):
                self._new.note(name, value)
        self._new.commit()
        return channels == ours

    def _devices(self) -> None:
        """The names are in the table and in its index."""
        self._table("device", lambda row: row)
        try:
            named = self._old.execute("SELECT name, id FROM device INDEXED BY sqlite_autoindex_device_1").fetchall()
        except sqlite3.Error:
            named = []
        rows = [(number, name, None, None) for name, number in named if isinstance(name, str) and number > 0]
        self._write("device", rows)
        numbers = self._new.devices()
        loss = self.losses["device"]
        self.losses["device"] = Loss(len(numbers), max(0, loss.lost + loss.saved - len(numbers)), loss.more)
        self._known = np.zeros(max(numbers, default=0) + 1, bool)
        self._known[list(numbers)] = True

    def _table(self, name: str, check: Callable[[Row], Row | None]) -> None:
        table, types = _Table(self._old, name), tuple(_TABLES[name].values())
        rows: dict[int, Row] = {}
        lost = size = first = last = 0
        for row in table.rows():
            self._target.alive()
            good = all(isinstance(value, kind) for value, kind in zip(row, types, strict=True))
            kept = check(row) if good else None
            if kept is None:
                lost += 1
                continue
            first, last = min(first or row[0], row[0]), max(last, row[0])
            rows[row[0]] = kept
            size += sum(len(value) for value in kept if isinstance(value, bytes))
            if len(rows) >= ROWS or size >= BYTES:
                self._write(name, list(rows.values()))
                rows.clear()
                size = 0
        self._write(name, list(rows.values()))
        saved = self._new.count(name)
        # A damaged page may look like one with fewer rows.
        missing = last - first + 1 - saved if saved and name in _DENSE else 0
        self.losses[name] = Loss(saved, max(lost + table.unread, missing), table.more)

    def _write(self, name: str, rows: list[Row]) -> None:
        self._new.begin()
        self._new.insert(name, rows)
        self._new.commit()

    def _alarm(self, row: Row) -> Row:
        _, _, _, device, state, _, end_ms, model = row
        self.said.judged(device, end_ms, silent=state == NO_DATA)
        self._ours = self._ours or model == self._target.model_id
        return row

    def _owed(self, row: Row) -> Row | None:
        _, topic, payload, retain, _ = row
        if retain not in (0, 1) or not topic.isprintable():
            return None
        try:
            said = msgspec.json.decode(payload) if payload else {}
            if topic.endswith("/verdict"):
                self.said.judged(said["device"], parse_time_ms(said["end"]))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, TypeError, KeyError):
            return None
        return row

    def _snapshot(self, row: Row) -> Row | None:
        try:
            with zipfile.ZipFile(io.BytesIO(row[3])) as archive:
                whole = archive.testzip() is None
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
            return None
        if not whole or row[0] != 1 or row[1] < 0:
            return None
        self._ours = self._ours or row[2] == self._target.model_id
        return row

    def _batch(self, row: Row) -> Row | None:
        """A batch, without the samples of devices whose names are lost."""
        seq, received_ms, kind, samples, data = row
        if not self._ours or kind not in (SAMPLES, SILENCE) or samples < 0:
            return None
        try:
            n_channels = 0 if kind == SILENCE else len(self._target.channels)
            device, time_ms, values = unpack(data, samples, n_channels)
        except ValueError:
            return None
        named = device < len(self._known)
        named[named] = self._known[device[named]]
        if named.all():
            return row
        if not named.any():
            return None
        return seq, received_ms, kind, int(named.sum()), pack(device[named], time_ms[named], values[named])
