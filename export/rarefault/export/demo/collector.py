"""Listens to what the daemon publishes, as any consumer would."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from rarefault.runtime.daemon.publishing.payloads import AlarmPayload, VerdictPayload


@dataclass
class Collector:
    """Keeps every verdict and alarm that arrives.

    Attributes:
        verdicts: by id, the first delivery.
        arrived: when each came, monotonic seconds, by id.
        alarms: every change of an alarm, in order of arrival.
        repeated: deliveries of an id that had come before.
        contradicting: ids that came with two different contents.
        status: last status of the daemon.
    """

    port: int
    prefix: str = "rarefault"
    verdicts: dict[str, VerdictPayload] = field(default_factory=dict)
    arrived: dict[str, float] = field(default_factory=dict)
    alarms: list[AlarmPayload] = field(default_factory=list)
    latest: dict[str, VerdictPayload] = field(default_factory=dict)
    repeated: int = 0
    contradicting: list[str] = field(default_factory=list)
    status: str = ""
    last_arrival: float = 0.0

    def start(self) -> None:
        """Connect and subscribe; returns once the broker has confirmed the subscription."""
        subscribed = threading.Event()
        self._verdict = msgspec.json.Decoder(VerdictPayload)
        self._alarm = msgspec.json.Decoder(AlarmPayload)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        self._client.subscribe(f"{self.prefix}/#", qos=1)
        if not subscribed.wait(10):
            raise TimeoutError("the embedded broker did not confirm a subscription within 10 s")

    def stop(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        now = time.monotonic()
        kind = message.topic.rsplit("/", 1)[1]
        if kind == "verdict":
            verdict = self._verdict.decode(message.payload)
            self.last_arrival = now
            if (known := self.verdicts.get(verdict.id)) is not None:
                self.repeated += 1
                if (known.fault, known.probabilities) != (verdict.fault, verdict.probabilities):
                    self.contradicting.append(verdict.id)
                return
            self.verdicts[verdict.id] = self.latest[verdict.device] = verdict
            self.arrived[verdict.id] = now
        elif kind == "alarm" and message.payload:  # else a forgotten device's is cleared
            self.alarms.append(self._alarm.decode(message.payload))
        elif kind == "status":
            self.status = message.payload.decode()
