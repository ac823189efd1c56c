"""``rarefault train``: history and fault log to a calibrated, evaluated model."""

import argparse
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarefault.runtime.errors import RarefaultError, UsageError
from rarefault.runtime.results import add_json_argument, write_json

if TYPE_CHECKING:
    from rich.console import Console

HELP = "train, calibrate and evaluate a model; leaves a run directory"
EXTRA = "train"
EPILOG = """examples:
  rarefault train plant.toml
  rarefault train plant.toml --out runs/plant-a1 --set recipe.alpha=1.0 --set training.epochs=60
  rarefault train plant.toml --fast                            a first answer within about a minute
  rarefault train plant.toml --budget 10m                      leave out what takes longer
  rarefault train plant.toml --out runs/plant-a1 --resume      go on after an interruption
  rarefault train edge.toml --from runs/plant-a1 --out runs/plant-a2      go on from a run, with new data

A minimal configuration:

  [data]
  format = "phm2015"
  path = "history/"

The run directory holds metrics.json, report.html and the checkpoint for 'rarefault export'.

--from RUN starts from the weights of a finished run and trains on its training blocks and those of the new [data]
together; what the configuration does not say comes from RUN. Channels, classes, grid, window and network stay as they
are; what has other faults is trained anew. The new model is then held against the old one on the validation blocks of
RUN and the test blocks of the new data. Where on either of both macro-F1 falls by more than
training.retrain_tolerance, or false alarms per device and day rise by more than training.retrain_false_alarms, the new
model is not accepted: exit code 1, and the run cannot be exported.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", metavar="CONFIG.toml", type=Path, help="the configuration")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="the run directory (default: runs/NAME, then runs/NAME-2)"
    )
    parser.add_argument(
        "--from", dest="start", metavar="RUN", type=Path, help="go on from this finished run, with the new data"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished training in DIR")
    parser.add_argument("--strict", action="store_true", help="fail where the history has any problem")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="replace a value of the configuration (TOML)"
    )
    time = parser.add_mutually_exclusive_group()
    time.add_argument(
        "--budget", metavar="TIME", help="how long it may take, such as 10m; the run says what is left out for it"
    )
    time.add_argument(
        "--fast", action="store_true", help="a first answer within about a minute: trees alone, on fewer windows"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train."""
    from rarefault.train.commands.answer import grave_notes
    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.commands.progress import TrainingProgress
    from rarefault.train.config import load_train_config
    from rarefault.train.report import write_report
    from rarefault.train.report.comparison import refusal
    from rarefault.train.runs.retraining import load_retrain_config
    from rarefault.train.runs.run_directory import RunDirectory
    from rarefault.train.runs.training import train

    changes = parse_changes(args.set)
    if args.budget is not None or args.fast:
        changes["training.budget"] = "fast" if args.fast else args.budget
    start = RunDirectory(args.start) if args.start is not None else None
    config = load_retrain_config(args.config, changes, start) if start else load_train_config(args.config, changes)
    if args.resume and args.out is None:
        raise UsageError("--resume needs --out DIR, the folder of the unfinished training")
    name = config.training.name or model_name(args.config.stem)
    out = args.out or _free_folder(Path("runs"), name)
    console = PlainConsole(stderr=str(args.json) == "-")
    try:
        with TrainingProgress(console) as progress:
            observer = progress.observer()
            result = train(
                config,
                args.config.parent,
                out,
                name=name,
                resume=args.resume,
                strict=args.strict,
                start=start,
                observer=replace(observer, note=grave_notes(observer.note)),
            )
    except KeyboardInterrupt:
        if RunDirectory(out).resume.exists():
            origin = f" --from {args.start}" if start else ""
            console.print(f"go on with  rarefault train {args.config}{origin} --out {out} --resume")
        elif out.exists():
            console.print(f"nothing is kept to go on from: remove {out}, or train into another folder")
        raise
    write_report(result)
    _print_result(console, result.metrics, name, out)
    if args.json is not None:
        write_json(args.json, {"run": str(out), **result.metrics})
    retraining: dict[str, Any] | None = result.metrics.get("retraining")
    if retraining and not retraining["accepted"]:
        raise RarefaultError(refusal(retraining, out))
    console.print(f"next           rarefault export {out} -o {name}.onnx")
    return 0


def _print_result(console: "Console", metrics: dict[str, Any], name: str, out: Path) -> None:
    import msgspec

    from rarefault.train.commands.answer import print_answer, print_notes
    from rarefault.train.evaluation.answer import Answer

    report = out / "report.html"
    print_answer(console, msgspec.convert(metrics["answer"], Answer))
    print_scores(console, metrics["test"], f"held-out test blocks of {name}")
    if "retraining" in metrics:
        print_comparison(console, metrics["retraining"])
    worth = metrics["pooling"]["held_out_log_loss"]
    if worth["trees_alone"] is not None:
        console.print(
            f"network        held-out log loss {worth['as_served']:.3f}, {worth['trees_alone']:.3f} without it "
            "(model.network)"
        )
    console.print(f"parts          {metrics['parts']['text']}", soft_wrap=True)
    console.print(f"run directory  {out}")
    print_notes(console, metrics["notes"], str(report))
    console.print(f"report         {report}")


def parse_changes(pairs: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words, the value as TOML (a bare word is text)."""
    changes = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {pair}: write it like --set recipe.alpha=0.5")
        try:
            changes[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key] = text
    return changes


def print_scores(console: "Console", scores: dict[str, Any], title: str) -> None:
    """The scores of one part as a table, rare classes as visible as common ones."""
    from rich.table import Table

    from rarefault.train.evaluation.metrics import headlines

    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for column in ("windows", "recall", "precision", "F1", "AP", "events seen"):
        table.add_column(column, justify="right")
    for name, row in scores["classes"].items():
        seen = [event["detected"] for event in scores["events"] if event["fault"] == name]
        table.add_row(
            name,
            str(row["support"]),
            *(_share(row[key]) for key in ("recall", "precision", "f1", "average_precision")),
            f"{sum(seen)}/{len(seen)}" if seen else "-",
        )
    console.print(table)
    console.print(" · ".join(f"{title} {value}" for title, value in headlines(scores)))


def print_comparison(console: "Console", retraining: dict[str, Any]) -> None:
    """The earlier and the new model side by side."""
    from rich.table import Table

    from rarefault.train.report.comparison import comparison_rows

    table = Table(title=f"before and after; before is {retraining['from']}", title_justify="left")
    table.add_column("")
    for part in ("old validation", "new test"):
        for when in ("before", "after"):
            table.add_column(f"{part}\n{when}", justify="right")
    for name, values in comparison_rows(retraining):
        table.add_row(name, *(_share(value) for value in values))
    console.print(table)
    if retraining["new_test"] is None:
        console.print("note: the test blocks of the new data hold no labelled window", style="yellow")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def model_name(stem: str) -> str:
    """A file's name as a model may be named."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:64] or "model"


def _free_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    number = 2
    while folder.exists():
        folder = parent / f"{name}-{number}"
        number += 1
    return folder
