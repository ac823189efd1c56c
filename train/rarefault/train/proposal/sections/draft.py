"""A section while it is put together: findings, and what is taken for the preview where they are left open."""

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from rarefault.runtime.proposal.finding import Finding, toml_value
from rarefault.runtime.proposal.proposal import Section
from rarefault.train.history.parsing.frames import Columns
from rarefault.train.history.time_columns import joined


@dataclass(slots=True)
class Draft:
    """A section.

    Attributes:
        name: as in :class:`~rarefault.runtime.proposal.proposal.Section`.
        findings: in the order of the file.
        assumed: values for the preview of keys that are left open.
        questions: what no key settles.
        about: a comment above it.
        one_of_several: as in Section.
        channel: that it describes; "" where it describes none.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    assumed: dict[str, Any] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    about: str = ""
    one_of_several: bool = False
    channel: str = ""

    def add(self, key: str, value: object, evidence: str = "", other: str = "") -> None:
        """Add a key; None as the value leaves it open."""
        self.findings.append(Finding(key, value, evidence, other))

    def leave_open(self, finding: Finding, why: str = "") -> None:
        """Add a key that a wrong value of would corrupt what is read: it stands in a comment until somebody answers."""
        both = " or ".join(text for text in (finding.setting, finding.other) if text)
        evidence = f"{finding.evidence}; {why}" if why else finding.evidence
        self.findings.append(Finding(finding.key, None, evidence, both))
        self.assumed[finding.key] = finding.value

    def value(self, key: str) -> Any:
        """What a key is, or is taken for; None where it is not there."""
        found = next((one.value for one in self.findings if one.key == key and one.value is not None), None)
        return self.assumed.get(key) if found is None else found

    @property
    def times(self) -> tuple[str, ...]:
        """The column of times, or those of the day and of the time of the day; empty where there is none."""
        time = self.value("time_column")
        return (time,) if isinstance(time, str) else tuple(time or ())

    def moments(self, columns: Columns) -> pl.Series:
        """The times of rows as they are written, [m]."""
        names = self.times
        return joined(columns, names[0] if len(names) == 1 else names)

    def drop(self, key: str) -> None:
        """Take a key out."""
        self.findings = [one for one in self.findings if one.key != key]
        self.assumed.pop(key, None)

    @property
    def open_keys(self) -> list[str]:
        """The settings that the preview takes for keys that are open."""
        return [f"{key} = {toml_value(value)}" for key, value in self.assumed.items()]

    def section(self) -> Section:
        """The section as it is now."""
        return Section(self.name, tuple(self.findings), self.about, self.one_of_several)

    def copied(self, name: str, *, one_of_several: bool = False) -> "Draft":
        """The same under another name."""
        return replace(self, name=name, one_of_several=one_of_several)
