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
from rarefault.train.config import TrainConfig, TreesConfig
from rarefault.train.dataset.split import Part
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.network import Speed, choose_device, rehearse
from rarefault.train.fitting.trees import few_events, grow_at_devices, grow_at_units, judge
from rarefault.train.history import History
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.parts import NETWORK_OF
from rarefault.train.model.trees import TreeExpert
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
    "evaluate": "decision and validation blocks",
    "learn again": "learning again",
    "evaluate test": "test blocks",
}
#: Times that all held-out windows are judged: for the decision, and on the served path.
JUDGED = {"evaluate": 2, "evaluate test": 1}


@dataclass(frozen=True)
class Work:
    """What a stage has to do, in seconds of one processor.

    Attributes:
        network: for all epochs of all networks.
        trees: grown beside it.
        jobs: how many trees grow at once.
        others: threads of others that want a processor, too; what was measured was measured beside them.
    """

    network: float = 0.0
    trees: float = 0.0
    jobs: int = 1
    others: float = 0.0

    def wall(self) -> float:
        """Seconds that it takes."""
        together = (self.network + self.trees) / self._lanes(1 + self.jobs)
        return max(self.network, self.trees / self._lanes(self.jobs), together)

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
        """By stage."""
        return {stage: round(work.wall(), 3) for stage, work in self.work.items()}

    def left(self, done: Collection[str]) -> float:
        """Seconds of the stages that are not done."""
        return sum(work.wall() for stage, work in self.work.items() if stage not in done)

    def networks(self, stage: str) -> float:
        """Share of a stage that is over when its networks are trained; trees grow beside them."""
        work = self.work.get(stage, Work())
        return min(1.0, work.network / max(work.wall(), 1e-9))

    def __str__(self) -> str:
        parts = ", ".join(f"{STAGES[name]} {duration(seconds)}" for name, seconds in self.seconds().items() if seconds)
        return f"this will take about {duration(self.left(()))} here ({parts})"


