"""``rarefault run``: the daemon."""

import argparse
from pathlib import Path

HELP = "serve a model: telemetry in over MQTT, verdicts and alarms out"
EXTRA: str | None = None
EPILOG = """\
A configuration needs no more than the model; all else has defaults:

  [model]
  path = "plant.onnx"                # written by 'rarefault export'; relative to this file

  [broker]
  url = "mqtt://localhost:1883"
  # username = "edge"
  # password_file = "mqtt.password"  # or password_env = "MQTT_PASSWORD"

  [telemetry]
  topic = "telemetry/{device}"       # {"time": "2011-03-01T12:00:03Z", "values": {"c1.S1": 759}}
  # preset = "shelly"                # other shapes of messages; 'rarefault presets' prints them
  # [telemetry.fields]               # foreign names, and paths into nested objects, to channels
  # "sensors.inlet.value" = "c1.S1"

  [publish]
  prefix = "rarefault"               # rarefault/{device}/verdict, rarefault/{device}/alarm

  # [[sink]]                         # besides the broker: lines of JSON in a file
  # kind = "file"
  # path = "verdicts.jsonl"

examples:
  rarefault run edge.toml --check    # is all in order? then exit
  rarefault run edge.toml            # until SIGTERM or Ctrl-C
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="the daemon's configuration")
    parser.add_argument("--check", action="store_true", help="check the configuration and the model, then exit")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes, or check only."""
    from rarefault.runtime.daemon.host.logs import set_up_logging
    from rarefault.runtime.daemon.host.signals import Requests
    from rarefault.runtime.daemon.host.systemd import Notifier
    from rarefault.runtime.daemon.service import Service
    from rarefault.runtime.daemon.setup import load_setup
    from rarefault.runtime.daemon.turns.opening import open_store

    setup = load_setup(args.config)
    if args.check:
        url = setup.config.broker.url
        print(
            f"{args.config}: in order; model {setup.model.model_id}; broker {url} not tried ('rarefault doctor' does)"
        )
        return 0
    set_up_logging(setup.config.log)
    requests, notifier = Requests(), Notifier()
    try:
        with requests.from_signals():
            store = open_store(setup, notifier.alive)
            Service(setup, store, lambda: load_setup(args.config), requests, notifier).run()
    finally:
        notifier.close()
    return 0
