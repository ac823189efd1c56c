"""Trials: a configuration, and variations of it, each trained on several folds of the history.

A fold is a training of its own: its blocks are the test blocks, those of the next fold validate, all others train.
Variations are chosen by their validation blocks; test blocks are looked at for the chosen one only.
"""

import itertools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import msgspec
import numpy as np

from rarefault.runtime.errors import UsageError
from rarefault.train.config import TrainConfig, to_toml
from rarefault.train.evaluation.metrics import HEADLINES
from rarefault.train.parallel.cluster import run_all
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.training import Training, train

#: Beside a run's own files: the configuration that it is of.
CONFIG_FILE = "trial.toml"


def _nothing(_made: Training) -> None:
    """Add nothing to a run directory."""


@dataclass(frozen=True)
class Fold:
    """One fold of one variation, which is a training of its own.

    Attributes:
        config: whole, with the fold in it.
        base: folder that the paths of its data are relative to.
        out: the run directory.
        name: of the model.
        finish: called with what was made, such as to write the report; a function of a module.
    """

    config: TrainConfig
    base: Path
    out: Path
    name: str
    finish: Callable[[Training], None]


@dataclass(frozen=True)
class Trial:
    """One variation and what came of it.

    Attributes:
        changes: what it differs in, by dotted key.
        validation: macro-F1 on the validation blocks, by fold.
        test: scores on the test blocks, by fold.
    """

    changes: dict[str, Any]
    validation: list[float]
    test: list[dict[str, Any]]

    @property
    def score(self) -> float:
        """What variations are compared by: mean macro-F1 on the validation blocks."""
        return fmean(self.validation)


def variations(vary: Mapping[str, Sequence[Any]], most: int | None, seed: int) -> list[dict[str, Any]]:
    """All combinations of values, or so many of them drawn at random; one empty one where nothing varies."""
    combined = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    if most is None or most >= len(combined):
        return combined
    drawn = np.random.default_rng(seed).choice(len(combined), most, replace=False)
    return [combined[i] for i in sorted(drawn.tolist())]


def run_trials(
    configs: Sequence[tuple[dict[str, Any], TrainConfig]],
    base: Path,
    out: Path,
    folds: int | None = None,
    *,
    name: str = "model",
    address: str | None = None,
    cpus: int | None = None,
    finish: Callable[[Training], None] = _nothing,
    on_fold: Callable[[Fold, dict[str, Any]], None] = lambda _fold, _metrics: None,
) -> list[Trial]:
    """Train all variations on all folds; the best one first.

    What ``out`` holds already of the same configurations is not trained once more.

    Args:
        configs: changes and the configuration with them.
        base: folder that the paths of the data are relative to.
        out: folder for the run directories.
        folds: number of folds to train; all by default.
        name: of the models, where the configuration gives none.
        address, cpus: see :func:`rarefault.train.parallel.cluster.run_all`.
        finish: called with each training where it was made, such as to write its report; a function of a module, so
            that other processes find it.
        on_fold: called with each fold when it is done, and its metrics.

    Raises:
        UsageError: ``out`` is of other trials, or there are fewer folds.
    """
    trainings: list[Fold] = []
    owner: list[int] = []
    base, out = base.resolve(), out.resolve()
    for number, (_, config) in enumerate(configs):
        n_folds = config.split.folds
        if folds is not None and not 1 <= folds <= n_folds:
            raise UsageError(f"--folds {folds}: the configuration has split.folds = {n_folds}")
        for fold in range(folds or n_folds):
            folder = out / f"variation-{number + 1}" / f"fold-{fold}"
            trainings.append(Fold(_of_fold(config, fold), base, folder, name, finish))
            owner.append(number)
    metrics: dict[int, dict[str, Any]] = {}
    for number, result in run_all(train_one, trainings, address, cpus):
        metrics[number] = result
        on_fold(trainings[number], result)
    trials = []
    for number, (changes, _) in enumerate(configs):
        own = [metrics[i] for i in range(len(trainings)) if owner[i] == number]
        trials.append(Trial(changes, [m["validation"]["macro_f1"] for m in own], [m["test"] for m in own]))
    return sorted(trials, key=lambda trial: -trial.score)


def train_one(fold: Fold) -> dict[str, Any]:
    """Train one fold, or read what an earlier call has left of it; its metrics."""
    run = RunDirectory(fold.out)
    text = to_toml(fold.config)
    mark = fold.out.with_name(f"{fold.out.name}.{CONFIG_FILE}")
    if mark.exists() and mark.read_text(encoding="utf-8") != text:
        raise UsageError(f"{fold.out} is of another configuration: choose another --out, or remove it")
    if mark.exists() and run.finished:
        found: dict[str, Any] = run.load_json(run.metrics)
        return found
    fold.out.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(text, encoding="utf-8")
    resume = run.resume.exists()
    if not resume and fold.out.exists():
        shutil.rmtree(fold.out)  # interrupted before its first epoch, or after its last
    made = train(fold.config, fold.base, fold.out, name=fold.name, resume=resume)
    fold.finish(made)
    return made.metrics


def summary(trial: Trial) -> dict[str, Any]:
    """Mean and spread over the folds of what is reported of the test blocks, and F1 by class."""
    found: dict[str, Any] = {}
    for key in (line.key for line in HEADLINES):
        values = [scores[key] for scores in trial.test if scores[key] is not None]
        found[key] = _mean_and_spread(values)
    classes = dict.fromkeys(name for scores in trial.test for name in scores["classes"])
    found["f1"] = {
        name: _mean_and_spread(
            [
                scores["classes"][name]["f1"]
                for scores in trial.test
                if scores["classes"].get(name, {}).get("f1") is not None and scores["classes"][name]["support"]
            ]
        )
        for name in classes
    }
    return found


def _mean_and_spread(values: Sequence[float]) -> dict[str, float | int | None]:
    return {
        "mean": fmean(values) if values else None,
        "sd": stdev(values) if len(values) > 1 else None,
        "folds": len(values),
    }


def _of_fold(config: TrainConfig, fold: int) -> TrainConfig:
    split = msgspec.structs.replace(config.split, test_fold=fold, validation_fold=(fold + 1) % config.split.folds)
    # One processor for a training, wherever it runs: sums of several threads would differ from those of one.
    # Trees grow in one thread beside the network's.
    one = config.training
    training = msgspec.structs.replace(one, threads=one.threads or 1, jobs=one.jobs or 1)
    return msgspec.structs.replace(config, split=split, training=training)
