"""Installed size of the daemon's environment, and how long the daemon takes to import.

Builds the wheel, installs it without extras into an empty virtual environment, and measures there.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # of the processes that are measured
ROOT = Path(__file__).parents[1]
RUNS = 9


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
        result = {
            "installed_mb": (size(site) - before) / 1e6,
            "largest_mb": {name: round(n / 1e6, 1) for name, n in largest},
            "import_s": seconds(python, "import rarefault.runtime.daemon.service"),
            "onnxruntime_import_s": seconds(python, "import onnxruntime"),
            "help_s": seconds(python, "import rarefault.runtime.cli as c; c.main(['--version'])"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        }
    print(f"installed without extras  {result['installed_mb']:.0f} MB  (largest: {result['largest_mb']})")
    print(
        f"import of the daemon      {result['import_s']:.2f} s   (onnxruntime: {result['onnxruntime_import_s']:.2f} s)"
    )
    print(f"rarefault --version       {result['help_s']:.2f} s")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


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
