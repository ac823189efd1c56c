"""The page of the commands, from the help that their parsers print."""

import contextlib
import io
import os
from importlib.metadata import entry_points
from unittest.mock import patch

from tools.reference import sources
from tools.reference.structs import capital

#: Columns that the help is wrapped at.
WIDTH = "100"


def page() -> str:
    """``cli.md``."""
    known = {entry.name: entry for entry in entry_points(group=sources.cli.GROUP)}
    names = sorted(known, key=lambda name: (*_place(name), name))
    return f"""# Commands

`rarefault COMMAND --help` prints what stands here. `--debug` shows a traceback when a command fails. Exit codes: 0
done, 1 failed, 2 bad usage or configuration ([all](errors.md)). The commands of the gateway need no more than
`pip install rarefault`; the others name the extra that they need.

```text
{help_of()}```

{"".join(_command(name, known[name].load().EXTRA) for name in names)}"""


def help_of(*command: str) -> str:
    """What ``rarefault COMMAND --help`` prints."""
    out = io.StringIO()
    with patch.dict(os.environ, {"COLUMNS": WIDTH}), contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        sources.cli.main([*command, "--help"])
    return out.getvalue()


def _command(name: str, extra: str | None) -> str:
    """Usage and arguments as they are printed; what follows the word ``examples:`` as a piece of shell."""
    usage, _, rest = help_of(name).partition("\n\n")
    text, _, rest = rest.partition("\n\n")
    arguments, _, examples = rest.partition("examples:\n")
    examples, _, after = examples.partition("\n\n")
    needs = f" Needs the extra `rarefault[{extra}]`." if extra else ""
    parts = [f"## `rarefault {name}`\n\n{_sentence(text)}{needs}", f"```text\n{usage}\n\n{arguments.strip()}\n```"]
    if examples:
        shown = "\n".join(line.removeprefix("  ") for line in examples.rstrip().splitlines())
        parts.append(f"Examples:\n\n```sh\n{shown}\n```")
    if after.strip():
        parts.append(f"```text\n{after.strip()}\n```")
    return "\n\n".join(parts) + "\n\n"


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{capital(text)}."


def _place(name: str) -> tuple[int]:
    order = sources.cli.ORDER
    return (order.index(name) if name in order else len(order),)
