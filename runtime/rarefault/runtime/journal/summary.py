"""What is in a journal, for people."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from rarefault.runtime.inference.pipeline import DeviceClock
from rarefault.runtime.journal.damage import Damage
from rarefault.runtime.journal.reader import JournalReader, is_sqlite
from rarefault.runtime.journal.records import SAMPLES, AlarmRecord, SetAside

#: Rejections of one reason that are shown.
EXAMPLES = 2


@dataclass(frozen=True)
class JournalSummary:
    """What is in a journal.

    Attributes:
        path: the file.
        channels: of the model that it serves.
        samples: number of samples by device, in order of the names.
        first_ms, last_ms: their times, milliseconds since the epoch; None where there are none.
        sample_bytes: that the samples take.
        alarms: number of changes of alarms, by state.
        last_alarm: the last word on each device.
        muted: devices of which all samples have been late for a while, by the last snapshot.
        answers: number of people's answers, by answer.
        rejected: number of what was set aside, by reason.
        examples: some of it.
        damaged_ms: when it was made of what could be read of a damaged one; None where it was not.
        damage: what was saved and lost then, see :class:`~rarefault.runtime.journal.damage.Damage`.
    """

    path: Path
    channels: tuple[str, ...]
    samples: dict[str, int]
    first_ms: int | None
    last_ms: int | None
    sample_bytes: int
    alarms: dict[str, int]
    last_alarm: dict[str, AlarmRecord]
    muted: dict[str, DeviceClock]
    answers: dict[str, int]
    rejected: dict[str, int]
    examples: list[SetAside]
    damaged_ms: int | None
    damage: Damage | None


def is_journal(path: Path) -> bool:
    """Whether a path is a file of SQLite that can be read."""
    try:
        return is_sqlite(path)
    except OSError:
        return False


def summarise_journal(path: Path) -> JournalSummary:
    """Read a journal through; a daemon may be writing it. JournalError where it cannot be read."""
    counts: Counter[int] = Counter()
    first, last = [], []
    with JournalReader(path) as reader:
        names = reader.devices()
        for batch in reader.batches():
            if batch.kind == SAMPLES and len(batch.time_ms):
                numbers, n = np.unique(batch.device, return_counts=True)
                counts.update(dict(zip(numbers.tolist(), n.tolist(), strict=True)))
                first.append(int(batch.time_ms.min()))
                last.append(int(batch.time_ms.max()))
        alarms = list(reader.alarms())
        rejected: Counter[str] = Counter()
        examples = []
        for aside in reader.set_aside():
            rejected[aside.reason] += 1
            if rejected[aside.reason] <= EXAMPLES:
                examples.append(aside)
        return JournalSummary(
            path=path,
            channels=reader.channels,
            samples={names[number]: n for number, n in sorted(counts.items(), key=lambda item: names[item[0]])},
            first_ms=min(first, default=None),
            last_ms=max(last, default=None),
            sample_bytes=reader.samples()[1],
            alarms=dict(Counter(alarm.state for alarm in alarms)),
            last_alarm={alarm.device: alarm for alarm in alarms},
            muted={name: clock for name, clock in reader.clocks().items() if clock.muted},
            answers=dict(Counter(answer.answer for answer in reader.feedback())),
            rejected=dict(rejected),
            examples=examples,
            damaged_ms=int(reader.meta["damaged_ms"]) if "damaged_ms" in reader.meta else None,
            damage=msgspec.json.decode(reader.meta["damage"], type=Damage) if "damage" in reader.meta else None,
        )
