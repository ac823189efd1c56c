"""A session with the broker that a test drives."""

import time
from collections.abc import Callable
from typing import Any, Self

from tests.harness.waiting import PATIENCE_S

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.mqtt.connection import Confirmation
from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.mqtt.session import BrokerSession
from rarefault.runtime.settings import from_mapping


class Driven:
    """A session with a broker, and what it has brought so far."""

    def __init__(self, config: DaemonConfig, password: str | None = None) -> None:
        self.session = BrokerSession(config, password)
        self.messages: list[Message] = []
        self.confirmations: list[Confirmation] = []

    def until(self, condition: Callable[[], object], *, hold: bool = False) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            self.poll(hold=hold)

    def poll(self, timeout_s: float = 0.05, *, hold: bool = False) -> None:
        self.confirmations += self.session.poll(timeout_s, hold=hold)
        while not hold and (message := self.session.next()) is not None:
            self.messages.append(message)

    def connect(self) -> Self:
        """Connect and subscribe."""
        self.until(lambda: self.session.subscriptions.ever_granted and self.session.connected)
        return self

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]


def session_config(
    url: str, *, protocol: str = "auto", pending: int = 1000, qos: int = 1, **broker: Any
) -> DaemonConfig:
    return from_mapping(
        {
            "model": {"path": "unused.onnx"},
            "broker": {"url": url, "protocol": protocol, "reconnect_min_s": 0.05, "reconnect_max_s": 0.2} | broker,
            "publish": {"runtime": "edge"},
            "telemetry": {"qos": qos},
            "limits": {"pending_messages": pending},
        },
        DaemonConfig,
        "edge.toml",
    )
