"""What the page asks of a journal, in transactions that are as short as one question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rarefault.runtime.arrays import Int32, Int64
from rarefault.runtime.errors import DamagedJournalError
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.records import SAMPLES, AlarmRecord, Batch, Feedback, SetAside, unpack
from rarefault.runtime.journal.schema import ALARM_COLUMNS
from rarefault.runtime.journal.verdicts import VerdictBatch, unpack_verdicts

#: States that are no alarm to act on; ``no data`` is shown as silence.
CALM = "('normal', 'no data')"
#: Longest piece of a rejected message that is shown, bytes.
PAYLOAD_SHOWN = 600


@dataclass(frozen=True, slots=True)
class Heads:
    """The last key of each table that grows; 0 where it is empty."""

    device: int
    alarm: int
    verdict: int
    batch: int
    feedback: int
    rejected: int


class PageJournal(JournalReader):
    """A journal that is read for the page; open it for each question, and close it right after.

    Raises:
        JournalError: there is no such file, it cannot be read, or it is no journal of this release.
    """

    def heads(self) -> Heads:
        """How far each table goes."""
        tables = {
            "device": "id",
            "alarm": "key",
            "verdict": "key",
            "batch": "seq",
            "feedback": "key",
            "rejected": "key",
        }
        there = {table: key for table, key in tables.items() if self._has_table(table)}  # earlier: no verdicts
        found = {t: self._number(f"SELECT coalesce(max({k}), 0) FROM {t}") for t, k in there.items()}  # noqa: S608
        return Heads(**(dict.fromkeys(tables, 0) | found))

    def devices_after(self, number: int) -> list[tuple[int, str, bool]]:
        """Number, name, and whether it is forgotten, of devices with larger numbers."""
        rows = self._rows("SELECT id, name, forgotten_ms IS NOT NULL FROM device WHERE id > ? ORDER BY id", (number,))
        return [(id_, name, bool(forgotten)) for id_, name, forgotten in rows]

    def numbered_alarms(self, where: str, values: tuple[object, ...] = ()) -> Iterator[tuple[int, AlarmRecord]]:
        """Alarms with their keys; ``where`` is the rest of the statement, and never text from outside."""
        there = {row[1] for row in self._rows("PRAGMA table_info(alarm)")}
        columns = ALARM_COLUMNS if "detail" in there else ALARM_COLUMNS.replace(", detail", "")  # of an earlier release
        for key, *row in self._rows(f"SELECT key, {columns} FROM alarm {where}", values):  # noqa: S608 - our own text
            yield key, AlarmRecord(*row)

    def last_alarms(self) -> Iterator[tuple[int, AlarmRecord]]:
        """The last word on each device."""
        return self.numbered_alarms("WHERE key IN (SELECT max(key) FROM alarm GROUP BY device) ORDER BY key")

    def alarms_after(self, key: int) -> Iterator[tuple[int, AlarmRecord]]:
        """What was published after an alarm, in order."""
        return self.numbered_alarms("WHERE key > ? ORDER BY key", (key,))

    def alarms_before(self, key: int, limit: int) -> list[tuple[int, AlarmRecord]]:
        """Alarms to act on that were published before one, the newest first."""
        where = f"WHERE key < ? AND state NOT IN {CALM} ORDER BY key DESC LIMIT ?"
        return list(self.numbered_alarms(where, (key, limit)))

    def alarms_of(self, device: str, limit: int) -> list[tuple[int, AlarmRecord]]:
        """The last states of a device, the newest first."""
        return list(self.numbered_alarms("WHERE device = ? ORDER BY key DESC LIMIT ?", (device, limit)))

    def ends_of_alarms(self, alarms: Sequence[tuple[int, AlarmRecord]]) -> dict[int, int]:
        """Since when the next state of the device has been there, by the key of the alarm; none where it lasts."""
        if not alarms:
            return {}
        wanted, following, found = {key for key, _ in alarms}, dict[str, int](), dict[int, int]()
        rows = self._rows("SELECT key, device, since_ms FROM alarm WHERE key >= ? ORDER BY key DESC", (min(wanted),))
        for key, device, since_ms in rows:
            if key in wanted and device in following:
                found[key] = following[device]
            following[device] = since_ms
        return found

    def answers(self, device: str | None = None) -> list[Feedback]:
        """People's answers in order, of one device or of all."""
        found = self.feedback()
        return [answer for answer in found if device is None or answer.device == device]

    def verdict_batches(self, after_key: int, to_key: int) -> Iterator[VerdictBatch]:
        """Verdicts after a batch of them and up to another one, in order."""
        if self._has_table("verdict"):
            yield from self._verdict_rows("key > ? AND key <= ? ORDER BY key", (after_key, to_key))

    def verdicts_backwards(self, before_key: int, limit: int) -> list[VerdictBatch]:
        """Batches of verdicts before one, the newest first."""
        if not self._has_table("verdict"):
            return []
        return list(self._verdict_rows("key < ? ORDER BY key DESC LIMIT ?", (before_key, limit)))

    def verdicts_of(self, device: int, after_key: int, to_key: int) -> Iterator[VerdictBatch]:
        """Those batches among some that have verdicts of a device, in order, with the verdicts of others."""
        # SQLite finds the number's bytes quickly; where they are halves of other numbers, the caller finds nothing.
        number = device.to_bytes(4, "little")
        where = "key > ? AND key <= ? AND instr(substr(data, 1, 4 * verdicts), ?) ORDER BY key"
        yield from self._verdict_rows(where, (after_key, to_key, number))

    def _verdict_rows(self, where: str, values: tuple[object, ...]) -> Iterator[VerdictBatch]:
        statement = f"SELECT key, made_ms, model, verdicts, data FROM verdict WHERE {where}"  # noqa: S608 - our own text
        for key, made_ms, model, verdicts, data in self._rows(statement, values):
            try:
                yield VerdictBatch(key, made_ms, model, *unpack_verdicts(data, verdicts))
            except (ValueError, TypeError) as error:
                raise DamagedJournalError(f"{self.path}: verdicts {key} are damaged: {error}") from error

    def sample_times(self, after_seq: int) -> Iterator[tuple[int, int, Int32, Int64]]:
        """Number, time of receipt, devices [M] and times [M] of batches of samples after one, without the values."""
        statement = (
            "SELECT seq, received_ms, samples, substr(data, 1, 12 * samples) FROM batch "
            "WHERE seq > ? AND kind = ? ORDER BY seq"
        )
        for seq, received_ms, samples, data in self._rows(statement, (after_seq, SAMPLES)):
            if len(data) != 12 * samples:
                raise DamagedJournalError(f"{self.path}: batch {seq} is damaged: it is too short")
            yield (
                seq,
                received_ms,
                np.frombuffer(data, "<i4", samples),
                np.frombuffer(data, "<i8", samples, 4 * samples),
            )

    def samples_of(self, device: int, after_seq: int, to_seq: int) -> Iterator[Batch]:
        """Those batches among some that have samples of a device, in order, with the samples of others."""
        statement = (
            "SELECT seq, received_ms, kind, samples, data FROM batch "
            "WHERE seq > ? AND seq <= ? AND kind = ? AND instr(substr(data, 1, 4 * samples), ?) ORDER BY seq"
        )
        values = (after_seq, to_seq, SAMPLES, device.to_bytes(4, "little"))
        for seq, received_ms, kind, samples, data in self._rows(statement, values):
            try:
                yield Batch(seq, received_ms, kind, *unpack(data, samples, len(self.channels)))
            except (ValueError, TypeError) as error:
                raise DamagedJournalError(f"{self.path}: batch {seq} is damaged: {error}") from error

    def first_from(self, table: str, from_ms: int) -> int:
        """Key before the first row of ``verdict`` or ``batch`` that was written at a time or later.

        Rows are in order of time but for steps of the daemon's clock, so that a few of them have to be looked at.
        """
        key, time = {"verdict": ("key", "made_ms"), "batch": ("seq", "received_ms")}[table]
        if not self._has_table(table):
            return 0
        low = self._number(f"SELECT coalesce(min({key}), 1) FROM {table}") - 1  # noqa: S608 - our own names
        high = self._number(f"SELECT coalesce(max({key}), 0) FROM {table}")  # noqa: S608 - our own names
        while low < high:
            middle = (low + high) // 2
            statement = f"SELECT {time} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT 1"  # noqa: S608 - our own names
            ((written_ms,),) = self._rows(statement, (middle,))
            if written_ms < from_ms:
                low = middle + 1
            else:
                high = middle
        return low

    def snapshot_seq(self) -> int:
        """Number of the batch that the last snapshot stands after."""
        return self._number("SELECT coalesce(max(seq), 0) FROM snapshot")

    def rejections(self) -> list[tuple[str, int, int]]:
        """Reason, number and last key of what was set aside, the most frequent first."""
        return list(self._rows("SELECT reason, count(*), max(key) FROM rejected GROUP BY reason ORDER BY 2 DESC, 1"))

    def rejected_examples(self, reason: str, limit: int) -> list[SetAside]:
        """The newest of what was set aside for a reason, the payloads cut."""
        statement = (
            "SELECT received_ms, topic, reason, detail, substr(payload, 1, ?) FROM rejected "
            "WHERE reason = ? ORDER BY key DESC LIMIT ?"
        )
        return [SetAside(*row) for row in self._rows(statement, (PAYLOAD_SHOWN, reason, limit))]
