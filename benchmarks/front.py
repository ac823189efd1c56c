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
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from benchmarks.harness.machine import RESULTS, ROOT, THREADS, cache, data_folder, origin, write
from benchmarks.quality.methods import ONCE
from benchmarks.quality.methods.nets import train_net
from benchmarks.quality.prediction import Judged, Prediction, judge, score
from benchmarks.quality.protocol import PROBLEMS, Fold, make_fold
from scipy.special import log_softmax

from rarefault.export.graph import step_graph, with_manifest
from rarefault.export.quantize import quantise
from rarefault.runtime.arrays import Float32, Int64
from rarefault.runtime.inference.decision import Decision
from rarefault.runtime.inference.manifest import DecisionSpec, ExpertSpec, Manifest, UnitsSpec
from rarefault.runtime.inference.model_file import load_model
from rarefault.train.calibration.cross_fit import HeldOut
from rarefault.train.dataset.split import PARTS, Part
from rarefault.train.dataset.unit_labels import units_spec
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.trees import grow_trees
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.sizes import PRESETS

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
    which_expert = "trees" if which == TREES else "network"
    fresh = file.with_suffix(".tmp")
    with fresh.open("wb") as out:
        parts = {part: found.parts[f"{which_expert}_{part}"] for part in ("validation", "test")}
        np.savez_compressed(out, allow_pickle=False, **parts)
    fresh.replace(file)
    return time.monotonic() - began


def _fold(number: int, data: Path, changes: dict[str, Any] | None = None) -> Fold:
    return make_fold(PROBLEM, number, data, ONCE | UNFILTERED | (changes or {}))


def _kept(which: str, number: int) -> Path:
    return cache("front") / f"{which}-fold{number}.npz"


def _load(which: str, number: int) -> dict[str, Float32]:
    """Opinions of one expert, by part."""
    with np.load(_kept(which, number)) as kept:
        return dict(kept)


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
            judged[preset, False].append(judge(fold, _pooled(fold, {"network": network})))
            judged[preset, True].append(judge(fold, _pooled(fold, {"network": network, "trees": trees})))
    keys = ("macro_f1", "macro_recall", "macro_average_precision", "log_loss", "f1_per_class")
    return [
        {"preset": preset, "trees": trees} | {key: scores[key] for key in keys}
        for (preset, trees), these in judged.items()
        for scores in (score(these, classes),)
    ]


def _pooled(fold: Fold, of: dict[Literal["network", "trees"], dict[str, Float32]]) -> Prediction:
    """Experts pooled and filtered, as the trainer does it."""
    train, windows = fold.parts["train"], fold.validation()
    units = _at_units(fold) if "trees" in of else None
    opinions: dict[Part, Float32] = {
        part: np.stack([_widened(expert[part], units, fold.n_classes) for expert in of.values()], axis=1)
        for part in PARTS
        if part != "train"
    }
    spec = HeldOut(windows, opinions["validation"], tuple(of)).weighed(
        class_frequencies(train.label, fold.n_classes), units, filtered=True
    )

    def log_prob(part: Part) -> Float32:
        held = fold.validation(part)
        evidence = Decision(spec).evidence(held.device, held.fresh, opinions[part])
        return np.asarray(log_softmax(evidence + np.log(np.asarray(spec.prior)), axis=1), np.float32)

    return Prediction(log_prob("validation"), log_prob("test"), spec.prior)


def _widened(opinion: Float32, units: UnitsSpec | None, n_classes: int) -> Float32:
    """An opinion on the device alone, without evidence at units."""
    if units is None or opinion.shape[1] > n_classes:
        return opinion
    logits = np.tile(np.log(units.prior) - np.log1p(-np.asarray(units.prior)), len(units.names))
    at_units = np.broadcast_to(logits, (len(opinion), len(logits)))
    return np.concatenate((opinion, at_units), axis=1, dtype=np.float32)


def _at_units(fold: Fold) -> UnitsSpec | None:
    train = fold.parts["train"]
    return units_spec(train.at_units, train.labelled, _units(fold), fold.history.channels)


def _units(fold: Fold) -> Int64:
    return channels_of_units(fold.config.trees.units, fold.config.data, fold.history.channels)


def _costs(fold: Fold) -> dict[tuple[str, bool], dict[str, float]]:
    """Microseconds per verdict; weights make no difference to it, the trees are those of a fold."""
    k, units = fold.n_classes, _at_units(fold)
    trees = grow_trees(fold.parts["train"], (1 / k,) * k, fold.config.trees, 0, 0, _units(fold), units)
    found = {}
    with tempfile.TemporaryDirectory(prefix="rarefault-front-") as name:
        for preset, spec in PRESETS.items():
            for beside in (False, True):
                at_units = units if beside else None
                network = NetworkExpert(spec, len(fold.history.channels), k, fold.config.window.length, at_units).eval()
                model = Experts(network, trees if beside else None)
                manifest = _manifest(fold, model, at_units)
                graph = step_graph(model, manifest)
                row = {}
                for precision, made in (("float32", graph), ("int8", quantise(graph))):
                    path = Path(name, f"{preset}-{beside}-{precision}.onnx")
                    path.write_bytes(with_manifest(made, msgspec.structs.replace(manifest, precision=precision)))
                    row[f"{precision}_us"] = _measure(path, fold)
                    row[f"{precision}_mb"] = round(path.stat().st_size / 1e6, 2)
                row["parameters"] = model.parameters
                found[preset, beside] = row
    return found


def _manifest(fold: Fold, model: Experts, units: UnitsSpec | None) -> Manifest:
    even = (1 / fold.n_classes,) * fold.n_classes
    experts = tuple(ExpertSpec(name=name) for name in model.names)
    return Manifest(
        name="front",
        channels=fold.history.channels,
        classes=fold.history.classes,
        grid=fold.config.grid.spec(),
        window=fold.config.window,
        state_size=model.state_size,
        decision=DecisionSpec(prior=even, thresholds=even, experts=experts, units=units),
    )


def _measure(path: Path, fold: Fold) -> float:
    """Step and decision."""
    model = load_model(path)
    decision = Decision(model.manifest.decision)
    window = fold.parts["test"].windows.gather(np.arange(BATCH))
    state = np.zeros((BATCH, model.manifest.state_size), np.float32)
    device, end_ms, fresh = np.arange(BATCH, dtype=np.int32), np.zeros(BATCH, np.int64), np.zeros(BATCH, bool)
    took = []
    for _ in range(30):
        began = time.perf_counter()
        opinions, _ = model.step(window, state)
        decision.judge(device, end_ms, fresh, opinions)
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
