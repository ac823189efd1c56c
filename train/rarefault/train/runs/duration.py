"""How long a training will take here, measured on a little of it before it begins.

A few batches go through a copy of the network, and a few trees grow on some of the windows; the rest is proportion:
epochs, batches, rounds, windows and parts are known. Nothing of it is left: draws are put back, copies are dropped.
"""

import copy
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import joblib
import msgspec
import numpy as np
import torch

from rarefault.runtime.arrays import Int64
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.calibration.cross_fit import TREE_PARTS, UNIT_PARTS
from rarefault.train.config import TrainConfig, TreesConfig
from rarefault.train.dataset.split import Part, Split, mostly_cut
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.network import Speed, choose_device, rehearse
from rarefault.train.fitting.trees import few_events, grow_at_devices, grow_at_units
from rarefault.train.history import History
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.parallel.background import MOST_JOBS

#: Windows that trees grow on to be timed: a few and some more, as a round costs something whatever their number.
FEW, SOME = 400, 1600
#: So many rounds, and extremely randomised trees, more than one.
MORE = 3
#: The stages whose time is estimated: their names in ``seconds`` of ``metrics.json``, and for people.
STAGES = {
    "fit": "network",
    "trees": "trees",
    "cross fit": "models that hold out blocks",
    "learn again": "learning again",
}


@dataclass(frozen=True)
class Work:
    """What a stage has to do, in seconds of one processor.

    Attributes:
        network: for all epochs.
        trees: grown beside it.
        jobs: how many trees grow at once.
        others: threads of others that want a processor, too; what was measured was measured beside them.
    """

    network: float = 0.0
    trees: float = 0.0
    jobs: int = 1
    others: float = 0.0

    def wall(self, epochs: float = 1.0) -> float:
        """Seconds that it takes, where the network needs a share of the epochs."""
        network = self.network * epochs
        together = (network + self.trees) / self._lanes(1 + self.jobs)
        return max(network, self.trees / self._lanes(self.jobs), together)

    def _lanes(self, threads: int) -> float:
        """How much more so many threads get done than one."""
        cores: int = joblib.cpu_count()
        one, each = (min(1.0, cores / (self.others + n)) for n in (1, threads))
        return max(1.0, threads * each / one)


@dataclass(frozen=True)
class Estimate:
    """How long a training will take: its stages in their order."""

    work: dict[str, Work]

    def seconds(self) -> dict[str, float]:
        """By stage, where the network needs all of its epochs."""
        return {stage: round(work.wall(), 3) for stage, work in self.work.items()}

    def left(self, done: Collection[str], epochs: float = 1.0) -> float:
        """Seconds of the stages that are not done, where networks need a share of the epochs."""
        return sum(work.wall(epochs) for stage, work in self.work.items() if stage not in done)

    def __str__(self) -> str:
        parts = ", ".join(f"{STAGES[name]} {duration(seconds)}" for name, seconds in self.seconds().items() if seconds)
        early = "; less where it stops early" if any(work.network for work in self.work.values()) else ""
        return f"this will take about {duration(self.left(()))} here ({parts}{early})"


def estimate(
    config: TrainConfig,
    network: NetworkExpert | None,
    parts: Mapping[Part, LabelledWindows],
    history: History,
    split: Split,
    units: Int64,
    at_units: UnitsSpec | None,
    *,
    cross_fit: bool,
) -> Estimate:
    """Measure a little, and foresee the rest; the generators of random numbers are left as they were.

    Args:
        config: of the training.
        network: as it is before it is trained; it stays so. None where none is.
        parts: windows of the parts.
        history, split: what they are of.
        units: columns of each unit, [U, M].
        at_units: what is looked for at them.
        cross_fit: whether training blocks are held out in turn.
    """
    train, validation = parts["train"], parts["validation"]
    epochs = config.training.epochs
    speed = Speed()
    if network is not None:
        devices = [torch.cuda.current_device()] if choose_device(config.training.device).type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            speed = rehearse(copy.deepcopy(network), train, validation, config)
    once = epochs * speed.epoch_s
    n, more = int(train.labelled.sum()), int(validation.labelled.sum())
    whole: Cost = _none
    unit: Cost = _none
    if config.trees.rounds:
        whole, unit = _tree_costs(config, train, len(history.classes), units, at_units)
    jobs = config.training.jobs or min(joblib.cpu_count(), MOST_JOBS)
    others = max(0.0, os.getloadavg()[0] - 1)  # this process is one of the load
    work = {"fit": Work(once + epochs * speed.judge_s), "trees": Work(trees=whole(n) + unit(n))}
    if cross_fit:
        held_out = config.split.folds - 1
        finer = 1 if mostly_cut(history, split) else TREE_PARTS
        left = round((n + more) * (1 - 1 / (held_out * finer)))
        trees = whole(left) + unit(left) * (UNIT_PARTS if finer > 1 else 1)
        work["cross fit"] = Work((held_out - 1) * once, held_out * finer * trees, jobs, others)
    if config.training.refit:
        trees = whole(n + more) + unit(n + more)
        work["learn again"] = Work(once * (n + more) / max(n, 1), trees, others=others)
    return Estimate(work)


