"""The daemon: telemetry in, verdicts out.

One thread does everything, turn by turn. A turn takes what has arrived (link), reads it (codec), brings it to verdicts
(pipeline), keeps these until the broker has confirmed them (outbox), and only then acknowledges what it took.
"""

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec

from rarefault.runtime import __version__
from rarefault.runtime.daemon.codec import Codec, column_tree
from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.connection import Confirmation, Message
from rarefault.runtime.daemon.keeper import Keeper
from rarefault.runtime.daemon.link import Link
from rarefault.runtime.daemon.metrics import Counts, MetricsPage
from rarefault.runtime.daemon.outbox import MemoryOutbox, Outbox
from rarefault.runtime.daemon.payloads import alarm_payload, verdict_payloads
from rarefault.runtime.daemon.rejections import Rejections
from rarefault.runtime.daemon.rows import Rows
from rarefault.runtime.daemon.sampled_log import SampledLog
from rarefault.runtime.model_file import LoadedModel
from rarefault.runtime.pipeline import Pipeline, Verdicts

log = logging.getLogger(__name__)

#: Longest wait of a turn in which nothing happens.
IDLE_S = 1.0
#: How long a stop may wait for the broker's confirmations, and again for its answer to the farewell.
FAREWELL_S = 5.0
#: A crowded outbox of which the broker confirms nothing for so long does not hold up telemetry any more.
STALL_S = 30.0


