"""One training from start to end: read, split, fit, decide, evaluate, write the run directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rarefault.runtime.errors import UsageError
from rarefault.runtime.inference.manifest import Manifest
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.split import Split
from rarefault.train.evaluation.cost_curve import CostPoint
from rarefault.train.evaluation.evaluate import Evaluation
from rarefault.train.history import History
from rarefault.train.model.experts import Experts
from rarefault.train.runs import stages
from rarefault.train.runs.course import Course, Observer
from rarefault.train.runs.run_directory import RunDirectory
from rarefault.train.runs.written import write

__all__ = ["Observer", "Training", "train"]


@dataclass(frozen=True)
class Training:
    """What a training made.

    Attributes:
        run: the run directory.
        manifest, model: as they are there.
        history, split: what it learnt from.
        test: evaluation of the test blocks.
        curve: cost curve of the test blocks.
        metrics: what ``metrics.json`` holds.
    """

    run: RunDirectory
    manifest: Manifest
    model: Experts
    history: History
    split: Split
    test: Evaluation
    curve: list[CostPoint]
    metrics: dict[str, Any]


def train(
    config: TrainConfig,
    base: Path,
    out: Path,
    *,
    name: str = "model",
    resume: bool = False,
    strict: bool = False,
    start: RunDirectory | None = None,
    observer: Observer | None = None,
) -> Training:
    """Train a model and leave a run directory; :func:`rarefault.train.report.write_report` adds the report.

    Args:
        config: the configuration.
        base: folder that the paths in ``[data]`` are relative to.
        out: the run directory; made, and refused if it holds anything (but an unfinished run with ``resume``).
        name: of the model, where the configuration gives none.
        resume: go on with an unfinished run in ``out``.
        strict: refuse a history with any finding.
        start: an earlier run to go on from, with its data and the new one; ``config`` must fit it (see
            :func:`rarefault.train.runs.retraining.load_retrain_config`). The metrics say whether it is accepted.
        observer: watches the training.

    Raises:
        HistoryError: the history cannot be read, or a model cannot be trained on it.
        UsageError: ``out`` is taken.
    """
    run = _open(out, resume=resume)
    course = Course(config, base, run, name, resume, strict, start, observer or Observer())
    with course.stage("read", "reading history"):
        stages.read(course)
        stages.cut(course)
    stages.begin(course)
    with course.stage("estimate"):
        stages.foresee(course)
    with course.stage("fit", "fitting" if course.network is not None else ""):
        stages.fit_network(course)
    if course.config.trees.rounds:
        with course.stage("trees", "growing the trees"):
            stages.grow(course)
    if course.cross_fits:
        with course.stage("cross fit"):
            stages.cross_fit(course)
    with course.stage("evaluate", "fitting the decision on the windows that were held out"):
        stages.pool(course)
        stages.decide(course)
    with course.stage("evaluate", "evaluating the held-out blocks on the served path"):
        stages.judge_validation(course)
    if course.origin.warm:
        with course.stage("evaluate", "comparing the new model with the earlier one"):
            stages.compare(course)
    if course.config.training.refit:
        with course.stage("learn again", "learning again, from the validation blocks, too"):
            stages.refit_all(course)
    with course.stage("evaluate test", "evaluating the test blocks on the served path"):
        stages.judge_test(course)
    course.observer.progress(1.0, 0.0)
    course.observer.stage("writing the run directory")
    metrics = write(course)
    test = course.evaluations["test"]
    return Training(run, course.manifest, course.model, course.history, course.split, test, course.curve, metrics)


def _open(out: Path, *, resume: bool) -> RunDirectory:
    run = RunDirectory(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (resume and run.resume.exists()):
            unfinished = "; an unfinished training is there: --resume goes on with it" if run.resume.exists() else ""
            raise UsageError(f"{out} exists and is not empty: choose another --out or remove it{unfinished}")
    elif resume:
        raise UsageError(f"{out} holds no unfinished training to resume")
    out.mkdir(parents=True, exist_ok=True)
    return run
