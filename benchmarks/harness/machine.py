"""Where a result comes from and where it goes: commit, machine, folders, JSON files."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: Results that are kept in git.
RESULTS = ROOT / "benchmarks" / "results"
#: Environment variables of libraries each of which would take all cores.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")


def cache(name: str) -> Path:
    """A folder under ``benchmarks/.cache`` that git ignores, made where it is missing."""
    folder = ROOT / "benchmarks" / ".cache" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def data_folder() -> Path:
    """The folder of real data that ``RAREFAULT_DATA`` names; ends the program where it is not set."""
    folder = os.environ.get("RAREFAULT_DATA")
    if not folder:
        sys.exit("RAREFAULT_DATA is not set: it names the folder that holds phm2015/plant_31a.csv and tep/d00.dat")
    return Path(folder).resolve()


def commit(*paths: str) -> str:
    """The commit that is checked out, with ``-dirty`` where tracked files differ from it.

    Args:
        paths: files and folders that count; all by default.
    """
    dirty = _git("status", "--porcelain", "--untracked-files=no", "--", *paths)
    return (_git("rev-parse", "HEAD") or "unknown") + ("-dirty" if dirty else "")


def machine(*more: str) -> str:
    """Processor family, cores, Python; ``more`` stands before Python, such as a GPU's name."""
    return ", ".join([platform.machine(), f"{os.cpu_count()} cores", *more, f"Python {platform.python_version()}"])


def origin() -> dict[str, str]:
    """Commit and machine, as every result file has them."""
    return {"commit": commit(), "machine": machine()}


def write(path: Path | None, result: Any) -> None:
    """Write a result as JSON, where a path is given."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1, default=float) + "\n", encoding="utf-8")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
