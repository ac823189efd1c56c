"""``rarefault page``: the web page for people."""

import argparse
from pathlib import Path

HELP = "serve a web page that shows the fleet, its alarms and what moved them, from the daemon's journal"
EXTRA: str | None = "page"
EPILOG = """\
The page reads the journal that 'rarefault run' writes, and nothing else; it changes nothing. It is served to this
machine alone:

  [page]
  host = "127.0.0.1"
  port = 8650

examples:
  rarefault page edge.toml                         # until SIGTERM or Ctrl-C; then open http://127.0.0.1:8650
  ssh -L 8650:127.0.0.1:8650 gateway               # see it from a workstation
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="the daemon's configuration")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    from rarefault.page.web.server import serve
    from rarefault.runtime.daemon.config import load_config

    serve(load_config(args.config), args.config)
    return 0
