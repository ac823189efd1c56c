"""``rarefault doctor``: is all in order before the daemon starts?"""

import argparse
from pathlib import Path

from rarefault.runtime.results import add_json_argument, write_json

HELP = "check everything that the daemon needs: files, broker, TLS, rights, telemetry, clocks"
EXTRA: str | None = None
EPILOG = """\
Connects as the daemon would, with a client id of its own (a running daemon is not disturbed), and listens to the
telemetry for some seconds. Where no daemon with this journal runs, it holds the daemon's own id for four seconds, too:
another gateway with that id loses its connection then, is found out, and comes back. To learn whether it may, it
publishes on {prefix}/rarefault-doctor/verdict, .../alarm and, where there is feedback, .../feedback/result: whole JSON
messages, not retained, that say 'normal' and "test": true.

  [ok] in order   [--] to know   [!!] works, but should be fixed   [XX] the daemon cannot do its work

Exit code 0 where there is no [XX], else 1.

examples:
  rarefault doctor edge.toml
  rarefault doctor edge.toml --seconds 120      # devices that report every minute
  rarefault doctor edge.toml --json doctor.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="the daemon's configuration")
    parser.add_argument(
        "--seconds", type=_seconds, default=10.0, help="how long to listen to the telemetry (default: %(default)g)"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Examine, and print the findings."""
    from rarefault.runtime.doctor.broker import check_broker
    from rarefault.runtime.doctor.files import check_files
    from rarefault.runtime.doctor.findings import Finding, Findings
    from rarefault.runtime.doctor.telemetry import check_telemetry

    def show(finding: Finding) -> None:
        print(finding, flush=True)

    found = Findings(show)
    setup = check_files(args.config, found)
    if setup is not None:
        messages = check_broker(setup, args.seconds, found)
        if messages is not None:
            check_telemetry(setup, messages, args.seconds, found)
    problems = sum(finding.level == "problem" for finding in found.all)
    print(f"\n{problems} problem(s)" if problems else "\nall in order: rarefault run " + str(args.config))
    if args.json:
        write_json(args.json, {"healthy": found.healthy, "findings": found.all})
    return 0 if found.healthy else 1


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:
        raise ValueError(text)
    return value