def duration(seconds: float) -> str:
    """As a person says it: ``40 s``, ``7 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{max(1, round(seconds, -1 if seconds >= 20 else 0)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _none(_windows: int) -> float:
    return 0.0


Cost = Callable[[int], float]


def _tree_costs(
    config: TrainConfig, train: LabelledWindows, n_classes: int, units: Int64, wanted: UnitsSpec | None
) -> tuple[Cost, Cost]:
    """Seconds for the trees of whole devices, and for those of units, by the number of windows."""
    seed, threads = config.training.seed, config.training.threads
    prior = (1 / n_classes,) * n_classes

    unit: Cost = _none
    elsewhere: tuple[int, ...] = ()
    if wanted is not None:
        elsewhere = wanted.faults

        def at_units(windows: LabelledWindows, trees: TreesConfig) -> object:
            return grow_at_units(windows, wanted, trees, seed, threads, units)

        unit = _cost(at_units, config.trees, train, extra=False)

    def at_devices(windows: LabelledWindows, trees: TreesConfig) -> object:
        return grow_at_devices(windows, prior, trees, seed, threads, units, elsewhere)

    whole = _cost(at_devices, config.trees, train, extra=bool(config.trees.extra_trees))
    # Copies of windows with their units swapped.
    few = [c for c in few_events(train, n_classes) if c not in elsewhere] if len(units) else []
    rare, n = int(np.isin(train.label, few).sum()), int(train.labelled.sum())
    copied = 1 + rare * min(config.trees.swaps, n // rare) / n if rare else 1.0
    return lambda windows: whole(round(windows * copied)), unit


def _cost(
    grow: Callable[[LabelledWindows, TreesConfig], object], trees: TreesConfig, train: LabelledWindows, *, extra: bool
) -> Cost:
    """Seconds by the number of windows: what is done once, a round and an extremely randomised tree are told apart."""
    sizes = sorted({min(size, int(train.labelled.sum())) for size in (FEW, SOME)})

    def taken(windows: LabelledWindows, rounds: int, extra_trees: int) -> float:
        little = msgspec.structs.replace(trees, rounds=rounds, extra_trees=extra_trees, swaps=0)
        started = time.perf_counter()
        grow(windows, little)
        return time.perf_counter() - started

    one = int(extra)
    once, rounds, tree = [], [], 0.0
    for size in sizes:
        windows = _some(train, size)
        alone = taken(windows, 1, one)
        once.append(alone)
        rounds.append(max(0.0, taken(windows, 1 + MORE, one) - alone) / MORE)
        if extra and size == sizes[-1]:
            tree = max(0.0, taken(windows, 1, 1 + MORE) - alone) / MORE / size

    def line(seconds: list[float], n: int) -> float:
        slope = (seconds[-1] - seconds[0]) / max(sizes[-1] - sizes[0], 1)
        return max(seconds[0], seconds[-1] + max(0.0, slope) * (n - sizes[-1]))

    return lambda n: line(once, n) + (trees.rounds - 1) * line(rounds, n) + max(trees.extra_trees - 1, 0) * tree * n


def _some(windows: LabelledWindows, size: int) -> LabelledWindows:
    """The windows, all but some of them without a label; of rare classes more than their share."""
    rng = np.random.default_rng(0)
    known = np.flatnonzero(windows.labelled)
    if size >= len(known):
        return windows
    chosen = set(rng.choice(known, size, replace=False).tolist())
    for c in np.unique(windows.label[known]):
        own = np.flatnonzero(windows.label == c)
        chosen |= set(rng.choice(own, min(len(own), 10), replace=False).tolist())
    label = np.full_like(windows.label, -1)
    at = np.array(sorted(chosen))
    label[at] = windows.label[at]
    return replace(windows, label=label)
