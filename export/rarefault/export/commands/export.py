"""``rarefault export``: a run directory to one self-describing model file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarefault.runtime.results import add_json_argument, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from rarefault.export.exporter import Export

HELP = "export a run to one ONNX file, proved to compute what was trained"
EXTRA = "train"
EPILOG = """examples:
  rarefault export runs/plant -o plant.onnx
  rarefault export runs/plant -o plant-int8.onnx --int8      the network in int8: for large ones

The file is left only if it agrees with the checkpoint, and the checkpoint with what its training recorded; in int8 only
if verdicts, alarms and macro-F1 on the held-out blocks are those of float32, within the limits above. Trees stay as
they are, so that int8 makes the default model hardly smaller.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory of 'rarefault train'")
    parser.add_argument("-o", "--output", metavar="FILE.onnx", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--int8", action="store_true", help="quantise the LSTM layers; the effect is measured, kept and limited"
    )
    parser.add_argument(
        "--max-changed",
        metavar="SHARE",
        type=_share,
        default=0.02,
        help="refuse int8 where more of the verdicts change (default: %(default)s)",
    )
    parser.add_argument(
        "--max-f1-loss",
        metavar="LOSS",
        type=_share,
        default=0.02,
        help="refuse int8 where macro-F1 falls by more (default: %(default)s)",
    )
    parser.add_argument(
        "--max-alarms-changed",
        metavar="SHARE",
        type=_share,
        default=0.05,
        help="refuse int8 where more of the alarms are raised in only one of float32 and int8 (default: %(default)s)",
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Export."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    from rarefault.export.exporter import INT8_STAGES, STAGES, export_run
    from rarefault.export.int8_effect import Int8Limits
    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.runs.run_directory import RunDirectory

    console = PlainConsole(stderr=str(args.json) == "-")
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    stages = STAGES + INT8_STAGES if args.int8 else STAGES
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(stages[0], total=len(stages))
        made = export_run(
            RunDirectory(args.run),
            args.output,
            int8=args.int8,
            limits=Int8Limits(
                changed=args.max_changed, macro_f1_loss=args.max_f1_loss, alarms_changed=args.max_alarms_changed
            ),
            on_stage=lambda text: progress.update(task, description=text, completed=stages.index(text)),
        )
    _print(console, made)
    if args.json is not None:
        write_json(args.json, _result(made))
    return 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text!r}")
    return value


def _result(made: "Export") -> dict[str, Any]:
    model = made.model
    return {
        "path": model.path,
        "model": model.model_id,
        "precision": model.manifest.precision,
        "size_bytes": model.size_bytes,
        "float32_bytes": made.float32_bytes,
        "checks": [
            {"of": c.of, "between": c.between, "measured": c.measured, "allowed": c.allowed} for c in made.checks
        ],
        "quantisation": model.manifest.quantisation,
        "seconds": made.seconds,
    }


def _print(console: "Console", made: "Export") -> None:
    from rich.table import Table

    model = made.model
    table = Table("largest difference", title_justify="left")
    for heading in ("of", "measured", "allowed"):
        table.add_column(heading, justify="left" if heading == "of" else "right")
    before = ""
    for check in made.checks:
        between = "" if check.between == before else check.between
        table.add_row(between, check.of, f"{check.measured:.2g}", f"{check.allowed:.2g}")
        before = check.between
    console.print(table)
    if (effect := model.manifest.quantisation) is not None:
        scores, alarms, changes = effect["macro_f1"], effect["alarms"], effect["alarm_changes"]
        console.print(f"int8      {effect['changed']:.2%} of {effect['verdicts']} verdicts differ")
        only = f"{alarms['only_before']} in float32 alone, {alarms['only_after']} in int8 alone"
        console.print(f"alarms    {alarms['before']} in float32, {alarms['after']} in int8: {only}")
        counts = (
            f"{changes['before']} in float32, {changes['after']} in int8, {changes['different']} in only one of them"
        )
        console.print(f"          changes, to the window: {counts}")
        if scores["float32"] is not None:
            console.print(f"macro-F1  {scores['float32']:.4f} in float32, {scores['int8']:.4f} in int8")
        console.print(f"on        {effect['measured on']}", soft_wrap=True)
    size = f"{model.size_bytes / 1e6:.2f} MB"
    if model.manifest.precision != "float32":
        size += f" (float32: {made.float32_bytes / 1e6:.2f} MB)"
    console.print(f"model     {model.model_id}, {model.manifest.precision}")
    console.print(f"written   {model.path}, {size}, in {made.seconds:.1f} s", soft_wrap=True)
