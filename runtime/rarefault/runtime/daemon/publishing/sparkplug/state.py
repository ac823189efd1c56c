"""What an edge node must not forget: the number of its session, its machines, and the codes of their faults."""

import os
from pathlib import Path

import msgspec

from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.manifest import NO_DATA, NORMAL, UNKNOWN

#: Codes of states that are no fault of the model.
CODES = {NORMAL: 0, NO_DATA: -1, UNKNOWN: -2}


class Machine(msgspec.Struct, frozen=True):
    """The last alarm of a machine.

    Attributes:
        state: a class of the model, ``unknown`` or ``no data``.
        probability: of the class; None where it is none.
        alarm: id of the alarm.
        since_ms: milliseconds since the epoch.
        model: id of the model.
    """

    state: str
    probability: float | None
    alarm: str
    since_ms: int
    model: str

    @property
    def there(self) -> bool:
        """Whether there is data of it."""
        return self.state != NO_DATA


class EdgeState(msgspec.Struct):
    """All of it.

    Attributes:
        bd_seq: number of the last session; -1 where there was none.
        machines: by name.
        codes: of faults, by name, in the order of their first appearance.
    """

    bd_seq: int = -1
    machines: dict[str, Machine] = msgspec.field(default_factory=dict)
    codes: dict[str, int] = msgspec.field(default_factory=dict)

    def code(self, fault: str, fixed: dict[str, int]) -> int:
        """The code of a state; a fault without one gets the next that is free, for good."""
        found = fixed.get(fault, CODES.get(fault, self.codes.get(fault)))
        if found is None:
            taken = {*fixed.values(), *self.codes.values()}
            found = self.codes[fault] = next(code for code in range(1, len(taken) + 2) if code not in taken)
        return found


def load_state(path: Path) -> EdgeState:
    """The state that a file keeps; a new one where there is no file.

    Raises:
        ConfigError: it is no such file.
        OSError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return EdgeState()
    try:
        return msgspec.json.decode(data, type=EdgeState)
    except msgspec.MsgspecError as error:
        raise ConfigError(str(path), [f"not the state of a Sparkplug sink: {error}; name another file"]) from None


def save_state(path: Path, state: EdgeState) -> None:
    """Keep the state; the file is the old or the new one, whatever happens. OSError where it cannot be written."""
    beside = path.with_name(f"{path.name}.new")
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(state))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
