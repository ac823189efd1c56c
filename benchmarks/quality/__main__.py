"""Diagnosis quality: every method on the same blocks, windows and labels, in one table.

    RAREFAULT_DATA=... python -m benchmarks.quality

reads ``phm2015/plant_31*.csv`` and ``tep/d*.dat`` from the folder ``RAREFAULT_DATA``, simulates the plants of
``benchmarks.quality.tep_simulated``, and runs what has not been run yet. It may be interrupted: what is complete is
kept in ``benchmarks/.cache/quality``, with ``rows.json``, a list of rows ``{data, protocol, dealing, method, seed,
macro_f1, macro_recall, f1_per_class, ...}``. The rows' means and ranges over the seeds go to
``benchmarks/results/quality.json``, from which ``python -m benchmarks.pages`` makes the tables of the documentation.
What that file has of methods that have not been run here stays; ``--quick`` and ``--folds`` print their tables and
leave it alone.
Networks train on a GPU where there is one.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from benchmarks.harness.machine import RESULTS, THREADS, commit, data_folder, machine
from benchmarks.harness.machine import cache as cache_folder
from benchmarks.pages.quality import markdown
from benchmarks.quality import tep_simulated
from benchmarks.quality.cache import Cache, Task
from benchmarks.quality.methods import METHODS
from benchmarks.quality.protocol import PROBLEMS
from benchmarks.quality.rows import make_rows
from benchmarks.quality.summary import Row, in_order, merged, read, summarise, write
from benchmarks.quality.worker import start, work
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

CACHE = cache_folder("quality")
#: What ``--quick`` trains on.
QUICK_PROBLEMS, QUICK_FOLDS = ("plant31-day",), 1


def main() -> int:
    """Run what is missing, write rows and table."""
    args = _arguments()
    console = Console(stderr=True)
    folder = data_folder()
    cache = Cache(CACHE)
    chosen = make_tasks(args.problems, args.methods, args.seeds, args.dealings, args.folds)
    todo = [task for task in chosen if args.fresh or cache.current(task) is None]
    console.print(f"{len(chosen)} trainings, {len(chosen) - len(todo)} of them kept from before")
    if any(PROBLEMS[task.problem].data == "tep-simulated" for task in todo):
        tep_simulated.prepare(workers=args.workers)  # once, and not in each process that needs it
    failed = _run(todo, folder, args.workers, console, fresh=args.fresh) if todo else 0

    apart = args.quick or args.folds is not None
    shown = chosen if apart else make_tasks(list(PROBLEMS), list(METHODS), args.seeds, args.dealings)
    rows, missing = make_rows(cache, shown)
    out = args.out or (None if apart else RESULTS / "quality.json")
    if not apart:
        rows = _with_earlier(CACHE / "rows.json", rows)
    found = summarise(rows)
    if out:
        found, kept = merged(read(out), found)
        if kept:
            console.print("\n".join(kept))
    found = in_order(found, PROBLEMS, METHODS)
    table = markdown(found)
    console.print(Markdown(table)) if console.is_terminal else print(table)
    if missing:
        console.print(f"{len(missing)} trainings are missing, the first is: {missing[0]}")
    commits = {commit for row in rows for commit in row["commit"].split(", ")}
    if commits - {_commit()}:
        console.print(f"some rows are of another commit than this one: {', '.join(sorted(commits))}; see --fresh")
    if out:
        write(out, found)
        console.print(f"{out} is written; python -m benchmarks.pages brings its tables into docs/results")
    return 1 if failed else 0


def _with_earlier(file: Path, rows: list[Row]) -> list[Row]:
    """The rows, and those of an earlier run whose trainings are not in the cache any more; all are kept in the file."""
    earlier: list[Row] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    made = {_key(row) for row in rows}
    every = rows + [row for row in earlier if _key(row) not in made and row["method"] in METHODS]
    places = {(p.data, p.protocol, m): i for i, (p, m) in enumerate(product(PROBLEMS.values(), METHODS))}
    every.sort(key=lambda row: (places[_key(row)[:3]], *_key(row)[3:]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")
    return every


def _key(row: Row) -> tuple[str, str, str, int, int]:
    return row["data"], row["protocol"], row["method"], row["dealing"], row["seed"]


def make_tasks(
    problems: list[str], methods: list[str], seeds: int, dealings: int = 1, folds: int | None = None
) -> list[Task]:
    """All trainings of a selection, fold by fold, so that what two methods share is read once.

    Args:
        problems, methods: their keys.
        seeds: of each method that has any.
        dealings: of the blocks to the folds.
        folds: of each problem, the first ones; None for all.
    """
    return [
        Task(problem, method, seed, fold, dealing)
        for problem in problems
        for dealing in range(dealings if PROBLEMS[problem].folds > 1 else 1)
        for method in methods
        for seed in range(seeds if METHODS[method].seeded else 1)
        for fold in range(min(PROBLEMS[problem].folds, folds or PROBLEMS[problem].folds))
    ]


def _run(tasks: list[Task], data: Path, workers: int, console: Console, *, fresh: bool) -> int:
    """Run tasks in processes of one thread each; the number of those that failed."""
    os.environ.update(dict.fromkeys(THREADS, "1"))  # inherited, and read when the libraries are loaded
    failed, about = 0, (_commit(), machine(*_gpu()))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    pool = ProcessPoolExecutor(workers, get_context("spawn"), start)
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with progress, pool:
        bar = progress.add_task("starting", total=len(tasks))
        # What takes longest stands last in the table. It goes first, so that nothing waits for it alone at the end.
        running = {pool.submit(work, task, data, CACHE, fresh, *about): task for task in reversed(tasks)}
        try:
            for future in as_completed(running):
                failed += not _report(running[future], future, console)
                progress.update(bar, advance=1, description=str(running[future]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what waits in line shall not be run first
            raise
    return failed


def _report(task: Task, future: Future[float], console: Console) -> bool:
    """Tell how a task went; one that failed does not keep the others from running."""
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        sys.exit(f"a process was killed, perhaps for want of memory; try --workers 1. It happened at or before: {task}")
    if error is not None:
        console.print(f"[red]failed[/red] {task}", highlight=False)
        console.print("".join(traceback.format_exception(error)), markup=False, highlight=False)
        return False
    console.print(f"{task}: {future.result():.0f} s", highlight=False)
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=_names_of(PROBLEMS), help=f"some of: {', '.join(PROBLEMS)}")
    parser.add_argument("--methods", type=_names_of(METHODS), help=f"some of: {', '.join(METHODS)}")
    parser.add_argument("--seeds", type=int, help="of each method that has any (default 3)")
    parser.add_argument("--dealings", type=int, default=1, help="of the blocks of plant 31 to its folds (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default 2)")
    parser.add_argument("--folds", type=int, help="the first folds alone; their table is printed and not kept")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="some methods, the first fold of days, one seed: about eight minutes on two cores",
    )
    parser.add_argument("--fresh", action="store_true", help="run again what is kept")
    parser.add_argument("--out", type=Path, help="means and ranges as JSON (default: results/quality.json)")
    args = parser.parse_args()
    quick: bool = args.quick
    args.problems = args.problems or list(QUICK_PROBLEMS if quick else PROBLEMS)
    args.methods = args.methods or [name for name, method in METHODS.items() if method.quick or not quick]
    args.seeds = args.seeds or (1 if quick else 3)
    args.folds = args.folds or (QUICK_FOLDS if quick else None)
    return args


def _names_of(there: Mapping[str, object]) -> Callable[[str], list[str]]:
    """Reads names with commas between them."""

    def names(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",")]
        unknown = [name for name in found if name not in there]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are: {', '.join(there)}")
        return found

    return names


def _gpu() -> list[str]:
    """The one that networks train on, if there is any."""
    return [torch.cuda.get_device_name()] if torch.cuda.is_available() else []


def _commit() -> str:
    return commit("train", "runtime", "benchmarks/quality")


if __name__ == "__main__":
    sys.exit(main())
