"""The trainer: history and fault log to a run directory.

What a program needs to train and evaluate stands here::

    from rarefault.train import load_train_config, train

    config = load_train_config(Path("plant.toml"))
    training = train(config, Path("."), Path("runs/plant"))

Names are loaded when they are first used, so that importing this package loads neither torch nor polars.
"""

from typing import TYPE_CHECKING

import rarefault.runtime  # noqa: F401 - before any library that would phone home
from rarefault.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from rarefault.runtime.errors import HistoryError
    from rarefault.train.config import TrainConfig, load_train_config
    from rarefault.train.evaluation.evaluate import Evaluation, evaluate
    from rarefault.train.history.data import History
    from rarefault.train.history.read import read_history
    from rarefault.train.model.step import TorchStep
    from rarefault.train.report.html import write_report
    from rarefault.train.runs.run_directory import RunDirectory
    from rarefault.train.runs.training import Observer, Training, train

__all__ = [
    "Evaluation",
    "History",
    "HistoryError",
    "Observer",
    "RunDirectory",
    "TorchStep",
    "TrainConfig",
    "Training",
    "evaluate",
    "load_train_config",
    "read_history",
    "train",
    "write_report",
]

_MODULES = {
    "rarefault.runtime.errors": ("HistoryError",),
    "rarefault.train.config": ("TrainConfig", "load_train_config"),
    "rarefault.train.evaluation.evaluate": ("Evaluation", "evaluate"),
    "rarefault.train.history.data": ("History",),
    "rarefault.train.history.read": ("read_history",),
    "rarefault.train.model.step": ("TorchStep",),
    "rarefault.train.report.html": ("write_report",),
    "rarefault.train.runs.run_directory": ("RunDirectory",),
    "rarefault.train.runs.training": ("Observer", "Training", "train"),
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
