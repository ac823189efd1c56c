"""What was wrong with the files that were read: how often, and the first example of each."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Note:
    """One kind of finding.

    Attributes:
        kind: what was found and what was done about it, such as ``"duplicate rows dropped"``.
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
