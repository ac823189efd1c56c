"""What was wrong with the files that were read: how often, and the first example of each."""

from collections.abc import Iterator
from dataclasses import dataclass

# The kinds: what was found, and what was done about it.
BAD_LINES = "bad lines, skipped"
BAD_CELLS = "cells that are no finite number, taken as missing"
DUPLICATES = "duplicate rows, dropped"
CONFLICTS = "rows that contradict an earlier row of the same device and time, the later one counts"
UNORDERED = "rows out of time order, sorted"
AMBIGUOUS_TIMES = "local times that occurred twice when the clocks were set back, taken as the earlier"
UNKNOWN_FAULTS = "events with an unknown fault code, dropped"
UNKNOWN_LABELS = "samples with an unknown label, taken as normal"
REVERSED_EVENTS = "events that end before they start, dropped"
FOREIGN_EVENTS = "events of devices without samples, dropped"
REPEATED_EVENTS = "events that repeat another one, kept"
TEXT_COLUMNS = "columns without any number, left out"
NAMELESS_SAMPLES = "samples of devices that the journal does not name any more, dropped"
NORMAL_EVENTS = "events that name no fault, left out"


@dataclass(slots=True)
class Note:
    """One kind of finding.

    Attributes:
        kind: what was found and what was done about it, such as ``"duplicate rows, dropped"``.
        count: how often.
        example: the first one, with its file and line where it has one.
        problem: whether ``strict`` reading refuses it; False for a mere remark.
    """

    kind: str
    count: int
    example: str
    problem: bool = True

    def __str__(self) -> str:
        return f"{self.count} {self.kind} (first: {self.example})"


class ReadNotes:
    """The findings of one reading, in the order in which each kind was first met."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}

    def add(self, kind: str, count: int, example: str, *, problem: bool = True) -> None:
        """Count ``count`` more of a kind; the example is kept if it is the first. Nothing happens for a count of 0."""
        if count <= 0:
            return
        if kind in self._notes:
            self._notes[kind].count += int(count)
        else:
            self._notes[kind] = Note(kind, int(count), example, problem)

    def count(self, kind: str) -> int:
        """How often a kind was found."""
        return self._notes[kind].count if kind in self._notes else 0

    def problems(self) -> list[Note]:
        """The findings that strict reading refuses."""
        return [note for note in self if note.problem]

    def __iter__(self) -> Iterator[Note]:
        return iter(self._notes.values())

    def __len__(self) -> int:
        return len(self._notes)

    def __str__(self) -> str:
        return "\n".join(str(note) for note in self)
