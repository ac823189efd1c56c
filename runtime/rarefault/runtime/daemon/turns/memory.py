"""Keeper: brings pipeline and outbox through every turn together."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.runtime.daemon.config import JournalConfig
from rarefault.runtime.daemon.mqtt.names import Names, Session
from rarefault.runtime.daemon.publishing.outbox import MemoryOutbox, Outbox
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.inference.decision import STATE_FOREIGN, STATE_NO_DATA, AlarmChange
from rarefault.runtime.inference.manifest import NO_DATA, UNKNOWN
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts
from rarefault.runtime.journal.records import AlarmRecord, Feedback, SetAside

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Work:
    """What one turn has to do.

    Attributes:
        rows: samples that were read.
        rejected: what could not be used.
        feedback: what people said.
        origins: topics of devices that came for the first time.
        answers: topics and payloads of what is answered to people.
        silent: slots of devices that have fallen silent.
        forgotten: slots of devices that have been silent for so long that they are forgotten.
        cleared: topics of their alarms, which the broker is to keep no longer.
    """

    rows: SampleBuffer
    rejected: list[SetAside] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[str, bytes]] = field(default_factory=list)
    silent: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    forgotten: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    cleared: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(len(self.rows) or self.rejected or self.feedback or len(self.silent) or len(self.forgotten))


#: Puts verdicts and changes of alarms into the outbox and returns the latter for the record.
Put = Callable[[Verdicts | None, list[AlarmChange]], list[AlarmRecord]]


class TurnStore:
    """Keeps everything in memory, as long as the process lives.

    Args:
        new_pipeline: makes an empty pipeline of the present model.
        capacity: of the outbox.

    Attributes:
        pipeline, outbox: the present ones; a durable keeper replaces both after a failed turn.
        failures: number of turns that could not be kept.
        received_ms: when samples were received that are kept from before, by nearly all of the last ones; 0 for none.
        trouble: why the last turn could not be kept; empty where it was.
        origins: the topic on which each device came first, where that matters.
        damaged: how often the journal was damaged.
        loss: what became of it, the last time; empty where it was not.
    """

    def __init__(self, new_pipeline: Callable[[], Pipeline], capacity: int) -> None:
        self.failures = self.received_ms = 0
        self.trouble = ""
        self.origins: dict[str, str] = {}
        self.damaged = 0
        self.loss = ""
        self._new_pipeline = new_pipeline
        self._capacity = capacity
        self.pipeline: Pipeline = new_pipeline()
        self.outbox: Outbox = MemoryOutbox(capacity)

    @property
    def waiting(self) -> bool:
        """Whether turns cannot be kept at present, so that none should be tried."""
        return False

    @property
    def may_forget(self) -> bool:
        """Whether now is a good time to forget devices."""
        return True

    @property
    def restless(self) -> bool:
        """Whether a turn should be made although it has no work, to keep confirmations."""
        return False

    def slot(self, device: str) -> int:
        """The slot of a device, given out at its first mention."""
        return self.pipeline.slot(device)

    def turn(self, work: Work, put: Put) -> bool:
        """Do the work of a turn and keep all that follows; False where it could not be kept, and nothing is done."""
        self._process(work, put)
        self._note_origins(work)
        if len(work.forgotten):
            self.pipeline.forget(work.forgotten)
        return True

    def succeed(self, new_pipeline: Callable[[], Pipeline], config: JournalConfig) -> None:  # noqa: ARG002
        """Go on with other settings and, where it is another one, with another model from the next window on."""
        self._new_pipeline = new_pipeline
        pipeline = new_pipeline()
        if pipeline.model_id != self.pipeline.model_id:
            self.pipeline = self._successor(pipeline, self.pipeline)
        else:
            self.pipeline.use_decision(pipeline.manifest)

    def names(self) -> Names | None:
        """Who the daemon was at earlier starts, as far as that is kept."""
        return None

    def session(self) -> Session | None:
        """The session that the broker kept for it, as far as that is known."""
        return None

    def keep_names(self, names: Names, ghosts: Sequence[str]) -> None:
        """Keep who the daemon is, and clear the retained topics ``ghosts``, in which it was another one.

        Raises:
            JournalError: it could not be kept.
        """

    def keep_session(self, session: Session) -> None:
        """Keep what the broker keeps; JournalError where it could not be kept."""

    def bytes(self) -> int:
        """Size of what is kept on disk."""
        return 0

    def close(self) -> None:
        """End in good order."""

    def _process(self, work: Work, put: Put) -> list[AlarmRecord]:
        alarms: list[AlarmRecord] = []
        if len(work.silent):
            alarms += put(None, self.pipeline.silence(work.silent))
        if len(work.rows):
            verdicts = self.pipeline.push(work.rows.device, work.rows.time_ms, work.rows.values, explained=True)
            alarms += put(verdicts, verdicts.alarms)
        for topic, payload in work.answers:
            self.outbox.put(topic, payload, retain=False)
        for topic in work.cleared:
            self.outbox.put(topic, b"", retain=True)  # an empty message clears the topic's retained one
        return alarms

    def _note_origins(self, work: Work) -> None:
        """Remember new devices, before those are forgotten that are to be."""
        self.origins |= work.origins
        for slot in work.forgotten.tolist():
            self.origins.pop(self.pipeline.devices[slot], None)

    def _successor(self, pipeline: Pipeline, before: Pipeline) -> Pipeline:
        """A pipeline of another model that goes on where the one before stands."""
        pipeline.settle(before.devices)
        self._warm_up(pipeline)
        old, new = before.manifest, pipeline.manifest
        if (old.grid, old.window, old.channels, old.counters) == (new.grid, new.window, new.channels, new.counters):
            # The next window of every device is the one after its last.
            pipeline.grid.restore(before.grid.state())
            pipeline.window_buffer.restore(before.window_buffer.state())
        said = zip(before.devices, before.decision.reported(len(before.devices)).tolist(), strict=True)
        take_over(pipeline, {d: "" if s == STATE_FOREIGN else before.state_name(s) for d, s in said if d})
        return pipeline

    def _warm_up(self, pipeline: Pipeline) -> None:
        """Bring a new pipeline up to date as far as there is something to do it with."""


def take_over(pipeline: Pipeline, said: dict[str, str]) -> None:
    """Tell a pipeline what another model has said last of its devices, by their names."""
    manifest = pipeline.manifest
    numbers = {name: i for i, name in enumerate((*manifest.classes, UNKNOWN))} | {NO_DATA: STATE_NO_DATA}
    names = [said.get(device, NO_DATA) for device in pipeline.devices]
    pipeline.decision.take_over(np.array([numbers.get(name, STATE_FOREIGN) for name in names], np.int64))
