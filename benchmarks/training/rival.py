"""LightGBM on the windows and blocks of a configuration: its two fits, and what they score.

    python -m benchmarks.training.rival CONFIG.toml
    python -m benchmarks.training.rival plant31-day DATA

Its features, its fits and its decision are those of ``benchmarks.quality``. Prints one JSON object: ``cpu_s``, the
processor seconds of features and both fits, and ``macro_f1`` of its verdicts on the test blocks.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from benchmarks.quality.methods.tabular import lightgbm
from benchmarks.quality.prediction import judge
from benchmarks.quality.protocol import PROBLEMS, Fold, Problem, cut, make_fold
from sklearn.metrics import f1_score

from rarefault.train.config import load_train_config
from rarefault.train.dataset.split import PARTS, split_history
from rarefault.train.history import read_history


def main() -> int:
    """Fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="a configuration file, or a problem of benchmarks.quality")
    parser.add_argument("data", nargs="?", type=Path, help="folder of the real data, for a problem")
    args = parser.parse_args()
    fold = make_fold(PROBLEMS[args.what], 0, args.data) if args.what in PROBLEMS else _fold(Path(args.what))
    began = time.process_time()
    prediction = lightgbm(fold, 0)
    cpu_s = time.process_time() - began
    judged = judge(fold, prediction)
    known = judged.label >= 0
    label = judged.label[known]
    score = f1_score(label, judged.verdict[known], labels=np.unique(label), average="macro", zero_division=0)
    print(json.dumps({"cpu_s": round(cpu_s, 1), "macro_f1": round(float(score), 4)}))
    return 0


def _fold(path: Path) -> Fold:
    """The blocks that ``rarefault train`` takes."""
    config = load_train_config(path)
    history = read_history(config.data, path.parent)
    split = split_history(history, config.split, config.grid)
    parts = {part: cut(split.select(history, part), config) for part in PARTS}
    return Fold(Problem(path.stem, "day", config.split.folds), config.split.test_fold, config, history, split, parts)


if __name__ == "__main__":
    sys.exit(main())
