"""What one turn has to do, and what came of it."""

from dataclasses import dataclass, field

import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.publishing.payloads import AlarmPayload, VerdictPayload
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.inference.grid import Restart
from rarefault.runtime.inference.pipeline import Verdicts
from rarefault.runtime.journal.records import AlarmRecord, Feedback, SetAside


def _no_slots() -> Int64:
    return np.empty(0, np.int64)


@dataclass(slots=True)
class Work:
    """What one turn has to do.

    Attributes:
        samples: that were read.
        messages: that they and the rest were read from.
        rejected: what could not be used.
        feedback: from people.
        results: topics and payloads of the answers to people.
        silent: slots of devices that have fallen silent.
        died: slots of devices that have died, as the last of the samples say.
        forgotten: slots of devices that have been silent for so long that they are forgotten.
    """

    samples: SampleBuffer
    messages: list[Message] = field(default_factory=list)
    rejected: list[SetAside] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    results: list[tuple[str, bytes]] = field(default_factory=list)
    silent: Int64 = field(default_factory=_no_slots)
    died: Int64 = field(default_factory=_no_slots)
    forgotten: Int64 = field(default_factory=_no_slots)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        slots = (self.silent, self.died, self.forgotten)
        return bool(len(self.samples) or self.rejected or self.feedback or any(map(len, slots)))


@dataclass(slots=True)
class Outcome:
    """What came of a turn that was kept.

    Attributes:
        verdicts, alarms: as they are published.
        records: the alarms for the journal.
        made: the verdicts as arrays; None where there are none.
        heard: slots of the devices of which samples were taken, one for each sample.
        late: samples dropped because their bin had closed.
        distrusted: samples dropped because their time was far ahead of the others of their device.
        restarts: devices that started anew.
    """

    verdicts: list[VerdictPayload] = field(default_factory=list)
    alarms: list[AlarmPayload] = field(default_factory=list)
    records: list[AlarmRecord] = field(default_factory=list)
    made: Verdicts | None = None
    heard: Int64 = field(default_factory=_no_slots)
    late: int = 0
    distrusted: int = 0
    restarts: list[Restart] = field(default_factory=list)
