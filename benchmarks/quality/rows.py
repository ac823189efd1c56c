"""Rows of results from the cache: one for each problem, method, seed and fold assignment."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from benchmarks.quality.cache import Cache, Result, Task
from benchmarks.quality.prediction import log_loss_gain, score
from benchmarks.quality.summary import Row

#: Methods whose log loss is compared with that of another one, block by block.
OVER = {"rarefault": "rarefault without network"}


def make_rows(cache: Cache, tasks: Iterable[Task]) -> tuple[list[Row], list[Task]]:
    """A row for each problem, dealing, method and seed whose tasks are all done, and the tasks that are missing."""
    groups: dict[Task, list[Task]] = {}
    for task in tasks:
        groups.setdefault(replace(task, fold=0), []).append(task)
    rows, missing = [], []
    for first, members in groups.items():
        results = [cache.current(task) for task in members]
        there = [result for result in results if result is not None]
        missing += [task for task, result in zip(members, results, strict=True) if result is None]
        if len(there) == len(members):
            rows.append(_row(first, there))
            if OVER.get(first.method) and (gain := _gain(cache, members, there)):
                rows[-1]["gain"] = gain
    return rows, missing


def _gain(cache: Cache, tasks: list[Task], results: list[Result]) -> dict[str, Any] | None:
    """How far the log loss is below that of the method that it is compared with; None where that has not been run."""
    over = OVER[tasks[0].method]
    others = [cache.current(replace(task, method=over)) for task in tasks]
    mine = [result.judged for result in results if result.judged is not None]
    theirs = [other.judged for other in others if other is not None and other.judged is not None]
    return {"over": over} | log_loss_gain(mine, theirs) if len(mine) == len(theirs) == len(tasks) else None


def _row(task: Task, results: list[Result]) -> Row:
    """Folds are judged together: each window of the data has one verdict."""
    problem, method = task.of
    about: Row = {
        "data": problem.data,
        "protocol": problem.protocol,
        "dealing": task.dealing,
        "method": method.name,
        "seed": task.seed,
        "folds": len(results),
    }
    about |= score([r.judged for r in results if r.judged is not None], results[0].classes)
    notes = [r.prediction.notes for r in results if r.prediction.notes]
    if notes:
        about["notes"] = {key: [n[key] for n in notes] for key in notes[0]}
    about["seconds"] = round(sum(r.seconds for r in results), 1)
    about["commit"] = ", ".join(dict.fromkeys(r.commit for r in results))
    about["machine"] = ", ".join(dict.fromkeys(r.machine for r in results))
    return about
