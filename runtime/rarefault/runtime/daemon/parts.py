"""The parts of a daemon, for those that look at all of them: health and metrics."""

from collections import Counter
from dataclasses import dataclass, field

from rarefault.runtime.daemon.host.clock_watch import ClockWatch
from rarefault.runtime.daemon.mqtt.host_application import HostApplication
from rarefault.runtime.daemon.mqtt.identity import DaemonIdentity
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.daemon.publishing.broker_sink import BrokerSink
from rarefault.runtime.daemon.publishing.delivery import BrokerDelivery, Delivery
from rarefault.runtime.daemon.publishing.sink import ConfiguredSink
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.daemon.telemetry.intake import Intake
from rarefault.runtime.daemon.telemetry.presence import Presence
from rarefault.runtime.daemon.telemetry.rebirths import Rebirths
from rarefault.runtime.daemon.turns.memory import TurnStore
from rarefault.runtime.daemon.turns.work import Outcome


@dataclass(slots=True)
class Totals:
    """What the daemon has counted so far, beside what its parts count.

    Attributes:
        verdicts: by fault.
        alarms: changes, by new state.
        reloads: by outcome.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    reloads: Counter[str] = field(default_factory=lambda: Counter(done=0, refused=0))

    def add(self, outcome: Outcome) -> None:
        """Count what came of a turn."""
        self.verdicts.update(verdict.fault for verdict in outcome.verdicts)
        self.alarms.update(alarm.state for alarm in outcome.alarms)


class Parts:
    """What a daemon consists of.

    Attributes:
        setup: what it is made from; another one after a reload.
        store: pipeline, devices and outboxes, and what keeps them.
        session: with the broker.
        identity: who the daemon is for the broker.
        clock: whether telemetry can be believed.
        intake: messages to samples.
        presence: which devices are silent.
        host: the role of a host application of Sparkplug, where that is wanted.
        rebirths: asks edge nodes of Sparkplug to be born again.
        broker: the broker as a sink, and its delivery.
        sinks: the other sinks, and their deliveries.
        looked_at: when the main loop was last seen to go on; monotonic clock, seconds.
    """

    setup: Setup
    store: TurnStore
    session: BrokerSession
    identity: DaemonIdentity
    clock: ClockWatch
    intake: Intake
    presence: Presence
    rebirths: Rebirths
    host: HostApplication | None
    broker: BrokerSink
    broker_delivery: BrokerDelivery
    sinks: list[ConfiguredSink]
    deliveries: list[Delivery]
    totals: Totals
    looked_at: float
