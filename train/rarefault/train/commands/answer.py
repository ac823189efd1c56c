"""The answer on the terminal: the verdict, a line for each fault, what to try next; and the notes, counted."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from rarefault.train.report.notes import counted, is_grave

if TYPE_CHECKING:
    from rich.console import Console

    from rarefault.train.evaluation.answer import Answer

#: Colours of verdicts and findings.
STYLES = {"yes": "bold green", "no": "bold red", "unclear": "bold yellow", "found": "green", "blind": "red"}


def print_answer(console: "Console", answer: "Answer") -> None:
    """The first lines that a person reads."""
    console.print(answer.text, style=STYLES[answer.verdict])
    faults = Table.grid(padding=(0, 2))
    for name, fault in answer.faults.items():
        faults.add_row(f"  {name}", Text(fault.finding, STYLES.get(fault.finding, "yellow")), fault.text)
    console.print(faults)
    if answer.next:
        console.print("what to try next")
        sentences = Table.grid(padding=(0, 1))
        for number, sentence in enumerate(answer.next, 1):
            sentences.add_row(f"  {number}.", sentence)
        console.print(sentences)
    console.print()


def grave_notes(note: Callable[[str], None]) -> Callable[[str], None]:
    """Passes on the notes without which no score can be read; the others are counted at the end."""

    def pass_on(text: str) -> None:
        if is_grave(text):
            note(text)

    return pass_on


def print_notes(console: "Console", notes: Sequence[str], where: str) -> None:
    """How many notes there are about what, and where they can be read."""
    if notes:
        console.print(f"notes          {counted(notes)}; all of them are in {where}", style="yellow", soft_wrap=True)