@dataclass(frozen=True)
class Judging:
    """Seconds to judge one window by trees: for its features, and for each tree."""

    features_s: float = 0.0
    tree_s: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What was measured on a little of a training: how long it takes follows, with other settings as well.

    Attributes:
        speed: of the network; nothing where there is none.
        whole, unit: seconds for the trees of whole devices, and for those of units.
        judging: by trees.
        windows: with a label, of the training blocks, and of the validation and the test blocks.
        normal: normal windows of the training blocks.
        units: number of like units.
        n_classes: K.
        others: threads of others that want a processor, too.
    """

    speed: Speed
    whole: "Cost"
    unit: "Cost"
    judging: Judging
    windows: tuple[int, int, int]
    normal: int
    units: int
    n_classes: int
    others: float

    def estimate(self, config: TrainConfig, *, cross_fit: bool) -> Estimate:
        """How long a training takes.

        Args:
            config: of the training; its data, grid and windows are those that were measured.
            cross_fit: whether training blocks are held out in turn.
        """
        training, trees = config.training, config.trees
        n, more, test = self.windows
        networks = {NETWORK_OF[part] for part in config.wanted if part in NETWORK_OF}
        once = self.speed.training_s(training.epochs, networks)
        work = {"fit": Work(once), "trees": Work(trees=self._grow(n, config) + self._grow_at_units(n, config))}
        if cross_fit:
            further = config.split.folds - 2
            left = round((n + more) * (1 - 1 / (further + 1)))
            grow = self._grow(left, config) + self._grow_at_units(left, config)
            jobs = training.jobs or min(joblib.cpu_count(), MOST_JOBS)
            work["cross fit"] = Work(further * once, further * grow, jobs, self.others)
        window_s = self.speed.judge_s if networks else 0.0
        if trees.rounds:
            count = trees.rounds * self.n_classes + trees.extra_trees
            window_s += self.judging.features_s + self.judging.tree_s * count
        work["evaluate"] = Work(trees=JUDGED["evaluate"] * more * window_s)
        if training.refit:
            grow = self._grow(n + more, config) + self._grow_at_units(n + more, config)
            work["learn again"] = Work(once * (n + more) / max(n, 1), grow, others=self.others)
        work["evaluate test"] = Work(trees=JUDGED["evaluate test"] * test * window_s)
        return Estimate(work)

    def _grow(self, windows: int, config: TrainConfig) -> float:
        most = config.trees.max_windows or windows
        return self.whole(min(windows, most), config.trees) if "trees_device" in config.wanted else 0.0

    def _grow_at_units(self, windows: int, config: TrainConfig) -> float:
        most = config.trees.max_windows or windows
        normal = round(windows * self.normal / max(self.windows[0], 1))
        kept = min(normal, most // max(self.units, 1)) + windows - normal
        return self.unit(min(kept, most), config.trees) if "trees_units" in config.wanted else 0.0


def measure(
    config: TrainConfig,
    network: NetworkExpert | None,
    parts: Mapping[Part, LabelledWindows],
    history: History,
    units: Int64,
    at_units: UnitsSpec | None,
) -> Measured:
    """Measure a little; the generators of random numbers are left as they were.

    Args:
        config: of the training.
        network: as it is before it is trained; it stays so. None where none is.
        parts: windows of the parts.
        history: what they are of.
        units: columns of each unit, [U, M].
        at_units: what is looked for at them.
    """
    train, validation = parts["train"], parts["validation"]
    speed = Speed()
    if network is not None:
        devices = [torch.cuda.current_device()] if choose_device(config.training.device).type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            speed = rehearse(copy.deepcopy(network), train, config)
    n_classes = len(history.classes)
    costs = _tree_costs(config, train, n_classes, units, at_units) if config.trees.rounds else (_none, _none, Judging())
    return Measured(
        speed,
        *costs,
        windows=(int(train.labelled.sum()), int(validation.labelled.sum()), int(parts["test"].labelled.sum())),
        normal=int((train.label == 0).sum()),
        units=len(units),
        n_classes=n_classes,
        others=max(0.0, os.getloadavg()[0] - 1),  # this process is one of the load
    )


def duration(seconds: float) -> str:
    """As a person says it: ``40 s``, ``7 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{max(1, round(seconds, -1 if seconds >= 20 else 0)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


Cost = Callable[[int, TreesConfig], float]
"""Seconds by the number of windows, with the rounds and extremely randomised trees of a configuration."""


def _none(_windows: int, _trees: TreesConfig) -> float:
    return 0.0


def _tree_costs(
    config: TrainConfig, train: LabelledWindows, n_classes: int, units: Int64, wanted: UnitsSpec | None
) -> tuple[Cost, Cost, Judging]:
    """Seconds for the trees of whole devices and for those of units, and what judging takes."""
    seed, threads = config.training.seed, config.training.threads
    prior = (1 / n_classes,) * n_classes
    grown: list[TreeExpert] = []

    unit: Cost = _none
    elsewhere: tuple[int, ...] = ()
    if wanted is not None:
        elsewhere = wanted.faults

        def at_units(windows: LabelledWindows, trees: TreesConfig) -> object:
            return grow_at_units(windows, wanted, trees, seed, threads, units)

        unit = _cost(at_units, config.trees, train, extra=False)

    def at_devices(windows: LabelledWindows, trees: TreesConfig) -> TreeExpert:
        grown.append(grow_at_devices(windows, prior, trees, seed, threads, units, elsewhere))
        return grown[-1]

    whole = _cost(at_devices, config.trees, train, extra=bool(config.trees.extra_trees))
    # Copies of windows with their units swapped.
    few = [c for c in few_events(train, n_classes) if c not in elsewhere] if len(units) else []
    rare, n = int(np.isin(train.label, few).sum()), int(train.labelled.sum())
    copied = 1 + rare * min(config.trees.swaps, n // rare) / n if rare else 1.0
    return lambda windows, trees: whole(round(windows * copied), trees), unit, _judging(grown[-1], train)


@torch.inference_mode()
def _judging(trees: TreeExpert, windows: LabelledWindows) -> Judging:
    """Measured on little trees, whose time is that of the features."""
    head = windows.head(SOME)
    n = max(len(head), 1)
    started = time.perf_counter()
    judge(trees, head)
    whole = time.perf_counter() - started
    features = torch.zeros(n, int(trees.feature.max()) + 1 if len(trees.feature) else 1)
    started = time.perf_counter()
    trees.scores(features)
    return Judging(whole / n, (time.perf_counter() - started) / n / max(len(trees.root), 1))


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

    def cost(n: int, of: TreesConfig) -> float:
        return line(once, n) + (of.rounds - 1) * line(rounds, n) + max(of.extra_trees - 1, 0) * tree * n

    return cost


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
