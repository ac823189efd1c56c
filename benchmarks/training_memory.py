"""Memory of a training on a simulated history, and on one ten times as long.

Writes ``benchmarks/results/training_memory.json``. Each training is a process of its own, whose peak is read at its
end. Windows overlap and so do sequences of them: copied, they would take many times the history's size.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import RESULTS, origin, write

PLANTS, DAYS = 4, 60
SCALES = (1, 10)
EPOCHS, ROUNDS = 2, 20
CONFIG = """
[data]
format = "phm2015"
path = "plants"
[training]
epochs = {epochs}
[trees]
rounds = {rounds}
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "training_memory.json")
    args = parser.parse_args()
    rows = [_measure(scale) for scale in SCALES]
    small, large = rows
    grown = (large["peak_mb"] - small["peak_mb"]) * 1e6
    per_sample = grown / (large["samples"] - small["samples"])
    found = {
        "rows": rows,
        "bytes_per_sample": round(per_sample),
        "bytes_of_a_sample": 8 * small["channels"],
        "copied_mb": round(large["samples"] * large["copies"] * 4 * large["channels"] / 1e6),
        **origin(),
    }
    print(
        f"{per_sample:,.0f} bytes more for each sample of {found['bytes_of_a_sample']} bytes; "
        f"sequences held as copies would take {found['copied_mb']:,} MB"
    )
    write(args.out, found)
    return 0


def _measure(scale: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="rarefault-training-memory-") as name:
        folder = Path(name)
        cli = [sys.executable, "-m", "rarefault.runtime.cli"]
        simulate = [*cli, "simulate", str(folder / "plants"), "--plants", str(PLANTS), "--days", str(DAYS * scale)]
        subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL)
        config = folder / "plant.toml"
        config.write_text(CONFIG.format(epochs=EPOCHS, rounds=ROUNDS), encoding="utf-8")
        began = time.monotonic()
        train = [*cli, "train", str(config), "--out", str(folder / "run")]
        process = subprocess.Popen(train, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"the training failed: {' '.join(train)}")
        data = json.loads((folder / "run" / "data.json").read_text(encoding="utf-8"))
        metrics = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
        from rarefault.train.config import load_train_config

        settings = load_train_config(config)
        window, training = settings.window, settings.training
        bins = window.length + (training.sequence_length - 1) * window.stride
        row = {
            "scale": scale,
            "samples": data["samples"],
            "channels": len(data["channels"]),
            # A sequence begins at every window, and holds so many bins.
            "copies": round(bins / window.stride),
            "peak_mb": round(usage.ru_maxrss * 1024 / 1e6, 1),
            "seconds": round(time.monotonic() - began),
            "stages": metrics["seconds"],
        }
        print(f"{row['samples']:>9,} samples: {row['peak_mb']:,.0f} MB at most, {row['seconds']} s", flush=True)
        return row


if __name__ == "__main__":
    sys.exit(main())
