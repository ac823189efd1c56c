"""What is served against what was trained: int8 ONNX over MQTT, and the float32 checkpoint offline, on the same blocks.

Needs ``RAREFAULT_DATA`` with ``phm2015/plant_31*.csv``. For each of five folds of days of plant 31: trains, exports in
int8, starts the daemon and an MQTT broker as processes of their own, plays the held-out blocks, and holds the verdicts
that come back against the labels. Writes ``benchmarks/results/served.json``: ``commit``, ``machine``, a row for each
fold, and the macro-F1 of all folds' windows together, served and offline. About ten minutes a fold.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness.machine import RESULTS, data_folder, origin, write
from sklearn.metrics import f1_score

from rarefault.export.demo.broker import EmbeddedBroker
from rarefault.export.demo.collector import Collector
from rarefault.export.demo.compare import expected_verdicts
from rarefault.export.demo.daemon import DaemonProcess
from rarefault.export.exporter import export_run
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig
from rarefault.train.evaluation.evaluate import Evaluation, evaluate
from rarefault.train.history import History
from rarefault.train.model.step import TorchStep
from rarefault.train.replay.publisher import Publisher
from rarefault.train.replay.replay import play, telemetry_messages
from rarefault.train.runs.training import train

FOLDS = 5
#: How long no verdict may come before the rest is given up.
IDLE_S = 20.0


def main() -> int:
    """Serve every fold, print and write what it was worth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"how many of the {FOLDS} (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS / "served.json")
    args = parser.parse_args()
    folder = data_folder()
    data = {"format": "phm2015", "path": str(folder / "phm2015"), "plants": [31]}
    about = origin()  # of the code as it is loaded
    rows: list[dict[str, Any]] = []
    together: dict[str, list[np.ndarray[Any, np.dtype[np.int64]]]] = {"label": [], "offline": [], "served": []}
    for fold in range(args.folds):
        with tempfile.TemporaryDirectory(prefix="rarefault-served-") as name:
            row, verdicts = serve_fold(data, fold, Path(name))
        rows.append(row)
        for key, values in together.items():
            values.append(verdicts[key])
        print(
            f"fold {fold}  {row['windows']} windows, {row['changed']} verdicts differ, {row['missing']} did not come, "
            f"macro-F1 offline {row['macro_f1_offline']:.4f} served {row['macro_f1_served']:.4f}",
            flush=True,
        )
    label, offline, served = (np.concatenate(values) for values in together.values())
    found = {
        "data": "PHM 2015 plant 31, time shift 3600 s",
        "protocol": f"blocks of a day, {args.folds} of {FOLDS} folds; int8 over MQTT, float32 offline",
        "macro_f1_offline": macro_f1(label, offline),
        "macro_f1_served": macro_f1(label, served),
        "rows": rows,
        **about,
    }
    print(f"together  macro-F1 offline {found['macro_f1_offline']:.4f} served {found['macro_f1_served']:.4f}")
    write(args.out, found)
    return 0


def serve_fold(
    data: dict[str, Any], fold: int, folder: Path
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, np.dtype[np.int64]]]]:
    """Train, export, serve; the fold's row, and label and verdicts of its labelled windows."""
    split = {"folds": FOLDS, "test_fold": fold, "validation_fold": (fold + 1) % FOLDS}
    values = {"data": data, "grid": {"offset_s": 450}, "split": split}  # as in benchmarks/quality
    config = from_mapping(values, TrainConfig, "benchmarks/served.py")
    training = train(config, Path(), folder / "run", name="plant31")
    export_run(training.run, folder / "plant31.onnx", int8=True)
    model = load_model(folder / "plant31.onnx")
    held_out = training.split.select(training.history, "test")
    offline = evaluate(held_out, training.manifest, TorchStep(training.model), "offline")
    served = serve(folder, held_out, model, offline)
    known = offline.labelled
    label, exact, live = offline.label[known], offline.verdicts.fault[known], served[known]
    row = {
        "fold": fold,
        "windows": len(label),
        "missing": int((live < 0).sum()),
        "changed": int((live != exact).sum()),
        "macro_f1_offline": macro_f1(label, exact),
        "macro_f1_served": macro_f1(label, live),
    }
    return row, {"label": label, "offline": exact, "served": live}


def serve(
    folder: Path, held_out: History, model: LoadedModel, offline: Evaluation
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Verdicts that came over MQTT, in the order of the offline ones; -1 for one that did not, [W]."""
    names = [*model.manifest.classes, "unknown"]
    ids = list(expected_verdicts(offline, model))
    with EmbeddedBroker() as broker:
        collector = Collector(broker.port)
        collector.start()
        try:
            with DaemonProcess(folder, model.path, broker.url, collector) as daemon:
                with Publisher(broker.url) as publisher:
                    play(telemetry_messages(held_out, "telemetry/{device}"), publisher)
                idle_since = time.monotonic()
                while (
                    len(collector.verdicts) < len(ids)
                    and time.monotonic() - max(idle_since, collector.last_arrival) < IDLE_S
                ):
                    daemon.check()
                    time.sleep(0.05)
        finally:
            collector.stop()
    said = [collector.verdicts.get(id_) for id_ in ids]
    return np.asarray([-1 if verdict is None else names.index(verdict.fault) for verdict in said])


def macro_f1(label: np.ndarray[Any, np.dtype[np.int64]], verdict: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """Over the classes that occur."""
    return float(f1_score(label, verdict, labels=np.unique(label), average="macro", zero_division=0))


if __name__ == "__main__":
    sys.exit(main())
