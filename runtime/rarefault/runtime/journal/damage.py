"""What became of a damaged journal: in the new journal, in words, and for the daemon that goes on."""

from dataclasses import dataclass, field

import msgspec

#: What people call the rows.
_WORDS = {
    "device": "devices", "alarm": "alarms", "feedback": "answers", "rejected": "rejected messages",
    "outbox": "owed messages", "snapshot": "snapshots",
    "snapshot_part": "further parts of a snapshot", "batch": "batches of samples",
    "verdict": "batches of verdicts",
}  # fmt: skip


class Loss(msgspec.Struct, frozen=True):
    """What became of one table.

    Attributes:
        saved: rows in the new journal.
        lost: rows that could not be read, at most: there need not have been one for each key.
        more: whether the table's end could not be read either, so that there may have been more.
    """

    saved: int
    lost: int
    more: bool


class Damage(msgspec.Struct, frozen=True):
    """What a salvage has found; so it is in the new journal's ``meta``, as ``damage``.

    Attributes:
        aside: name of the file that was put aside, in the journal's folder.
        reason: how the damage showed.
        tables: what became of each.
        samples: that were saved.
    """

    aside: str
    reason: str
    tables: dict[str, Loss]
    samples: int

    def sentence(self) -> str:
        """In words, what was saved and lost."""
        saved = [f"{loss.saved} {_WORDS[name]}" for name, loss in self.tables.items() if loss.saved]
        lost = [
            f"{loss.lost} {_WORDS[name]}{' or more' if loss.more else ''}"
            for name, loss in self.tables.items()
            if loss.lost or loss.more
        ]
        return (
            f"it was put aside as {self.aside}; saved: {', '.join(saved) or 'nothing'}; "
            f"lost, at most: {', '.join(lost) or 'nothing that is known'}"
        )


@dataclass(frozen=True)
class Salvaged:
    """What the daemon must know to go on.

    Attributes:
        damage: what is kept of it.
        judged_ms: by device, the end of the last window that was published, or the time of its last sample.
        silent: devices of which the latter holds.
    """

    damage: Damage
    judged_ms: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)

    def judged(self, device: str, end_ms: int, *, silent: bool = False) -> None:
        """Something was published about a device."""
        if end_ms > self.judged_ms.get(device, -1):
            self.judged_ms[device] = end_ms
            (self.silent.add if silent else self.silent.discard)(device)
