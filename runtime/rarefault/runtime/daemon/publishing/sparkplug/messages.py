"""Messages of an edge node that publishes alarms."""

import time
from collections.abc import Mapping

from rarefault.runtime.daemon.publishing.sparkplug.state import EdgeState, Machine
from rarefault.runtime.telemetry.sparkplug import NAMESPACE
from rarefault.runtime.telemetry.sparkplug.writing import (
    BD_SEQ,
    BOOLEAN,
    DATETIME,
    DOUBLE,
    INT32,
    INT64,
    REBIRTH,
    STRING,
    Value,
    write_payload,
)


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


class EdgeMessages:
    """Topics and payloads of an edge node, numbered as they are made.

    Args:
        group, edge: its names.
        codes: of faults, as they are configured.
        state: what it must not forget.
    """

    def __init__(self, group: str, edge: str, codes: Mapping[str, int], state: EdgeState) -> None:
        self.group, self.edge, self.state = group, edge, state
        self._codes = dict(codes)
        self._seq = 0

    @property
    def command_topic(self) -> str:
        """Where it is told what to do."""
        return self._topic("NCMD")

    def node_death(self) -> tuple[str, bytes]:
        """NDEATH of this session."""
        return self._topic("NDEATH"), write_payload([Value(BD_SEQ, INT64, self.state.bd_seq)], now_ms(), None)

    def node_birth(self) -> tuple[str, bytes]:
        """NBIRTH, with which the numbers begin anew."""
        self._seq = 0
        values = [Value(BD_SEQ, INT64, self.state.bd_seq), Value(REBIRTH, BOOLEAN, False)]
        return self._numbered("NBIRTH", "", values)

    def birth(self, name: str, machine: Machine) -> tuple[str, bytes]:
        """DBIRTH, with all that is ever sent of a machine."""
        return self._numbered("DBIRTH", name, self._values(machine))

    def data(self, name: str, machine: Machine, *, historical: bool) -> tuple[str, bytes]:
        """DDATA; what is ``historical`` has the time at which it began."""
        return self._numbered("DDATA", name, self._values(machine, historical=historical))

    def death(self, name: str) -> tuple[str, bytes]:
        """DDEATH."""
        return self._numbered("DDEATH", name, [])

    def _values(self, machine: Machine, *, historical: bool = False) -> list[Value]:
        at = machine.since_ms if historical else None
        values: list[tuple[str, int, float | str | None]] = [
            ("Fault", STRING, machine.state),
            ("Fault Code", INT32, self.state.code(machine.state, self._codes)),
            ("Probability", DOUBLE, machine.probability),
            ("Alarm Id", STRING, machine.alarm),
            ("Since", DATETIME, machine.since_ms),
            ("Model", STRING, machine.model),
        ]
        return [Value(name, datatype, value, at, historical) for name, datatype, value in values]

    def _numbered(self, type_: str, device: str, values: list[Value]) -> tuple[str, bytes]:
        payload = write_payload(values, now_ms(), self._seq)
        self._seq = (self._seq + 1) % 256
        return self._topic(type_, device), payload

    def _topic(self, type_: str, device: str = "") -> str:
        return "/".join(part for part in (NAMESPACE, self.group, type_, self.edge, device) if part)
