"""What was wrong with the files that were read: how often, and the first example of each."""

from collections.abc import Iterator
from dataclasses import dataclass, field

# The kinds: what was found, and what was done about it.
BAD_LINES = "bad lines, skipped"
BAD_CELLS = "cells that are no finite number, taken as missing"
TOO_LARGE = "values that exceed what a float32 holds, taken as missing"
NAMED_MISSING = "values that data.missing names, taken as missing"
CHANNEL_MISSING = "values that the channel's missing names, taken as missing"
OUT_OF_RANGE = "values outside of the channel's valid range, taken as missing"
NO_NUMBERS = "values of messages that are no number, taken as missing"
BAD_QUALITY = "values whose quality is not good, taken as missing"
BAD_MESSAGES = "messages or samples that cannot be used, skipped"
IGNORED_MESSAGES = "messages that are no telemetry, skipped"
FOREIGN_TOPICS = "messages on topics that no telemetry.topic fits, skipped"
TEXT_VALUES = "values of names that never hold a number, left out"
NORMAL_WORDS = "samples with another word for normal"
NO_LABELS = "samples without a label, taken as normal because no label says so"
WHOLE_DAYS = "events that end on a day without a time, taken as lasting to the end of that day"
OPEN_EVENTS = "events without an end, taken as lasting to the last sample of their device"
OPEN_UNLABELLED = "events without an end, unlabelled from their start to the last sample of their device"
OPEN_LATE = "events without an end that begin after the last sample of their device, dropped"
DUPLICATES = "duplicate rows, dropped"
CONFLICTS = "rows that contradict an earlier row of the same device and time, the later one counts"
UNORDERED = "rows out of time order, sorted"
AMBIGUOUS_TIMES = "local times that occurred twice when the clocks were set back, taken as the earlier"
DOUBLED_HOURS = "local times that occurred twice when the clocks were set back, told apart by the order of the rows"
UNKNOWN_FAULTS = "events with an unknown fault code, dropped"
UNKNOWN_LABELS = "samples with an unknown label, taken as normal"
REVERSED_EVENTS = "events that end before they start, dropped"
IGNORED_EVENTS = "events that data.events.ignore names, left out"
OUTSIDE_EVENTS = "events before the first or after the last sample of their device, which label nothing"
ONLY_DEVICE = "events of a log without a column for devices, taken as those of the only device"
FOREIGN_EVENTS = "events of devices without samples, dropped"
REPEATED_EVENTS = "events that repeat another one, kept"
FOREIGN_TAGS = "rows whose tag does not fit data.tag_pattern, left out"
TEXT_COLUMNS = "columns without any number, left out"
NAMELESS_SAMPLES = "samples of devices that the journal does not name any more, dropped"
LACKING_CHANNELS = "channels that one of the sources has and another has not, missing from its samples"
COMMON_EVENTS = "events that several sources have, taken once"
NORMAL_EVENTS = "events that name no fault, left out"


#: Channels, devices or words that a note names; ``describe --json`` has all.
_MOST_NOTES = 3


@dataclass(slots=True)
class Note:
    """One kind of finding.

    Attributes:
        kind: what was found and what was done about it, such as ``"duplicate rows, dropped"``.
        count: how often.
        example: the first one, with its file and line where it has one.
        problem: whether ``strict`` reading refuses it; False for a mere remark.
        parts: of each channel, device or word that it was found at, how often and the first one; may be empty.
    """

    kind: str
    count: int
    example: str
    problem: bool = True
    parts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.count} {self.kind} {self.first}"

    @property
    def first(self) -> str:
        """The first one; where they were found at several places, the first at each of some."""
        if not self.parts:
            return f"(first: {self.example})"
        shown = [f"{count} of {name!r} (first: {at})" for name, (count, at) in list(self.parts.items())[:_MOST_NOTES]]
        more = [f"and more of {len(self.parts) - _MOST_NOTES} others"] if len(self.parts) > _MOST_NOTES else []
        return f"- {', '.join(shown + more)}"


class ReadNotes:
    """The findings of one reading, in the order in which each kind was first met."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}

    def add(self, kind: str, count: int, example: str, *, problem: bool = True, at: str | None = None) -> None:
        """Count ``count`` more of a kind; the example is kept if it is the first. Nothing happens for a count of 0.

        Args:
            kind: what was found.
            count: how often.
            example: the first of them.
            problem: whether strict reading refuses it.
            at: the channel, device or word that it was found at, where it is counted by these.
        """
        if count <= 0:
            return
        note = self._notes.setdefault(kind, Note(kind, 0, example, problem))
        note.count += int(count)
        if at is not None:
            before, first = note.parts.get(at, (0, example))
            note.parts[at] = (before + int(count), first)

    def take(self, other: "ReadNotes") -> None:
        """Count all that another reading has found, too."""
        for note in other:
            if not note.parts:
                self.add(note.kind, note.count, note.example, problem=note.problem)
            for name, (count, example) in note.parts.items():
                self.add(note.kind, count, example, problem=note.problem, at=name)

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
