"""Installed size of the daemon's environment, how long the daemon takes to import, and model files as they are shipped.

Builds the wheel, installs it without extras into an empty virtual environment, and measures there. Model files are of
two simulated plants over 60 days (28 channels), with the default configuration and with the network alone, in both
precisions. A verdict's cost depends on the size of what is computed, not on how well it was fitted: one epoch is
trained.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import ROOT, origin, write

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # of the processes that are measured
RUNS = 9
CONFIG = """[data]
format = "phm2015"
path = "plants"
[training]
epochs = 1
cross_fit = false
refit = false
"""
#: What is added to the default configuration, by what it is called.
MODELS = {
    "shipped": "",
    "network alone": "[trees]\nrounds = 0\n",
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the result here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rarefault-footprint-") as name:
        folder = Path(name)
        run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT])
        venv.create(folder / "venv", with_pip=True)
        site = next((folder / "venv" / "lib").glob("python*/site-packages"))
        before = size(site)
        python = folder / "venv" / "bin" / "python"
        run([python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", *folder.glob("*.whl")])
        packages = {p.name: size(p) for p in site.iterdir() if p.is_dir() and not p.name.endswith(".dist-info")}
        largest = sorted(packages.items(), key=lambda item: -item[1])[:6]
        result: dict[str, Any] = {
            "installed_mb": (size(site) - before) / 1e6,
            "largest_mb": {name: round(n / 1e6, 1) for name, n in largest},
            "import_s": seconds(python, "import rarefault.runtime.daemon.service"),
            "onnxruntime_import_s": seconds(python, "import onnxruntime"),
            "help_s": seconds(python, "import rarefault.runtime.cli as c; c.main(['--version'])"),
            "models": models(folder),
            **origin(),
        }
    print(f"installed without extras  {result['installed_mb']:.0f} MB  (largest: {result['largest_mb']})")
    print(
        f"import of the daemon      {result['import_s']:.2f} s   (onnxruntime: {result['onnxruntime_import_s']:.2f} s)"
    )
    print(f"rarefault --version       {result['help_s']:.2f} s")
    for name, row in result["models"].items():
        costs = " / ".join(f"{cost:.0f}" for cost in row["verdict_cost_us"].values())
        print(f"{name:<32}{row['size_bytes'] / 1e6:.2f} MB, {costs} us at N = 1 / 64")
    write(args.json, result)
    return 0


def models(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and cost of a verdict of each model in both precisions; trees are not quantised."""
    cli = [sys.executable, "-m", "rarefault.runtime.cli"]
    run([*cli, "simulate", folder / "plants", "--plants", 2, "--days", 60])
    found: dict[str, dict[str, Any]] = {}
    for number, (name, more) in enumerate(MODELS.items()):
        config, trained = folder / f"{number}.toml", folder / f"run-{number}"
        config.write_text(CONFIG + more, encoding="utf-8")
        run([*cli, "train", config, "--out", trained])
        for precision, options in (("float32", []), ("int8", ["--int8"])):
            file, printed = folder / f"{number}-{precision}.onnx", folder / "inspected.json"
            # So little training leaves weights that quantisation may move far.
            limits = [word for limit in ("changed", "f1-loss", "alarms-changed") for word in (f"--max-{limit}", 1)]
            run([*cli, "export", trained, "-o", file, *options, *(limits if options else [])])
            run([*cli, "inspect", file, "--json", printed])
            row = json.loads(printed.read_text(encoding="utf-8"))
            found[f"{name}, {precision}"] = {key: row[key] for key in ("size_bytes", "verdict_cost_us")}
    return found


def run(command: list[object]) -> None:
    """Run a program and show what it says only where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def size(folder: Path) -> int:
    """Bytes of all files below a folder, compiled Python included."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def seconds(python: Path, code: str) -> float:
    """Median time of a fresh interpreter that runs the code, less that of one that does nothing."""

    def median(text: str) -> float:
        times = []
        for _ in range(RUNS):
            started = time.perf_counter()
            subprocess.run([python, "-c", text], capture_output=True, check=False)
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    return round(median(code) - median("pass"), 3)


if __name__ == "__main__":
    sys.exit(main())
