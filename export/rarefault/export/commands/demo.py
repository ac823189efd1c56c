"""``rarefault demo``: all of it on one machine."""

import argparse
from pathlib import Path

from rarefault.runtime.errors import UsageError
from rarefault.runtime.results import add_json_argument, write_json

HELP = "train, export and serve on this machine, and compare live with offline verdicts"
EXTRA = "demo"
EPILOG = """examples:
  rarefault demo                                     on simulated plants, about three minutes
  rarefault demo --data history/ --json demo.json    on a folder in the form of PHM 2015
  rarefault demo --plants 2 --days 40 --epochs 10 --rounds 30
                                                     smaller and quicker

Needs no broker and no network: an MQTT broker runs inside. Exit code 0 means that every verdict that came over MQTT
was the one of the offline evaluation.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="folder of plant_Na/b/c.csv (default: simulated plants)"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="where everything goes (default: demo, demo-2, ...)")
    parser.add_argument("--plants", type=int, help="simulated plants")
    parser.add_argument("--days", type=int, help="simulated days")
    parser.add_argument("--epochs", type=int, help="most epochs of training")
    parser.add_argument("--rounds", type=int, help="boosted trees for each class")
    parser.add_argument("--seed", type=int, default=0, help="of simulation and training (default: 0)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    import amqtt.broker  # noqa: F401 - so that a missing extra is said before minutes of training
    import msgspec

    from rarefault.export.demo.result import print_result
    from rarefault.export.demo.run import QUICK, DemoOptions, run_demo
    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.config import TrainingConfig, TreesConfig
    from rarefault.train.simulate import SimulationConfig

    if args.data is not None and (args.plants or args.days):
        raise UsageError("--plants and --days are for simulated plants, not for --data")
    if args.data is not None and not args.data.is_dir():
        raise UsageError(f"--data {args.data}: there is no such folder")
    sizes = {name: getattr(args, name) for name in ("plants", "days") if getattr(args, name) is not None}
    try:
        simulation = msgspec.convert({"seed": args.seed, **sizes}, SimulationConfig)
        training = msgspec.convert(
            QUICK | {"seed": args.seed} | ({"epochs": args.epochs} if args.epochs is not None else {}), TrainingConfig
        )
        trees = msgspec.convert({"rounds": args.rounds} if args.rounds is not None else {}, TreesConfig)
    except msgspec.ValidationError as error:
        raise UsageError(str(error)) from None
    console = PlainConsole(stderr=str(args.json) == "-")
    result = run_demo(DemoOptions(_folder(args.out), args.data, simulation, training, trees), console)
    print_result(console, result)
    if args.json is not None:
        write_json(args.json, result)
    return 0 if result.succeeded else 1


def _folder(wanted: Path | None) -> Path:
    folder, number = wanted or Path("demo"), 2
    if wanted is None:
        while folder.exists():
            folder = Path(f"demo-{number}")
            number += 1
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--out {folder} exists and is not empty: choose another folder or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
