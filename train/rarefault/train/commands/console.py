"""The terminal that commands print to: text from outside stands there as it is."""

import os
import re
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

#: Columns where no terminal bounds the tables; they take what they need of it.
UNBOUNDED = 100_000

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class PlainConsole(Console):
    """A console that takes no text as markup, as names of emoji or as orders to the terminal.

    Args:
        stderr: write to standard error, where standard output is for a result.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        bounded = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
        super().__init__(
            stderr=stderr, markup=False, emoji=False, highlight=False, width=None if bounded else UNBOUNDED
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Text with its control characters made visible."""
        return super().render_str(_CONTROLS.sub(lambda found: repr(found[0])[1:-1], text), **options)
