"""What is held out in turn where faults are looked for at units."""

import msgspec
import numpy as np
import pytest

from rarefault.runtime.inference.decision.pool import Pool
from rarefault.runtime.inference.manifest import UnitsSpec, WindowSpec
from rarefault.train.calibration.cross_fit import Rotation
from rarefault.train.config import ModelConfig, TrainConfig, TrainingConfig, TreesConfig
from rarefault.train.dataset.derived import GridConfig
from rarefault.train.dataset.split import Split, SplitConfig, rotations, split_history
from rarefault.train.dataset.windows import LabelledWindows, cut_windows
from rarefault.train.fitting.imbalance import class_frequencies
from rarefault.train.fitting.trees import grow_trees, judge
from rarefault.train.history import Events, History, Phm2015Config, ReadNotes
from rarefault.train.model.experts import Experts

HOUR_MS, DAYS = 3_600_000, 60
UNITS = np.array([[0, 1], [2, 3], [4, 5]])
AT_UNITS = UnitsSpec(
    names=("p1", "p2", "p3"), channels=((0, 1), (2, 3), (4, 5)), faults=(1, 2), rarest_first=(2, 1), prior=(0.03, 0.02)
)
CONFIG = TrainConfig(
    data=Phm2015Config(path="."),
    grid=GridConfig(period_s=3600, max_hold_s=3600, max_gap_s=7200),
    window=WindowSpec(length=4, stride=1),
    split=SplitConfig(block_s=86400),
    model=ModelConfig(network=False),
    trees=TreesConfig(rounds=10, extra_trees=5),
    training=TrainingConfig(jobs=1),
)


def station(once: bool) -> History:
    """Three pumps: a fault of level at one of them every other day, and one that a flow shows, ``once`` or as often."""
    rng = np.random.default_rng(0)
    hours = DAYS * 24
    values = rng.normal(0, 0.1, (hours, 6))
    events = []
    for day in range(DAYS):
        unit, start = int(rng.integers(3)), day * 24 + 6 + int(rng.integers(8))
        if day % 2 == 0:
            events.append((start, start + 5, 1, unit))
            values[start : start + 5, 2 * unit + 1] += 3
        elif not once or day == 3:
            events.append((start, start + 4, 2, unit))
            values[start : start + 4, 2 * unit] -= 3
    start_h, end_h, fault, unit_of = np.array(events).T
    return History(
        devices=("station",),
        channels=("p1.flow", "p1.level", "p2.flow", "p2.level", "p3.flow", "p3.level"),
        classes=("normal", "full", "dry"),
        counters=(),
        device=np.zeros(hours, np.int32),
        time_ms=np.arange(hours) * HOUR_MS,
        values=values,
        events=Events(
            np.zeros(len(events), np.int32),
            start_h * HOUR_MS,
            end_h * HOUR_MS,
            fault.astype(np.int32),
            unit_of.astype(np.int32),
        ),
        overlap="rarest",
        notes=ReadNotes(),
        fingerprint="",
        units=("p1", "p2", "p3"),
    )


def cut(history: History, split: Split) -> tuple[LabelledWindows, LabelledWindows]:
    """What is learnt from and what is held out."""
    train, held_out = (
        cut_windows(split.select(history, part), CONFIG.grid, CONFIG.window, UNITS, AT_UNITS.faults)
        for part in ("train", "validation")
    )
    return train, held_out


def grown(history: History, split: Split, shares: tuple[float, ...]) -> Experts:
    """Trees of the training blocks."""
    return Experts(None, grow_trees(cut(history, split)[0], shares, CONFIG.trees, 0, 0, UNITS, AT_UNITS))


def test_every_part_is_held_out_once() -> None:
    """Trees of devices and of units have not seen the part that they judge."""
    history = station(once=False)
    split = split_history(history, CONFIG.split, CONFIG.grid)
    shares = class_frequencies(cut(history, split)[0].label, 3)
    parts = Rotation(history, split, CONFIG, shares, UNITS, AT_UNITS).run(grown(history, split, shares))
    assert len(parts) == 4
    ends = [end for part in parts for end in part.windows.end_ms.tolist()]
    assert len(ends) == len(set(ends))
    others = rotations(history, split, "train", CONFIG.split.folds - 2, CONFIG.split.seed, CONFIG.grid)
    for part, other in zip(parts, (split, *others), strict=True):
        trees = grown(history, other, shares).trees
        assert trees is not None
        np.testing.assert_array_equal(part.opinions[:, 0], judge(trees, cut(history, other)[1]))


@pytest.mark.parametrize("jobs", [1, 2])
def test_of_a_fault_that_some_have_never_seen_they_have_no_evidence(jobs: int) -> None:
    """Its one event is held out at some time: nobody can know it then, and nothing else suffers."""
    history = station(once=True)
    config = msgspec.structs.replace(CONFIG, training=TrainingConfig(jobs=jobs))
    split = split_history(history, CONFIG.split, CONFIG.grid)
    shares = (0.8, 0.15, 0.05)
    parts = Rotation(history, split, config, shares, UNITS, AT_UNITS).run(grown(history, split, shares))
    assert sum(bool((part.windows.label == 2).any()) for part in parts) == 1
    pool = Pool(shares, AT_UNITS)
    for part in parts:
        label = part.windows.label
        assert part.names == ("trees",)
        if (label == 2).any():
            logits = part.opinions[:, 0, 3:].reshape(-1, 3, 2)
            np.testing.assert_allclose(logits[:, :, 1], pool.unit_logit[1], atol=1e-5)
        known = np.flatnonzero((label == 0) | (label == 1))
        predicted = pool.label(pool.pool(part.opinions, [1.0], [1.0])).argmax(axis=1)
        assert (predicted[known] == label[known]).mean() > 0.9
