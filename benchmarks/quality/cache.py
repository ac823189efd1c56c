"""What was computed is kept: one file for each problem, method, seed and fold."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from benchmarks.quality import prediction as judging
from benchmarks.quality.methods import METHODS, Method
from benchmarks.quality.prediction import Judged, Prediction
from benchmarks.quality.protocol import PROBLEMS, Problem, config_of

from rarefault.runtime.inference.decision import alarms as alarm_states
from rarefault.runtime.inference.decision import belief, decision, pool
from rarefault.train.calibration import alarm_timing, conformal, decision_fit, objectives, thresholds
from rarefault.train.calibration import held_out_windows as validation
from rarefault.train.evaluation import alarms


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        problem, method: their keys.
        seed, fold: numbers.
        dealing: of the blocks to the folds.
    """

    problem: str
    method: str
    seed: int
    fold: int
    dealing: int = 0

    def __str__(self) -> str:
        dealing = f"dealing {self.dealing}, " if self.dealing else ""
        return f"{self.problem}, {dealing}{self.method}, seed {self.seed}, fold {self.fold}"

    @property
    def of(self) -> tuple[Problem, Method]:
        """What the keys stand for."""
        return replace(PROBLEMS[self.problem], dealing=self.dealing), METHODS[self.method]


@dataclass(frozen=True)
class Result:
    """What a task gave.

    Attributes:
        prediction: the log-probabilities.
        judged: what the decision made of them; None where an older form of it was kept.
        decision: settings that the decision was fitted with, as JSON.
        classes: names, [K].
        seconds: of training and prediction.
        commit: of the code that trained.
        machine: that it trained on.
    """

    prediction: Prediction
    judged: Judged | None
    decision: str
    classes: tuple[str, ...]
    seconds: float
    commit: str
    machine: str


class Cache:
    """Files in a folder that git does not see.

    A file's name has a digest of the method and of all settings that training uses, so that a change of defaults makes
    no old result pass for a new one. A change of the code does not: for that there is ``--fresh``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, task: Task) -> Path:
        """Where a task's result belongs."""
        problem, method = task.of
        settings = msgspec.to_builtins(config_of(problem, Path(), method.changes))
        for section in ("data", "decision"):
            del settings[section]
        del settings["training"]["jobs"]  # the result is the same for any number
        text = json.dumps([method.name, method.changes, settings], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        name = re.sub(r"[^a-z0-9]+", "-", task.method.lower())
        return self._folder / task.problem / f"{name}-{digest}-seed{task.seed}-fold{task.fold}.npz"

    def save(self, task: Task, result: Result) -> None:
        """Write, whole or not at all."""
        if result.judged is None:
            raise ValueError("what is not judged is not kept")
        path = self.path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        (self._folder / ".gitignore").write_text("*\n", encoding="utf-8")
        judged, prediction = asdict(result.judged), result.prediction
        arrays = {f"judged_{key}": np.asarray(value) for key, value in judged.items()}
        arrays |= {"validation": prediction.validation, "test": prediction.test}
        arrays |= {f"part_{key}": value for key, value in prediction.parts.items()}
        arrays |= {f"window_{key}": value for key, value in prediction.windows.items()}
        about = {
            "learned_prior": prediction.learned_prior,
            "notes": prediction.notes,
            "decision": result.decision,
            "classes": result.classes,
            "seconds": result.seconds,
            "commit": result.commit,
            "machine": result.machine,
        }
        arrays["about"] = np.asarray(json.dumps(about))
        fresh = path.with_suffix(".tmp")
        with fresh.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        fresh.replace(path)

    def load(self, task: Task) -> Result | None:
        """The result, or None where there is none yet."""
        path = self.path(task)
        if not path.exists():
            return None
        with np.load(path) as file:
            about: dict[str, Any] = json.loads(str(file["about"]))
            prior = about["learned_prior"]
            kept, parts, windows = (
                {key.removeprefix(kind): file[key] for key in file.files if key.startswith(kind)}
                for kind in ("judged_", "part_", "window_")
            )
            prior = None if prior is None else tuple(prior)
            prediction = Prediction(file["validation"], file["test"], prior, about["notes"], parts, windows)
        judged = None
        if set(kept) == {field.name for field in fields(Judged)}:
            counts = ("budget_alarms", "false_alarms", "alarm_changes", "events", "events_alarmed")
            numbers = {name: int(kept[name]) for name in counts} | {"device_days": float(kept["device_days"])}
            judged = Judged(**(kept | numbers))
        return Result(
            prediction,
            judged,
            about["decision"],
            tuple(about["classes"]),
            about["seconds"],
            about["commit"],
            about["machine"],
        )

    def current(self, task: Task) -> Result | None:
        """The result, if its decision was fitted with the present settings."""
        result = self.load(task)
        there = result is not None and result.judged is not None and result.decision == decision_of(task)
        return result if there else None


def decision_of(task: Task) -> str:
    """Settings of the decision, as JSON, and a digest of the code that fits it: verdicts cost little to make again."""
    problem, method = task.of
    settings = msgspec.json.encode(config_of(problem, Path(), method.changes).decision).decode()
    return f"{settings} {_decision_code()}"


@lru_cache
def _decision_code() -> str:
    digest = hashlib.sha256()
    for module in (
        pool,
        belief,
        decision,
        alarm_states,
        alarms,
        alarm_timing,
        conformal,
        decision_fit,
        objectives,
        thresholds,
        validation,
        judging,
    ):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:12]


def judged_again(result: Result, judged: Judged, settings: str) -> Result:
    """The same prediction with another decision."""
    return replace(result, judged=judged, decision=settings)
