"""The sink: alarms as the metrics of an edge node, over a connection of its own.

A thread of its own has the connection, so that a broker that does not answer holds up nobody. Alarms that could not be
sent wait in the outbox. After a connection each machine is born with its last state; of the alarms that waited, the
earlier ones go out as historical. Everything is of QoS 0: an alarm counts as delivered once it was handed to the
connection, and what is lost on the way is lost. The next birth has the present state all the same.
"""

import itertools
import logging
import os
import threading
import time
from pathlib import Path

import msgspec

from rarefault.runtime.daemon.config import DaemonConfig, SparkplugSinkConfig
from rarefault.runtime.daemon.mqtt.own_thread import OwnConnection
from rarefault.runtime.daemon.publishing.sparkplug.messages import EdgeMessages
from rarefault.runtime.daemon.publishing.sparkplug.state import EdgeState, Machine, load_state, save_state
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.journal.records import Entry
from rarefault.runtime.telemetry.sparkplug import read_payload
from rarefault.runtime.telemetry.sparkplug.writing import REBIRTH
from rarefault.runtime.times import parse_time_ms

log = logging.getLogger(__name__)

#: Alarms that are gathered at most before they are sent.
TOGETHER = 1000
#: Least time between two births that are asked for, seconds.
REBIRTH_EVERY_S = 1.0
#: Metrics that are looked at in a command.
MOST_COMMANDS = 100


class _Alarm(msgspec.Struct):
    """What is needed of :class:`rarefault.runtime.daemon.publishing.payloads.AlarmPayload`."""

    device: str
    id: str
    state: str
    since: str
    model: str
    probability: float | None = None


class SparkplugSink(OwnConnection):
    """Publishes alarms as an edge node.

    Args:
        config: of the sink.
        daemon: the daemon's configuration, whose broker it is.
        source: the configuration file.

    Attributes:
        name: of the sink.
        generation: does not change: what was taken is kept until it is sent.
        written: number of alarms that were sent.
    """

    def __init__(self, config: SparkplugSinkConfig, daemon: DaemonConfig, source: Path) -> None:
        self.name = config.name
        self.generation = self.written = 0
        edge = config.edge_of(daemon.publish.runtime_name)
        self._path = source.parent / config.path
        self._state: EdgeState = load_state(self._path)
        self._messages = EdgeMessages(config.group, edge, config.codes, self._state)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._gathered: list[tuple[int, Entry]] = []
        self._sent: list[int] = []
        self._rebirth = False
        self._born: set[str] = set()
        self._born_at = 0.0
        client_id = f"{daemon.client_id}-{config.group}-{edge}"
        super().__init__(f"sink {self.name}", client_id, self._messages.command_topic, daemon.broker, source)
        self.start()

    @staticmethod
    def place(config: SparkplugSinkConfig, base: Path) -> str:
        """The file of its state, however its path is written."""
        return str((base / config.path).resolve())

    @staticmethod
    def check(config: SparkplugSinkConfig, base: Path) -> str:
        """Why a sink cannot be used, beginning with the key, with what to do; empty where it can."""
        path = base / config.path
        if not path.parent.is_dir():
            return f"path: there is no folder {path.parent}; make it"
        if not os.access(path.parent, os.W_OK | os.X_OK):
            return f"path: the folder {path.parent} cannot be written; give this user the right to"
        try:
            load_state(path)
        except ConfigError as error:
            return f"path: {path}: {error.problems[0]}"
        except OSError as error:
            return f"path: {path} cannot be read: {error.strerror}"
        return ""

    @staticmethod
    def warn(config: SparkplugSinkConfig, base: Path) -> str:  # noqa: ARG004 - as of other sinks
        """What may keep a sink that can be used from publishing later; empty where nothing does."""
        return ""

    @property
    def room(self) -> int:
        """Number of alarms that can be taken now."""
        with self._lock:
            return TOGETHER - len(self._gathered) if self._up else 0

    def publish(self, entry: Entry) -> int:
        """Take an alarm, to be sent by the thread."""
        number = next(self._ids)
        with self._lock:
            self._gathered.append((number, entry))
        return number

    def confirmations(self) -> list[int]:
        """Ids of what was sent since the last call."""
        with self._lock:
            sent, self._sent = self._sent, []
        return sent

    def _will(self) -> tuple[str, bytes, bool]:
        """The death of the session that begins."""
        self._state.bd_seq = (self._state.bd_seq + 1) % 256
        save_state(self._path, self._state)
        self._rebirth, self._born_at, self._born = True, 0.0, set()
        return *self._messages.node_death(), False

    def _serve(self) -> None:
        """Births where they are due, then what was taken."""
        if self._rebirth and time.monotonic() - self._born_at >= REBIRTH_EVERY_S:
            self._be_born()
            self._up = True
        self._send_gathered()

    def _leave(self) -> None:
        """Say that the node dies: the broker will not, where a client takes leave."""
        self._send(*self._messages.node_death())

    def _take(self, payload: bytes) -> None:
        """A command."""
        try:
            found = read_payload(payload, MOST_COMMANDS)
        except (ValueError, OverflowError) as error:
            self._log.log("command", logging.WARNING, "sink %s: a command cannot be read: %s", self.name, error)
            return
        if any(metric.name == REBIRTH and metric.value for metric in found.metrics):
            self._rebirth = True

    def _be_born(self) -> None:
        """NBIRTH, and DBIRTH of each machine of which there is data."""
        self._rebirth, self._born_at = False, time.monotonic()
        self._send(*self._messages.node_birth())
        self._born = {name for name, machine in self._state.machines.items() if machine.there}
        for name in sorted(self._born):
            self._send(*self._messages.birth(name, self._state.machines[name]))

    def _send_gathered(self) -> None:
        """Send what was taken, keep what the machines are now, and confirm it."""
        with self._lock:
            gathered = list(self._gathered)
        if not gathered:
            return
        found: dict[str, list[Machine | None]] = {}
        for _, entry in gathered:
            name, machine = _machine(entry)
            found.setdefault(name, []).append(machine)
        for name, machines in found.items():
            self._send_machine(name, machines)
        save_state(self._path, self._state)
        with self._lock:
            self._sent += [number for number, _ in gathered]
            del self._gathered[: len(gathered)]
        self.written += len(gathered)

    def _send_machine(self, name: str, machines: list[Machine | None]) -> None:
        """Send the alarms of one machine: all but the last are history."""
        messages, last = self._messages, machines[-1]
        earlier = [machine for machine in machines[:-1] if machine is not None]
        there = last if last is not None and last.there else next((m for m in reversed(earlier) if m.there), None)
        born_now = name not in self._born and there is not None
        if born_now and there is not None:
            self._send(*messages.birth(name, there))
            self._born.add(name)
        for machine in earlier:
            self._send(*messages.data(name, machine, historical=True))
        if last is not None and last.there:
            if not born_now:
                self._send(*messages.data(name, last, historical=False))
        elif name in self._born:
            self._send(*messages.death(name))
            self._born.discard(name)
        if last is None:
            self._state.machines.pop(name, None)
        else:
            self._state.machines[name] = last


def _machine(entry: Entry) -> tuple[str, Machine | None]:
    """Name of a machine and its alarm; None where it is forgotten."""
    if not entry.payload:
        return entry.topic.split("/")[-2], None
    alarm = msgspec.json.decode(entry.payload, type=_Alarm)
    return alarm.device, Machine(alarm.state, alarm.probability, alarm.id, parse_time_ms(alarm.since), alarm.model)
