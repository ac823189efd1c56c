"""The durable keeper: every turn is a transaction of the journal, from which all comes back after a stop or failure."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rarefault.runtime.arrays import Float64, Int64
from rarefault.runtime.daemon.config import JournalConfig
from rarefault.runtime.daemon.mqtt.names import Names, Session
from rarefault.runtime.daemon.publishing.outbox import MemoryOutbox
from rarefault.runtime.daemon.turns.memory import Put, TurnStore, Work, take_over
from rarefault.runtime.errors import DamagedJournalError, JournalError
from rarefault.runtime.inference.decision import STATE_FOREIGN
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.journal.records import SILENCE, Batch
from rarefault.runtime.journal.salvage import Salvaged, finish, salvage
from rarefault.runtime.journal.writer import Journal

log = logging.getLogger(__name__)

#: How long to wait before a journal that could not be written is tried again.
RETRY_S = 5.0
#: Samples that are pushed at once when a journal is processed again.
REPLAY = 20_000
#: Samples that a model is shown which takes over from another one.
WARM_UP = 500_000
#: Confirmations wait for the next telemetry this long, or until there are so many, before they are kept.
SETTLE_S, SETTLE = 1.0, 200
#: A snapshot is written when the samples since the last are a quarter of its size, or after so many intervals, so that
#: many devices with few samples do not wear out a gateway's flash memory.
SNAPSHOT_SHARE, SNAPSHOT_PATIENCE = 0.25, 20


class DurableOutbox(MemoryOutbox):
    """An outbox whose messages are in the journal, too; to be changed within a turn of the journal only."""

    def __init__(self, capacity: int, journal: Journal) -> None:
        super().__init__(capacity)
        self._journal = journal
        self._done: list[int] = []  # keys that the journal still has
        self._settled_at = 0.0
        for entry in journal.owed():
            self._keep(entry)

    @property
    def restless(self) -> bool:
        """Whether the journal should be told of confirmations without waiting for telemetry any longer."""
        return len(self._done) >= SETTLE or (bool(self._done) and time.monotonic() - self._settled_at > SETTLE_S)

    def flush(self) -> None:
        """Tell the journal what has been confirmed or given up."""
        if self._done:
            self._journal.forget(self._done)
            self._done.clear()

    def put(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Take a message, and keep it in the journal."""
        before = self._last_key
        super().put(topic, payload, retain=retain)
        if self._last_key != before:
            self._journal.put(self._entries[self._last_key])

    def _forget(self, key: int) -> None:
        super()._forget(key)
        if not self._done:
            self._settled_at = time.monotonic()
        self._done.append(key)


