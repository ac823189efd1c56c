"""``rarefault record``: messages to files, for a model that is made later."""

import argparse
from pathlib import Path

HELP = "record the messages of a broker, to train on them later"
EXTRA: str | None = None
EPILOG = """\
Needs no model: of the daemon's configuration, [broker] and [telemetry] are enough, and [record] has limits. Messages
are kept as they came, so that [telemetry] can be changed afterwards. They are acknowledged when they are on the disk:
what comes while the recorder is away, the broker keeps. At the end stands the [data] section for 'rarefault train'.

examples:
  rarefault record edge.toml -o recording                 # until SIGTERM or Ctrl-C
  rarefault record edge.toml -o recording --seconds 3600
  rarefault record edge.toml -o recording --seconds 60 --forget   # the last time: the broker need keep no more
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="the daemon's configuration")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="for the files; one that is there is gone on with",
    )
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds (default: at a signal)")
    parser.add_argument(
        "--forget",
        action="store_true",
        help="at the end, have the broker forget the session: it keeps no more messages",
    )


def run(args: argparse.Namespace) -> int:
    """Record until a signal comes, or the time is over."""
    from rarefault.runtime.daemon.host.logs import set_up_logging
    from rarefault.runtime.daemon.host.signals import Requests
    from rarefault.runtime.daemon.host.systemd import Notifier
    from rarefault.runtime.errors import UsageError
    from rarefault.runtime.recording.service import Recorder, data_section, load_recorder

    if args.seconds is not None and not 0 < args.seconds < float("inf"):
        raise UsageError(f"--seconds {args.seconds:g}: must be a number above 0")
    config = load_recorder(args.config)
    set_up_logging(config.log)
    requests, notifier = Requests(), Notifier()
    try:
        with requests.from_signals():
            recorder = Recorder(config, args.config, args.output, requests, notifier, args.seconds)
            recorder.run()
        if args.forget and not recorder.forget():
            print(f"the broker could not be told to forget client {recorder.client_id}: it goes on keeping messages")
        elif not args.forget:
            print(
                f"The broker keeps what comes from now on for client {recorder.client_id}, and 'rarefault record' into "
                f"{args.output} gets it later;\nwith --forget, it keeps no more."
            )
        if recorder.writer.files:
            print(f"\nFor 'rarefault train':\n\n{data_section(args.config, args.output)}", end="")
        else:
            print(f"Nothing was recorded: no message came on {config.topics}")
    finally:
        notifier.close()
    return 0
