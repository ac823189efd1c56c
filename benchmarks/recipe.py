"""What the imbalance recipe is worth: the same blocks of plant 31 with it, without weights, and plain.

Needs ``RAREFAULT_DATA`` with ``phm2015/plant_31*.csv``. Trains every row with every seed (about a minute each)
and writes ``benchmarks/results/recipe.json``: ``commit``, ``machine`` and ``rows`` of
``{method, seed, macro_f1, balanced_accuracy, calibration_error, false_alarms_per_device_day, recall, ...}``.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from rarefault.runtime.settings import from_mapping
from rarefault.train.config import TrainConfig
from rarefault.train.training import train

ROOT = Path(__file__).parents[1]
METHODS: dict[str, dict[str, Any]] = {
    "recipe (weights and under-sampling)": {},
    "alpha = 0 (under-sampling only)": {"alpha": 0.0},
    "plain (neither)": {"alpha": 0.0, "sampler": "none"},
}


def main() -> int:
    """Train, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "recipe.json")
    args = parser.parse_args()
    folder = os.environ.get("RAREFAULT_DATA")
    if not folder:
        sys.exit("RAREFAULT_DATA is not set: it names the folder that holds phm2015/plant_31a.csv")
    data = {"format": "phm2015", "path": str(Path(folder, "phm2015").resolve()), "plants": [31]}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="rarefault-recipe-") as runs:
        for seed in range(args.seeds):
            for method, recipe in METHODS.items():
                values = {"data": data, "recipe": recipe, "training": {"seed": seed}}
                config = from_mapping(values, TrainConfig, "benchmarks/recipe.py")
                result = train(config, Path(), Path(runs, f"{len(rows)}")).metrics
                test = result["test"]
                keys = ("macro_f1", "balanced_accuracy", "calibration_error", "false_alarms_per_device_day")
                row = {"method": method, "seed": seed} | {key: test[key] for key in keys}
                row["events"] = f"{test['events_detected']}/{test['events_total']}"
                row["recall"] = {name: scores["recall"] for name, scores in test["classes"].items()}
                row["f1"] = {name: scores["f1"] for name, scores in test["classes"].items()}
                row["train_s"] = round(result["seconds"]["fit"], 1)
                rows.append(row)
                print(f"seed {seed}  {method:38} macro-F1 {row['macro_f1']:.3f}", flush=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    found = {
        "data": "PHM 2015 plant 31, time shift 3600 s",
        "protocol": "blocks of a day, fold 0 of 5 tested, fold 1 validates",
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "rows": rows,
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and range over the seeds, as Markdown."""
    faults = [name for name, value in rows[0]["recall"].items() if value is not None]
    lines = [
        "| method | macro-F1 | " + " | ".join(f"recall {name}" for name in faults) + " | false alarms / day |",
        "|---" * (len(faults) + 3) + "|",
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        cells = [spread([row["macro_f1"] for row in mine])]
        cells += [spread([row["recall"][name] for row in mine], 2) for name in faults]
        cells.append(spread([row["false_alarms_per_device_day"] for row in mine], 2))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float], digits: int = 3) -> str:
    """Mean, and the range in brackets."""
    return f"{mean(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


if __name__ == "__main__":
    sys.exit(main())
