"""A proposal of a configuration, and the commented TOML that it is written as.

>>> data = Section("data", (Finding("decimal", ",", "Druck has values such as 3,5"),))
>>> print(Proposal("How plant.csv is written.", (data,)).as_toml(), end="")
# How plant.csv is written.
<BLANKLINE>
[data]
# Druck has values such as 3,5
decimal = ","
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from rarefault.runtime.proposal.finding import Finding, printable

#: Columns of the comments.
WIDTH = 110
#: Begins the comment at a key that the data do not settle.
QUESTION = "QUESTION: "


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the configuration.

    Attributes:
        name: as it stands in brackets, such as ``"data"`` or ``"data.events"``.
        findings: its keys, in the order of the file.
        about: a comment above it.
        one_of_several: whether it is written in double brackets.
    """

    name: str
    findings: tuple[Finding, ...]
    about: str = ""
    one_of_several: bool = False

    @property
    def header(self) -> str:
        """The line that begins it."""
        return f"[[{self.name}]]" if self.one_of_several else f"[{self.name}]"


@dataclass(frozen=True, slots=True)
class Table:
    """What the configuration would read, for the eye.

    Attributes:
        title: what it shows.
        columns: names.
        rows: cells, each as long as ``columns``.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration with the evidence for each of its keys.

    Attributes:
        title: what it was made from.
        sections: in the order of the file.
        questions: what no key of the sections settles, each a sentence or two.
        previews: what it would read.
    """

    title: str
    sections: tuple[Section, ...]
    questions: tuple[str, ...] = ()
    previews: tuple[Table, ...] = ()

    @property
    def doubts(self) -> list[tuple[Section, Finding]]:
        """The keys that may as well be something else."""
        return [(section, finding) for section in self.sections for finding in section.findings if finding.other]

    def answered(self, section: Section, finding: Finding, value: object) -> Self:
        """The proposal with a person's answer in the place of a doubt."""
        known = Finding(finding.key, value, f"{finding.evidence}; answered by hand")
        findings = tuple(known if one is finding else one for one in section.findings)
        changed = replace(section, findings=findings)
        return replace(self, sections=tuple(changed if one is section else one for one in self.sections))

    def as_toml(self) -> str:
        """The text of the configuration's file."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from comment(self.title)
        for question in self.questions:
            yield "#"
            yield from comment(QUESTION + question)
        for section in self.sections:
            yield ""
            if section.about:
                yield from comment(section.about)
            yield section.header
            for finding in section.findings:
                yield from _lines_of(finding)


def _lines_of(finding: Finding) -> Iterator[str]:
    """A key with its evidence above it; one that has no value stands in a comment."""
    if finding.other:
        yield from comment(f"{QUESTION}{finding.evidence}. It may as well be: {finding.other}")
    elif finding.evidence:
        yield from comment(finding.evidence)
    yield f"# {finding.key} = ..." if finding.value is None else finding.setting


def comment(text: str) -> list[str]:
    """Lines of a comment; what cannot stand in one is made visible."""
    return [
        line
        for part in map(printable, text.split("\n"))
        for line in textwrap.wrap(part, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
        or ["#"]
    ]