class Service:
    """The daemon.

    Args:
        config: its configuration.
        model: what says the verdicts.
        password: of ``config.broker.username``, if there is one.
        source: names the configuration in errors.

    Raises:
        ConfigError: ``[telemetry.fields]`` does not fit the model.
    """

    def __init__(self, config: DaemonConfig, model: LoadedModel, password: str | None, source: str) -> None:
        self.config = config
        self.model = model
        self._keeper: Keeper | None = None
        self._pipeline = self._new_pipeline()
        self.rejections = Rejections()
        channels = model.manifest.channels
        self.codec = Codec(
            config.telemetry,
            column_tree(channels, config.telemetry.fields, source),
            self._slot,
            config.limits.max_devices,
            self.rejections,
        )
        self.rows = Rows(2 * max(config.telemetry.max_batch, config.limits.pending_messages), len(channels))
        self._outbox = MemoryOutbox(config.limits.outbox_messages)
        self.link = Link(config, password)
        self.metrics = MetricsPage(config.metrics, Counts(self.counts, model.model_id))
        self.messages = 0
        self.refused = 0
        self.verdicts: Counter[str] = Counter()
        self.alarm_changes: Counter[str] = Counter()
        self._source = source
        self._sampled_log = SampledLog(log)
        self._encoder = msgspec.json.Encoder()
        self._stopping = False
        self._signal = ""
        self._connection = 0
        self._progress_at = time.monotonic()
        self._stalled = False

    @property
    def pipeline(self) -> Pipeline:
        """What brings samples to verdicts."""
        return self._keeper.pipeline if self._keeper is not None else self._pipeline

    @property
    def outbox(self) -> Outbox:
        """What waits for the broker's confirmation."""
        return self._keeper.outbox if self._keeper is not None else self._outbox

    def _slot(self, device: str) -> int:
        return self.pipeline.slot(device)  # of the present pipeline, which a failed turn replaces

    def _new_pipeline(self) -> Pipeline:
        return Pipeline(self.model.manifest, self.model.step, self.model.model_id)

    def run(self) -> None:
        """Serve until :meth:`stop`, SIGTERM or SIGINT.

        Raises:
            BrokerError: the broker's first answer was a refusal that waiting does not mend.
            ConfigError: the port of the metrics cannot be had.
        """
        with self._signals_stop():
            try:
                self._startup()
                self._main_loop()
            finally:
                self._shutdown()

    def stop(self) -> None:
        """End :meth:`run` soon; may be called from a signal handler or another thread."""
        self._stopping = True
        self.link.wake()

    def _startup(self) -> None:
        if self.config.journal.path:
            base = Path(self._source).parent
            capacity = self.config.limits.outbox_messages
            self._keeper = Keeper(self.config.journal, base, self._new_pipeline, capacity)
            self.codec.know(self.pipeline.devices)
        self.metrics.open(self._source)
        log.info(
            "rarefault %s with model %s (%d channels; %s): telemetry from %s at %s, verdicts to %s/{device}/verdict",
            __version__,
            self.model.model_id,
            len(self.model.manifest.channels),
            ", ".join(self.model.manifest.classes),
            self.config.telemetry.topic,
            self.config.broker.url,
            self.config.publish.prefix,
        )

    def _main_loop(self) -> None:
        while not self._stopping:
            self._turn(IDLE_S)
        log.info("stopping (%s)", self._signal or "asked to")

    def _turn(self, timeout_s: float) -> None:
        """Wait for the broker, process what has come, and acknowledge it."""
        hold = self._hold()
        self._note_confirmations(self.link.poll(timeout_s, hold=hold))
        begin = time.perf_counter()
        messages = [] if hold else self._take()
        self._send()
        if messages:
            self.link.acknowledge(messages)
            self.metrics.turn_seconds.observe(time.perf_counter() - begin)

    def _shutdown(self) -> None:
        deadline = time.monotonic() + FAREWELL_S
        while len(self.outbox) and self.link.connected and time.monotonic() < deadline:
            self._send()
            self._note_confirmations(self.link.poll(0.1, hold=True))
        self.link.close(FAREWELL_S)
        self.metrics.close()
        if len(self.outbox):
            where = "the journal keeps them" if self._keeper is not None else "they are lost"
            log.warning("stopped with %d verdicts and alarms not confirmed by the broker; %s", len(self.outbox), where)
        if self._keeper is not None:
            self._keeper.close()
        log.info("stopped after %d messages, %d verdicts", self.messages, self.verdicts.total())

    def _take(self) -> list[Message]:
        """Bring messages to verdicts and return them; by then, all that must not be lost is kept in the outbox."""
        taken: list[Message] = []
        while len(taken) < self.config.limits.pending_messages and self.rows.free >= self.config.telemetry.max_batch:
            message = self.link.next()
            if message is None:
                break
            taken.append(message)
            self.codec.decode(message.topic, message.payload, message.arrived_ms, self.rows, retained=message.retained)
        self.messages += len(taken)
        if self._process():
            return taken
        self.messages -= len(taken)
        self.link.give_back(taken)
        return []

    def _process(self) -> bool:
        """Bring the samples that were read to verdicts; False where they could not be kept."""
        kept = True
        if self._keeper is not None:
            if len(self.rows) or self._keeper.outbox.settled:
                kept = self._keeper.turn(self.rows, self._put)
                if not kept:
                    self.codec.know(self.pipeline.devices)
        elif len(self.rows):
            self._put(self.pipeline.push(self.rows.device, self.rows.time_ms, self.rows.values))
        self.rows.clear()
        return kept

    def _put(self, verdicts: Verdicts) -> None:
        prefix = self.config.publish.prefix
        for verdict in verdict_payloads(verdicts, self.pipeline, time.time_ns() // 1_000_000):
            self.verdicts[verdict.fault] += 1
            self.outbox.put(f"{prefix}/{verdict.device}/verdict", self._encoder.encode(verdict), retain=False)
        for change in verdicts.alarms:
            alarm = alarm_payload(change, self.pipeline)
            self.alarm_changes[alarm.state] += 1
            log.debug("%s: %s since %s (probability %.2f)", alarm.device, alarm.state, alarm.since, alarm.probability)
            self.outbox.put(f"{prefix}/{alarm.device}/alarm", self._encoder.encode(alarm), retain=True)

    def _send(self) -> None:
        """Send from the outbox what the broker takes now."""
        if self._connection != self.link.connections:
            self._connection = self.link.connections
            self.outbox.resend()
        while self.link.window > 0 and (entry := self.outbox.next()) is not None:
            self.outbox.sent(entry.key, self.link.publish(entry.topic, entry.payload, retain=entry.retain))

    def _note_confirmations(self, confirmations: list[Confirmation]) -> None:
        for mid, refused in confirmations:
            self.outbox.confirm(mid)
            if refused is not None:
                self.refused += 1
                self._sampled_log.say(
                    "refused",
                    logging.ERROR,
                    "the broker refuses what is published below %s/ (%s): allow user %r to write there",
                    self.config.publish.prefix,
                    refused,
                    self.config.broker.username,
                )
        if confirmations or not self.outbox.crowded or not self.link.connected:
            self._progress_at = time.monotonic()

    def _hold(self) -> bool:
        """Whether telemetry must wait, unacknowledged, because it or its verdicts might find no room."""
        if self._keeper is not None and self._keeper.waiting:
            return True
        if not self.outbox.crowded:
            self._stalled = False
            return False
        stalled = time.monotonic() - self._progress_at > STALL_S
        if stalled and not self._stalled:
            log.error(
                "the broker has confirmed nothing for %.0f s while %d verdicts wait; telemetry is processed all the "
                "same, and the oldest verdicts are dropped where limits.outbox_messages is reached",
                STALL_S,
                len(self.outbox),
            )
        self._stalled = stalled
        return not stalled

    def counts(self) -> dict[str, float | dict[str, int]]:
        """The numbers behind the metrics, by name."""
        return {
            "rarefault_connected": float(self.link.connected),
            "rarefault_connections_total": self.link.connections,
            "rarefault_messages_total": self.messages,
            "rarefault_messages_dropped_total": self.link.dropped,
            "rarefault_samples_total": self.codec.samples,
            "rarefault_samples_late_total": self.pipeline.grid.late,
            "rarefault_rejected_total": {str(reason): n for reason, n in self.rejections.counts.items()},
            "rarefault_unknown_channels_total": self.rejections.unknown_channels,
            "rarefault_devices": self.codec.devices,
            "rarefault_verdicts_total": {name: self.verdicts[name] for name in self.model.manifest.classes}
            | dict(self.verdicts),
            "rarefault_alarm_changes_total": dict(self.alarm_changes),
            "rarefault_outbox_messages": len(self.outbox),
            "rarefault_outbox_dropped_total": self.outbox.dropped,
            "rarefault_refused_total": self.refused,
            "rarefault_journal_failures_total": self._keeper.failures if self._keeper is not None else 0,
        }

    @contextmanager
    def _signals_stop(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the daemon; what they did before is restored afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may capture signals
            return

        def handle(number: int, _frame: FrameType | None) -> None:
            # No logging here: the signal may have come in the middle of it.
            self._signal = signal.Signals(number).name
            self.stop()

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
