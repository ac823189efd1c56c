"""``rarefault init``: a configuration from what is there, files or a broker."""

import argparse
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rarefault.runtime.proposal.dialogue import Screen
    from rarefault.runtime.proposal.proposal import Proposal

HELP = "propose a configuration from files, or from what a broker sends"
EXTRA: str | None = None
EPILOG = """\
Files give a configuration for training, a broker's address one for the daemon. Each key has its evidence in a comment.
What can be read in two ways is asked about in a terminal; with --yes, or without a terminal, it stands in the file as a
QUESTION.

examples:
  rarefault init history/ work-orders.csv                     # files and folders, to plant.toml
  rarefault init export.xlsx --output plant.toml --yes
  rarefault init mqtt://gateway:1883 --seconds 60              # what the broker sends, to edge.toml
  rarefault init mqtts://gateway --username edge --password-file secret.txt --model plant.onnx
"""
#: Entry points that propose from other sources than a broker; the trainer has one, ``files``.
GROUP = "rarefault.proposals"
#: What an address of a broker begins with.
SCHEMES = ("mqtt://", "mqtts://")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="files and folders, or the address of one broker")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE.toml", help="where to write (default: plant.toml, or edge.toml)"
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing; doubts stand in the file")
    parser.add_argument("--force", action="store_true", help="write over an existing file")
    files = parser.add_argument_group("files")
    files.add_argument(
        "--events",
        action="append",
        default=[],
        metavar="FILE",
        help="logs of faults among the files (default: found by their columns)",
    )
    broker = parser.add_argument_group("broker")
    broker.add_argument("--seconds", type=float, default=30.0, help="how long to listen (default: %(default)g)")
    broker.add_argument(
        "--topics", action="append", default=[], metavar="FILTER", help="what to listen to (default: #)"
    )
    broker.add_argument("--username", default="", help="of the broker")
    broker.add_argument("--password-file", type=Path, metavar="FILE", help="that holds the password")
    broker.add_argument("--ca-file", type=Path, metavar="FILE", help="certificate of the authority that the broker has")
    broker.add_argument("--model", type=Path, metavar="FILE.onnx", help="whose channels the telemetry is mapped to")


def run(args: argparse.Namespace) -> int:
    """Look, ask, and write the file."""
    from rarefault.runtime.errors import UsageError
    from rarefault.runtime.proposal.dialogue import ask, show

    addresses = [source for source in args.sources if source.startswith(SCHEMES)]
    if addresses and len(args.sources) > 1:
        raise UsageError("give one broker's address, or files: a daemon has one broker")
    output: Path = args.output or Path("edge.toml" if addresses else "plant.toml")
    if output.exists() and not args.force:
        raise UsageError(f"{output} exists: name another file with --output, or write over it with --force")
    if addresses:
        from rarefault.runtime.proposal.broker import propose, screen
    else:
        propose, screen = _files()
    proposal = propose(args)
    shown = screen()
    show(proposal, shown)
    if proposal.doubts and not args.yes and sys.stdin.isatty():
        proposal = ask(proposal, shown)
    output.write_text(proposal.as_toml(), "utf-8")
    shown.line("")
    if open_ones := len(proposal.doubts) + len(proposal.questions):
        shown.line(f"{open_ones} question(s) are in {output}, at the lines with QUESTION", "doubt")
    following = f"rarefault doctor {output}" if addresses else f"rarefault describe {output}"
    shown.line(f"wrote {output}; next: {following}", "strong")
    return 0


def _files() -> "tuple[Callable[[argparse.Namespace], Proposal], Callable[[], Screen]]":
    """What proposes from files: the trainer's, where it is installed."""
    from rarefault.runtime.errors import MissingExtraError

    try:
        module = next(iter(entry_points(group=GROUP, name="files"))).load()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "rarefault":
            raise
        raise MissingExtraError("init", "train", error.name or "?") from error
    return module.propose, module.screen
