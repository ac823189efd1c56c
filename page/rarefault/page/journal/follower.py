"""The follower: looks at the journal again and again, and keeps the fleet up to date."""

import logging
import time
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from rarefault.page.journal.fleet import FleetTable, kind_of
from rarefault.page.journal.queries import Heads, PageJournal
from rarefault.runtime.errors import DamagedJournalError, JournalError

log = logging.getLogger(__name__)

#: Batches of verdicts that are read at a time when the page starts, and how long that may take in all, seconds.
BACKWARDS, BACKWARDS_S = 500, 3.0
#: A file that was written so short a time ago may be written once more within the same tick of its clock, seconds.
UNSETTLED_S = 0.2
#: Looks after which devices that were forgotten, or are back, are looked for.
FORGOTTEN_EVERY = 20

Stamp = tuple[int, ...]


class JournalState(msgspec.Struct, frozen=True):
    """Whether the journal can be read.

    Attributes:
        state: ``missing``: there is none yet; ``unreadable``: of another form, or without the right to it.
        sentence: what is wrong, and what to do; empty where all is in order.
        since_ms: since when it has been so, milliseconds since the epoch.
    """

    state: Literal["ok", "missing", "damaged", "unreadable"]
    sentence: str
    since_ms: int


class Follower:
    """Keeps the fleet as the journal has it.

    Call :meth:`look` now and then, from one thread at a time. A file that has not changed is not opened. The fleet that
    was read last stays when the journal cannot be read; another journal in its place is read anew.

    Args:
        path: of the journal.

    Attributes:
        fleet: what is known of each device; another table after the journal was replaced.
        state: whether the journal can be read.
        revision: grows with every change.
        alarms: grows with every alarm that is raised.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fleet = FleetTable()
        self.state = JournalState("missing", f"{path}: not looked at yet", _now_ms())
        self.revision = 0
        self.alarms = 0
        self._heads = Heads(0, 0, 0, 0, 0, 0)
        self._file: tuple[int, int] | None = None
        self._stamp: Stamp | None = None
        self._looks = 0

    def look(self) -> bool:
        """Take in what is new; whether there was anything."""
        before, stamp = self.revision, self._new_stamp()
        if stamp is not None and stamp == self._stamp:
            return False
        try:
            self._read()
        except JournalError as error:
            self._set_state(error)
            self._stamp = None
        else:
            self._set_state(None)
            self._stamp = stamp
        return self.revision != before

    def _new_stamp(self) -> Stamp | None:
        """What tells whether the files were written; None where that cannot be told."""
        found: list[int] = []
        for path in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            try:
                stat = path.stat()
            except OSError:
                found += [0, 0, 0]
                continue
            if abs(time.time() - stat.st_mtime) < UNSETTLED_S:
                return None
            found += [stat.st_ino, stat.st_size, stat.st_mtime_ns]
        return tuple(found)

    def _read(self) -> None:
        file = self._identity()
        with PageJournal(self.path) as journal:
            heads = journal.heads()
            replaced = file != self._file or any(
                now < then for now, then in zip(_keys(heads), _keys(self._heads), strict=True)
            )
            if replaced or self._file is None:
                fleet = FleetTable()
                _load(fleet, journal, heads)
                self.fleet, self._file, self._heads = fleet, file, heads
                self.revision += 1
                return
            self._take_new(journal, heads)

    def _identity(self) -> tuple[int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def _take_new(self, journal: PageJournal, heads: Heads) -> None:
        fleet, known = self.fleet, self._heads
        self._looks += 1
        everything = self._looks % FORGOTTEN_EVERY == 0
        fleet.add(journal.devices_after(0 if everything else known.device))
        new = list(journal.alarms_after(known.alarm))
        fleet.take_alarms(new)
        for batch in journal.verdict_batches(known.verdict, heads.verdict):
            fleet.take_verdicts(batch, journal.classes(batch.model))
        for _, _, device, time_ms in journal.sample_times(known.batch):
            fleet.take_times(device, time_ms)
        raised = sum(kind_of(alarm.state) in ("fault", "unknown") for _, alarm in new)
        self._heads = heads
        self.alarms += raised
        self.revision += heads != known

    def _set_state(self, error: JournalError | None) -> None:
        if error is None:
            state = JournalState("ok", "", _now_ms())
        elif isinstance(error, DamagedJournalError):
            state = JournalState("damaged", str(error), _now_ms())
        else:
            state = JournalState("unreadable" if self.path.exists() else "missing", str(error), _now_ms())
        if (state.state, state.sentence) != (self.state.state, self.state.sentence):
            (log.info if error is None else log.warning)("%s", state.sentence or f"{self.path}: is read")
            self.state = state
            self.revision += 1


def _keys(heads: Heads) -> tuple[int, ...]:
    """Those keys that never go back in one journal; what was set aside can be taken out."""
    return heads.device, heads.alarm, heads.verdict, heads.batch


def _load(fleet: FleetTable, journal: PageJournal, heads: Heads) -> None:
    """Read the fleet from nothing: last words, last samples, and last verdicts as far back as there is time for."""
    fleet.add(journal.devices_after(0))
    fleet.take_alarms(journal.last_alarms())
    clocks = journal.clocks()
    numbers = [(fleet.number(name), max(clock.newest_ms, clock.heard_ms)) for name, clock in clocks.items()]
    kept = np.array([(number, time_ms) for number, time_ms in numbers if number is not None], np.int64).reshape(-1, 2)
    fleet.take_times(kept[:, 0], kept[:, 1])
    # Where there is no snapshot yet, all batches are few.
    for _, _, device, time_ms in journal.sample_times(journal.snapshot_seq()):
        fleet.take_times(device, time_ms)
    deadline, before_key = time.monotonic() + BACKWARDS_S, heads.verdict + 1
    while not fleet.all_judged and time.monotonic() < deadline:
        batches = journal.verdicts_backwards(before_key, BACKWARDS)
        if not batches:
            break
        for batch in batches:
            fleet.take_verdicts(batch, journal.classes(batch.model), backwards=True)
        before_key = batches[-1].key


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
