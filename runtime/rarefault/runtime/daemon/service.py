"""The daemon: telemetry in, verdicts out.

One thread does everything, turn by turn. A turn takes what has arrived (link), reads it (codec), brings it to verdicts
and keeps these until the broker has confirmed them (keeper), and only then acknowledges what it took. Between turns,
once a second, it looks for devices that have fallen silent and for changed files, and says how it is.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np

from rarefault.runtime import __version__
from rarefault.runtime.daemon.host.clock import ClockTrust, WallClock, trained_ms
from rarefault.runtime.daemon.host.logs import set_level
from rarefault.runtime.daemon.host.metrics import Counts, MetricsPage
from rarefault.runtime.daemon.host.problems import Problem
from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.daemon.host.signals import handled_signals
from rarefault.runtime.daemon.host.systemd import Notifier
from rarefault.runtime.daemon.mqtt.connection import Confirmation
from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.mqtt.names import Session, choose_names
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.daemon.publishing.payloads import HealthPayload, alarm_payload, alarm_record, verdict_payloads
from rarefault.runtime.daemon.setup import Setup, reload_setup
from rarefault.runtime.daemon.telemetry.acceptance import Acceptance
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder, column_tree
from rarefault.runtime.daemon.telemetry.feedback import (
    FeedbackReader,
    Known,
    ResultPayload,
    UnknownFaultError,
    alarm_of,
)
from rarefault.runtime.daemon.telemetry.presence import Presence
from rarefault.runtime.daemon.telemetry.rejections import Reason, RejectionError, Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.daemon.turns.changes import Changes
from rarefault.runtime.daemon.turns.durable import JournalledTurnStore
from rarefault.runtime.daemon.turns.memory import TurnStore, Work
from rarefault.runtime.daemon.turns.pace import Pace
from rarefault.runtime.errors import JournalError, RarefaultError
from rarefault.runtime.inference.decision import AlarmChange
from rarefault.runtime.inference.grid import Restart
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts
from rarefault.runtime.journal.records import AlarmRecord
from rarefault.runtime.times import format_ms

log = logging.getLogger(__name__)

#: Longest wait of a turn in which nothing happens, and time between two looks around.
IDLE_S = 1.0
#: How long a stop may wait for the broker's confirmations, and then for its answer to the farewell.
FAREWELL_S, LEAVE_S = 2.5, 1.0
#: A crowded outbox of which the broker confirms nothing for so long does not hold up telemetry any more.
STALL_S = 30.0
#: The daemon is ill when it has not looked around for so long.
ILL_S = 30.0


class Service:
    """The daemon.

    Args:
        setup: what it is made from.
        load: reads that again, when it has changed; None where it cannot.
    """

    def __init__(self, setup: Setup, load: Callable[[], Setup] | None = None) -> None:
        self.setup = setup
        self._load = load
        config = setup.config
        self.rejections = Rejections(keep=bool(config.journal.path and config.journal.max_rejected_bytes))
        self.store = TurnStore(self._new_pipeline, config.limits.outbox_messages)
        self.session = BrokerSession(config, setup.password, setup.source)
        self.metrics = MetricsPage(config.metrics, Counts(self.counts, lambda: self.setup.model), self.health)
        self.messages = self.samples = self.feedback = self.refused = 0
        self.verdicts: Counter[str] = Counter()
        self.alarm_changes: Counter[str] = Counter()
        self.reloads: Counter[str] = Counter(done=0, refused=0)
        self._feedback_reader = FeedbackReader(config.feedback_topic)
        self._acceptance = Acceptance(setup.model.manifest.grid.period_s)
        self.notifier = Notifier()
        self._sampled_log = SampledLog(log)
        self._encoder = msgspec.json.Encoder()
        self._stopping = self._reload_wanted = False
        self._signal = ""
        self._connection = 0
        self._waiting_since: float | None = None  # when the first message came that has not been taken
        self._progress_at = self._looked_at = time.monotonic()
        self._stalled = False
        self._health: HealthPayload | None = None
        self.names = choose_names(config, None)
        self._kept_session: Session | None = None  # that the journal knows of
        self._ghosts: list[str] | None = None  # topics to be cleared with the names that the journal does not know yet
        self.clock = WallClock()
        self.clock_trust = ClockTrust(self.clock, config.telemetry.max_future_s, config.telemetry.clock_wait_s)
        self.clock_steps = 0
        self._clock_problem = ""
        self._look_again = False  # whether to see once more if all devices contradict the clock
        self._seen_waiting, self._seen_at = 0, 0.0
        self._equip()

    def _equip(self) -> None:
        """Make the parts that follow from the present setup and can be made anew while the daemon runs."""
        config, manifest = self.setup.config, self.setup.model.manifest
        columns = column_tree(manifest.channels, config.telemetry.fields, str(self.setup.source))
        self.codec = TelemetryDecoder(config.telemetry, columns, self._slot, config.limits, self.rejections)
        self.codec.know(self.store.pipeline.slots, self.store.origins)
        capacity = 2 * max(config.telemetry.max_batch, config.limits.pending_messages)
        self.rows = SampleBuffer(capacity, len(manifest.channels))
        self._pace = Pace(config.limits.pending_messages)
        silent_after_s = config.telemetry.silent_after_s or manifest.grid.max_gap_s
        self.presence = Presence(silent_after_s, config.limits.forget_after_s)
        self.presence.start(self.store.pipeline.slots.values(), time.monotonic())
        self._changes = Changes([self.setup.source, self.setup.model_file()])
        self.clock_trust.change(config.telemetry.max_future_s, config.telemetry.clock_wait_s)
        self.clock_trust.trained_ms = trained_ms(manifest)
        set_level(config.log)

    def _slot(self, device: str) -> int:
        return self.store.slot(device)

    def _new_pipeline(self) -> Pipeline:
        model = self.setup.model
        return Pipeline(model.manifest, model.step, model.model_id)

    def run(self) -> None:
        """Serve until :meth:`stop`, SIGTERM or SIGINT; SIGHUP reloads.

        Raises:
            BrokerError: the broker's first answer was a refusal that waiting does not mend.
            ConfigError: the port of the metrics cannot be had.
            JournalError: the journal cannot be used.
        """
        with handled_signals(self._on_signal, self.reload):
            try:
                self._startup()
                self._main_loop()
            finally:
                self._shutdown()

    def stop(self) -> None:
        """End :meth:`run` soon; may be called from a signal handler or another thread."""
        self._stopping = True
        self.session.wake()

    def _on_signal(self, name: str) -> None:
        self._signal = name
        self.stop()
        if self.session.connecting:
            raise InterruptedError(None, "the daemon is to stop")

    def reload(self) -> None:
        """Read model and configuration again soon; may be called from a signal handler or another thread."""
        self._reload_wanted = True
        self.session.wake()

    def _startup(self) -> None:
        config = self.setup.config
        if config.journal.path:
            base, capacity = self.setup.source.parent, config.limits.outbox_messages
            self.store = JournalledTurnStore(config.journal, base, self._new_pipeline, capacity, self.notifier.alive)
            self.clock_trust.received_ms = self.store.received_ms
            self._equip()
        self._introduce()
        self.metrics.open(str(self.setup.source))
        log.info(
            "rarefault %s with model %s (%d channels; %s): telemetry from %s at %s, verdicts to %s/{device}/verdict",
            __version__,
            self.setup.model.model_id,
            len(self.setup.model.manifest.channels),
            ", ".join(self.setup.model.manifest.classes),
            config.telemetry.topic,
            config.broker.url,
            config.publish.prefix,
        )
        self.notifier.say("READY=1")

    def _introduce(self) -> None:
        """Be who the journal says, unless the configuration says otherwise."""
        before, prefix = self.store.names(), self.setup.config.publish.prefix
        self.names = choose_names(self.setup.config, before)
        if before is not None and before.client_id != self.names.client_id:
            log.warning(
                "the client id is %r now and was %r: what the broker has kept for that is not sent to this one; set "
                "broker.client_id back to have it",
                self.names.client_id,
                before.client_id,
            )
        ghosts: list[str] = []
        if before is not None and before.runtime != self.names.runtime:
            log.warning("the runtime is %r now and was %r, whose status is cleared", self.names.runtime, before.runtime)
            ghosts = [f"{prefix}/{before.runtime}/{leaf}" for leaf in ("status", "health")]
        self.session.introduce(self.names, self.store.session())
        self._ghosts = ghosts if before != self.names else None
        self._keep_identity()

    def _keep_identity(self) -> None:
        """Have the journal know who the daemon is, and what the broker keeps for it."""
        session = self.session.kept
        if self.store.waiting:
            return
        try:
            if self._ghosts is not None:
                self.store.keep_names(self.names, self._ghosts)
                self._ghosts = None
            if session is not None and session != self._kept_session:
                self.store.keep_session(session)
                self._kept_session = session
        except JournalError as error:
            self._sampled_log.say(
                "identity", logging.WARNING, "names and session could not be kept, trying again: %s", error
            )

    def _main_loop(self) -> None:
        while not self._stopping:
            self._turn(IDLE_S)
            if time.monotonic() - self._looked_at >= IDLE_S:
                self._look_around()
            if self._reload_wanted:
                self._reload()
        log.info("stopping (%s)", self._signal or "asked to")

    def _turn(self, timeout_s: float) -> None:
        """Wait for the broker, process what has come, and acknowledge it."""
        self._watch_clock()
        hold = self._hold()
        linger_s = 0.0 if hold else self._linger_s()
        self._note_confirmations(self.session.poll(linger_s or timeout_s, hold=hold, linger=linger_s > 0))
        if self.session.waiting and self._waiting_since is None:
            self._waiting_since = time.monotonic()
        if hold or self._linger_s() > 0:
            self._send()
            return
        begin, since = time.monotonic(), self._waiting_since
        messages = self._take()
        self._look_again = False
        self._waiting_since = begin if self.session.waiting else None
        self._send()
        if messages:
            self.session.acknowledge(messages)
            now = time.monotonic()
            self.metrics.turn_seconds.observe(now - begin)
            self.metrics.latency_seconds.observe(now - (since or begin))
            self.metrics.turn_messages.observe(len(messages))
            self._pace.observe(now - begin, len(messages))
            self._catch_up(now + (now - begin))

    def _catch_up(self, deadline: float) -> None:
        """Send verdicts that the broker's window had no place for, before there are more of them.

        This may take as long as the turn has taken, so that neither telemetry nor verdicts wait for the other.
        """
        while self.store.outbox.unsent and self.session.ready and not self.session.full:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            self._note_confirmations(self.session.poll(left_s, linger=True))
            self._send()

    def _linger_s(self) -> float:
        """How long to wait for more telemetry, to be kept together with what is there."""
        journal = self.setup.config.journal
        if not journal.path or self._waiting_since is None or self.session.waiting >= journal.commit_messages:
            return 0.0
        return max(0.0, self._waiting_since + journal.commit_ms / 1000 - time.monotonic())

    def _shutdown(self) -> None:
        self.notifier.say("STOPPING=1")
        deadline = time.monotonic() + FAREWELL_S
        while len(self.store.outbox) and self.session.connected and time.monotonic() < deadline:
            self._send()
            self._note_confirmations(self.session.poll(0.1, hold=True))
        farewell = self._health_payload("offline", []) if self._health else None
        self.session.close(LEAVE_S, self._encoder.encode(farewell) if farewell else b"")
        self.metrics.close()
        if left := len(self.store.outbox):
            where = "the journal keeps them" if isinstance(self.store, JournalledTurnStore) else "they are lost"
            log.warning("stopped with %d verdicts and alarms not confirmed by the broker; %s", left, where)
        self.store.close()
        self.notifier.close()
        log.info("stopped after %d messages, %d verdicts", self.messages, self.verdicts.total())

    def _take(self) -> list[Message]:
        """Bring messages to verdicts and return them; by then, all that must not be lost is kept."""
        config = self.setup.config
        mark, samples = self.rejections.mark(), self.codec.samples
        most = self._pace.messages
        taken: list[Message] = []
        work = Work(self.rows)
        while len(taken) < most and self.rows.free >= config.telemetry.max_batch:
            message = self.session.next()
            if message is None:
                break
            taken.append(message)
            if self._feedback_reader.matches(message.topic):
                if not self._read_feedback(message, work):
                    return self._give_back(taken, mark, samples)
                continue
            self.codec.decode(
                message.topic,
                message.payload,
                message.arrived_ms,
                self.rows,
                retained=message.retained,
                sender=message.sender,
            )
        if not taken and not self.store.restless:
            return []
        if self._contradicted(self.codec.samples - samples):
            self._give_back(taken, mark, samples)
            self._seen_waiting = self.session.waiting
            return []
        work.rejected, work.origins = self.rejections.take_aside(), self.codec.origins.fresh
        if not self._do(work):
            return self._give_back(taken, mark, samples)
        self.codec.origins.fresh = {}
        self.messages += len(taken)
        self.feedback += len(work.feedback)
        return taken

    def _give_back(self, taken: list[Message], mark: tuple[dict[Reason, int], int], samples: int) -> list[Message]:
        """Messages of a turn that could not be kept are to be taken again: be as before them."""
        self.rejections.take_aside()
        self.rejections.go_back(mark)
        self.codec.samples = samples
        self.session.give_back(taken)
        return []

    def _read_feedback(self, message: Message, work: Work) -> bool:
        """Take what a person says, and answer it; False where the journal cannot be asked."""
        store, reader = self.store, self._feedback_reader
        assert isinstance(store, JournalledTurnStore)  # without a journal nobody listens to feedback
        known = Known(store.journal, store.pipeline.slots, self.setup.model.manifest.classes, work.feedback)
        device, refusal = "", None
        try:
            device = reader.device(message.topic)
            work.feedback.append(reader.read(device, message.payload, message.arrived_ms, known))
        except RejectionError as error:
            refusal = error
            self.rejections.add(message.topic, error, message.arrived_ms, message.payload)
        except JournalError as error:
            store.fail(error)
            self._start_over()
            return False
        if device:
            result = ResultPayload(
                alarm=alarm_of(message.payload),
                accepted=refusal is None,
                reason=refusal.detail if refusal else "",
                runtime=self.names.runtime,
                time=format_ms(message.arrived_ms),
                faults=refusal.faults if isinstance(refusal, UnknownFaultError) else msgspec.UNSET,
            )
            work.answers.append((f"{message.topic}/result", self._encoder.encode(result)))
        return True

    def _do(self, work: Work) -> bool:
        """Do the work of a turn; False where it could not be kept."""
        grid = self.store.pipeline.grid
        late, distrusted = grid.late, grid.distrusted
        kept = self.store.turn(work, self._put)
        if kept:
            if len(self.rows):
                # What is late is no sign of life: nothing follows from it.
                self.presence.heard(grid.heard.astype(np.int32), time.monotonic())
                self._say_late(grid.late - late, grid.distrusted - distrusted)
                self._say_restarts(grid.restarted)
            self.rows.clear()
        else:
            self._start_over()
        return kept

    def _start_over(self) -> None:
        """Go on after a turn that could not be kept, with the pipeline as the journal has it."""
        self.codec.know(self.store.pipeline.slots, self.store.origins)
        self.presence.start(self.store.pipeline.slots.values(), time.monotonic())
        self.rows.clear()

    def _say_restarts(self, restarts: list[Restart]) -> None:
        for restart in restarts:
            self._sampled_log.say(
                "restart",
                logging.WARNING,
                "%s starts anew at %s: its samples have all been late, as one was stamped %s before",
                self.store.pipeline.devices[restart.device],
                format_ms(restart.to_ms),
                format_ms(restart.from_ms),
            )

    def _say_late(self, late: int, distrusted: int) -> None:
        if distrusted:
            self._sampled_log.say(
                "distrusted",
                logging.WARNING,
                "dropped %d samples that were far ahead of all others of their device: its clock was wrong, once",
                distrusted,
            )
        if late:
            self._sampled_log.say(
                "late",
                logging.WARNING,
                "dropped %d of %d samples, of %s or others, whose bin had closed by the device's own time: they came "
                "out of order or again, or its clock went back",
                late,
                len(self.rows),
                self.store.pipeline.devices[int(self.rows.device[-1])],
            )

    def _put(self, verdicts: Verdicts | None, changes: list[AlarmChange]) -> list[AlarmRecord]:
        """Put verdicts and changes of alarms into the outbox."""
        prefix, pipeline, outbox = self.setup.config.publish.prefix, self.store.pipeline, self.store.outbox
        now_ms = self.clock.now_ms()
        if verdicts is not None and len(verdicts):
            self.metrics.turn_verdicts.observe(len(verdicts))
            for verdict in verdict_payloads(verdicts, pipeline, now_ms, self.setup.overridden):
                self.verdicts[verdict.fault] += 1
                outbox.put(f"{prefix}/{verdict.device}/verdict", self._encoder.encode(verdict), retain=False)
        records = []
        for change in changes:
            alarm = alarm_payload(change, pipeline, self.setup.overridden)
            self.alarm_changes[alarm.state] += 1
            log.debug("%s: %s since %s (score %.2f)", alarm.device, alarm.state, alarm.since, change.score)
            outbox.put(self._alarm_topic(alarm.device), self._encoder.encode(alarm), retain=True)
            records.append(alarm_record(change, alarm, now_ms))
        return records

    def _alarm_topic(self, device: str) -> str:
        return f"{self.setup.config.publish.prefix}/{device}/alarm"

    def _send(self) -> None:
        """Send from the outbox what the broker takes now."""
        if self._connection != self.session.connections:
            self._connection = self.session.connections
            self.store.outbox.resend()
            self.presence.listen(time.monotonic())
        while self.session.window > 0 and (entry := self.store.outbox.next()) is not None:
            self.store.outbox.sent(entry.key, self.session.publish(entry.topic, entry.payload, retain=entry.retain))

    def _note_confirmations(self, confirmations: list[Confirmation]) -> None:
        for mid, refused in confirmations:
            self.store.outbox.confirm(mid)
            if refused is not None:
                self.refused += 1
                self._sampled_log.say(
                    "refused",
                    logging.ERROR,
                    "the broker refuses what is published below %s/ (%s): allow user %r to write there",
                    self.setup.config.publish.prefix,
                    refused,
                    self.setup.config.broker.username,
                )
        if confirmations or not self.store.outbox.crowded or not self.session.connected:
            self._progress_at = time.monotonic()

    def _hold(self) -> bool:
        """Whether telemetry must wait, unacknowledged, because it or its verdicts might find no room."""
        if self.store.waiting or (self._clock_problem and not self._look_again):
            return True
        if not self.store.outbox.crowded:
            self._stalled = False
            return False
        stalled = time.monotonic() - self._progress_at > STALL_S
        if stalled and not self._stalled:
            log.error(
                "the broker has confirmed nothing for %.0f s while %d verdicts wait; telemetry is processed all the "
                "same, and the oldest verdicts are dropped where limits.outbox_messages is reached",
                STALL_S,
                len(self.store.outbox),
            )
        self._stalled = stalled
        return not stalled

    def _watch_clock(self) -> None:
        """Notice where the clock was set, and whether it can be right."""
        if step_ms := self.clock.step_ms():
            self.clock_steps += 1
            log.warning(
                "this machine's clock was set %s by %.1f s", "ahead" if step_ms > 0 else "back", abs(step_ms) / 1e3
            )
            self.session.shift(step_ms, self.clock.now_ms())
            self.clock_trust.agree()
        problem = self.clock_trust.problem()
        if problem and not self._clock_problem:
            log.error("%s", problem)
        elif self._clock_problem and not problem:
            log.info("telemetry is taken again")
            self.presence.listen(time.monotonic())
        self._clock_problem = problem
        now = time.monotonic()
        if problem and self.session.waiting != self._seen_waiting and now - self._seen_at >= IDLE_S:
            # More has come: perhaps from a device that does not contradict.
            self._look_again, self._seen_at = self.clock_trust.contradicted, now

    def _contradicted(self, accepted: int) -> bool:
        """Whether it is this clock that is behind: all devices send from the future, and not one of them alone."""
        if accepted:
            self.clock_trust.agree()
            return False
        devices = len(self.codec.too_new)
        if not devices or devices < min(2, self.codec.devices):
            return False
        return self.clock_trust.contradict(devices)

    def _look_around(self) -> None:
        """What is done once a second, whether or not there is telemetry."""
        now = self._looked_at = time.monotonic()
        if not self._hold():
            # With messages that wait, what seems silent may be among them.
            work = Work(self.rows)
            if self.session.ready and not self.session.waiting:
                work.silent = self.presence.fallen_silent(now)
            if self.store.may_forget:
                work.forgotten = self.presence.gone(now)
                devices = self.store.pipeline.devices
                work.cleared = [self._alarm_topic(devices[slot]) for slot in work.forgotten.tolist()]
            if work and self._do(work):
                self.presence.note_silent(work.silent)
                self.presence.forget(work.forgotten)
                if len(work.forgotten):
                    self.codec.know(self.store.pipeline.slots, self.store.origins)
        self._keep_identity()
        if self._load is not None and self.setup.config.model.watch and self._changes.look():
            log.info("%s or its model has changed", self.setup.source)
            self._reload_wanted = True
        self._acceptance.look(*self._taken(), now)
        problems = self.health()
        impaired = any(problem.impairs for problem in problems)
        self.session.say_status(impaired=impaired)
        self._say_health("impaired" if impaired else "online", problems)
        self.notifier.status("; ".join(problem.text for problem in problems) or f"serving {self.setup.model.model_id}")
        if not any(problem.sick for problem in problems):
            self.notifier.say("WATCHDOG=1")

    def _reload(self) -> None:
        """Go on with what is in the files now; where that cannot be used, with what there was."""
        self._reload_wanted = False
        if self._load is None:
            return
        self.notifier.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        before = self.setup
        try:
            self.setup = reload_setup(self._load, before)
        except RarefaultError as error:
            self.reloads["refused"] += 1
            log.error("not reloaded, going on with model %s: %s", before.model.model_id, error)  # noqa: TRY400
        else:
            self.reloads["done"] += 1
            self.store.succeed(self._new_pipeline, self.setup.config.journal)
            samples = self.codec.samples
            self._equip()
            self.codec.samples = samples
            self._acceptance = Acceptance(self.setup.model.manifest.grid.period_s, *self._taken())
            log.info("reloaded %s: model %s", self.setup.source, self.setup.model.model_id)
        self.notifier.say("READY=1")

    def _taken(self) -> tuple[int, dict[str, int]]:
        """Number of samples that were accepted, and of what was rejected by reason, late samples among it."""
        late = self.store.pipeline.grid.late
        return self.codec.samples - late, {"late": late} | {str(name): n for name, n in self.rejections.counts.items()}

    def _say_health(self, status: Literal["online", "impaired"], problems: list[Problem]) -> None:
        """Publish how the daemon is, where that is not what was said last."""
        payload = self._health_payload(status, problems)
        if self._health is None or msgspec.structs.replace(payload, time=self._health.time) != self._health:
            self._health = payload
        self.session.say_health(self._encoder.encode(self._health))

    def _health_payload(
        self, status: Literal["online", "offline", "impaired"], problems: list[Problem]
    ) -> HealthPayload:
        return HealthPayload(
            status=status,
            problems=[problem.text for problem in problems],
            model=self.setup.model.model_id,
            devices=self.codec.devices,
            muted=len(self.store.pipeline.grid.clocks.muted()),
            silent=self.presence.silent,
            overridden={key: getattr(self.setup.config.decision, key) for key in self.setup.overridden},
            version=__version__,
            time=format_ms(self.clock.now_ms()),
        )

    def health(self) -> list[Problem]:
        """What keeps the daemon from its work."""
        problems = []
        if (idle_s := time.monotonic() - self._looked_at) > ILL_S:
            problems.append(Problem(f"the main loop has been busy for {idle_s:.0f} s", sick=True))
        if not self.session.ready:
            problems.append(Problem(f"no connection to broker {self.setup.config.broker.url}"))
        if self.session.lost:
            problems.append(Problem(self.session.lost, past=True))
        if self.store.trouble:
            problems.append(Problem(self.store.trouble, impairs=True))
        if self._clock_problem:
            problems.append(Problem(self._clock_problem, impairs=True))
        if self.store.loss:
            problems.append(Problem(self.store.loss, past=True))
        if self._stalled:
            problems.append(Problem("the broker confirms nothing"))
        if self._acceptance.problem:
            problems.append(Problem(self._acceptance.problem, impairs=True))
        return problems

    def counts(self) -> dict[str, float | dict[str, int]]:
        """The numbers behind the metrics, by name."""
        classes = self.setup.model.manifest.classes
        return {
            "rarefault_connected": float(self.session.connected),
            "rarefault_connections_total": self.session.connections,
            "rarefault_sessions_lost_total": self.session.sessions_lost,
            "rarefault_messages_total": self.messages,
            "rarefault_messages_dropped_total": self.session.dropped,
            "rarefault_messages_waiting": self.session.waiting,
            "rarefault_samples_total": self.codec.samples,
            "rarefault_samples_late_total": self.store.pipeline.grid.late,
            "rarefault_samples_distrusted_total": self.store.pipeline.grid.distrusted,
            "rarefault_values_missing_total": self.store.pipeline.named_missing,
            "rarefault_rejected_total": {str(reason): n for reason, n in self.rejections.counts.items()},
            "rarefault_unknown_channels_total": self.rejections.unknown_channels,
            "rarefault_feedback_total": self.feedback,
            "rarefault_devices": self.codec.devices,
            "rarefault_devices_silent": self.presence.silent,
            "rarefault_devices_muted": len(self.store.pipeline.grid.clocks.muted()),
            "rarefault_device_restarts_total": self.store.pipeline.grid.restarts,
            "rarefault_clock_steps_total": self.clock_steps,
            "rarefault_verdicts_total": {name: self.verdicts[name] for name in classes} | dict(self.verdicts),
            "rarefault_alarm_changes_total": dict(self.alarm_changes),
            "rarefault_outbox_messages": len(self.store.outbox),
            "rarefault_outbox_dropped_total": self.store.outbox.dropped,
            "rarefault_refused_total": self.refused,
            "rarefault_journal_bytes": self.store.bytes(),
            "rarefault_journal_failures_total": self.store.failures,
            "rarefault_journal_damaged_total": self.store.damaged,
            "rarefault_reloads_total": dict(self.reloads),
        }
