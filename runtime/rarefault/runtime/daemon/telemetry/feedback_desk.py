"""The feedback desk: takes people's answers to alarms into a turn, and answers each."""

import msgspec

from rarefault.runtime.daemon.mqtt.identity import DaemonIdentity
from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.telemetry.feedback import (
    FeedbackReader,
    Known,
    ResultPayload,
    UnknownFaultError,
    alarm_of,
)
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.turns.memory import TurnStore
from rarefault.runtime.daemon.turns.work import Work
from rarefault.runtime.telemetry.reasons import RejectionError
from rarefault.runtime.times import format_ms


class FeedbackDesk:
    """Reads messages of feedback.

    Args:
        topic: their template.
        store: whose journal has the alarms.
        identity: names the daemon that answers.
        rejections: counts what cannot be used.

    Attributes:
        classes: of the present model.
    """

    def __init__(self, topic: str, store: TurnStore, identity: DaemonIdentity, rejections: Rejections) -> None:
        self.classes: tuple[str, ...] = ()
        self._reader = FeedbackReader(topic)
        self._store = store
        self._identity = identity
        self._rejections = rejections
        self._encoder = msgspec.json.Encoder()

    def matches(self, topic: str) -> bool:
        """Whether a message is feedback."""
        return self._reader.matches(topic)

    def read(self, message: Message, work: Work) -> None:
        """Add a message and its answer to the work of a turn; JournalError where the journal cannot be read."""
        journal = self._store.journal
        assert journal is not None  # without one there is no feedback topic
        known = Known(journal, self._store.devices.by_name, self.classes, work.feedback)
        device, refusal = "", None
        alarm = alarm_of(message.payload)
        try:
            device = self._reader.device(message.topic)
            feedback = self._reader.read(device, message.payload, message.arrived_ms, known)
            alarm = feedback.alarm
            work.feedback.append(feedback)
        except RejectionError as error:
            refusal = error
            self._rejections.add(message.topic, error, message.arrived_ms, message.payload)
        if not device:
            return
        result = ResultPayload(
            alarm=alarm,
            accepted=refusal is None,
            reason=refusal.detail if refusal else "",
            runtime=self._identity.names.runtime,
            time=format_ms(message.arrived_ms),
            faults=refusal.faults if isinstance(refusal, UnknownFaultError) else msgspec.UNSET,
        )
        work.results.append((f"{message.topic}/result", self._encoder.encode(result)))
