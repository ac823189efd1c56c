"""Fill the tables of the documentation in from ``benchmarks/results``.

    python -m benchmarks.pages            writes what has changed
    python -m benchmarks.pages --check    writes nothing; exit code 1 where a page is not what the results give

A page marks the place of a table with two comments; what stands between them is replaced:

    <!-- table: quality.scores plant31-day -->
    <!-- end of table -->

Charts are files of their own. Nothing but Python's own library is needed.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import RESULTS, ROOT
from benchmarks.pages import learning_curve, quality, robustness, speed, training

_MARKED = re.compile(r"(<!-- table: ([\w.]+)((?: [\w-]+)*) -->\n).*?(<!-- end of table -->)", re.DOTALL)
#: Every table: the result that it is of, and what makes it of that.
TABLES: dict[str, tuple[str, Callable[..., str]]] = {
    **{f"quality.{make.__name__}": ("quality", make) for make in (
        quality.windows, quality.scores, quality.f1, quality.recall, quality.budget, quality.alarms, quality.coverage,
        quality.assignments, quality.gain, quality.recipe, quality.headline, quality.commits,
    )},
    **{f"speed.{make.__name__}": ("speed", make) for make in (
        speed.targets, speed.programs, speed.ingest, speed.strides, speed.fleets, speed.latency, speed.verdict,
        speed.scale_out,
    )},
    "speed.presets": ("front", speed.presets),
    "speed.footprint": ("footprint", speed.footprint),
    "speed.model_files": ("footprint", speed.model_files),
    "speed.memory": ("memory", speed.memory),
    "robustness.injected": ("faults", robustness.injected),
    "robustness.found": ("faults", robustness.found),
    "robustness.durability": ("durability", robustness.durability),
    "robustness.babble": ("babble", robustness.babble),
    "robustness.served": ("served", robustness.served),
    "training.minutes": ("training", training.minutes),
    "training.memory": ("training_memory", training.memory),
    "training.stages": ("training_memory", training.stages),
    "training.novelty": ("novelty", training.novelty),
    "training.novelty_alarms": ("novelty", training.novelty_alarms),
    "learning_curve.scores": ("learning_curve", learning_curve.scores),
    **{f"about.{name}": (name, speed.about) for name in (
        "speed", "front", "footprint", "memory", "faults", "durability", "babble", "served", "training_memory",
        "novelty", "learning_curve",
    )},
}  # fmt: skip
#: Every chart: the result that it is of, and what makes it of that.
CHARTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "docs/results/macro-f1.svg": ("quality", quality.chart),
    "docs/results/learning-curve.svg": ("learning_curve", partial(learning_curve.chart, data="plant31")),
}


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something would be written")
    args = parser.parse_args()
    changed = {path: text for path, text in made().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in changed.items():
        if not args.check:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)} {'is not what the results give' if args.check else 'is written'}")
    return 1 if args.check and changed else 0


def made() -> dict[Path, str]:
    """All pages that have tables, and all charts, as the results give them."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = {page: filled(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))) for page in pages}
    return found | {ROOT / name: make(_result(result)) for name, (result, make) in CHARTS.items()}


def filled(text: str, name: str) -> str:
    """A page with its tables; ends the program where it marks one that there is not."""

    def fill(match: re.Match[str]) -> str:
        head, table, words, end = match.groups()
        if table not in TABLES:
            sys.exit(f"{name}: there is no table {table}; there are: {', '.join(TABLES)}")
        result, make = TABLES[table]
        return f"{head}\n{make(_result(result), *words.split())}\n\n{end}"

    return _MARKED.sub(fill, text)


@cache
def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
