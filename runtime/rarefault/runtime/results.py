"""``--json FILE``: the machine-readable result of a command that ends in numbers."""

import argparse
import sys
from pathlib import Path
from typing import Any

from rarefault.runtime.errors import UsageError


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``, kept as ``args.json`` (a path or None)."""
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the result as JSON here ('-' = standard output)"
    )


def write_json(path: Path, result: Any) -> None:
    """Write a result (plain values, paths and msgspec structs) as indented JSON.

    Raises:
        UsageError: the file cannot be written.
    """
    import msgspec  # commands are loaded for their help alone, too

    text = msgspec.json.format(msgspec.json.encode(result, enc_hook=str), indent=2).decode() + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json {path}: cannot be written: {error.strerror}") from None
