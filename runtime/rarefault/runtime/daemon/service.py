"""The daemon: telemetry in, verdicts out.

One thread does everything, turn by turn. A turn takes what has arrived (session), reads it (intake), brings it to
verdicts and keeps these until every sink has confirmed them (store), and only then acknowledges what it took. Between
turns, once a second, it looks for devices that have fallen silent and for changed files, and publishes its health.
"""

import logging
import time
from collections.abc import Callable

from rarefault.runtime import __version__
from rarefault.runtime.daemon.host.clock import trained_ms
from rarefault.runtime.daemon.host.clock_watch import ClockWatch
from rarefault.runtime.daemon.host.counts import counts
from rarefault.runtime.daemon.host.health import Health
from rarefault.runtime.daemon.host.logs import set_level
from rarefault.runtime.daemon.host.metrics import Counts, MetricsPage
from rarefault.runtime.daemon.host.signals import Requests
from rarefault.runtime.daemon.host.systemd import Notifier
from rarefault.runtime.daemon.mqtt.host_application import HostApplication
from rarefault.runtime.daemon.mqtt.identity import DaemonIdentity
from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.daemon.parts import Parts, Totals
from rarefault.runtime.daemon.publishing.broker_sink import BrokerSink
from rarefault.runtime.daemon.publishing.delivery import BrokerDelivery, Delivery
from rarefault.runtime.daemon.publishing.home_assistant import Discovery, Topics
from rarefault.runtime.daemon.publishing.sinks import open_sinks
from rarefault.runtime.daemon.setup import Setup, reload_setup
from rarefault.runtime.daemon.telemetry.feedback_desk import FeedbackDesk
from rarefault.runtime.daemon.telemetry.intake import Intake
from rarefault.runtime.daemon.telemetry.presence import Presence
from rarefault.runtime.daemon.telemetry.rebirths import Rebirths
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.turns.changes import Changes
from rarefault.runtime.daemon.turns.memory import TurnStore
from rarefault.runtime.daemon.turns.opening import new_announcer, new_pipeline
from rarefault.runtime.daemon.turns.work import Outcome, Work
from rarefault.runtime.errors import JournalError, RarefaultError

log = logging.getLogger(__name__)

#: Longest wait of a turn in which nothing happens, and time between two looks around.
IDLE_S = 1.0
#: How long a stop may wait for the broker's confirmations, and then for its answer to the farewell.
FAREWELL_S, LEAVE_S = 2.5, 1.0


