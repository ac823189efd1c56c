"""Findings: what a check found, good or bad."""

from collections.abc import Callable
from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How a finding is meant."""

    GOOD = "good"
    NOTE = "note"
    """Nothing is wrong, but somebody should know."""
    WARNING = "warning"
    """It works, not as well as it could."""
    PROBLEM = "problem"
    """The daemon cannot do its work."""


MARK = {Level.GOOD: "ok", Level.NOTE: "--", Level.WARNING: "!!", Level.PROBLEM: "XX"}


class Finding(msgspec.Struct, frozen=True):
    """One finding.

    Attributes:
        check: what was looked at, such as ``broker``.
        level: how it is meant.
        text: a sentence; of what is wrong it says what to do.
    """

    check: str
    level: Level
    text: str

    def __str__(self) -> str:
        return f"[{MARK[self.level]}] {self.check + ':':<12} {self.text}"


class Findings:
    """Collects findings.

    Args:
        tell: is given each as it comes.

    Attributes:
        all: so far.
    """

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        self.all: list[Finding] = []
        self._tell = tell

    def add(self, check: str, level: Level, text: str) -> None:
        """Add one."""
        self.all.append(Finding(check, level, text))
        self._tell(self.all[-1])

    def good(self, check: str, text: str) -> None:
        """Something is in order."""
        self.add(check, Level.GOOD, text)

    def problem(self, check: str, text: str) -> None:
        """Something is wrong."""
        self.add(check, Level.PROBLEM, text)

    def warning(self, check: str, text: str) -> None:
        """Something is not as it should be."""
        self.add(check, Level.WARNING, text)

    def note(self, check: str, text: str) -> None:
        """Something to know."""
        self.add(check, Level.NOTE, text)

    @property
    def healthy(self) -> bool:
        """Whether there is no problem."""
        return all(finding.level != Level.PROBLEM for finding in self.all)
