"""Speed: the daemon beside what one would write by hand, on the same telemetry, model and broker, in one run.

    python -m benchmarks.speed

prints the tables and writes ``benchmarks/results/speed.json``. What is compared takes turns, and what counts are ratios
of processor time: they hold on a noisy machine where rates do not. ``--quick`` measures each once. What is shipped for
a real plant is measured where ``RAREFAULT_DATA`` is set.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness.machine import RESULTS, origin, write
from benchmarks.speed.suite import Suite
from rich.console import Console
from rich.table import Table

#: What is aimed at: key, whether more is better, and the value.
TARGETS = {
    "ratio_naive": (True, 20.0),
    "ratio_node_red": (True, 10.0),
    "ingest_vs_paho": (True, 0.6),
    "verdict_vs_ort": (False, 1.3),
    "shipped_vs_ort": (False, 1.3),
    "cost_50000_vs_10": (False, 1.5),
    "p99_ms_half_load": (False, 20.0),
    "p99_ms_90_load": (False, 50.0),
    "rss_mb_1000": (False, 150.0),
    "rss_mb_50000": (False, 600.0),
    "start_s": (False, 1.5),
}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser("python -m benchmarks.speed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="each once, no fleet of 50,000; nothing is written")
    parser.add_argument("--only", default="", help="some parts, with commas between; what the file has else is kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "speed.json")
    args = parser.parse_args()
    console, notes = Console(), Console(stderr=True)
    only = {name.strip() for name in args.only.split(",") if name.strip()}
    with TemporaryDirectory(prefix="rarefault-speed-models-") as folder:
        suite = Suite(Path(folder), args.quick, lambda text: notes.print(text, highlight=False, markup=False))
        known = {name for name, _ in suite.parts()}
        if only - known:
            sys.exit(f"unknown: {', '.join(sorted(only - known))}; there are: {', '.join(sorted(known))}")
        if only and args.out.exists():
            suite.results = json.loads(args.out.read_text(encoding="utf-8"))
        suite.run(only)
    # Parts may have been measured at different times: each says of which commit it is.
    commits = suite.results.get("commits", {}) | dict.fromkeys(only or known, origin()["commit"])
    results = suite.results | origin() | {"processor": _processor(), "commits": commits}
    _print(console, results)
    if not args.quick:
        write(args.out, results)
    return 0


def _print(console: Console, results: dict[str, Any]) -> None:
    for part, title in (
        ("ingest", "Messages that make no window due"),
        ("programs", "1,000 devices, stride 4, reference model"),
        ("strides", "By stride"),
        ("fleets", "By number of devices, 12,000 messages/s"),
        ("latency", "From the sending of a message to the arrival of its verdict"),
    ):
        if part in results:
            _print_rows(console, title, results[part])
    table = Table("figure", "measured", "aimed at", title="Targets")
    for key, (more, goal) in TARGETS.items():
        if key in results:
            held = results[key] >= goal if more else results[key] <= goal
            table.add_row(key, f"{results[key]:g}", f"{'>=' if more else '<='} {goal:g} {'' if held else 'MISSED'}")
    console.print(table)


def _print_rows(console: Console, title: str, rows: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    table = Table("", *columns, title=title)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[key]:,g}" if key in row else "" for key in columns))
    console.print(table)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


if __name__ == "__main__":
    sys.exit(main())
