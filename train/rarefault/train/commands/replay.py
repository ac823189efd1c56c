"""``rarefault replay``: plays history as live telemetry."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rarefault.runtime.errors import UsageError
from rarefault.train.commands.arguments import instant

if TYPE_CHECKING:
    from rich.console import Console

    from rarefault.runtime.daemon.config import BrokerConfig, TelemetryConfig
    from rarefault.train.history import History

HELP = "play history as live telemetry over MQTT"
EXTRA = "train"
#: Settings of TLS that are files, by the names of the arguments.
FILES = ("ca_file", "certificate_file", "key_file")
EPILOG = """examples:
  rarefault replay plant.toml --broker mqtt://localhost:1883
  rarefault replay plant.toml --part test --speed 3600       one hour of history a second, held-out blocks only
  rarefault replay history/ --speed max                      a folder in the form of PHM 2015
  rarefault replay edge.journal --speed max                  what a daemon has received, in order of time
  rarefault replay samples.parquet --start 2024-03-01T00:00:00Z
  rarefault replay plant.toml --like edge.toml               to the broker of that daemon, as its devices would
  rarefault replay plant.toml --broker mqtts://broker.local --ca-file plant-ca.pem --username p --password-env MQTT

With --like the broker, its password, TLS, the topic, and where time, device and values stand in a message are those of
the daemon's configuration; --broker, --username and the certificates replace them where they are given. Where its topic
has a '+', the topic played to has 'replay'. The user must be allowed to write there, as the daemon's own may not be.

A daemon that is to take history needs [telemetry] max_age_s = inf.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "data", metavar="DATA", type=Path, nargs="+", help="CONFIG.toml, folder, CSV/Parquet files, or journals"
    )
    parser.add_argument(
        "--like", metavar="EDGE.toml", type=Path, help="configuration of the daemon that is to take it; see below"
    )
    parser.add_argument("--broker", metavar="URL", default="", help="default: mqtt://localhost:1883")
    parser.add_argument("--topic", default="", help="template with {device}; default: telemetry/{device}")
    parser.add_argument(
        "--speed", metavar="X", type=_speed, default=1.0, help="multiple of real time, or 'max' (default: 1)"
    )
    parser.add_argument("--part", choices=("all", "test", "validation", "train"), default="all", help="of the split")
    parser.add_argument("--start", type=instant, help="leave out what is before (ISO 8601 with a zone)")
    parser.add_argument("--end", type=instant, help="leave out what is at or after")
    parser.add_argument("--username", default="")
    parser.add_argument("--password-env", metavar="NAME", default="", help="environment variable with the password")
    parser.add_argument("--password-file", metavar="FILE", default="", help="file whose first line is the password")
    parser.add_argument(
        "--ca-file", metavar="PEM", default="", help="with mqtts://: whom to trust (default: the system's)"
    )
    parser.add_argument("--certificate-file", metavar="PEM", default="", help="with mqtts://: the client's certificate")
    parser.add_argument("--key-file", metavar="PEM", default="", help="with mqtts://: the key of that certificate")


def run(args: argparse.Namespace) -> int:
    """Play."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from rarefault.runtime.daemon.config import read_password
    from rarefault.runtime.times import format_ms
    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.replay.publisher import Publisher
    from rarefault.train.replay.replay import TelemetryMessage, play, telemetry_messages

    broker, telemetry, source = _target(args)
    password = read_password(broker, source)
    console = PlainConsole()
    with console.status("reading the history"):
        history = _select(_read(args), args.start, args.end)
    if not len(history):
        raise UsageError("there is nothing to play: no sample is between --start and --end")
    if args.like is not None:
        _check_times(history, telemetry, console)
    messages = telemetry_messages(history, telemetry)
    with (
        Publisher(broker, password=password, source=source, sender_property=telemetry.sender_property) as publisher,
        Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(),
            console=console,
        ) as progress,
    ):
        task = progress.add_task("", total=len(history))

        def sent(message: TelemetryMessage) -> None:
            progress.update(task, advance=1, description=format_ms(message.time_ms)[:16])

        count = play(messages, publisher, speed=args.speed, on_sent=sent)
    console.print(f"{count} messages of {len(history.devices)} device(s) played to {broker.url}")
    return 0


def _target(args: argparse.Namespace) -> "tuple[BrokerConfig, TelemetryConfig, Path]":
    """Broker and form of the messages, by the arguments and the daemon's configuration, and what paths are relative to.

    Raises:
        ConfigError: the daemon's configuration cannot be used.
        UsageError: the arguments cannot be.
    """
    from msgspec.structs import replace

    from rarefault.runtime.daemon.config import BrokerConfig, TelemetryConfig, load_config

    if args.like is not None and args.topic:
        raise UsageError("--topic: the topic is that of --like; give one of them")
    files = {name: Path(getattr(args, name)) for name in (*FILES, "password_file")}
    own = {"url": args.broker, "username": args.username, "password_env": args.password_env}
    own |= {name: str(path.resolve()) for name, path in files.items() if path.name}
    given = {name: value for name, value in own.items() if value}
    if given.keys() & {"username", "password_env", "password_file"}:
        given = {"password_env": "", "password_file": ""} | given  # no user of ours with the daemon's password
    try:
        if args.like is None:
            return BrokerConfig(**given), TelemetryConfig(topic=args.topic or "telemetry/{device}"), Path("--broker")
        daemon = load_config(args.like)
        if given.get("url", "").startswith("mqtt://"):
            given = dict.fromkeys(FILES, "") | {"check_host_name": True} | given
        return replace(daemon.broker, **given), daemon.telemetry, args.like
    except ValueError as error:
        raise UsageError(str(error)) from None


def _check_times(history: "History", telemetry: "TelemetryConfig", console: "Console") -> None:
    """Say how many samples the daemon would reject for their age; UsageError where it would take none."""
    now_ms = time.time() * 1000
    old = int((now_ms - history.time_ms > telemetry.max_age_s * 1000).sum())
    new = int((history.time_ms - now_ms > telemetry.max_future_s * 1000).sum())
    for count, key, word in ((old, "max_age_s", "older"), (new, "max_future_s", "further ahead")):
        if not count:
            continue
        sentence = (
            f"{count} of {len(history)} samples are {word} than the daemon takes; "
            f"set telemetry.{key} = inf in its configuration"
        )
        if count == len(history):
            raise UsageError(sentence)
        console.print(f"note: {sentence}", style="yellow")


def _read(args: argparse.Namespace) -> "History":
    from rarefault.train.config import load_train_config
    from rarefault.train.dataset.split import split_history
    from rarefault.train.history import read_history, source_of
    from rarefault.train.history.channel_specs import words_only

    first: Path = args.data[0]
    if first.suffix == ".toml":
        if len(args.data) > 1:
            raise UsageError("give one CONFIG.toml, or one folder, or files; not several configurations")
        config = load_train_config(first)
        history = read_history(
            config.data, first.parent, allow_incomplete=args.part == "all", channels=words_only(config.channels)
        )
        if args.part == "all":
            return history
        return split_history(history, config.split, config.grid).select(history, args.part)
    if args.part != "all":
        raise UsageError(f"--part {args.part} needs a CONFIG.toml, whose [split] says what the parts are")
    return read_history(source_of(args.data), Path(), allow_incomplete=True)


def _select(history: "History", start: int | None, end: int | None) -> "History":
    keep = (history.time_ms >= (start or 0)) & (history.time_ms < (end if end is not None else 1 << 62))
    return history.select(keep)


def _speed(text: str) -> float:
    if text == "max":
        return 0.0
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value
