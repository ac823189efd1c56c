"""What the presets score and what a verdict costs with each: the front to choose a model from.

    RAREFAULT_DATA=... python -m benchmarks.front

trains every preset on all folds of plant 31, blocks of a day, and judges it with the trees beside it and alone;
measures what a verdict costs, 64 windows at a time on one thread; writes ``benchmarks/results/front.json`` and
``docs/results/front.svg``. No model is refitted on the validation blocks, and the decision is fitted on them alone:
the other way takes three times as long and helps all alike. What is trained is kept in ``benchmarks/.cache/front``:
remove that to train again after a change.
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from benchmarks.harness.machine import RESULTS, ROOT, THREADS, cache, data_folder, origin, write
from benchmarks.quality.methods import ONCE
from benchmarks.quality.methods.nets import train_net
from benchmarks.quality.prediction import Judged, Prediction, filtered, judge, score
from benchmarks.quality.protocol import PROBLEMS, Fold, make_fold
from scipy.special import log_softmax

from rarefault.export.graph import step_graph, with_manifest
from rarefault.export.quantize import quantise
from rarefault.runtime.arrays import Float32
from rarefault.runtime.inference.manifest import DecisionSpec, Manifest
from rarefault.runtime.inference.model_file import load_model
from rarefault.train.calibration.pooling import fit_pool_weights
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.model.network import PRESETS, LRConvLSTM

PROBLEM = PROBLEMS["plant31-day"]
TREES = "trees"
#: What network and trees say together has a filter of its own, fitted when they are pooled.
UNFILTERED: dict[str, Any] = {"decision": {"filter": False}}
BATCH = 64


def main() -> int:
    """Train what is missing, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each that train (default 2)")
    args = parser.parse_args()
    folder = data_folder()
    os.environ.update(dict.fromkeys(THREADS, "1"))  # inherited, and read when the libraries are loaded
    # The slowest first, so that the last one is short.
    todo = [(which, fold) for which in (*PRESETS, TREES) for fold in range(PROBLEM.folds)]
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        running = {pool.submit(_train, which, fold, folder): f"{which}, fold {fold}" for which, fold in todo}
        for done in as_completed(running):
            print(f"{running[done]}: {done.result():.0f} s", flush=True)
    torch.set_num_threads(1)
    scored = _scored(folder)
    costs = _costs(make_fold(PROBLEM, 0, folder))
    rows = [row | costs[row["preset"], row["trees"]] for row in scored]
    for row in rows:
        print(
            f"{row['preset']:10} {'with trees' if row['trees'] else 'alone':10} macro-F1 {row['macro_f1']:.3f}  "
            f"{row['float32_us']:6.1f} us in float32, {row['int8_us']:6.1f} us in int8"
        )
    found = {"rows": rows, "protocol": "PHM 2015 plant 31, blocks of a day, 5 folds, seed 0", **origin()}
    write(RESULTS / "front.json", found)
    _plot(rows, ROOT / "docs" / "results" / "front.svg")
    return 0


def _train(which: str, number: int, data: Path) -> float:
    """Train a preset, or the trees, on a fold where that has not been done; seconds that it took."""
    file = _kept(which, number)
    if file.exists():
        return 0.0
    began = time.monotonic()
    torch.set_num_threads(1)
    network: dict[str, Any] = {"model": {"preset": which}, "trees": {"rounds": 0}}
    found = train_net(_fold(number, data, {"model": {"network": False}} if which == TREES else network), 0)
    fresh = file.with_suffix(".tmp")
    with fresh.open("wb") as out:
        np.savez_compressed(out, validation=found.validation, test=found.test, prior=np.asarray(found.training_prior))
    fresh.replace(file)
    return time.monotonic() - began


def _fold(number: int, data: Path, changes: dict[str, Any] | None = None) -> Fold:
    return make_fold(PROBLEM, number, data, ONCE | UNFILTERED | (changes or {}))


def _kept(which: str, number: int) -> Path:
    return cache("front") / f"{which}-fold{number}.npz"


def _load(which: str, number: int) -> Prediction:
    with np.load(_kept(which, number)) as kept:
        return Prediction(kept["validation"], kept["test"], tuple(kept["prior"].tolist()))


def _scored(data: Path) -> list[dict[str, Any]]:
    """A row for each preset, with the trees and alone."""
    judged: dict[tuple[str, bool], list[Judged]] = {
        (preset, trees): [] for preset in PRESETS for trees in (False, True)
    }
    classes: tuple[str, ...] = ()
    for number in range(PROBLEM.folds):
        fold = _fold(number, data)
        classes, trees = fold.history.classes, _load(TREES, number)
        for preset in PRESETS:
            network = _load(preset, number)
            judged[preset, False].append(judge(fold, filtered(fold, network)))
            judged[preset, True].append(judge(fold, filtered(fold, _beside(fold, network, trees))))
    keys = ("macro_f1", "macro_recall", "macro_average_precision", "log_loss", "f1_per_class")
    return [
        {"preset": preset, "trees": trees} | {key: scores[key] for key in keys}
        for (preset, trees), these in judged.items()
        for scores in (score(these, classes),)
    ]


def _beside(fold: Fold, network: Prediction, trees: Prediction) -> Prediction:
    """The two pooled, as the trainer does it."""
    training_prior = network.training_prior
    assert training_prior is not None
    assert training_prior == trees.training_prior
    labels = fold.parts["validation"].label
    shift = np.log(class_frequencies(fold.parts["train"].label, fold.n_classes)) - np.log(training_prior)
    counts = fold.parts["train"].counts(fold.n_classes)
    units = fold.parts["train"].at_units
    at_units = () if units is None else units.faults
    share = fit_pool_weights(network.validation, trees.validation, labels, shift, counts, at_units)

    def pooled(a: Float32, b: Float32) -> Float32:
        return np.asarray(log_softmax((1 - share) * a + share * b, axis=1), np.float32)

    return replace(
        network, validation=pooled(network.validation, trees.validation), test=pooled(network.test, trees.test)
    )


def _costs(fold: Fold) -> dict[tuple[str, bool], dict[str, float]]:
    """Microseconds per verdict; weights make no difference to it, the trees are those of a fold."""
    k = fold.n_classes
    units = channels_of_units(fold.config.trees.units, fold.config.data, fold.history.channels)
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
        grid=fold.config.grid.spec(),
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
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    figure = Figure((7, 4.2), layout="constrained")
    axes = figure.subplots()
    for trees, label, marker in ((True, "with trees", "o"), (False, "network alone", "s")):
        mine = sorted((row for row in rows if row["trees"] == trees), key=lambda row: float(row["int8_us"]))
        axes.plot([r["int8_us"] for r in mine], [r["macro_f1"] for r in mine], marker=marker, label=label)
        for number, row in enumerate(mine):  # in turn above and below, where neighbours are near
            place = (0, -14 if number % 2 else 7)
            at = (row["int8_us"], row["macro_f1"])
            axes.annotate(row["preset"], at, place, textcoords="offset points", horizontalalignment="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([5, 10, 20, 50, 100]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15, y=0.1)
    axes.set_xlabel("microseconds for a verdict (int8, one thread, 64 at a time)")
    axes.set_ylabel("macro-F1, plant 31, blocks of a day")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
