"""The store of turns: brings pipeline, devices and outboxes through every turn together."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rarefault.runtime.daemon.config import JournalConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.mqtt.names import Names, Session
from rarefault.runtime.daemon.publishing.announcer import Announcer
from rarefault.runtime.daemon.publishing.home_assistant import Topics
from rarefault.runtime.daemon.publishing.outbox import MemoryOutbox, Outbox
from rarefault.runtime.daemon.turns.work import Outcome, Work
from rarefault.runtime.errors import JournalError
from rarefault.runtime.inference.decision import STATE_FOREIGN, STATE_NO_DATA
from rarefault.runtime.inference.manifest import NO_DATA, UNKNOWN
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.inference.slots import Slots
from rarefault.runtime.journal.records import BROKER
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.telemetry.sparkplug import Nodes

#: Makes an empty pipeline of the present model, with slots that it shares.
NewPipeline = Callable[[Slots], Pipeline]


class TurnStore:
    """Keeps everything in memory, as long as the process lives.

    Args:
        new_pipeline: makes an empty pipeline of the present model.
        announcer: makes messages of verdicts and alarms.
        sinks: names of the sinks.
        capacity: of the outbox of each.

    Attributes:
        devices: the table of devices.
        nodes: edge nodes of Sparkplug.
        pipeline, outboxes: the present ones; a journalled store replaces both after a failed turn.
        failures: number of turns that could not be kept.
        received_ms: when samples were received that are kept from before, by nearly all of the last ones; 0 for none.
        trouble: why the last turn could not be kept; empty where it was.
        damaged: how often the journal was damaged.
        loss: what became of it, the last time; empty where it was not.
    """

    def __init__(
        self, new_pipeline: NewPipeline, announcer: Announcer, sinks: Sequence[str] = (BROKER,), capacity: int = 10_000
    ) -> None:
        self.failures = self.received_ms = self.damaged = 0
        self.trouble = self.loss = ""
        self.devices = DeviceTable()
        self.nodes = Nodes()
        self.pipeline = new_pipeline(self.devices)
        self.outboxes: Mapping[str, Outbox] = {sink: MemoryOutbox(capacity, sink) for sink in sinks}
        self._new_pipeline = new_pipeline
        self._announcer = announcer

    @property
    def journal(self) -> Journal | None:
        """The journal, where there is one."""
        return None

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
        return any(outbox.restless for outbox in self.outboxes.values())

    def turn(self, work: Work) -> Outcome | None:
        """Do the work of a turn and keep all that follows; None where it could not be kept, and nothing is done."""
        outcome = self._process(work)
        if len(work.forgotten):
            self.pipeline.forget(work.forgotten)
        self.devices.saved()
        self.nodes.kept()
        return outcome

    def fail(self, error: JournalError) -> None:
        """A turn cannot be kept: go back to what was kept before it. In memory there is nothing that fails."""
        raise error

    def succeed(self, new_pipeline: NewPipeline, announcer: Announcer, config: JournalConfig) -> None:  # noqa: ARG002
        """Go on with other settings and, where it is another one, with another model from the next window on."""
        self._new_pipeline, self._announcer = new_pipeline, announcer
        pipeline = new_pipeline(self.devices)
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

    def discovery(self) -> Topics | None:
        """What discovery was published with at earlier starts, as far as that is kept."""
        return None

    def keep_discovery(self, topics: Topics | None) -> None:
        """Keep what discovery is published with, None where it is off; JournalError where it could not be kept."""

    def bytes(self) -> int:
        """Size of what is kept on disk."""
        return 0

    def close(self) -> None:
        """End in good order."""

    def _process(self, work: Work) -> Outcome:
        """Samples and silences to verdicts and alarms, and all messages into the outboxes."""
        outcome, pipeline, grid = Outcome(), self.pipeline, self.pipeline.grid
        if len(work.silent):
            self._announcer.announce(None, pipeline.silence(work.silent), pipeline, self.outboxes, outcome)
        if len(work.samples):
            samples, late, distrusted = work.samples, grid.late, grid.distrusted
            verdicts = pipeline.push(samples.device, samples.time_ms, samples.values, explained=True)
            self._announcer.announce(verdicts, verdicts.alarms, pipeline, self.outboxes, outcome)
            outcome.made = verdicts if len(verdicts) else None
            outcome.heard, outcome.restarts = grid.heard, grid.restarted
            outcome.late, outcome.distrusted = grid.late - late, grid.distrusted - distrusted
        if len(work.died):
            self._announcer.announce(None, pipeline.silence(work.died), pipeline, self.outboxes, outcome)
        broker = self.outboxes[BROKER]
        for topic, payload in work.results:
            broker.put(topic, payload, retain=False)
        for slot in work.forgotten.tolist():
            # An empty message has the broker forget what is retained.
            broker.put(self._announcer.alarm_topic(self.devices.names[slot]), b"", retain=True)
        return outcome

    def _successor(self, pipeline: Pipeline, before: Pipeline) -> Pipeline:
        """A pipeline of another model that goes on where the one before stands."""
        self._warm_up(pipeline)
        old, new = before.manifest, pipeline.manifest
        if all(getattr(old, name) == getattr(new, name) for name in ("grid", "window", "inputs", "counters")):
            # The next window of every device is the one after its last.
            pipeline.grid.restore(before.grid.state())
            pipeline.window_buffer.restore(before.window_buffer.state())
        states = zip(before.devices, before.decision.reported(len(before.devices)).tolist(), strict=True)
        take_over(pipeline, {d: "" if s == STATE_FOREIGN else before.state_name(s) for d, s in states if d})
        return pipeline

    def _warm_up(self, pipeline: Pipeline) -> None:
        """Bring a new pipeline up to date as far as there is something to do it with."""


def take_over(pipeline: Pipeline, published: dict[str, str]) -> None:
    """Give a pipeline the states that another model has published last, by the names of the devices."""
    manifest = pipeline.manifest
    numbers = {name: i for i, name in enumerate((*manifest.classes, UNKNOWN))} | {NO_DATA: STATE_NO_DATA}
    names = [published.get(device, NO_DATA) for device in pipeline.devices]
    pipeline.decision.take_over(np.array([numbers.get(name, STATE_FOREIGN) for name in names], np.int64))