class Service(Parts):
    """The daemon.

    Args:
        setup: what it is made from.
        store: what keeps its turns; closed at the end.
        load: reads the setup again, when it has changed; None where it cannot.
        requests: to stop or to reload.
        notifier: of systemd.
    """

    def __init__(
        self,
        setup: Setup,
        store: TurnStore,
        load: Callable[[], Setup] | None = None,
        requests: Requests | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        config = setup.config
        self.setup, self.store, self._load = setup, store, load
        self.requests = requests or Requests()
        self.notifier = notifier or Notifier()
        self.session = BrokerSession(config, setup.password, setup.source)
        self.requests.waiter = self.session
        self.identity = DaemonIdentity(config, store, self.session)
        self.broker = BrokerSink(self.session, config.publish.prefix, config.broker.username)
        self.broker_delivery = BrokerDelivery(self.broker, store, self.session)
        self.sinks = open_sinks(config, setup.source)
        self.deliveries = [Delivery(sink, store) for sink in self.sinks]
        self.clock = ClockWatch(config.telemetry, store.received_ms)
        rejections = Rejections(keep=bool(config.journal.path and config.journal.max_rejected_bytes))
        topic = config.feedback_topic
        desk = FeedbackDesk(topic, store, self.identity, rejections) if topic else None
        self.discovery = Discovery(self._discovery_topics(), store.discovery(), setup.model.manifest.classes)
        self.intake = Intake(setup, store, self.session, self.clock, rejections, desk, self.discovery)
        self.rebirths = Rebirths(store.nodes, self.session)
        self.host = HostApplication(config, setup.source) if config.telemetry.host_id else None
        self.totals = Totals()
        self.looked_at = time.monotonic()
        self.health = Health(self, self.notifier)
        self.metrics = MetricsPage(
            config.metrics, Counts(lambda: counts(self), lambda: self.setup.model), self.health.problems
        )
        self._connection = 0
        self._use_settings()

    def _use_settings(self) -> None:
        """Have the parts go on with the present settings and model."""
        config, manifest = self.setup.config, self.setup.model.manifest
        silent_after_s = config.telemetry.silent_after_s or manifest.grid.max_gap_s
        self.presence = Presence(self.store.devices, silent_after_s, config.limits.forget_after_s)
        self.clock.use(config.telemetry, trained_ms(manifest))
        self._changes = Changes([self.setup.source, self.setup.model_file()])
        set_level(config.log)

    def run(self) -> None:
        """Serve until :meth:`stop` or a signal.

        Raises:
            BrokerError: the broker's first answer was a refusal that waiting does not mend.
            ConfigError: the port of the metrics cannot be had.
            JournalError: the journal cannot be used.
        """
        try:
            self._startup()
            self._main_loop()
        finally:
            self._shutdown()

    def stop(self) -> None:
        """End :meth:`run` soon; may be called from another thread."""
        self.requests.stop()

    def _startup(self) -> None:
        self.identity.save()
        self.metrics.open(str(self.setup.source))
        if self.host is not None:
            self.host.start()
        self._log_start()
        self.notifier.send("READY=1")

    def _main_loop(self) -> None:
        while not self.requests.stopping:
            self._turn(IDLE_S)
            if time.monotonic() - self.looked_at >= IDLE_S:
                self._look_around()
            if self.requests.reloading:
                self._reload()
        log.info("stopping (%s)", self.requests.reason)

    def _shutdown(self) -> None:
        self.notifier.send("STOPPING=1")
        self._deliver_the_rest()
        self.session.close(LEAVE_S, self.health.farewell())
        self.metrics.close()
        self._log_what_is_left()
        if self.host is not None:
            self.host.close()
        for sink in self.sinks:
            sink.close()
        self.store.close()
        self.notifier.close()
        log.info("stopped after %d messages, %d verdicts", self.intake.messages, self.totals.verdicts.total())

    def _turn(self, timeout_s: float) -> None:
        """Wait for the broker, process what has come, and acknowledge it."""
        if self.clock.look(self.session):
            self.presence.listen(time.monotonic())
        hold = self._hold()
        linger_s = 0.0 if hold else self.intake.linger_s()
        self._poll(linger_s or timeout_s, hold=hold, linger=linger_s > 0)
        self.intake.note_waiting(time.monotonic())
        if hold or self.intake.linger_s() > 0:
            self._deliver()
            return
        begin = time.monotonic()
        oldest = self.intake.oldest(begin)
        messages = self._take()
        self.clock.looked()
        self.intake.note_waiting(begin)
        self.broker_delivery.run()
        if messages:
            self.session.acknowledge(messages)
            now = time.monotonic()
            self.metrics.observe_turn(len(messages), now - begin, now - oldest)
            self.intake.pace.observe(now - begin, len(messages))
            self._catch_up(now + (now - begin))
        self.rebirths.run(time.monotonic())
        self._deliver_to_others()

    def _hold(self) -> bool:
        """Whether telemetry must wait, unacknowledged."""
        return self.store.waiting or self.clock.holds_up or self.broker_delivery.holds_up()

    def _poll(self, timeout_s: float, *, hold: bool = False, linger: bool = False) -> None:
        """Serve the session with the broker; see :meth:`BrokerSession.poll`."""
        self.broker.poll(timeout_s, hold=hold, linger=linger)
        self.broker_delivery.note_confirmations()
        if self._connection != self.session.connections:
            self._connection = self.session.connections
            self.presence.listen(time.monotonic())
            self.discovery.begin()
            if not self.session.resumed:
                self.intake.decoder.distrust_births()

    def _take(self) -> list[Message]:
        """Bring messages to verdicts and return them; by then, all that must not be lost is kept."""
        work = self.intake.read()
        if work is None:
            return []
        if not self._do(work):
            self.intake.give_back(work)
            return []
        return work.messages

    def _do(self, work: Work) -> bool:
        """Do the work of a turn; False where it could not be kept."""
        outcome = self.store.turn(work)
        if outcome is None:
            return False
        # What is late is no sign of life: nothing follows from it.
        self.presence.heard(outcome.heard, time.monotonic())
        self.presence.note_silent(work.died)
        self.intake.kept(work, outcome)
        self._count(outcome)
        return True

    def _count(self, outcome: Outcome) -> None:
        if outcome.verdicts:
            self.metrics.turn_verdicts.observe(len(outcome.verdicts))
        self.totals.add(outcome)
        for alarm in outcome.alarms:
            log.debug("%s: %s since %s (score %.2f)", alarm.device, alarm.state, alarm.since, alarm.score or 0.0)

    def _deliver(self) -> None:
        """Bring all sinks what they take now."""
        self.broker_delivery.run()
        self._deliver_to_others()

    def _deliver_to_others(self) -> None:
        """What the broker gets does not wait for the disk of another sink."""
        for delivery in self.deliveries:
            delivery.run()

    def _catch_up(self, deadline: float) -> None:
        """Send verdicts that the broker's window had no place for, before there are more of them.

        This may take as long as the turn has taken, so that neither telemetry nor verdicts wait for the other.
        """
        while self.broker_delivery.outbox.unsent and self.session.ready and not self.session.full:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            self._poll(left_s, linger=True)
            self.broker_delivery.run()

    def _look_around(self) -> None:
        """What is done once a second, whether or not there is telemetry."""
        now = self.looked_at = time.monotonic()
        if not self._hold():
            self._look_at_devices(now)
        self.identity.save()
        if self._load is not None and self.setup.config.model.watch and self._changes.look():
            log.info("%s or its model has changed", self.setup.source)
            self.requests.reloading = True
        self.intake.look(now)
        self.health.publish()
        self._discover()

    def _discovery_topics(self) -> Topics | None:
        """What discovery is published with; None where it is off."""
        config = self.setup.config
        if not config.home_assistant.enabled:
            return None
        names = self.identity.names
        return Topics(
            config.home_assistant.prefix, config.publish.prefix, names.runtime, feedback=bool(config.feedback_topic)
        )

    def _discover(self) -> None:
        """Tell Home Assistant what it has not been told, as far as the broker takes it now."""
        for topic, payload in self.discovery.messages(self.store.devices.by_name):
            if self.session.window <= 1:
                return
            self.session.publish(topic, payload, retain=True)
        try:
            if self.session.connected and self.store.discovery() != self.discovery.topics:
                self.store.keep_discovery(self.discovery.topics)
        except JournalError as error:
            log.warning("what discovery was published with could not be kept, trying again: %s", error)

    def _look_at_devices(self, now: float) -> None:
        """Publish which devices have fallen silent, and forget those that have been for long."""
        work = Work(self.intake.samples)
        # With messages that wait, what seems silent may be among them.
        if self.session.ready and not self.session.waiting:
            work.silent = self.presence.fallen_silent(now)
        if self.store.may_forget:
            work.forgotten = self.presence.gone(now)
        forgotten = [self.store.devices.names[slot] for slot in work.forgotten.tolist()]
        if work and self._do(work):
            self.presence.note_silent(work.silent)
            self.discovery.forget(forgotten)

    def _reload(self) -> None:
        """Go on with what is in the files now; where that cannot be used, with what there was."""
        self.requests.reloading = False
        if self._load is None:
            return
        self.notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            setup = reload_setup(self._load, self.setup)
        except RarefaultError as error:
            self.totals.reloads["refused"] += 1
            log.error("not reloaded, going on with model %s: %s", self.setup.model.model_id, error)  # noqa: TRY400
        else:
            self.setup = setup
            self.totals.reloads["done"] += 1
            self.store.succeed(new_pipeline(setup), new_announcer(setup), setup.config.journal)
            self.intake.use(setup)
            self._use_settings()
            log.info("reloaded %s: model %s", setup.source, setup.model.model_id)
        self.notifier.send("READY=1")

    def _deliver_the_rest(self) -> None:
        """Wait a little for the broker's confirmations, so that the next start has less to repeat."""
        deadline = time.monotonic() + FAREWELL_S
        self._deliver()
        while len(self.broker_delivery.outbox) and self.session.connected and time.monotonic() < deadline:
            self._poll(0.1, hold=True)
            self._deliver()

    def _log_start(self) -> None:
        config, model = self.setup.config, self.setup.model
        log.info(
            "rarefault %s with model %s (%d channels; %s): telemetry from %s at %s, verdicts to %s/{device}/verdict",
            __version__,
            model.model_id,
            len(model.manifest.channels),
            ", ".join(model.manifest.classes),
            config.topics,
            config.broker.url,
            config.publish.prefix,
        )

    def _log_what_is_left(self) -> None:
        where = "the journal keeps them" if self.setup.config.journal.path else "they are lost"
        if left := len(self.broker_delivery.outbox):
            log.warning("stopped with %d verdicts and alarms not confirmed by the broker; %s", left, where)
        for sink in self.sinks:
            if left := len(self.store.outboxes[sink.name]):
                log.warning("stopped with %d lines not written to %s; %s", left, sink.name, where)
