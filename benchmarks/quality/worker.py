"""One task after the other, in a process with one thread."""

import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import msgspec
import torch
from benchmarks.quality.cache import Cache, Result, Task, decision_of, judged_again
from benchmarks.quality.methods import METHODS
from benchmarks.quality.prediction import judge
from benchmarks.quality.protocol import Fold, make_fold


def start() -> None:
    """For every process: one thread; what the environment does not say to torch."""
    torch.set_num_threads(1)


def work(task: Task, data: Path, cache_folder: Path, fresh: bool, commit: str, machine: str) -> float:
    """Train if there is no prediction yet, judge, keep it.

    Args:
        task: what to do.
        data: folder of the data.
        cache_folder: where results are kept.
        fresh: train even if there is a prediction.
        commit, machine: kept with the result.

    Returns:
        Seconds that this took.
    """
    began = time.perf_counter()
    cache = Cache(cache_folder)
    fold = _seeded(_fold(replace(task, seed=0), data), task.seed)
    had = None if fresh else cache.load(task)
    if had is not None:
        cache.save(task, judged_again(had, judge(fold, had.prediction), decision_of(task)))
        return time.perf_counter() - began
    method = METHODS[task.method]
    if method.part is not None:
        whole = replace(task, method=method.source)
        if fresh or cache.load(whole) is None:
            work(whole, data, cache_folder, fresh, commit, machine)
        source = cache.load(whole)
        assert source is not None
        prediction, seconds = method.part(fold, source.prediction), source.seconds
        commit, machine = source.commit, source.machine
    else:
        trained = time.perf_counter()
        prediction = method.run(fold, task.seed)
        seconds = round(time.perf_counter() - trained, 2)
    result = Result(
        prediction, judge(fold, prediction), decision_of(task), fold.history.classes, seconds, commit, machine
    )
    cache.save(task, result)
    return time.perf_counter() - began


@lru_cache(maxsize=2)
def _fold(task: Task, data: Path) -> Fold:
    problem, method = task.of
    return make_fold(problem, task.fold, data, method.changes)


def _seeded(fold: Fold, seed: int) -> Fold:
    """The same blocks and windows; what training draws goes by the seed."""
    training = msgspec.structs.replace(fold.config.training, seed=seed)
    return replace(fold, config=msgspec.structs.replace(fold.config, training=training))
