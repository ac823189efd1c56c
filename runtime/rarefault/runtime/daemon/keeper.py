"""Keeper: brings pipeline, outbox and journal through every turn together, and back after a stop or a failure."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from rarefault.runtime.daemon.config import JournalConfig
from rarefault.runtime.daemon.journal import Journal
from rarefault.runtime.daemon.outbox import MemoryOutbox
from rarefault.runtime.daemon.rows import Rows
from rarefault.runtime.errors import JournalError
from rarefault.runtime.pipeline import Pipeline, Verdicts

log = logging.getLogger(__name__)

#: How long to wait before a journal that could not be written is tried again.
RETRY_S = 5.0


class DurableOutbox(MemoryOutbox):
    """An outbox whose messages are in the journal, too; to be changed within a turn of the journal only."""

    def __init__(self, capacity: int, journal: Journal) -> None:
        super().__init__(capacity)
        self._journal = journal
        self._done: list[int] = []  # keys that the journal still has
        for entry in journal.owed():
            self._keep(entry)

    @property
    def settled(self) -> int:
        """Number of confirmations that the journal does not know of yet."""
        return len(self._done)

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
        self._done.append(key)


class Keeper:
    """Makes turns durable.

    Args:
        config: of the journal, with a path.
        base: folder that the path is relative to.
        new_pipeline: makes an empty pipeline of the present model.
        capacity: of the outbox.

    Attributes:
        journal: the file.
        pipeline, outbox: as they follow from the journal; both are new objects after a failed turn.
        failures: number of turns that could not be kept.

    Raises:
        JournalError: see :class:`Journal`.
    """

    def __init__(self, config: JournalConfig, base: Path, new_pipeline: Callable[[], Pipeline], capacity: int) -> None:
        self.config = config
        self.failures = 0
        self._new_pipeline, self._capacity = new_pipeline, capacity
        self._retry_at = 0.0
        self._snapshot_at = time.monotonic() + config.snapshot_s
        self._kept_devices = 0
        pipeline = new_pipeline()
        self.journal = Journal(base / config.path, pipeline.manifest.channels, config.sync)
        self.pipeline, self.outbox = self._recover(pipeline)

    @property
    def waiting(self) -> bool:
        """Whether the journal failed a moment ago, so that no turn should be tried yet."""
        return time.monotonic() < self._retry_at

    def turn(self, rows: Rows, put: Callable[[Verdicts], None]) -> bool:
        """Process the samples of a turn and keep all that follows; False where it could not be kept.

        Args:
            rows: the samples.
            put: turns verdicts into messages of the outbox.
        """
        try:
            self.journal.begin()
            for slot in range(self._kept_devices, len(self.pipeline.devices)):
                self.journal.add_device(slot, self.pipeline.devices[slot])
            now_ms = time.time_ns() // 1_000_000
            if len(rows):
                self.journal.append(rows.device, rows.time_ms, rows.values, now_ms)
                put(self.pipeline.push(rows.device, rows.time_ms, rows.values))
            self.outbox.flush()
            if time.monotonic() >= self._snapshot_at:
                self._snapshot(now_ms)
            self.journal.commit()
        except JournalError as error:
            self._fail(error)
            return False
        self._kept_devices = len(self.pipeline.devices)
        return True

    def close(self) -> None:
        """Keep a last snapshot, so that the next start has nothing to process again, and give the file back."""
        try:
            self.journal.begin()
            self.outbox.flush()
            self._snapshot(time.time_ns() // 1_000_000)
            self.journal.commit()
        except JournalError as error:
            log.error("no last snapshot was kept, the next start takes longer: %s", error)  # noqa: TRY400
        self.journal.close()

    def _snapshot(self, now_ms: int) -> None:
        self.journal.save_snapshot(self.pipeline.model_id, self.pipeline.snapshot())
        self.journal.forget_batches(now_ms - round(self.config.keep_days * 86_400_000), self.config.max_bytes)
        self._snapshot_at = time.monotonic() + self.config.snapshot_s

    def _fail(self, error: JournalError) -> None:
        self.failures += 1
        self._retry_at = time.monotonic() + RETRY_S
        log.error(
            "a turn could not be kept and is not acknowledged; telemetry waits at the broker, next attempt in %g s: %s",
            RETRY_S,
            error,
        )
        self.journal.rollback()
        self.pipeline, self.outbox = self._recover(self._new_pipeline())

    def _recover(self, pipeline: Pipeline) -> tuple[Pipeline, DurableOutbox]:
        """Pipeline and outbox as the journal has them."""
        started = time.perf_counter()
        snapshot = self.journal.load_snapshot()
        after = 0
        if snapshot is not None and snapshot[1] == pipeline.model_id:
            try:
                pipeline.restore(snapshot[2])
                after = snapshot[0]
            except ValueError as error:
                log.warning("the snapshot cannot be used, processing all samples of the journal again: %s", error)
                pipeline = self._new_pipeline()
        elif snapshot is not None:
            log.info("the journal's snapshot is of model %s; bringing this model up to date", snapshot[1])
        for name in self.journal.devices():
            pipeline.slot(name)
        samples = 0
        for batch in self.journal.batches(after):
            pipeline.push(batch.device, batch.time_ms, batch.values)
            samples += len(batch.time_ms)
        self._kept_devices = len(pipeline.devices)
        outbox = DurableOutbox(self._capacity, self.journal)
        log.info(
            "journal %s: %d devices, %d samples after the snapshot processed again in %.2f s, %d messages owed",
            self.journal.path,
            len(pipeline.devices),
            samples,
            time.perf_counter() - started,
            len(outbox),
        )
        return pipeline, outbox
