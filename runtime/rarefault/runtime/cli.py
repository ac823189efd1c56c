"""The command line ``rarefault``.

Subcommands are found through the entry-point group ``rarefault.commands``, so that the runtime imports none of the
trainer's. Each names a module, light to import, with:

``HELP``
    one line for the list of commands;
``EXTRA``
    the optional dependencies it needs (``"train"``, ``"demo"``, ``"page"``), or None;
``EPILOG``
    examples, printed below its help;
``configure(parser)``
    adds its arguments;
``run(args)``
    does it and returns the exit code: 0 done, 1 failed, 2 bad usage or configuration.
"""

import argparse
import io
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from rarefault.runtime import __version__
from rarefault.runtime.errors import MissingExtraError, RarefaultError, UsageError

GROUP = "rarefault.commands"
ORDER = (
    "demo",
    "init",
    "record",
    "simulate",
    "describe",
    "train",
    "trials",
    "evaluate",
    "export",
    "inspect",
    "doctor",
    "retake",
    "presets",
    "run",
    "page",
    "label",
    "replay",
)


class Command(Protocol):
    """What a command's module offers."""

    HELP: str
    EXTRA: str | None
    EPILOG: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names from outside may hold what no terminal shows
    try:
        return _dispatch(arguments)
    except RarefaultError as error:
        if debug:
            traceback.print_exc()
        print(f"rarefault: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("rarefault: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (such as ``| head``): nobody would see a message.
        sys.stderr.close()
        return 1
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError):
            return _refused(error)
        print(f"rarefault: unexpected {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        return 1


def _refused(error: OSError) -> int:
    """Print what the system refuses, such as room on a disk, and return the exit code."""
    if "temporary directory" in str(error):
        print("rarefault: no folder for temporary files can be written to: set TMPDIR to one", file=sys.stderr)
        return UsageError.exit_code
    print(f"rarefault: the system refuses: {error}", file=sys.stderr)
    return 1


def _dispatch(arguments: list[str]) -> int:
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    parser = argparse.ArgumentParser(
        prog="rarefault",
        description="Fault diagnosis for machines whose faults are rare.",
        epilog="'rarefault COMMAND --help' has examples of each command.",
    )
    parser.add_argument("--version", action="version", version=f"rarefault {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # Only the requested command is loaded; without one, all are, for their line of help.
    requested = next((word for word in arguments if not word.startswith("-")), None)
    for name in sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        if requested is not None and requested in found and name != requested:
            continue
        _add(subparsers, name, _load(found[name]))
    args = parser.parse_args(arguments)
    command = cast(Command, args.module)
    try:
        return command.run(args)
    except ModuleNotFoundError as error:
        if command.EXTRA is None or (error.name or "").split(".")[0] == "rarefault":
            raise
        raise MissingExtraError(args.command, command.EXTRA, error.name or "?") from error


def _load(entry: EntryPoint) -> Command:
    return cast(Command, entry.load())


def _add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command) -> None:
    parser = subparsers.add_parser(
        name,
        help=command.HELP,
        description=command.HELP,
        epilog=command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.configure(parser)
    parser.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    parser.set_defaults(module=command)


if __name__ == "__main__":
    sys.exit(main())
