"""The table of devices: which slot each has, and what the daemon keeps of it beside the pipeline's memory."""

import time
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int32
from rarefault.runtime.inference.slots import Slots

#: Rows that are made at first; later the table doubles.
FEWEST = 16


class DeviceTable(Slots):
    """One row for each slot. The pipeline has the same slots.

    A slot is given out at the first mention of a device and freed when the device is forgotten. After a turn that could
    not be kept the table is emptied, and filled again with the devices that the journal has.

    Attributes:
        number: in the journal, -1 while it has none.
        heard_at: when something last arrived of the device or, before that, when it got its slot; monotonic clock,
            seconds; infinite where the slot is free.
        silent: whether it has fallen silent since.
        born: whether its own protocol says that it is alive, so that silence means nothing.
        topic: on which it came first; empty where that is not known.
        tokens, newest_ms, filled_ms: its token bucket, see
            :class:`~rarefault.runtime.daemon.telemetry.rate_limit.RateLimit`.
        unsaved: slots given out since the last turn that was kept.
        unsaved_topics: slots whose first topic has become known since then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number: Int32 = np.empty(0, np.int32)
        self.heard_at: Float64 = np.empty(0)
        self.silent: Bool = np.empty(0, bool)
        self.born: Bool = np.empty(0, bool)
        self.topic: list[str] = []
        # Read and written one at a time, for every sample: array.array is several times faster at that than numpy.
        self.tokens, self.newest_ms, self.filled_ms = array("d"), array("q"), array("q")
        self.unsaved: list[int] = []
        self.unsaved_topics: list[int] = []

    def forget(self, slots: Iterable[int]) -> None:
        """Free slots; their rows are as new."""
        gone = set(slots)
        super().forget(gone)
        for slot in gone:
            self._reset(slot, np.inf)
        if self.unsaved:
            self.unsaved = [slot for slot in self.unsaved if slot not in gone]
        if self.unsaved_topics:
            self.unsaved_topics = [slot for slot in self.unsaved_topics if slot not in gone]

    def assign(self, names: Sequence[str]) -> None:
        """Begin anew with these devices, as if something had just arrived of each, and with nothing else known."""
        super().assign(names)
        self._grow(len(names))
        now = time.monotonic()
        for slot in range(len(self.silent)):
            self._reset(slot, now if slot < len(names) and names[slot] else np.inf)
        self.saved()

    def saved(self) -> None:
        """All devices and topics are kept."""
        self.unsaved.clear()
        self.unsaved_topics.clear()

    def _give(self, name: str) -> int:
        slot = super()._give(name)
        self._grow(slot + 1)
        self._reset(slot, time.monotonic())
        self.unsaved.append(slot)
        return slot

    def _reset(self, slot: int, heard_at: float) -> None:
        self.number[slot], self.heard_at[slot], self.silent[slot], self.topic[slot] = -1, heard_at, False, ""
        self.born[slot] = False
        self.newest_ms[slot] = -1  # the bucket is filled at the first sample

    def _grow(self, needed: int) -> None:
        """Make room for so many slots in all columns."""
        have = len(self.silent)
        if needed <= have:
            return
        more = max(needed, 2 * have, FEWEST) - have
        self.number = np.concatenate((self.number, np.full(more, -1, np.int32)))
        self.heard_at = np.concatenate((self.heard_at, np.full(more, np.inf)))
        self.silent = np.concatenate((self.silent, np.zeros(more, bool)))
        self.born = np.concatenate((self.born, np.zeros(more, bool)))
        self.topic += [""] * more
        for column in (self.tokens, self.newest_ms, self.filled_ms):
            column.extend([0] * more)
