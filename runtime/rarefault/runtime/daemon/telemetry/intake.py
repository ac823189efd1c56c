"""The intake: messages that the session has received become the work of a turn, or go back to wait."""

import logging
import time

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.host.clock_watch import ClockWatch
from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.daemon.publishing.home_assistant import Discovery
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.telemetry.acceptance import Acceptance
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.feedback_desk import FeedbackDesk
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.daemon.turns.memory import TurnStore
from rarefault.runtime.daemon.turns.pace import Pace
from rarefault.runtime.daemon.turns.work import Outcome, Work
from rarefault.runtime.errors import JournalError
from rarefault.runtime.times import format_ms

log = logging.getLogger(__name__)


class Intake:
    """Reads messages.

    Args:
        setup: of the daemon.
        store: whose devices they are of.
        session: where messages come from, and go back to.
        clock: decides whether they can be trusted.
        rejections: counts what can be used and what cannot.
        desk: reads feedback; None where the daemon does not listen to it.
        discovery: what Home Assistant is told.

    Attributes:
        samples: the buffer that the samples of a turn are read into.
        decoder: reads telemetry.
        acceptance: notices when none of it can be used.
        pace: sets how many messages the next turn may have.
        messages, feedback: numbers of those in turns that were kept.
    """

    def __init__(
        self,
        setup: Setup,
        store: TurnStore,
        session: BrokerSession,
        clock: ClockWatch,
        rejections: Rejections,
        desk: FeedbackDesk | None,
        discovery: Discovery,
    ) -> None:
        self.messages = self.feedback = 0
        self.rejections = rejections
        self._store = store
        self._session = session
        self._clock = clock
        self._desk = desk
        self._discovery = discovery
        self._log = SampledLog(log)
        self._mark = rejections.mark()
        self._waiting_since: float | None = None  # when the first message came that has not been taken
        self.use(setup)

    def use(self, setup: Setup) -> None:
        """Go on with other settings and another model."""
        config, manifest = setup.config, setup.model.manifest
        self._config: DaemonConfig = config
        self.decoder = TelemetryDecoder(
            config.foreign_sources,
            manifest.channels,
            manifest.channel_specs,
            self._store.devices,
            config.limits,
            self.rejections,
            str(setup.source),
            self._store.nodes,
        )
        self.decoder.mark_born()
        self.samples = SampleBuffer(2 * max(config.max_batch, config.limits.pending_messages), len(manifest.channels))
        self.pace = Pace(config.limits.pending_messages)
        self.acceptance = Acceptance(manifest.grid.period_s, *self._counts())
        if self._desk is not None:
            self._desk.classes = manifest.classes
        self._discovery.use(manifest.classes)

    def linger_s(self) -> float:
        """How long to wait for more telemetry, to be kept together with what is there."""
        journal = self._config.journal
        if not journal.path or self._waiting_since is None or self._session.waiting >= journal.commit_messages:
            return 0.0
        return max(0.0, self._waiting_since + journal.commit_ms / 1000 - time.monotonic())

    def note_waiting(self, now: float) -> None:
        """Where messages wait and none has before, they do so since now."""
        if self._session.waiting and self._waiting_since is None:
            self._waiting_since = now

    def oldest(self, now: float) -> float:
        """Messages are taken now; when the oldest of them came."""
        since, self._waiting_since = self._waiting_since, None
        return since or now

    def read(self) -> Work | None:
        """Read as many messages as a turn should have; None where there is nothing to do, or they have to wait."""
        work = Work(self.samples)
        self._mark = self.rejections.mark()
        most, batch = self.pace.messages, self._config.max_batch
        while len(work.messages) < most and self.samples.free >= batch:
            message = self._session.next()
            if message is None:
                break
            work.messages.append(message)
            if self._discovery.topics is not None and message.topic == self._discovery.topics.birth:
                if message.payload == b"online":
                    self._discovery.begin()
            elif self._desk is not None and self._desk.matches(message.topic):
                try:
                    self._desk.read(message, work)
                except JournalError as error:
                    self._store.fail(error)
                    self.give_back(work)
                    return None
            else:
                self.decoder.decode(
                    message.topic,
                    message.payload,
                    message.arrived_ms,
                    self.samples,
                    retained=message.retained,
                    sender=message.sender,
                )
                if self.decoder.died:
                    work.died = self.decoder.take_died()
                    break  # what comes of the others after it is another turn's, so that the last word is the last
        if not work.messages and not self._store.restless:
            return None
        accepted = self.rejections.samples - self._mark.samples
        if self._clock.contradicted(accepted, len(self.decoder.too_new), len(self._store.devices)):
            self.give_back(work)
            self._clock.gave_back(self._session.waiting)
            return None
        work.rejected = self.rejections.take_aside()
        return work

    def give_back(self, work: Work) -> None:
        """The messages of a turn that was not kept are to be taken again: be as before them."""
        self.rejections.take_aside()
        self.rejections.go_back(self._mark)
        self._store.nodes.go_back()
        self.decoder.mark_born()
        self.samples.clear()
        self._session.give_back(work.messages)

    def kept(self, work: Work, outcome: Outcome) -> None:
        """The turn was kept: count it, and log what of it was dropped."""
        self.messages += len(work.messages)
        self.feedback += len(work.feedback)
        if outcome.distrusted:
            self._log.log(
                "distrusted",
                logging.WARNING,
                "dropped %d samples that were far ahead of all others of their device: its clock was wrong, once",
                outcome.distrusted,
            )
        if outcome.late:
            self._log.log(
                "late",
                logging.WARNING,
                "dropped %d of %d samples, of %s or others, whose bin had closed by the device's own time: they came "
                "out of order or again, or its clock went back",
                outcome.late,
                len(self.samples),
                self._store.devices.names[int(self.samples.device[-1])],
            )
        for restart in outcome.restarts:
            self._log.log(
                "restart",
                logging.WARNING,
                "%s starts anew at %s: its samples have all been late, as one was stamped %s before",
                self._store.devices.names[restart.device],
                format_ms(restart.to_ms),
                format_ms(restart.from_ms),
            )
        self.samples.clear()

    def look(self, now: float) -> None:
        """See whether anything of the telemetry can be used."""
        self.acceptance.look(*self._counts(), now)

    def _counts(self) -> tuple[int, dict[str, int]]:
        """Number of samples that were accepted, and of what was rejected by reason, late samples among it."""
        late = self._store.pipeline.grid.late
        return self.rejections.samples - late, {"late": late} | {str(r): n for r, n in self.rejections.counts.items()}
