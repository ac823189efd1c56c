"""What the presets score and what a verdict costs with each: the front to choose a model from.

    RAREFAULT_DATA=... python -m benchmarks.front

trains every preset on all folds of plant 31, blocks of a day, and judges it with the trees beside it and alone;
measures what a verdict costs, 64 windows at a time on one thread; writes ``benchmarks/results/front.json`` and
``docs/front.svg``. What is trained is kept in ``benchmarks/.cache/front``.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from benchmarks.memory import origin
from benchmarks.quality.methods.nets import train_net
from benchmarks.quality.methods.trees import alone
from benchmarks.quality.prediction import Judged, Prediction, judge, score
from benchmarks.quality.protocol import PROBLEMS, Fold, make_fold
from scipy.special import log_softmax

from rarefault.export.graph import step_graph, with_manifest
from rarefault.export.quantize import quantise
from rarefault.runtime.grid import Float32
from rarefault.runtime.manifest import DecisionSpec, Manifest
from rarefault.runtime.model_file import load_model
from rarefault.train.model import PRESETS, LRConvLSTM
from rarefault.train.recipe import class_shares
from rarefault.train.tree_fit import fit_share, grow_trees
from rarefault.train.units import channels_of_units

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "benchmarks" / ".cache" / "front"
PROBLEM = PROBLEMS["plant31-day"]
BATCH = 64


def main() -> int:
    """Train what is missing, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default=",".join(PRESETS), help="which to train (default: all)")
    parser.add_argument("--train-only", action="store_true", help="measure and write nothing")
    args = parser.parse_args()
    folder = os.environ.get("RAREFAULT_DATA")
    if not folder:
        sys.exit("RAREFAULT_DATA is not set: it names the folder that holds phm2015/plant_31a.csv")
    torch.set_num_threads(1)
    CACHE.mkdir(parents=True, exist_ok=True)
    for preset in args.presets.split(","):
        _train(preset, Path(folder))
    if args.train_only:
        return 0
    kept = [CACHE / f"{preset}.json" for preset in PRESETS]
    scored = [row for file in kept if file.exists() for row in json.loads(file.read_text(encoding="utf-8"))]
    costs = _costs(make_fold(PROBLEM, 0, Path(folder)))
    rows = [row | costs[row["preset"], row["trees"]] for row in scored]
    for row in rows:
        print(
            f"{row['preset']:10} {'with trees' if row['trees'] else 'alone':10} macro-F1 {row['macro_f1']:.3f}  "
            f"{row['float32_us']:6.1f} us in float32, {row['int8_us']:6.1f} us in int8"
        )
    found = {"rows": rows, "protocol": "PHM 2015 plant 31, blocks of a day, 5 folds, seed 0", **origin()}
    (ROOT / "benchmarks" / "results" / "front.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    _plot(rows, ROOT / "docs" / "front.svg")
    return 0


def _train(preset: str, data: Path) -> None:
    file = CACHE / f"{preset}.json"
    if file.exists():
        return
    began = time.monotonic()
    judged: dict[bool, list[Judged]] = {False: [], True: []}
    classes: tuple[str, ...] = ()
    for number in range(PROBLEM.folds):
        fold = make_fold(PROBLEM, number, data, {"model": {"preset": preset}, "trees": {"rounds": 0}})
        classes = fold.history.classes
        network = train_net(fold, 0)
        judged[False].append(judge(fold, network))
        judged[True].append(judge(fold, _beside(fold, network, _trees(number, data))))
        print(f"{preset}, fold {number}: {time.monotonic() - began:.0f} s", flush=True)
    rows = []
    for trees, these in judged.items():
        scores = score(these, classes)
        keys = ("macro_f1", "macro_recall", "macro_average_precision", "log_loss", "f1_per_class")
        rows.append({"preset": preset, "trees": trees} | {key: scores[key] for key in keys})
    file.write_text(json.dumps(rows, default=float), encoding="utf-8")


@cache
def _trees(number: int, data: Path) -> Prediction:
    """The trees that are shipped, which are the same beside every network."""
    return alone(make_fold(PROBLEM, number, data), 0)


def _beside(fold: Fold, network: Prediction, trees: Prediction) -> Prediction:
    """The two pooled, as the trainer does it."""
    learnt = network.training_prior
    assert learnt is not None
    assert learnt == trees.training_prior
    labels = fold.parts["validation"].label
    shift = np.log(class_shares(fold.parts["train"].label, fold.n_classes)) - np.log(learnt)
    share = fit_share(network.validation, trees.validation, labels, shift)

    def pooled(a: Float32, b: Float32) -> Float32:
        return np.asarray(log_softmax((1 - share) * a + share * b, axis=1), np.float32)

    return replace(
        network, validation=pooled(network.validation, trees.validation), test=pooled(network.test, trees.test)
    )


def _costs(fold: Fold) -> dict[tuple[str, bool], dict[str, float]]:
    """Microseconds per verdict; weights make no difference to it, the trees are those of a fold."""
    k = fold.n_classes
    units = channels_of_units(fold.config, fold.history.channels)
    trees = grow_trees(fold.parts["train"], k, (1 / k,) * k, fold.config.trees, 0, units=units)
    found = {}
    with tempfile.TemporaryDirectory(prefix="rarefault-front-") as name:
        for preset, spec in PRESETS.items():
            model = LRConvLSTM(spec, len(fold.history.channels), k, fold.config.window.length).eval()
            for beside in (False, True):
                model.trees = trees if beside else None
                graph = step_graph(model)
                manifest = _manifest(fold, model)
                row = {}
                for precision, made in (("float32", graph), ("int8", quantise(graph))):
                    path = Path(name, f"{preset}-{beside}-{precision}.onnx")
                    path.write_bytes(with_manifest(made, msgspec.structs.replace(manifest, precision=precision)))
                    row[f"{precision}_us"] = _measure(path, fold)
                    row[f"{precision}_mb"] = round(path.stat().st_size / 1e6, 2)
                row["parameters"] = sum(p.numel() for p in model.parameters())
                found[preset, beside] = row
    return found


def _manifest(fold: Fold, model: LRConvLSTM) -> Manifest:
    even = (1 / model.n_classes,) * model.n_classes
    return Manifest(
        name="front",
        channels=fold.history.channels,
        classes=fold.history.classes,
        grid=fold.config.grid,
        window=fold.config.window,
        state_size=model.state_size,
        decision=DecisionSpec(training_prior=even, true_prior=even, thresholds=even),
    )


def _measure(path: Path, fold: Fold) -> float:
    step = load_model(path).step
    window = fold.parts["test"].windows.gather(np.arange(BATCH))
    state = np.zeros((BATCH, load_model(path).manifest.state_size), np.float32)
    took = []
    for _ in range(30):
        began = time.perf_counter()
        step(window, state)
        took.append(time.perf_counter() - began)
    return round(float(np.median(took)) / BATCH * 1e6, 1)


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure((7, 4.2), layout="constrained")
    axes = figure.subplots()
    for trees, label, marker in ((True, "with trees", "o"), (False, "network alone", "s")):
        mine = sorted((row for row in rows if row["trees"] == trees), key=lambda row: float(row["int8_us"]))
        axes.plot([r["int8_us"] for r in mine], [r["macro_f1"] for r in mine], marker=marker, label=label)
        for row in mine:
            axes.annotate(row["preset"], (row["int8_us"], row["macro_f1"]), (5, 5), textcoords="offset points")
    axes.set_xscale("log")
    axes.set_xlabel("microseconds for a verdict (int8, one thread, 64 at a time)")
    axes.set_ylabel("macro-F1, plant 31, blocks of a day")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
