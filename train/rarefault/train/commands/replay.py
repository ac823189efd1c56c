"""``rarefault replay``: plays history as live telemetry."""

import argparse
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rarefault.runtime.errors import UsageError

if TYPE_CHECKING:
    from rarefault.train.history import History

HELP = "play history as live telemetry over MQTT"
EXTRA = "train"
EPILOG = """examples:
  rarefault replay plant.toml --broker mqtt://localhost:1883
  rarefault replay plant.toml --part test --speed 3600       one hour of history a second, held-out blocks only
  rarefault replay history/ --speed max                      a folder in the form of PHM 2015
  rarefault replay edge.journal --speed max                  what a daemon has received, in order of time
  rarefault replay samples.parquet --start 2024-03-01T00:00:00Z

A daemon that is to take history needs [telemetry] max_age_s = inf.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "data", metavar="DATA", type=Path, nargs="+", help="CONFIG.toml, folder, CSV/Parquet files, or journals"
    )
    parser.add_argument("--broker", metavar="URL", default="mqtt://localhost:1883", help="default: %(default)s")
    parser.add_argument("--topic", default="telemetry/{device}", help="template with {device}; default: %(default)s")
    parser.add_argument(
        "--speed", metavar="X", type=_speed, default=1.0, help="multiple of real time, or 'max' (default: 1)"
    )
    parser.add_argument("--part", choices=("all", "test", "validation", "train"), default="all", help="of the split")
    parser.add_argument("--start", type=_instant, help="leave out what is before (ISO 8601 with a zone)")
    parser.add_argument("--end", type=_instant, help="leave out what is at or after")
    parser.add_argument("--username", default="")
    parser.add_argument("--password-env", metavar="NAME", default="", help="environment variable with the password")


def run(args: argparse.Namespace) -> int:
    """Play."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from rarefault.runtime.times import format_ms
    from rarefault.train.console import PlainConsole
    from rarefault.train.publisher import Publisher
    from rarefault.train.replay import TelemetryMessage, play, telemetry_messages

    if "{device}" not in args.topic:
        raise UsageError(f"--topic {args.topic!r} has no {{device}}, so devices could not be told apart")
    if args.password_env and args.password_env not in os.environ:
        raise UsageError(f"--password-env: the environment variable {args.password_env} is not set")
    password = os.environ.get(args.password_env, "") if args.password_env else ""
    console = PlainConsole()
    with console.status("reading the history"):
        history = _select(_read(args), args.start, args.end)
    if not len(history):
        raise UsageError("there is nothing to play: no sample is between --start and --end")
    with (
        Publisher(args.broker, username=args.username, password=password) as publisher,
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

        count = play(telemetry_messages(history, args.topic), publisher, speed=args.speed, on_sent=sent)
    console.print(f"{count} messages of {len(history.devices)} device(s) played to {args.broker}")
    return 0


def _read(args: argparse.Namespace) -> "History":
    from rarefault.runtime.daemon.journal_summary import is_journal
    from rarefault.train.config import load_train_config
    from rarefault.train.history import JournalConfig, Phm2015Config, TableConfig, read_history
    from rarefault.train.split import split_history

    first: Path = args.data[0]
    if first.suffix == ".toml":
        if len(args.data) > 1:
            raise UsageError("give one CONFIG.toml, or one folder, or files; not several configurations")
        config = load_train_config(first)
        history = read_history(config.data, first.parent, allow_incomplete=args.part == "all")
        if args.part == "all":
            return history
        return split_history(history, config.split, config.grid).select(history, args.part)
    if args.part != "all":
        raise UsageError(f"--part {args.part} needs a CONFIG.toml, whose [split] says what the parts are")
    if first.is_dir():
        return read_history(Phm2015Config(path=str(first.resolve())), Path(), allow_incomplete=True)
    if all(is_journal(path) for path in args.data):
        journals = JournalConfig(path=tuple(str(path.resolve()) for path in args.data))
        return read_history(journals, Path(), allow_incomplete=True)
    return read_history(TableConfig(samples=tuple(str(p.resolve()) for p in args.data)), Path(), allow_incomplete=True)


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


def _instant(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no time zone; write it like 2011-03-01T12:00:00Z")
    return round(moment.timestamp() * 1000)
