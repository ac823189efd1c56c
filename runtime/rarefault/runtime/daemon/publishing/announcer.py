"""The announcer: verdicts and changes of alarms to messages, in the outbox of every sink that wants them."""

from collections.abc import Mapping, Sequence

import msgspec

from rarefault.runtime.daemon.host.clock import wall_ms
from rarefault.runtime.daemon.publishing.outbox import Outbox
from rarefault.runtime.daemon.publishing.payloads import alarm_payload, alarm_record, verdict_payloads
from rarefault.runtime.daemon.publishing.sink import Route
from rarefault.runtime.daemon.turns.work import Outcome
from rarefault.runtime.inference.decision import AlarmChange
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts


class Announcer:
    """Makes the messages of a turn; it runs within the turn, so that they are kept with what they follow from.

    Args:
        prefix: of the topics.
        routes: the sinks, and what each wants.
        overridden: keys of the daemon's ``[decision]`` that replace the model's own.
    """

    def __init__(self, prefix: str, routes: Sequence[Route], overridden: Sequence[str] = ()) -> None:
        self._prefix = prefix
        self._overridden = tuple(overridden)
        self._verdict_sinks = [route.sink for route in routes if route.what != "alarms"]
        self._alarm_sinks = [route.sink for route in routes if route.what != "verdicts"]
        self._encoder = msgspec.json.Encoder()

    def alarm_topic(self, device: str) -> str:
        """Where the alarms of a device go."""
        return f"{self._prefix}/{device}/alarm"

    def announce(
        self,
        verdicts: Verdicts | None,
        changes: list[AlarmChange],
        pipeline: Pipeline,
        outboxes: Mapping[str, Outbox],
        outcome: Outcome,
    ) -> None:
        """Put verdicts and changes of alarms into the outboxes, and add them to the outcome of the turn."""
        now_ms = wall_ms()
        if verdicts is not None and len(verdicts):
            for verdict in verdict_payloads(verdicts, pipeline, now_ms, self._overridden):
                payload, topic = self._encoder.encode(verdict), f"{self._prefix}/{verdict.device}/verdict"
                for sink in self._verdict_sinks:
                    outboxes[sink].put(topic, payload, retain=False)
                outcome.verdicts.append(verdict)
        for change in changes:
            alarm = alarm_payload(change, pipeline, self._overridden)
            payload = self._encoder.encode(alarm)
            for sink in self._alarm_sinks:
                outboxes[sink].put(self.alarm_topic(alarm.device), payload, retain=True)
            outcome.alarms.append(alarm)
            outcome.records.append(alarm_record(change, alarm, now_ms))
