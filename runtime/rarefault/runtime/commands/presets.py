"""``rarefault presets``: the keys of ``[telemetry]`` for kinds of senders."""

import argparse

from rarefault.runtime.results import add_json_argument, write_json

HELP = "print what [telemetry] presets stand for"
EXTRA: str | None = None
EPILOG = """\
A preset fills in the keys of [telemetry] that are not given; keys that are given count. The same presets hold in the
daemon's configuration and in the trainer's, for recordings.

examples:
  rarefault presets                    # all of them, each as TOML
  rarefault presets zigbee2mqtt        # one, to copy and change
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets to print (default: all)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print presets, each as a section that can be copied."""
    from rarefault.runtime.errors import UsageError
    from rarefault.runtime.telemetry.presets import PRESETS, as_toml

    if foreign := [name for name in args.names if name not in PRESETS]:
        raise UsageError(f"there is no preset {foreign[0]!r}; there are {', '.join(PRESETS)}")
    names = args.names or list(PRESETS)
    if args.json is not None:
        write_json(args.json, {name: {"about": PRESETS[name].about, "keys": PRESETS[name].keys} for name in names})
    if str(args.json) != "-":
        print("\n".join(as_toml(name) for name in names), end="")
    return 0
