"""``rarefault evaluate``: honest scores of a run's checkpoint or of a model file, on the served path."""

import argparse
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from rarefault.runtime.errors import UsageError
from rarefault.runtime.results import add_json_argument, write_json
from rarefault.train.commands.trials import add_ray_arguments

if TYPE_CHECKING:
    from rich.console import Console

    from rarefault.runtime.inference.engine import Step
    from rarefault.runtime.inference.manifest import Manifest
    from rarefault.train.config import TrainConfig
    from rarefault.train.history import History
    from rarefault.train.history.source import HistoryConfig

HELP = "score a run directory or a model file on a history"
EXTRA = "train"
EPILOG = """examples:
  rarefault evaluate runs/plant                                 the run's own held-out test blocks
  rarefault evaluate runs/plant --part validation
  rarefault evaluate plant.onnx --data plant.toml               the test blocks of that configuration
  rarefault evaluate plant.onnx --data history/ --part all      a folder in the form of PHM 2015, all of it
  rarefault evaluate plant.onnx --data fleet.toml --part all --ray    many devices, on all processors of this machine

Only scores on data that the model was not trained on hold for new data. With a run directory, the command says how much
of the history the model was trained on, by device and time; a model file holds the fingerprint and the span of its data
alone.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="RUN|MODEL.onnx", type=Path, help="a run directory or an exported model")
    parser.add_argument("--data", metavar="CONFIG.toml|FOLDER", type=Path, help="the history (default: the run's own)")
    parser.add_argument(
        "--part", choices=("test", "validation", "train", "all"), default="test", help="blocks of the split"
    )
    parser.add_argument("--strict", action="store_true", help="fail where the history has any problem")
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="also write a report to look at")
    add_ray_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate."""
    import msgspec

    from rarefault.train.commands.answer import print_answer
    from rarefault.train.commands.console import PlainConsole
    from rarefault.train.commands.train import print_scores
    from rarefault.train.evaluation.advice import Setting
    from rarefault.train.evaluation.answer import answer_of
    from rarefault.train.evaluation.evaluate import Cluster, evaluate
    from rarefault.train.evaluation.metrics import to_plain
    from rarefault.train.report import write_evaluation
    from rarefault.train.runs.run_directory import RunDirectory
    from rarefault.train.runs.seen import seen_by_file, seen_by_run

    console = PlainConsole(stderr=str(args.json) == "-")
    with console.status("reading model and history"):
        manifest, step, model_id, own = _load(args.model, args.part)
        history, data = _history(args, own, manifest, console)
    with console.status(f"evaluating {len(history)} samples of {len(history.devices)} device(s)"):
        where = (
            Cluster(args.ray, partial(load_step, args.model.resolve(), args.part), args.ray_cpus) if args.ray else None
        )
        evaluation = evaluate(history, manifest, step, model_id, explained=args.report is not None, cluster=where)
    scores = to_plain(evaluation.scores)
    if own is not None:
        seen = seen_by_run(RunDirectory(args.model), history, held_out=args.part == "validation")
    else:
        seen = seen_by_file(manifest, history)
    what = "the whole history" if args.part == "all" else f"{args.part} blocks"
    title = f"{model_id}, {what} - {seen.phrase}"
    setting = Setting.of(manifest, own).on(history, data, whole=args.part == "all")
    answer = answer_of(scores, msgspec.structs.replace(setting, seen=seen.share or 0.0))
    print_answer(console, answer)
    print_scores(console, scores, title)
    if args.report is not None:
        write_evaluation(args.report, evaluation, manifest, title, answer, data)
        console.print(f"report  {args.report}")
    if args.json is not None:
        found = {
            "model": model_id,
            "part": args.part,
            "history": history.fingerprint,
            "seen": msgspec.to_builtins(seen),
            "answer": msgspec.to_builtins(answer),
        }
        write_json(args.json, {**found, **scores})
    return 0


def _load(path: Path, part: str) -> "tuple[Manifest, Step, str, TrainConfig | None]":
    """Manifest, step and id of a run directory or a model file, and the run's configuration.

    The validation blocks of a run are evaluated with the model that was not trained on them.
    """
    if path.is_dir():
        from rarefault.train.model.step import TorchStep
        from rarefault.train.runs.run_directory import RunDirectory

        run_directory = RunDirectory(path)
        manifest = run_directory.load_manifest()
        return (
            manifest,
            TorchStep(run_directory.load_model(held_out=part == "validation")),
            manifest.name,
            run_directory.load_config(),
        )
    from rarefault.runtime.inference.model_file import load_model

    model = load_model(path)
    return model.manifest, model.step, model.model_id, None


@lru_cache(maxsize=1)
def load_step(path: Path, part: str) -> "Step":
    """A model's step for a worker, which may have more than one task."""
    return _load(path, part)[1]


def _history(
    args: argparse.Namespace, own: "TrainConfig | None", manifest: "Manifest", console: "Console"
) -> "tuple[History, HistoryConfig]":
    """The history to judge, and what it was read by."""
    from rarefault.train.config import load_train_config
    from rarefault.train.dataset.split import split_history
    from rarefault.train.history import read_history, source_of

    if args.data is not None and args.data.is_dir():
        if args.part != "all":
            raise UsageError(f"--data {args.data} is a folder without a split: add --part all, or name a CONFIG.toml")
        source = source_of([args.data])
        return read_history(source, Path(), strict=args.strict, channels=manifest.channel_specs), source
    if args.data is not None:
        config, base = load_train_config(args.data), args.data.parent
    elif own is not None:
        from rarefault.train.runs.run_directory import RunDirectory
        from rarefault.train.runs.sources import load_sources

        sources = load_sources(RunDirectory(args.model), strict=args.strict)
        for note in sources.notes:
            console.print(f"note: {note}", style="yellow", soft_wrap=True)
        whole = sources.history
        return whole if args.part == "all" else sources.split.select(whole, args.part), own.data
    else:
        raise UsageError(f"{args.model} is a model file: say with --data on which history to evaluate it")
    history = read_history(config.data, base, strict=args.strict, channels=manifest.channel_specs)
    if args.part == "all":
        return history, config.data
    return split_history(history, config.split, config.grid).select(history, args.part), config.data
