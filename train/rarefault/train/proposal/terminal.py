"""A proposal in a terminal, with colours and tables."""

from rich import box
from rich.table import Table as RichTable

from rarefault.runtime.proposal.dialogue import Tone
from rarefault.runtime.proposal.proposal import Table
from rarefault.train.commands.console import PlainConsole

_STYLES = {"plain": "", "strong": "bold", "doubt": "yellow", "faint": "dim"}


class RichScreen:
    """A console that takes no text from outside as markup or as orders.

    Args:
        console: where it is shown.
    """

    def __init__(self, console: PlainConsole) -> None:
        self._console = console

    def line(self, text: str, tone: Tone = "plain") -> None:
        """Print a line."""
        self._console.print(text, style=_STYLES[tone] or None, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Print a table with its title."""
        shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for name in table.columns:
            shown.add_column(name, overflow="fold")
        for row in table.rows:
            shown.add_row(*row)
        self.line(table.title, "strong")
        self._console.print(shown)
