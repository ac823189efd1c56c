"""``rarefault trials``: a configuration on every fold, and variations of it beside each other."""

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarefault.runtime.errors import UsageError
from rarefault.runtime.results import add_json_argument, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from rarefault.train.config import TrainConfig
    from rarefault.train.runs.trials import Trial

HELP = "train on every fold, and compare variations of a configuration"
EXTRA = "train"
EPILOG = """examples:
  rarefault trials plant.toml                                   every fold once: mean and spread of the scores
  rarefault trials plant.toml --vary recipe.alpha=0.5,0.75,1    which is best on the validation blocks?
  rarefault trials plant.toml --vary recipe.alpha=0.5,1 --vary window.length=16,24 --trials 3 --folds 2
  rarefault trials plant.toml --ray                             side by side on the processors of this machine
  rarefault trials plant.toml --ray ray://head:10001            on a Ray cluster

Variations are chosen by their validation blocks. Only the best one is judged on the test blocks, and best.toml has its
configuration. An interrupted command goes on where it was when it is given again with the same --out.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", metavar="CONFIG.toml", type=Path, help="configuration of the training")
    parser.add_argument(
        "--vary", metavar="KEY=A,B,...", action="append", default=[], help="values that a key shall take; repeatable"
    )
    parser.add_argument(
        "--trials", metavar="N", type=int, help="draw so many of the combinations (default: all of them)"
    )
    parser.add_argument("--folds", metavar="N", type=int, help="folds to judge (default: split.folds of them)")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change the configuration")
    parser.add_argument("--out", metavar="DIR", type=Path, help="run directories (default: runs/NAME-trials)")
    add_ray_arguments(parser)
    add_json_argument(parser)


def add_ray_arguments(parser: argparse.ArgumentParser) -> None:
    """``--ray [ADDRESS]`` and ``--ray-cpus N``."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="local",
        help="work on a Ray cluster: 'auto', ray://HOST:10001, or without an address on this machine's processors",
    )
    parser.add_argument("--ray-cpus", metavar="N", type=int, help="processors of this machine that Ray may use")


def run(args: argparse.Namespace) -> int:
    """Train all of it."""
    import msgspec

    from rarefault.train.commands.answer import print_answer
    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.commands.train import model_name, parse_changes
    from rarefault.train.config import load_train_config, to_toml
    from rarefault.train.evaluation.advice import Facts, Setting
    from rarefault.train.evaluation.answer import answer_of_facts
    from rarefault.train.history import absolute
    from rarefault.train.runs.trials import summary, variations

    if args.trials is not None and args.trials < 1:
        raise UsageError(f"--trials {args.trials}: at least 1")
    changes = parse_changes(args.set)
    seed = load_train_config(args.config, changes).training.seed
    varied = variations(parse_vary(args.vary), args.trials, seed)
    configs = [(each, load_train_config(args.config, changes | each)) for each in varied]
    name = configs[0][1].training.name or model_name(args.config.stem)
    out = args.out or Path("runs") / f"{name}-trials"
    console = PlainConsole(stderr=str(args.json) == "-")
    trials = _run(args, configs, out, name, console)
    best = trials[0]
    chosen = next(config for each, config in configs if each == best.changes)
    chosen = msgspec.structs.replace(chosen, data=absolute(chosen.data, args.config.parent))
    (out / "best.toml").write_text(to_toml(chosen), encoding="utf-8")
    answer = answer_of_facts(Facts.pooled(best.test), Setting.of_config(chosen))
    print_answer(console, answer)
    if len(trials) > 1:
        _print_variations(console, trials)
    judged = summary(best)
    _print_test(console, best, judged)
    console.print(f"run directories  {out}")
    console.print(f"next             rarefault train {out / 'best.toml'}")
    if args.json is not None:
        varied_scores = [
            {"changes": trial.changes, "validation_macro_f1": trial.score, "by_fold": trial.validation}
            for trial in trials
        ]
        write_json(args.json, {"variations": varied_scores, "best": best.changes, "answer": answer, "test": judged})
    return 0


def _run(
    args: argparse.Namespace,
    configs: "list[tuple[dict[str, Any], TrainConfig]]",
    out: Path,
    name: str,
    console: "Console",
) -> "list[Trial]":
    """Train all folds under a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from rarefault.train.report import write_report
    from rarefault.train.runs.trials import Fold, run_trials

    total = sum(args.folds or config.split.folds for _, config in configs)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("training", total=total)

        def on_fold(fold: Fold, metrics: dict[str, Any]) -> None:
            where = fold.out.relative_to(out.resolve())
            text = f"{where}: validation macro-F1 {metrics['validation']['macro_f1']:.3f}"
            progress.update(bar, advance=1, description=text)
            if not console.is_terminal:
                console.print(text)

        return run_trials(
            configs,
            args.config.parent,
            out,
            args.folds,
            name=name,
            address=args.ray,
            cpus=args.ray_cpus,
            finish=write_report,
            on_fold=on_fold,
        )


def parse_vary(words: list[str]) -> dict[str, list[Any]]:
    """``KEY=A,B`` words; the values as TOML, bare words are text."""
    found: dict[str, list[Any]] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key or not text:
            raise UsageError(f"--vary {word}: write it like --vary recipe.alpha=0.5,1")
        if key in found:
            raise UsageError(f"--vary {key} is given twice; write all of its values with commas between them")
        try:
            values = tomllib.loads(f"value = [{text}]")["value"]
        except tomllib.TOMLDecodeError:
            values = text.split(",")
        found[key] = values
    return found


def _print_variations(console: "Console", trials: "list[Trial]") -> None:
    from rich.table import Table

    table = Table(title="variations, by their validation blocks", title_justify="left")
    for key in trials[0].changes:
        table.add_column(key)
    table.add_column("macro-F1", justify="right")
    table.add_column("folds", justify="right")
    for trial in trials:
        low, high = min(trial.validation), max(trial.validation)
        table.add_row(
            *map(str, trial.changes.values()), f"{trial.score:.3f} [{low:.3f}, {high:.3f}]", str(len(trial.test))
        )
    console.print(table)


def _print_test(console: "Console", best: "Trial", judged: dict[str, Any]) -> None:
    from rich.table import Table

    of = ", ".join(f"{key} = {value}" for key, value in best.changes.items())
    table = Table(title="test blocks" + (f" with {of}" if of else ""), title_justify="left")
    for column in ("", "mean", "spread", "folds"):
        table.add_column(column, justify="left" if not column else "right")
    rows = {key.replace("_", " "): value for key, value in judged.items() if key != "f1"}
    rows |= {f"F1 of {name}": value for name, value in judged["f1"].items()}
    for name, row in rows.items():
        mean, sd = (("-" if row[k] is None else f"{row[k]:.3f}") for k in ("mean", "sd"))
        table.add_row(name, mean, sd, str(row["folds"]))
    console.print(table)
