"""``rarefault retake``: take back in what was set aside."""

import argparse
from pathlib import Path

from rarefault.runtime.results import add_json_argument, write_json

HELP = "take telemetry back in that a daemon set aside, once the cause is removed"
EXTRA: str | None = None
EPILOG = """\
Publishes what the journal has set aside for a reason again, on its own topics, and deletes it there once the broker has
confirmed it. The daemon may be running, or take it when it starts. What is still no good is set aside again.

examples:
  rarefault retake edge.journal --reason too_new --dry-run     # the gateway's clock was behind: what would come back?
  rarefault retake edge.journal --reason too_new
  rarefault retake edge.journal --reason no_known_channel --since 2026-11-01T00:00:00Z
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="the daemon's journal")
    parser.add_argument("--reason", required=True, help="of the rejections, such as too_new; 'inspect' counts them")
    parser.add_argument("--since", metavar="TIME", help="only what arrived from then on; ISO 8601 with a time zone")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="CONFIG.toml",
        help="the daemon's configuration (default: the one beside the journal that names it)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only count what there is")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Take back, and print how much."""
    from rarefault.runtime.daemon.telemetry.retake import find_config, retake
    from rarefault.runtime.errors import ConfigError
    from rarefault.runtime.telemetry.reasons import Reason
    from rarefault.runtime.times import parse_time_ms

    if args.reason not in list(Reason):
        raise ConfigError("--reason", [f"there is no reason {args.reason!r}, only {', '.join(Reason)}"])
    since_ms = 0
    if args.since is not None:
        try:
            since_ms = parse_time_ms(args.since)
        except ValueError as error:
            raise ConfigError("--since", [str(error)]) from None
    config = args.config or find_config(args.journal)
    done = retake(args.journal, config, args.reason, since_ms, dry_run=args.dry_run)
    if args.json is not None:
        write_json(args.json, done)
    if str(args.json) != "-":
        print(f"{args.journal}: {done.found} messages set aside as {args.reason}")
        if done.cut:
            print(f"  {done.cut} were too long to be kept whole, and stay")
        if done.sparkplug:
            print(f"  {done.sparkplug} are of Sparkplug, which only their edge node may publish, and stay")
        if done.late:
            print(f"  {done.late} samples are older than their device's newest: late for verdicts, kept for training")
        if args.dry_run:
            print(f"  {done.found - done.cut - done.sparkplug} would be published again")
        else:
            print(
                f"  {done.sent} published again" + (f", {done.refused} refused by the broker" if done.refused else "")
            )
    return 1 if done.refused else 0
