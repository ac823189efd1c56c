"""The copy of what can be read of a damaged journal, row by row, into a new one.

Tables are read by ranges of their keys; a range that cannot be read is halved until what is lost is small. Every row
must be what the daemon could have written, or counts as lost.
"""

import heapq
import io
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.errors import JournalError
from rarefault.runtime.inference.manifest import NO_DATA
from rarefault.runtime.journal.damage import Damage, Loss, Salvaged
from rarefault.runtime.journal.records import BROKER, SAMPLES, SILENCE, pack, unpack
from rarefault.runtime.journal.schema import SCHEMA
from rarefault.runtime.journal.verdicts import unpack_verdicts
from rarefault.runtime.journal.writer import Journal
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
TABLES: dict[str, dict[str, tuple[type, ...]]] = {
    "device": {"id": _NUMBER, "name": _TEXT, "newest_ms": _OPTIONAL, "forgotten_ms": _OPTIONAL},
    "alarm": {
        "key": _NUMBER, "said_ms": _NUMBER, "id": _TEXT, "device": _TEXT, "state": _TEXT, "since_ms": _NUMBER,
        "end_ms": _NUMBER, "model": _TEXT, "detail": _TEXT,
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
    "snapshot_part": {"part": _NUMBER, "state": _BYTES},
    "verdict": {"key": _NUMBER, "made_ms": _NUMBER, "model": _TEXT, "verdicts": _NUMBER, "data": _BYTES},
    "batch": {"seq": _NUMBER, "received_ms": _NUMBER, "kind": _NUMBER, "samples": _NUMBER, "data": _BYTES},
}  # fmt: skip
#: Tables in which every key is there from the first to the last.
_DENSE = frozenset({"batch", "feedback", "rejected", "verdict"})
#: Columns that an older journal does not have, with what stands for them.
_DEFAULTS = {"sink": f"'{BROKER}'", "detail": "''"}
#: Facts of the new journal, whatever the damaged one has.
_OWN = frozenset({"schema", "channels", "clean", "damage", "damaged_ms"})

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Target:
    """What is salvaged for: the present model, and why; ``alive`` is called now and then."""

    channels: tuple[str, ...]
    model_id: str
    reason: str
    alive: Callable[[], object]


class _Table:
    """Reads what can be read of one table.

    Attributes:
        unread: number of keys that cannot be read.
        more: whether the end of the table cannot be read.
    """

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        self._db = db
        self._columns = ", ".join(self._there(name))
        self._key = next(iter(TABLES[name]))
        self._name = name
        self.unread = 0
        self.more = False

    def _there(self, name: str) -> list[str]:
        """The columns, with its default for one that an older journal does not have yet."""
        try:
            there = {row[1] for row in self._db.execute(f"PRAGMA table_info({name})")}
        except sqlite3.Error:
            there = set()
        return [_DEFAULTS.get(column, column) if column not in there else column for column in TABLES[name]]

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


class Copy:
    """Copies table by table, in bounded memory.

    Attributes:
        losses: by table.
        published: what is known of each device.
    """

    def __init__(self, old: sqlite3.Connection, new: Journal, target: Target) -> None:
        self._old, self._new, self._target = old, new, target
        self.losses: dict[str, Loss] = {}
        self.published = Salvaged(Damage("", "", {}, 0))
        self._known = np.zeros(1, bool)  # by number, which devices have a name
        self._ours = False  # whether the samples are of the present channels

    def run(self) -> None:
        """Copy all; JournalError where the old journal is sound enough to show that it is not ours."""
        self._ours = self._meta()
        self._devices()
        self._table("alarm", self._alarm)
        self._table("feedback", lambda row: row)
        self._table("rejected", lambda row: row)
        self._table("outbox", self._owed)
        self._table("snapshot", self._snapshot)
        if self._has("snapshot_part"):  # which earlier releases do not
            self._table("snapshot_part", lambda row: row if _is_whole(row[1]) else None)
        if self._has("verdict"):
            self._table("verdict", lambda row: row if _are_verdicts(row) else None)
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

    def _has(self, table: str) -> bool:
        try:
            return bool(self._old.execute(f"PRAGMA table_info({table})").fetchall())
        except sqlite3.Error:
            return False

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
        table, types = _Table(self._old, name), tuple(TABLES[name].values())
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
        _, _, _, device, state, _, end_ms, model, _ = row
        self.published.judged(device, end_ms, silent=state == NO_DATA)
        self._ours = self._ours or model == self._target.model_id
        return row

    def _owed(self, row: Row) -> Row | None:
        _, topic, payload, retain, _ = row
        if retain not in (0, 1) or not topic.isprintable():
            return None
        try:
            found = msgspec.json.decode(payload) if payload else {}
            if topic.endswith("/verdict"):
                self.published.judged(found["device"], parse_time_ms(found["end"]))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, TypeError, KeyError):
            return None
        return row

    def _snapshot(self, row: Row) -> Row | None:
        if not _is_whole(row[3]) or row[0] != 1 or row[1] < 0:
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


def _are_verdicts(row: Row) -> bool:
    """Whether a row of verdicts is as it was written."""
    try:
        unpack_verdicts(row[4], row[3])
    except ValueError:
        return False
    return True


def _is_whole(state: bytes) -> bool:
    """Whether a part of a snapshot is as it was written."""
    try:
        with zipfile.ZipFile(io.BytesIO(state)) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
        return False