class JournalledTurnStore(TurnStore):
    """Keeps every turn in a journal.

    Args:
        config: of the journal, with a path.
        base: folder that the path is relative to.
        new_pipeline: makes an empty pipeline of the present model.
        capacity: of the outbox.
        alive: called now and then by what takes long.

    Attributes:
        journal: the file.

    Raises:
        JournalError: see :class:`Journal`.
    """

    outbox: DurableOutbox

    def __init__(
        self,
        config: JournalConfig,
        base: Path,
        new_pipeline: Callable[[], Pipeline],
        capacity: int,
        alive: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(new_pipeline, capacity)
        self.config = config
        self._retry_at = 0.0
        self._snapshot_at = time.monotonic()  # of the last one
        self._snapshot_bytes = self._bytes_since = 0
        self._new: list[tuple[int, str]] = []  # devices that the journal does not know of yet
        self._numbers = np.empty(0, np.int32)  # of the devices in the journal, by slot
        self._path = base / config.path
        self._alive = alive
        self._open()

    @property
    def waiting(self) -> bool:
        """Whether the journal failed a moment ago, so that no turn should be tried yet."""
        return time.monotonic() < self._retry_at

    @property
    def may_forget(self) -> bool:
        """Whether a snapshot is due, with which devices are forgotten."""
        return time.monotonic() - self._snapshot_at >= self.config.snapshot_s

    @property
    def restless(self) -> bool:
        """Whether confirmations have waited long enough."""
        return self.outbox.restless

    def slot(self, device: str) -> int:
        """The slot of a device, given out at its first mention."""
        known = device in self.pipeline.slots
        slot = self.pipeline.slot(device)
        if not known:
            self._new.append((slot, device))
        return slot

    def turn(self, work: Work, put: Put) -> bool:
        """Do the work of a turn and keep all that follows; False where it could not be kept, and nothing is done."""
        now_ms = time.time_ns() // 1_000_000
        try:
            self.journal.begin()
            self._introduce()
            self.journal.note_origins(work.origins)
            before = self.journal.bytes
            if len(work.silent):
                newest_ms = self.pipeline.grid.newest_ms(work.silent)
                self.journal.append_silence(self._numbers[work.silent], newest_ms, now_ms)
            if len(work.rows):
                rows = work.rows
                self.journal.append(self._numbers[rows.device], rows.time_ms, rows.values, now_ms)
            self._bytes_since += self.journal.bytes - before
            self.journal.note_alarms(self._process(work, put))
            self.journal.note_rejected(work.rejected)
            self.journal.note_feedback(work.feedback)
            self._note_origins(work)
            self._forget(work, now_ms)
            self.outbox.flush()
            if len(work.forgotten) or self._snapshot_due():
                self._snapshot()
            self.journal.commit()
        except JournalError as error:
            self.fail(error)
            return False
        self.trouble = ""
        return True

    def succeed(self, new_pipeline: Callable[[], Pipeline], config: JournalConfig) -> None:
        """Go on with other settings and, where it is another one, with another model from the next window on."""
        self.config = config
        before = self.pipeline
        super().succeed(new_pipeline, config)
        if self.pipeline is before:
            return
        try:
            self.journal.begin()
            self._snapshot()
            self.journal.commit()
        except JournalError as error:
            self.fail(error)

    def names(self) -> Names | None:
        """Who the daemon was at earlier starts."""
        return self.journal.fact("names", Names)

    def session(self) -> Session | None:
        """The session that the broker kept for it."""
        return self.journal.fact("session", Session)

    def keep_names(self, names: Names, ghosts: Sequence[str]) -> None:
        """Keep who the daemon is, and owe the broker empty messages that clear what is retained of another name."""
        with self._turn_of_its_own():
            self.journal.keep_fact("names", names)
            for topic in ghosts:
                self.outbox.put(topic, b"", retain=True)

    def keep_session(self, session: Session) -> None:
        """Keep what the broker keeps."""
        with self._turn_of_its_own():
            self.journal.keep_fact("session", session)

    @contextmanager
    def _turn_of_its_own(self) -> Iterator[None]:
        """A transaction beside the turns; where it fails, the outbox is as the journal has it."""
        try:
            self.journal.begin()
            yield
            self.journal.commit()
        except JournalError:
            self.journal.rollback()
            self.outbox = DurableOutbox(self._capacity, self.journal)
            raise

    def bytes(self) -> int:
        """Size of the journal with its log, bytes."""
        sizes = 0
        for suffix in ("", "-wal"):
            path = self.journal.path.with_name(self.journal.path.name + suffix)
            sizes += path.stat().st_size if path.exists() else 0
        return sizes

    def close(self) -> None:
        """Keep a last snapshot, so that the next start has nothing to process again, and give the file back."""
        try:
            self.journal.begin()
            self.outbox.flush()
            self._introduce()
            self._snapshot()
            self.journal.note("clean", "yes")
            self.journal.commit()
        except JournalError as error:
            log.error("no last snapshot was kept, the next start takes longer: %s", error)  # noqa: TRY400
        self.journal.close()

    def _introduce(self) -> None:
        """Give new devices their number in the journal."""
        for slot, name in self._new:
            number, newest_ms = self.journal.add_device(name)
            self._number(slot, number)
            if newest_ms is not None:
                # It was forgotten once; its windows of then are not to be judged again.
                self.pipeline.grid.start_after(slot, newest_ms)
        self._new.clear()

    def _number(self, slot: int, number: int) -> None:
        if slot >= len(self._numbers):
            more = np.full(max(slot + 1, 2 * len(self._numbers), 16) - len(self._numbers), -1, np.int32)
            self._numbers = np.concatenate((self._numbers, more))
        self._numbers[slot] = number

    def _forget(self, work: Work, now_ms: int) -> None:
        if len(work.forgotten):
            newest_ms = self.pipeline.grid.heard_ms(work.forgotten)
            for slot, newest in zip(work.forgotten.tolist(), newest_ms.tolist(), strict=True):
                self.journal.forget_device(int(self._numbers[slot]), newest, now_ms)
            self.pipeline.forget(work.forgotten)

    def _snapshot_due(self) -> bool:
        age_s = time.monotonic() - self._snapshot_at
        if age_s < self.config.snapshot_s or not self._bytes_since:
            return False
        enough = self._bytes_since >= SNAPSHOT_SHARE * self._snapshot_bytes
        return enough or age_s >= SNAPSHOT_PATIENCE * self.config.snapshot_s

    def _snapshot(self) -> None:
        state = self.pipeline.snapshot()
        self.journal.save_snapshot(self.pipeline.model_id, state)
        passed_ms = round((time.monotonic() - self._started[0]) * 1000)
        before_ms = self._started[1] + passed_ms - round(self.config.keep_days * 86_400_000)
        self.journal.clean_up(before_ms, self.config.max_bytes, self.config.max_rejected_bytes)
        self._snapshot_at = time.monotonic()
        self._snapshot_bytes, self._bytes_since = len(state), 0

    def fail(self, error: JournalError) -> None:
        """A turn could not be kept: go back to what the journal has."""
        self.failures += 1
        self.trouble = str(error)
        self._retry_at = time.monotonic() + RETRY_S
        log.error(
            "a turn could not be kept and is not acknowledged; telemetry waits at the broker, next attempt in %g s: %s",
            RETRY_S,
            error,
        )
        try:
            if isinstance(error, DamagedJournalError):
                raise error
            self.journal.rollback()
            self._recover()
        except DamagedJournalError as damage:
            self.journal.close()
            self._salvage(damage)
            self.trouble, self._retry_at = "", 0.0

    def _open(self) -> None:
        """Go on from the journal; one that is damaged is put aside for a new one with what can be read of it."""
        try:
            if self.config.on_damage == "salvage":
                finish(self._path)
            self._start()
        except DamagedJournalError as damage:
            self._salvage(damage)

    def _start(self, salvaged: Salvaged | None = None) -> None:
        self.journal = Journal(self._path, self._new_pipeline().manifest.channels, self.config.sync)
        try:
            self.received_ms, latest_ms = self.journal.received()
            # Retention goes by the journal's own samples, from which on time only passes: neither a clock that is years
            # ahead, nor a start after a long rest, deletes what nothing new has come after.
            now_ms = time.time_ns() // 1_000_000
            self._started = time.monotonic(), min(now_ms, latest_ms or now_ms)
            self._recover()
            if salvaged is not None:
                self._go_on_after(salvaged)
                self.journal.begin()
                self._snapshot()
                self.journal.commit()
        except JournalError:
            self.journal.close()
            raise

    def _salvage(self, damage: DamagedJournalError) -> None:
        """Go on with a new journal; the damage is raised where the configuration wants that."""
        reason = str(damage).removeprefix(f"{self._path}: ").partition(";")[0]
        if self.config.on_damage == "stop":
            raise DamagedJournalError(
                f'{self._path}: {reason}; journal.on_damage is "stop": move it away, or set "salvage"'
            ) from damage
        pipeline = self._new_pipeline()
        log.error("%s: %s; what can be read of it is salvaged now", self._path, reason)
        found = salvage(self._path, pipeline.manifest.channels, pipeline.model_id, reason, self._alive)
        self.damaged += 1
        self.loss = f"the journal {self._path} was damaged: {found.damage.sentence()}"
        log.error("%s", self.loss)
        self._start(found)

    def _go_on_after(self, salvaged: Salvaged) -> None:
        """Say nothing that was said before, although what led to it may be lost."""
        pipeline = self.pipeline
        before = pipeline.decision.reported(len(pipeline.devices)).tolist()
        said = {d: pipeline.state_name(s) for d, s in zip(pipeline.devices, before, strict=True) if s != STATE_FOREIGN}
        take_over(pipeline, said | self.journal.last_published())
        for device, end_ms in salvaged.judged_ms.items():
            slot = pipeline.slots.get(device)
            if slot is None:
                continue
            newest_ms = end_ms + (0 if device in salvaged.silent else pipeline.manifest.grid.lateness_ms)
            if pipeline.grid.newest_ms(np.array([slot]))[0] < newest_ms:
                pipeline.begin_after(slot, newest_ms)

    def _recover(self) -> None:
        """Pipeline and outbox as the journal has them."""
        started = time.perf_counter()
        pipeline = self._new_pipeline()
        self._new.clear()
        self._numbers = np.empty(0, np.int32)
        snapshot = self.journal.load_snapshot()
        after, said = 0, None
        if snapshot is not None and snapshot[1] == pipeline.model_id:
            try:
                pipeline.restore(snapshot[2])
                after = snapshot[0]
            except ValueError as error:
                log.warning("the snapshot cannot be used, processing all samples of the journal again: %s", error)
                pipeline = self._new_pipeline()
        elif snapshot is not None:
            log.info("the journal's snapshot is of model %s; bringing this model up to date", snapshot[1])
            after, said = self.journal.recent(WARM_UP), self.journal.last_published()
        self.pipeline = pipeline
        samples = self._replay(pipeline, self.journal.batches(after))
        if said is not None:
            take_over(pipeline, said)
        self.outbox = DurableOutbox(self._capacity, self.journal)
        self.origins = self.journal.origins()
        log.info(
            "journal %s: %d devices, %d samples after the snapshot processed again in %.2f s, %d messages owed",
            self.journal.path,
            len(pipeline.slots),
            samples,
            time.perf_counter() - started,
            len(self.outbox),
        )

    def _warm_up(self, pipeline: Pipeline) -> None:
        self._replay(pipeline, self.journal.batches(self.journal.recent(WARM_UP)))

    def _replay(self, pipeline: Pipeline, batches: Iterable[Batch]) -> int:
        """Give all devices their slots, push batches once more, and return the number of samples; nothing is said."""
        slots = self._settle(pipeline)
        total = waiting = 0
        parts: list[tuple[Int64, Int64, Float64]] = []

        def push() -> None:
            if parts:
                pipeline.push(*(np.concatenate(column) for column in zip(*parts, strict=True)))
                parts.clear()

        for batch in batches:
            if len(batch.device) and batch.device.max() >= len(slots):
                raise DamagedJournalError(f"{self.journal.path}: batch {batch.seq} has a device that there is not")
            at = slots[batch.device]
            there = at >= 0  # else the device has been forgotten since
            if batch.kind == SILENCE:
                push()
                pipeline.silence(at[there])
                continue
            parts.append((at[there], batch.time_ms[there], batch.values[there]))
            total, waiting = total + int(there.sum()), waiting + len(there)
            if waiting >= REPLAY:
                push()
                waiting = 0
        push()
        return total

    def _settle(self, pipeline: Pipeline) -> Int64:
        """Slots of all devices that the journal has and that are not forgotten, by number; -1 for others."""
        present = self.journal.present()
        slots = np.full(max(self.journal.devices(), default=0) + 1, -1, np.int64)
        for number, (name, newest_ms) in present.items():
            slot = pipeline.slot(name)
            slots[number] = slot
            self._number(slot, number)
            if newest_ms is not None and pipeline.grid.newest_ms(slots[[number]])[0] < newest_ms:
                pipeline.grid.start_after(slot, newest_ms)
        return slots
