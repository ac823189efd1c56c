"""The fleet as it is now: a row for each device, as arrays, so that thousands of them cost little."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
import numpy as np

from rarefault.runtime.arrays import NEVER, Bool, DeviceArrays, Float32, Int32, Int64
from rarefault.runtime.inference.manifest import NO_DATA, NORMAL, UNKNOWN
from rarefault.runtime.journal.records import AlarmRecord
from rarefault.runtime.journal.verdicts import VerdictBatch

Kind = Literal["fault", "unknown", "silent", "none", "normal"]
#: From the worst to the best; ``none``: there is no word on the device yet.
KINDS: tuple[Kind, ...] = get_args(Kind)
Sort = Literal["worst", "device", "state", "since", "probability", "sample"]
NO_STATE = ""


class Row(msgspec.Struct, frozen=True):
    """One device. Times are milliseconds since the epoch, None where there is none."""

    device: str
    state: str
    kind: Kind
    since_ms: int | None
    probability: float | None
    sample_ms: int | None


class Page(msgspec.Struct, frozen=True):
    """Some devices of those that fit a question, in its order.

    Attributes:
        rows: the devices.
        found: number of devices that fit.
        counts: number of all devices by kind.
    """

    rows: list[Row]
    found: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Question:
    """Which devices are wanted.

    Attributes:
        text: part of their names, upper and lower case alike; empty: all.
        kinds: of their states; empty: all.
        sort: by what they are in order.
        descending: whether the order is turned round.
        offset, limit: which of them.
    """

    text: str = ""
    kinds: tuple[Kind, ...] = ()
    sort: Sort = "worst"
    descending: bool = False
    offset: int = 0
    limit: int = 50


def kind_of(state: str) -> Kind:
    """What a state means to people."""
    kinds: dict[str, Kind] = {NO_STATE: "none", NORMAL: "normal", UNKNOWN: "unknown", NO_DATA: "silent"}
    return kinds.get(state, "fault")


class _Columns(DeviceArrays):
    present: Bool
    code: Int64
    since_ms: Int64
    alarm_key: Int64
    probability: Float32
    judged: Bool
    sample_ms: Int64

    def __init__(self) -> None:
        super().__init__(
            present=False,
            code=0,
            since_ms=NEVER,
            alarm_key=NEVER,
            probability=np.float32(np.nan),
            judged=False,
            sample_ms=NEVER,
        )


class FleetTable:
    """What is known of each device, by its number in the journal. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._columns = _Columns()
        self._names: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._folded: dict[int, str] = {}
        self._rank: Int64 | None = None  # of each number in the order of names
        self._states, self._codes = [NO_STATE], {NO_STATE: 0}

    def __len__(self) -> int:
        return int(self._columns.present.sum())

    def number(self, device: str) -> int | None:
        """The number of a device; None where there is no such device."""
        return self._numbers.get(device)

    def name(self, number: int) -> str:
        """The name of a device; empty where there is none."""
        return self._names.get(number, "")

    def add(self, devices: Iterable[tuple[int, str, bool]]) -> None:
        """Take in devices: number, name, whether it is forgotten."""
        with self._lock:
            for number, name, forgotten in devices:
                self._columns.make_room(number + 1)
                self._columns.present[number] = not forgotten
                if number not in self._names:
                    self._names[number], self._numbers[name] = name, number
                    self._folded[number] = name.casefold()
                    self._rank = None

    def take_alarms(self, alarms: Iterable[tuple[int, AlarmRecord]]) -> None:
        """Take in states as they were published, in order."""
        with self._lock:
            for key, alarm in alarms:
                number = self._numbers.get(alarm.device)
                if number is None:
                    continue  # deleted since, after it was forgotten
                columns = self._columns
                columns.code[number] = self._code(alarm.state)
                columns.since_ms[number], columns.alarm_key[number] = alarm.since_ms, key
                columns.probability[number] = np.nan  # until the next verdict

    def take_verdicts(self, batch: VerdictBatch, classes: tuple[str, ...], *, backwards: bool = False) -> None:
        """Take in verdicts: of each device the last one counts.

        Args:
            batch: the verdicts.
            classes: of their model, [K]; empty where they are not known.
            backwards: whether batches come from the newest on, so that the first one with a device counts.
        """
        with self._lock:
            columns = self._columns
            number, last = np.unique(batch.device[::-1], return_index=True)
            row = len(batch.device) - 1 - last
            known = number < columns.capacity
            if backwards:
                known[known] &= ~columns.judged[number[known]]
            number, row = number[known], row[known]
            column = np.full(len(self._states), NEVER)
            for i, name in enumerate(classes):
                if name in self._codes:
                    column[self._codes[name]] = i
            at = column[columns.code[number]]
            found = batch.posterior[row, at]
            columns.probability[number] = np.where(at == NEVER, np.nan, found)
            columns.judged[number] = True

    def take_times(self, device: Int32 | Int64, time_ms: Int64) -> None:
        """Take in the times of samples, [M]: of each device the newest counts."""
        with self._lock:
            known = device < self._columns.capacity
            np.maximum.at(self._columns.sample_ms, device[known], time_ms[known])

    @property
    def all_judged(self) -> bool:
        """Whether each device has a verdict that is taken in."""
        with self._lock:
            return bool((self._columns.judged | ~self._columns.present).all())

    def row(self, device: str) -> Row | None:
        """One device; None where there is no such device."""
        with self._lock:
            number = self._numbers.get(device)
            return None if number is None else self._row(number)

    def counts(self) -> dict[str, int]:
        """Number of devices by kind."""
        with self._lock:
            return self._counts(np.flatnonzero(self._columns.present))

    def open_alarms(self) -> list[int]:
        """Keys of the alarms that stand now, the worst first."""
        with self._lock:
            number = self._ordered(self._of_kinds(("fault", "unknown")), Question())
            keys: list[int] = self._columns.alarm_key[number].tolist()
            return keys

    def newest(self) -> tuple[str, int] | None:
        """The device with the newest sample, and its time; None where there is no sample."""
        with self._lock:
            sample_ms = self._columns.sample_ms
            number = int(sample_ms.argmax()) if len(sample_ms) else NEVER
            if number == NEVER or sample_ms[number] < 0:
                return None
            return self._names.get(number, ""), int(sample_ms[number])

    def page(self, question: Question) -> Page:
        """The devices that a question is about."""
        with self._lock:
            counts = self._counts(np.flatnonzero(self._columns.present))
            number = self._of_kinds(question.kinds or KINDS)
            if question.text:
                text = question.text.casefold()
                number = np.array([n for n in number.tolist() if text in self._folded[n]], np.int64)
            ordered = self._ordered(number, question)
            shown = ordered[question.offset : question.offset + question.limit]
            return Page([self._row(n) for n in shown.tolist()], len(number), counts)

    def _code(self, state: str) -> int:
        if state not in self._codes:
            self._codes[state] = len(self._states)
            self._states.append(state)
        return self._codes[state]

    def _kind_numbers(self) -> Int64:
        """Place of the kind of each state in ``KINDS``."""
        return np.array([KINDS.index(kind_of(state)) for state in self._states])

    def _counts(self, number: Int64) -> dict[str, int]:
        found = np.bincount(self._kind_numbers()[self._columns.code[number]], minlength=len(KINDS))
        return dict(zip(KINDS, found.tolist(), strict=True))

    def _of_kinds(self, kinds: tuple[Kind, ...]) -> Int64:
        wanted = np.isin(self._kind_numbers(), [KINDS.index(kind) for kind in kinds])
        return np.flatnonzero(self._columns.present & wanted[self._columns.code])

    def _ordered(self, number: Int64, question: Question) -> Int64:
        """Devices in the order that is wanted; those without the value come last, equal ones by name."""
        columns, names = self._columns, self._name_ranks()[number]
        kind = self._kind_numbers()[columns.code[number]]
        probability = np.nan_to_num(columns.probability[number].astype(float), nan=-1.0)
        since, sample = columns.since_ms[number], columns.sample_ms[number]
        alphabetical = np.argsort(np.argsort(self._states))[columns.code[number]]
        keys: dict[Sort, tuple[Int64, ...]] = {
            "worst": (names, -since, -probability, kind),
            "device": (names,),
            "state": (names, alphabetical),
            "since": (names, since),
            "probability": (names, probability),
            "sample": (names, sample),
        }
        *ties, first = keys[question.sort]
        missing = first < 0 if question.sort in ("since", "probability", "sample") else np.zeros(len(number), bool)
        return number[np.lexsort((*ties, -first if question.descending else first, missing))]

    def _name_ranks(self) -> Int64:
        if self._rank is None or len(self._rank) != self._columns.capacity:
            self._rank = np.zeros(self._columns.capacity, np.int64)
            for rank, number in enumerate(sorted(self._folded, key=self._folded.__getitem__)):
                self._rank[number] = rank
        return self._rank

    def _row(self, number: int) -> Row:
        columns = self._columns
        state = self._states[columns.code[number]]
        probability = float(columns.probability[number])
        return Row(
            device=self._names[number],
            state=state,
            kind=kind_of(state),
            since_ms=_time(columns.since_ms[number]),
            probability=None if np.isnan(probability) else round(probability, 3),
            sample_ms=_time(columns.sample_ms[number]),
        )


def _time(time_ms: np.int64) -> int | None:
    return int(time_ms) if time_ms >= 0 else None
