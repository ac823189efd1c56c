"""The daemon as a host application of Sparkplug: edge nodes that wait for their primary host learn that it is there."""

import time
from pathlib import Path

import msgspec

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.mqtt.own_thread import OwnConnection
from rarefault.runtime.telemetry.sparkplug import NAMESPACE

#: Least time between two answers to a state that is not ours, seconds.
ANSWER_EVERY_S = 1.0


class _State(msgspec.Struct, frozen=True):
    """What is published: whether the host is there, and since when, milliseconds since the epoch."""

    online: bool
    timestamp: int


class HostApplication(OwnConnection):
    """Publishes ``STATE``, retained, with a will that takes it back.

    Args:
        config: of the daemon, with ``telemetry.host_id``.
        source: the configuration file.
    """

    def __init__(self, config: DaemonConfig, source: Path) -> None:
        host_id = config.telemetry.host_id
        self._since_ms = 0
        self._due = False
        self._published_at = 0.0
        topic = f"{NAMESPACE}/STATE/{host_id}"
        super().__init__(f"telemetry.host_id {host_id!r}", f"{config.client_id}-host", topic, config.broker, source)

    def _will(self) -> tuple[str, bytes, bool]:
        """Offline, with the time of the birth that it takes back."""
        self._since_ms = time.time_ns() // 1_000_000
        self._due, self._published_at = True, 0.0
        return self._topic, _encoded(online=False, timestamp=self._since_ms), True

    def _serve(self) -> None:
        """Say that it is there, first and where somebody says that it is not."""
        if self._due and time.monotonic() - self._published_at >= ANSWER_EVERY_S:
            self._due, self._published_at = False, time.monotonic()
            self._send(self._topic, _encoded(online=True, timestamp=self._since_ms), 1, retain=True)

    def _leave(self) -> None:
        """Say that it is not there any more."""
        self._send(self._topic, _encoded(online=False, timestamp=time.time_ns() // 1_000_000), 1, retain=True)

    def _take(self, payload: bytes) -> None:
        """The state as the broker has it: of an earlier connection, or of one that was taken for dead."""
        try:
            state = msgspec.json.decode(payload, type=_State)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._due = True
            return
        if not state.online:
            self._due = True


def _encoded(*, online: bool, timestamp: int) -> bytes:
    return msgspec.json.encode(_State(online, timestamp))
