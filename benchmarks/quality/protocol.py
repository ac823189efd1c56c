"""What every method is judged on: the same blocks, windows and labels.

A problem is a data set and a way to hold parts of it out. Each of its folds has training, validation and test windows;
the label of a window is the state at its last bin, the rarest of those that are active.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from benchmarks.quality import tep_simulated
from benchmarks.tep_to_table import convert

from rarefault.runtime.settings import from_mapping
from rarefault.train.calibration.held_out_windows import HeldOutWindows
from rarefault.train.config import TrainConfig
from rarefault.train.dataset.split import PARTS, Block, Part, Split, split_history
from rarefault.train.dataset.units import channels_of_units
from rarefault.train.dataset.windows import LabelledWindows, cut_windows
from rarefault.train.history import History, read_history

#: Of a training run of Tennessee Eastman, of which the last validates.
TEP_PARTS = 5


@dataclass(frozen=True)
class Problem:
    """A data set and a protocol.

    Attributes:
        data: what it is, as in the table; ``tep-simulated`` is simulated where it has not been yet.
        protocol: how parts are held out, as in the table.
        folds: number of folds; their test parts together are scored as one.
        dealing: seed by which blocks are dealt to the folds; the standard files of Tennessee Eastman have one only.
    """

    data: str
    protocol: str
    folds: int
    dealing: int = 0

    @property
    def key(self) -> str:
        """Short name."""
        return f"{self.data}-{self.protocol}"


#: All problems, by their key.
PROBLEMS = {
    p.key: p
    for p in (
        Problem("plant31", "day", 5),
        Problem("plant31", "week", 5),
        Problem("tep", "runs", 1),
        Problem("tep-simulated", "plants", 5),
    )
}
BLOCK_S = {"day": 86400.0, "week": 604800.0}
#: Tennessee Eastman comes in table form.
TABLE = {"format": "table", "samples": ["samples.parquet"], "events": "events.csv"}
#: Settings that all methods share: grid and window.
TEP_SETTINGS: dict[str, Any] = {
    "grid": {"period_s": 180, "max_hold_s": 540, "max_gap_s": 900},
    "window": {"length": 16, "stride": 2},
    "split": {"block_s": 21600},
}


@dataclass(frozen=True)
class Fold:
    """One fold of a problem.

    Attributes:
        problem: that it is a fold of.
        number: which one.
        config: grid, window and everything else, at its defaults where the problem needs no other.
        history: all of it.
        split: its blocks.
        parts: labelled windows.
    """

    problem: Problem
    number: int
    config: TrainConfig
    history: History
    split: Split
    parts: dict[Part, LabelledWindows]

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.history.classes)

    def both(self) -> LabelledWindows:
        """The training and the validation blocks together, for what is fitted again once its decision has been."""
        return cut(self.split.select(self.history, "train", "validation"), self.config)

    def validation(self, part: Part = "validation") -> HeldOutWindows:
        """What the search for thresholds needs to know of a part."""
        return HeldOutWindows.of(self.history, self.parts[part], self.config.grid, self.config.window)


def config_of(problem: Problem, data: Path, changes: dict[str, Any]) -> TrainConfig:
    """The configuration of a problem with changes, by section."""
    if problem.data == "tep":
        settings = TEP_SETTINGS | {"data": TABLE}
    elif problem.data == "tep-simulated":
        # A verdict every twelve minutes; whole plants are held out.
        window = {"length": 16, "stride": 4}
        settings = TEP_SETTINGS | {
            "data": TABLE, "window": window, "split": {"by": "device", "seed": problem.dealing}
        }  # fmt: skip
    else:
        folder = str(Path(data, "phm2015").resolve())
        settings = {
            "data": {"format": "phm2015", "path": folder, "plants": [31]},
            # Its components report at the quarters of the hour, some seconds too soon or too late.
            "grid": {"offset_s": 450},
            "split": {"block_s": BLOCK_S[problem.protocol], "seed": problem.dealing},
        }
    merged = {key: settings.get(key, {}) | changes.get(key, {}) for key in {*settings, *changes}}
    return from_mapping(merged, TrainConfig, f"benchmarks/quality: {problem.key}")


def make_fold(problem: Problem, number: int, data: Path, changes: dict[str, Any] | None = None) -> Fold:
    """Read, split and cut.

    Args:
        problem: which one.
        number: of the fold.
        data: folder that holds ``phm2015`` and ``tep``.
        changes: of the configuration, by section.
    """
    config = config_of(problem, data, changes or {})
    history = _history(problem.data, data, msgspec.json.encode(config.data))
    if problem.data == "tep":
        split = _tep_split(history)
    else:
        split_config = msgspec.structs.replace(
            config.split, folds=problem.folds, test_fold=number, validation_fold=(number + 1) % problem.folds
        )
        config = msgspec.structs.replace(config, split=split_config)
        split = split_history(history, split_config, config.grid)
    parts = {part: cut(split.select(history, part), config) for part in PARTS}
    return Fold(problem, number, config, history, split, parts)


def cut(part: History, config: TrainConfig) -> LabelledWindows:
    """Windows with their labels, and with what the log says of units; only rarefault makes use of that."""
    return cut_windows(
        part, config.grid, config.window, channels_of_units(config.trees.units, config.data, part.channels)
    )


@cache
def _history(kind: str, data: Path, encoded: bytes) -> History:
    config = msgspec.json.decode(encoded, type=TrainConfig.__annotations__["data"])
    if kind == "plant31":
        return read_history(config, Path())
    with TemporaryDirectory(prefix="rarefault-tep-") as folder:
        if kind == "tep":
            convert(Path(data, "tep"), Path(folder))
        else:
            tep_simulated.to_table(tep_simulated.prepare(), Path(folder))
        return read_history(config, Path(folder))


def _tep_split(history: History) -> Split:
    """The standard files: training runs teach, the last part of each validates, test runs judge."""
    blocks = []
    for slot, name in enumerate(history.devices):
        times = history.time_ms[history.device == slot]
        start, end = int(times[0]), int(times[-1]) + 1
        if name.startswith("test"):
            blocks.append(Block(name, start, end, "test"))
            continue
        edges = np.linspace(start, end, TEP_PARTS + 1).astype(np.int64).tolist()
        blocks += [Block(name, a, b, "train") for a, b in pairwise(edges[:-1])]
        blocks.append(Block(name, edges[-2], end, "validation"))
    return Split(tuple(blocks), ())
