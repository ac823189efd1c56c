"""A large CSV file: what reading it costs, beside polars' own reading of the same file.

Writes ``benchmarks/results/files.json``. Each reading is a process of its own; the ways take turns. Polars reads into
a frame of columns, with the times as text or parsed; rarefault reads into a history: devices, times, values and log
checked, in order of time, without duplicates.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from benchmarks.harness.machine import RESULTS, origin, write

DEVICES, CHANNELS = 4, 12
CONFIG = """
[data]
format = "table"
samples = "plant.csv"
events = "events.csv"
"""
#: How much memory a file of 1 GB may take, and how fast its reading should be beside polars' own.
GOAL_MB, GOAL_RATIO = 1500, 0.6
_MEASURED = """
import json, resource, time
from pathlib import Path
{setup}
before = resource.getrusage(resource.RUSAGE_SELF)
began = time.monotonic()
{reading}
wall_s = time.monotonic() - began
after = resource.getrusage(resource.RUSAGE_SELF)
cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({{"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": after.ru_maxrss * 1024 / 1e6}}))
"""
WAYS = {
    "polars": ("import polars as pl", 'pl.read_csv("plant.csv")'),
    "polars, times parsed": ("import polars as pl", 'pl.read_csv("plant.csv", try_parse_dates=True)'),
    "rarefault": (
        "from rarefault.train import history; from rarefault.train.config import load_train_config as load",
        'history.read_history(load(Path("plant.toml")).data, Path("."))',
    ),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1000.0, help="size of the file (default: %(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="readings of each way (default: %(default)d)")
    parser.add_argument("--out", type=Path, default=RESULTS / "files.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rarefault-files-") as name:
        folder = Path(name)
        rows = write_files(folder, int(args.megabytes * 1e6))
        size_mb = (folder / "plant.csv").stat().st_size / 1e6
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(args.rounds):
            for way in WAYS:
                taken[way].append(read_once(folder, way))
    found: dict[str, Any] = {
        way: {key: round(median(one[key] for one in readings), 2) for key in readings[0]}
        for way, readings in taken.items()
    }
    ours = found["rarefault"]
    for way in list(WAYS)[:2]:
        found[way]["rarefault_ratio_cpu"] = round(found[way]["cpu_s"] / ours["cpu_s"], 3)
        found[way]["rarefault_ratio_wall"] = round(found[way]["wall_s"] / ours["wall_s"], 3)
    for way, one in found.items():
        print(f"{way}: {one}")
    print(f"goals: {GOAL_MB} MB, {GOAL_RATIO} of the speed of polars")
    write(args.out, {"megabytes": round(size_mb, 1), "rows": rows, "ways": found, **origin()})
    return 0


def write_files(folder: Path, size: int) -> int:
    """A file of about ``size`` bytes, device after device, with its log; returns its number of rows."""
    rng = np.random.default_rng(0)
    rows = size // 122 // DEVICES
    time = pl.Series(np.arange(rows) * 10_000 + 1_700_000_000_000).cast(pl.Datetime("ms"))
    text = time.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    with (folder / "plant.csv").open("wb") as file:
        for number in range(DEVICES):
            values = np.round(rng.normal(50, 10, (CHANNELS, rows)), 4)
            frame = pl.DataFrame(
                {"time": text, "device": [f"pump{number + 1}"] * rows}
                | {f"c{i + 1}": column for i, column in enumerate(values)}
            )
            frame.write_csv(file, include_header=not number)
    event = "pump1,2023-12-01T00:00:00Z,2023-12-01T05:00:00Z,leak"
    (folder / "events.csv").write_text(f"device,start,end,fault\n{event}\n", "utf-8")
    (folder / "plant.toml").write_text(CONFIG, "utf-8")
    return rows * DEVICES


def read_once(folder: Path, way: str) -> dict[str, float]:
    """Seconds and memory of one reading in a process of its own."""
    setup, reading = WAYS[way]
    code = _MEASURED.format(setup=setup, reading=reading)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    sys.exit(main())
