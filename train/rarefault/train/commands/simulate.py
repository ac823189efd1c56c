"""``rarefault simulate``: plants with rare faults, as files."""

import argparse
import tempfile
from pathlib import Path

from rarefault.runtime.errors import UsageError
from rarefault.runtime.results import add_json_argument, write_json
from rarefault.runtime.settings import from_mapping, read_toml

HELP = "simulate plants with rare faults and write them as a folder in the form of PHM 2015"
EXTRA = "train"
EPILOG = """examples:
  rarefault simulate plants/
  rarefault simulate plants/ --plants 10 --days 365 --seed 7
  rarefault simulate plants/ --proportion fault_4=0.01 --proportion fault_6=0

Faults: 1 stuck valve, 2 sensor drift, 3 fouled heat exchanger, 4 heating and cooling at once, 5 supply too cold,
6 lost communication. Simulated plants show how things work and make load; they are no evidence for accuracy.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to write")
    for name, text in (
        ("plants", "number of plants"),
        ("days", "days of history"),
        ("components", "cooling units of a plant"),
        ("zones", "metered zones of a plant"),
        ("seed", "same seed, same files"),
    ):
        parser.add_argument(f"--{name}", type=int, help=text)
    parser.add_argument("--start", metavar="YYYY-MM-DD", help="first day")
    parser.add_argument(
        "--proportion", metavar="FAULT=SHARE", action="append", default=[], help="share of time of a fault"
    )
    parser.add_argument("--config", metavar="FILE.toml", type=Path, help="all of this from a file; the options win")
    parser.add_argument("--force", action="store_true", help="replace a folder of simulated plants")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Simulate."""
    import msgspec
    from rich.progress import Progress
    from rich.table import Table

    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.simulate import FAULTS, SimulationConfig, fault_name, simulate

    values = read_toml(args.config) if args.config is not None else {}
    names = ("plants", "days", "components", "zones", "seed", "start")
    values |= {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    source = str(args.config or "the command line")
    from_mapping(values, SimulationConfig, source)  # so that what is below can rely on the file's form
    for pair in args.proportion:
        fault, _, share = pair.partition("=")
        try:
            values.setdefault("proportions", {})[fault] = float(share)
        except ValueError:
            raise UsageError(f"--proportion {pair}: write it like --proportion fault_4=0.01") from None
    config = from_mapping(values, SimulationConfig, source)
    _check_room(args.out, force=args.force)
    console = PlainConsole(stderr=str(args.json) == "-")
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"{config.plants} plants, {config.days} days", total=1.0)
        with tempfile.TemporaryDirectory(prefix=f"{args.out.name}.", dir=_parent(args.out)) as fresh:
            summary = simulate(config, Path(fresh), lambda share: bar.update(task, completed=share))
            # What was there goes only when what replaces it is whole.
            args.out.mkdir(exist_ok=True)
            for old in args.out.iterdir():
                old.unlink()
            for new in Path(fresh).iterdir():
                new.replace(args.out / new.name)
    summary = msgspec.structs.replace(summary, folder=str(args.out))
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("share of time", justify="right")
    table.add_column("events", justify="right")
    table.add_column("cause")
    table.add_row("normal", f"{summary.proportions['normal']:.2%}", "", "")
    for code, cause in FAULTS.items():
        name = fault_name(code)
        table.add_row(name, f"{summary.proportions[name]:.2%}", str(summary.events[name]), cause)
    console.print(table)
    console.print(f"{summary.samples} samples of {summary.plants} plants in {args.out}")
    console.print(f"next  rarefault demo --data {args.out}")
    if args.json is not None:
        write_json(args.json, summary)
    return 0


def _parent(folder: Path) -> Path:
    """The folder that it is in, made if it is not there."""
    parent = folder.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    return parent


def _check_room(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds anything but simulated plants that may be replaced."""
    if not folder.exists():
        return
    there = list(folder.iterdir()) if folder.is_dir() else [folder]
    if there and not force:
        raise UsageError(
            f"{folder} exists and is not empty: choose another folder, or --force to replace simulated plants"
        )
    if strange := [file.name for file in there if not file.match("plant_*[abc].csv")]:
        raise UsageError(f"{folder} holds {strange[0]!r}, which is no simulated plant: --force does not remove it")
