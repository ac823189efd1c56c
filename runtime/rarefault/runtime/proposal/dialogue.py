"""A proposal in a terminal: what it would read, and the questions that data leave open."""

import tomllib
from collections.abc import Callable
from typing import Literal, Protocol

from rarefault.runtime.proposal.finding import printable, toml_value
from rarefault.runtime.proposal.proposal import Proposal, Table

#: How a line stands out.
Tone = Literal["plain", "strong", "doubt", "faint"]
#: Characters of a cell that are shown.
WIDEST = 40


class Screen(Protocol):
    """Where a proposal is shown."""

    def line(self, text: str, tone: Tone = "plain") -> None:
        """Print a line."""

    def table(self, table: Table) -> None:
        """Print a table with its title."""


class PlainScreen:
    """Standard output, without colours."""

    def line(self, text: str, tone: Tone = "plain") -> None:  # noqa: ARG002 - it has one tone
        """As in Screen."""
        print(printable(text), flush=True)

    def table(self, table: Table) -> None:
        """As in Screen."""
        rows = [[printable(cell)[:WIDEST] for cell in row] for row in (table.columns, *table.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        self.line(table.title)
        for row in rows:
            self.line("  " + "  ".join(map(str.ljust, row, widths)).rstrip())


def show(proposal: Proposal, screen: Screen) -> None:
    """Print the tables, and each key with what speaks for it."""
    for preview in proposal.previews:
        screen.table(preview)
        screen.line("")
    for section in proposal.sections:
        screen.line(section.header, "strong")
        for finding in section.findings:
            if finding.value is not None:
                screen.line(f"  {finding.setting}", "doubt" if finding.other else "plain")
            if finding.evidence:
                screen.line(f"      {finding.evidence}", "faint")
    for question in proposal.questions:
        screen.line(f"? {question}", "doubt")


def ask(proposal: Proposal, screen: Screen, answer: Callable[[str], str] = input) -> Proposal:
    """Ask for each key that may as well be something else.

    Args:
        proposal: with doubts.
        screen: where the questions are shown.
        answer: prints a prompt and returns a line.

    Returns:
        The proposal with the answers.
    """
    doubts = proposal.doubts
    for number, (place, finding) in enumerate(doubts, 1):
        # Each answer makes a new proposal, with other sections.
        section = next(one for one in proposal.sections if one.header == place.header and finding in one.findings)
        screen.line("")
        screen.line(f"Question {number} of {len(doubts)}: {finding.key} in {section.header}", "strong")
        screen.line(f"  {finding.evidence}")
        screen.line(f"  It may as well be: {finding.other}")
        kept = "leaves it open" if finding.value is None else f"takes {toml_value(finding.value)}"
        text = answer(f"  Value (Enter {kept}): ").strip()
        value = _value_of(text.removeprefix(f"{finding.key} = ")) if text else finding.value
        if value is not None:
            proposal = proposal.answered(section, finding, value)
    return proposal


def _value_of(text: str) -> object:
    """What a person typed, as TOML where it is some, else as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
