"""The journalled store: every turn is a transaction of the journal, from which all comes back after a failure."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rarefault.runtime.daemon.config import JournalConfig
from rarefault.runtime.daemon.mqtt.names import Names, Session
from rarefault.runtime.daemon.publishing.announcer import Announcer
from rarefault.runtime.daemon.publishing.home_assistant import Topics
from rarefault.runtime.daemon.turns.durable_outbox import load_outboxes
from rarefault.runtime.daemon.turns.edge_nodes import keep_nodes, load_nodes
from rarefault.runtime.daemon.turns.memory import NewPipeline, TurnStore
from rarefault.runtime.daemon.turns.recovery import bring_up_to_date, go_on_after, recover
from rarefault.runtime.daemon.turns.work import Outcome, Work
from rarefault.runtime.errors import DamagedJournalError, JournalError
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts
from rarefault.runtime.journal.damage import Salvaged
from rarefault.runtime.journal.records import BROKER
from rarefault.runtime.journal.salvage import finish, salvage
from rarefault.runtime.journal.writer import Journal

log = logging.getLogger(__name__)

#: How long to wait before a journal that could not be written is tried again.
RETRY_S = 5.0
#: A snapshot is written when the samples since the last are a quarter of its size, or after so many intervals, so that
#: many devices with few samples do not wear out a gateway's flash memory.
SNAPSHOT_SHARE, SNAPSHOT_PATIENCE = 0.25, 20


class JournalledTurnStore(TurnStore):
    """Keeps every turn in a journal.

    Args:
        config: of the journal, with a path.
        base: folder that the path is relative to.
        new_pipeline: makes an empty pipeline of the present model.
        announcer: makes messages of verdicts and alarms.
        sinks: names of the sinks.
        capacity: of the outbox of each.
        alive: called now and then by what takes long.

    Raises:
        JournalError: see :class:`Journal`.
    """

    def __init__(
        self,
        config: JournalConfig,
        base: Path,
        new_pipeline: NewPipeline,
        announcer: Announcer,
        sinks: Sequence[str] = (BROKER,),
        capacity: int = 10_000,
        alive: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(new_pipeline, announcer, sinks, capacity)
        self.config = config
        self._sinks, self._capacity = sinks, capacity
        self._retry_at = 0.0
        self._snapshot_at = time.monotonic()  # of the last one
        self._snapshot_bytes = self._bytes_since = 0
        self._path = base / config.path
        self._alive = alive
        self._open()

    @property
    def journal(self) -> Journal:
        """The journal; another one after it was damaged."""
        return self._journal

    @property
    def waiting(self) -> bool:
        """Whether the journal failed a moment ago, so that no turn should be tried yet."""
        return time.monotonic() < self._retry_at

    @property
    def may_forget(self) -> bool:
        """Whether a snapshot is due, with which devices are forgotten."""
        return time.monotonic() - self._snapshot_at >= self.config.snapshot_s

    def turn(self, work: Work) -> Outcome | None:
        """Do the work of a turn and keep all that follows; None where it could not be kept, and nothing is done."""
        try:
            self._journal.begin()
            outcome = self._write(work, time.time_ns() // 1_000_000)
            self._journal.commit()
        except JournalError as error:
            self.fail(error)
            return None
        self.devices.saved()
        self.nodes.kept()
        self.trouble = ""
        return outcome

    def _write(self, work: Work, now_ms: int) -> Outcome:
        """Write all of a turn into the journal."""
        devices, samples, before = self.devices, work.samples, self._journal.bytes
        self._write_devices()
        if len(work.silent):
            # A device that has sent nothing but what its clock forbids has no time at all.
            newest_ms = np.maximum(self.pipeline.grid.newest_ms(work.silent), 0)
            self._journal.append_silence(devices.number[work.silent], newest_ms, now_ms)
        if len(samples):
            self._journal.append(devices.number[samples.device], samples.time_ms, samples.values, now_ms)
        if len(work.died):
            newest_ms = self.pipeline.grid.newest_ms(work.died).copy()
            for i, slot in enumerate(work.died.tolist()):
                newest_ms[i] = max(0, newest_ms[i], samples.time_ms[samples.device == slot].max(initial=0))
            self._journal.append_silence(devices.number[work.died], newest_ms, now_ms)
        keep_nodes(self.nodes, self._journal)
        self._bytes_since += self._journal.bytes - before
        outcome = self._process(work)
        self._journal.note_alarms(outcome.records)
        if outcome.made is not None and self.config.max_verdict_bytes:
            self._keep_verdicts(outcome.made, now_ms)
        self._journal.note_rejected(work.rejected)
        self._journal.note_feedback(work.feedback)
        self._forget_devices(work, now_ms)
        for outbox in self.outboxes.values():
            outbox.flush()
        if len(work.forgotten) or self._snapshot_due():
            self._snapshot()
        return outcome

    def _keep_verdicts(self, made: Verdicts, now_ms: int) -> None:
        numbers, pipeline = self.devices.number[made.device], self.pipeline
        self._journal.append_verdicts(
            numbers, made.end_ms, made.fault, made.posterior, now_ms, pipeline.model_id, pipeline.manifest.classes
        )

    def succeed(self, new_pipeline: NewPipeline, announcer: Announcer, config: JournalConfig) -> None:
        """Go on with other settings and, where it is another one, with another model from the next window on."""
        self.config = config
        before = self.pipeline
        super().succeed(new_pipeline, announcer, config)
        if self.pipeline is before:
            return
        try:
            self._journal.begin()
            self._snapshot()
            self._journal.commit()
        except JournalError as error:
            self.fail(error)

    def names(self) -> Names | None:
        """Who the daemon was at earlier starts."""
        return self._journal.fact("names", Names)

    def session(self) -> Session | None:
        """The session that the broker kept for it."""
        return self._journal.fact("session", Session)

    def keep_names(self, names: Names, ghosts: Sequence[str]) -> None:
        """Keep who the daemon is, and owe the broker empty messages that clear what is retained of another name."""
        with self._turn_of_its_own():
            self._journal.keep_fact("names", names)
            for topic in ghosts:
                self.outboxes[BROKER].put(topic, b"", retain=True)

    def keep_session(self, session: Session) -> None:
        """Keep what the broker keeps."""
        with self._turn_of_its_own():
            self._journal.keep_fact("session", session)

    def discovery(self) -> Topics | None:
        """What discovery was published with at the start before."""
        return self._journal.fact("discovery", Topics)

    def keep_discovery(self, topics: Topics | None) -> None:
        """Keep what discovery is published with."""
        with self._turn_of_its_own():
            if topics is None:
                self._journal.forget_fact("discovery")
            else:
                self._journal.keep_fact("discovery", topics)

    @contextmanager
    def _turn_of_its_own(self) -> Iterator[None]:
        """A transaction beside the turns; where it fails, the outboxes are as the journal has them."""
        try:
            self._journal.begin()
            yield
            self._journal.commit()
        except JournalError:
            self._journal.rollback()
            self.outboxes = load_outboxes(self._journal, self._sinks, self._capacity)
            raise

    def bytes(self) -> int:
        """Size of the journal with its log, bytes."""
        sizes = 0
        for suffix in ("", "-wal"):
            path = self._journal.path.with_name(self._journal.path.name + suffix)
            sizes += path.stat().st_size if path.exists() else 0
        return sizes

    def close(self) -> None:
        """Keep a last snapshot, so that the next start has nothing to process again, and give the file back."""
        try:
            self._journal.begin()
            for outbox in self.outboxes.values():
                outbox.flush()
            self._write_devices()
            self._snapshot()
            self._journal.note("clean", "yes")
            self._journal.commit()
        except JournalError as error:
            log.error("no last snapshot was kept, the next start takes longer: %s", error)  # noqa: TRY400
        self._journal.close()

    def _write_devices(self) -> None:
        """Give new devices their number in the journal, and keep first topics."""
        devices = self.devices
        for slot in devices.unsaved:
            devices.number[slot], newest_ms = self._journal.add_device(devices.names[slot])
            if newest_ms is not None:
                # It was forgotten once; its windows of then are not to be judged again.
                self.pipeline.grid.start_after(slot, newest_ms)
        self._journal.note_origins({devices.names[slot]: devices.topic[slot] for slot in devices.unsaved_topics})

    def _forget_devices(self, work: Work, now_ms: int) -> None:
        if len(work.forgotten):
            newest_ms = self.pipeline.grid.heard_ms(work.forgotten)
            for number, newest in zip(self.devices.number[work.forgotten].tolist(), newest_ms.tolist(), strict=True):
                self._journal.forget_device(number, newest, now_ms)
            self.pipeline.forget(work.forgotten)

    def _snapshot_due(self) -> bool:
        age_s = time.monotonic() - self._snapshot_at
        if age_s < self.config.snapshot_s or not self._bytes_since:
            return False
        enough = self._bytes_since >= SNAPSHOT_SHARE * self._snapshot_bytes
        return enough or age_s >= SNAPSHOT_PATIENCE * self.config.snapshot_s

    def _snapshot(self) -> None:
        size = self._journal.save_snapshot(self.pipeline.model_id, self.pipeline.snapshot_parts())
        passed_ms = round((time.monotonic() - self._started[0]) * 1000)
        before_ms = self._started[1] + passed_ms - round(self.config.keep_days * 86_400_000)
        config = self.config
        self._journal.clean_up(before_ms, config.max_bytes, config.max_rejected_bytes, config.max_verdict_bytes)
        self._snapshot_at = time.monotonic()
        self._snapshot_bytes, self._bytes_since = size, 0

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
            self._journal.rollback()
            self._recover()
        except DamagedJournalError as damage:
            self._journal.close()
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
        self._journal = Journal(self._path, self.pipeline.manifest.channels, self.config.sync)
        try:
            self.received_ms, latest_ms = self._journal.received()
            # Retention goes by the journal's own samples, from which on time only passes: neither a clock that is years
            # ahead, nor a start after a long rest, deletes what nothing new has come after.
            now_ms = time.time_ns() // 1_000_000
            self._started = time.monotonic(), min(now_ms, latest_ms or now_ms)
            self._recover()
            if salvaged is not None:
                go_on_after(salvaged, self.pipeline, self._journal)
                self._journal.begin()
                self._write_devices()
                self._snapshot()
                self._journal.commit()
                self.devices.saved()
        except JournalError:
            self._journal.close()
            raise

    def _recover(self) -> None:
        """Go on from what the journal has."""
        self.pipeline = recover(self._journal, self._new_pipeline, self.devices)
        self.nodes.restore(load_nodes(self._journal))
        self.outboxes = load_outboxes(self._journal, self._sinks, self._capacity)

    def _warm_up(self, pipeline: Pipeline) -> None:
        bring_up_to_date(pipeline, self.devices, self._journal)

    def _salvage(self, damage: DamagedJournalError) -> None:
        """Go on with a new journal; the damage is raised where the configuration wants that."""
        reason = str(damage).removeprefix(f"{self._path}: ").partition(";")[0]
        if self.config.on_damage == "stop":
            raise DamagedJournalError(
                f'{self._path}: {reason}; journal.on_damage is "stop": move it away, or set "salvage"'
            ) from damage
        log.error("%s: %s; what can be read of it is salvaged now", self._path, reason)
        channels, model_id = self.pipeline.manifest.channels, self.pipeline.model_id
        found = salvage(self._path, channels, model_id, reason, self._alive)
        self.damaged += 1
        self.loss = f"the journal {self._path} was damaged: {found.damage.sentence()}"
        log.error("%s", self.loss)
        self._start(found)
