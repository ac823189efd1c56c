"""``rarefault inspect``: what a model file holds, what a verdict costs here; or what is in a journal."""

import argparse
from pathlib import Path

from rarefault.runtime.results import add_json_argument

HELP = "print what a model file holds and what a verdict costs here, or what is in a daemon's journal"
EXTRA = None
EPILOG = """examples:
  rarefault inspect plant.onnx
  rarefault inspect plant.onnx --threads 2 --json plant.json
  rarefault inspect edge.journal          samples, alarms, answers, and what was rejected; the daemon may be running
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", type=Path, help="a file written by 'rarefault export', or a daemon's journal")
    parser.add_argument("--threads", type=thread_count, default=1, help="threads of ONNX Runtime (default: 1)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Load the file, measure it and print what was found."""
    from rarefault.runtime.commands.inspection import inspect_journal, inspect_model
    from rarefault.runtime.journal.summary import is_journal

    if is_journal(args.model):
        inspect_journal(args.model, args.json)
    else:
        inspect_model(args.model, args.threads, args.json)
    return 0


def thread_count(text: str) -> int:
    """A number of threads as an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text!r}")
    return int(text)
