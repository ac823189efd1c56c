"""Honest splits: by blocks of time or by device, never by windows.

Time is cut at multiples of the block length. A cut is moved to the nearest instant, at most half a block away, at which
no event that is shorter than a block is active, and left out where there is none: whole events never straddle. Events
longer than a block cannot be kept whole; they are counted and said.

A part (train, validation, test) is the samples of its blocks. Blocks are longer than the grid's ``max_gap_s``, so a
foreign block between two of a part's own is a gap that resets the device: no window straddles a border, and the first
verdict in a block comes a whole window after its border. That is the embargo of one window between labels of different
parts.

Why: decision 0021.
"""

import itertools
import warnings
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import GridSpec, WindowSpec
from rarefault.runtime.times import format_ms
from rarefault.train.history import History, label_bins
from rarefault.train.history.parsing.frames import listed

#: Share of an interval's bins, drawn by the seed, that say what is in it when it is dealt; all of them for seed 0.
SUBSAMPLE = 0.5

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


class SplitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[split]``: which samples are for training, validation and test."""

    by: Literal["time", "device"] = "time"
    """``time``: blocks of time are dealt to the folds. ``device``: whole devices are."""
    block_s: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 86400.0
    """Length of a block of time, seconds."""
    folds: Annotated[int, msgspec.Meta(ge=3, le=100)] = 5
    """Number of folds."""
    test_fold: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Number of the fold that is held out for the test, from 0."""
    validation_fold: Annotated[int, msgspec.Meta(ge=0)] = 1
    """Number of the fold that is held out for validation, from 0. All other folds are for training."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    """Another seed assigns blocks or devices to folds differently."""

    def __post_init__(self) -> None:
        for name in ("test_fold", "validation_fold"):
            if getattr(self, name) >= self.folds:
                raise ValueError(f"{name} must be below folds ({self.folds}), got {getattr(self, name)}")
        if self.test_fold == self.validation_fold:
            raise ValueError(f"test_fold and validation_fold must differ, both are {self.test_fold}")


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of one device's time, [start_ms, end_ms), and the part that it belongs to."""

    device: str
    start_ms: int
    end_ms: int
    part: Part


@dataclass(frozen=True)
class Split:
    """All blocks, in order of device and time, and what must be said about them."""

    blocks: tuple[Block, ...]
    notes: tuple[str, ...]

    def mask(self, history: History, part: Part | None) -> Bool:
        """Which samples are in the part, or with None in any, [M]."""
        chosen = np.zeros(len(history), bool)
        for slot, name in enumerate(history.devices):
            mine = [block for block in self.blocks if block.device == name]
            if not mine:
                continue
            rows = np.flatnonzero(history.device == slot)
            at = np.searchsorted([block.start_ms for block in mine], history.time_ms[rows], "right") - 1
            inside = (at >= 0) & (history.time_ms[rows] < np.array([block.end_ms for block in mine])[at])
            chosen[rows] = inside & np.array([part in {None, block.part} for block in mine])[at]
        return chosen

    def select(self, history: History, *parts: Part) -> History:
        """The samples of a part, or of several as one, with the whole history's devices, channels, classes, events."""
        return history.select(np.any([self.mask(history, part) for part in parts], axis=0))


def check_blocks(split: SplitConfig, grid: GridSpec, window: WindowSpec) -> None:
    """Raise ValueError where blocks are too short to keep the parts apart, or to hold a window."""
    if split.by == "device":
        return
    if split.block_s <= grid.max_gap_s:
        raise ValueError(
            f"split.block_s ({split.block_s:g}) must exceed grid.max_gap_s ({grid.max_gap_s:g}), "
            "or windows would reach over blocks of another part"
        )
    if split.block_s < 2 * window.length * grid.period_s:
        raise ValueError(
            f"split.block_s ({split.block_s:g}) must hold at least two windows "
            f"(2 * window.length * grid.period_s = {2 * window.length * grid.period_s:g})"
        )


def split_history(history: History, config: SplitConfig, grid: GridSpec) -> Split:
    """Cut the history into blocks and deal them to the parts, each fault as evenly as whole blocks allow.

    Raises:
        HistoryError: too few blocks or devices for the folds.
    """
    notes: list[str] = []
    spans = _device_spans(history)
    block_ms = round(config.block_s * 1000)
    intervals: list[tuple[int, int, int]] = []
    for slot, (start, end) in spans.items():
        cuts = _cuts(history, slot, start, end, block_ms) if config.by == "time" else []
        edges = [start, *cuts, end]
        intervals += [(slot, a, b) for a, b in itertools.pairwise(edges)]
    if config.by == "time":
        long = int((history.events.end_ms - history.events.start_ms >= block_ms).sum())
        if long:
            notes.append(
                f"{long} event(s) last longer than a block of {config.block_s / 86400:g} days and are cut at block "
                "borders; each part sees other stretches of them"
            )
    if len(intervals) < config.folds:
        what = "blocks" if config.by == "time" else "devices"
        if config.by == "time" and sum((end - start) // block_ms for start, end in spans.values()) >= config.folds:
            raise HistoryError(
                f"the history has {len(intervals)} blocks, fewer than split.folds = {config.folds}: its events leave "
                "hardly any time between them where a border could be. If a name stands for normal "
                f"({listed(history.classes[1:])}), name it as data.normal; else set split.block_s to no more than most "
                "events last, so that they are cut, or split by device"
            )
        raise HistoryError(
            f"the history has {len(intervals)} {what}, fewer than split.folds = {config.folds}: "
            + ("shorten split.block_s, " if config.by == "time" else "split by time, ")
            + "lower split.folds or bring more history"
        )
    fold = _deal(history, intervals, config.folds, config.seed, grid)
    parts: dict[int, Part] = {config.test_fold: "test", config.validation_fold: "validation"}
    blocks = tuple(
        Block(history.devices[slot], start, end, parts.get(int(f), "train"))
        for (slot, start, end), f in zip(intervals, fold, strict=True)
    )
    counts = np.bincount(history.events.fault, minlength=len(history.classes))
    few = [f"{name} ({n})" for name, n in zip(history.classes[1:], counts[1:], strict=True) if n < config.folds]
    if few:
        notes.append(
            f"fewer events than the {config.folds} folds: {', '.join(few)}; some parts hold none of these, and their "
            "scores there are left out, not counted as zero"
        )
    return Split(blocks, tuple(notes))


def _device_spans(history: History) -> dict[int, tuple[int, int]]:
    """First and one past last instant of each device that has samples."""
    spans = {}
    for slot in range(len(history.devices)):
        times = history.time_ms[history.device == slot]
        if len(times):
            spans[slot] = (int(times[0]), int(times[-1]) + 1)
    return spans


def _cuts(history: History, slot: int, start: int, end: int, block_ms: int) -> list[int]:
    """Instants strictly between start and end at which the device's time is cut."""
    events = history.events
    short = (events.device == slot) & (events.end_ms - events.start_ms < block_ms)
    busy = _merge(events.start_ms[short], events.end_ms[short])
    cuts: list[int] = []
    for nominal in range((start // block_ms + 1) * block_ms, end, block_ms):
        cut = _nearest_free(nominal, busy)
        if abs(cut - nominal) <= block_ms // 2 and start < cut < end and (not cuts or cut > cuts[-1]):
            cuts.append(cut)
    # A stub at either end, shorter than half a block, joins its neighbour.
    if cuts and cuts[0] - start < block_ms // 2:
        cuts.pop(0)
    if cuts and end - cuts[-1] < block_ms // 2:
        cuts.pop()
    return cuts


def _merge(start_ms: Int64, end_ms: Int64) -> list[tuple[int, int]]:
    """Intervals joined that overlap or leave no instant between them that is free, in order."""
    joined: list[tuple[int, int]] = []
    for a, b in sorted(zip(start_ms.tolist(), end_ms.tolist(), strict=True)):
        if joined and a <= joined[-1][1] + 2:
            joined[-1] = (joined[-1][0], max(joined[-1][1], b))
        else:
            joined.append((a, b))
    return joined


def _nearest_free(nominal: int, busy: list[tuple[int, int]]) -> int:
    """The instant nearest to ``nominal`` that no busy interval covers; of two equally near ones the earlier."""
    for a, b in busy:
        if a <= nominal <= b:
            return a - 1 if nominal - a <= b - nominal else b + 1
    return nominal


def rotations(history: History, split: Split, of: Part, parts: int, seed: int, grid: GridSpec) -> list[Split]:
    """Splits that hold out some of a part's blocks in turn and train on all blocks but those and the test's.

    The part's blocks are dealt to so many smaller parts; none where there are fewer blocks than those. What is held
    out is called the validation blocks.

    Args:
        history: that the split is of.
        split: any, such as one of several sources.
        of: the part.
        parts: how many.
        seed: of the dealing.
        grid: the bins.
    """
    slot = {name: number for number, name in enumerate(history.devices)}
    dealt = [at for at, block in enumerate(split.blocks) if block.part == of]
    if len(dealt) < parts:
        return []
    intervals = [(slot[b.device], b.start_ms, b.end_ms) for b in (split.blocks[at] for at in dealt)]
    number = dict(zip(dealt, _deal(history, intervals, parts, seed, grid).tolist(), strict=True))
    found = []
    for held_out in range(parts):
        blocks = [
            block
            if block.part == "test"
            else replace(block, part="validation" if number.get(at) == held_out else "train")
            for at, block in enumerate(split.blocks)
        ]
        found.append(Split(tuple(blocks), ()))
    return found


def mostly_cut(history: History, split: Split) -> bool:
    """Whether most events of the blocks but the test's reach over a border between them.

    What is held out of such a history is the rest of events that are learnt from.
    """
    events, held, cut = history.events, 0, 0
    for slot, name in enumerate(history.devices):
        mine = [block for block in split.blocks if block.device == name and block.part != "test"]
        of = events.device == slot
        begun = np.searchsorted([block.start_ms for block in mine], events.end_ms[of])
        over = np.searchsorted([block.end_ms for block in mine], events.start_ms[of], "right")
        held += int((begun - over > 0).sum())
        cut += int((begun - over > 1).sum())
    return 2 * cut > held


def _deal(history: History, intervals: list[tuple[int, int, int]], folds: int, seed: int, grid: GridSpec) -> Int64:
    """Fold of each interval, stratified over the labels of its bins."""
    bins = [np.arange(grid.bin_of(start), grid.bin_of(end - 1) + 1) for _, start, end in intervals]
    group = np.repeat(np.arange(len(intervals)), [len(b) for b in bins])
    device = np.array([slot for slot, _, _ in intervals])[group]
    label = label_bins(history, device, np.concatenate(bins), grid)
    if seed:
        # The splitter deals the most mixed intervals first; its seed orders those alone that are equally mixed, of
        # which there may be none (26 weeks of plant 31: the same folds for every seed). So each is told by a part.
        told = np.random.default_rng(seed).random(len(label)) < SUBSAMPLE
        told |= np.diff(group, prepend=-1) > 0
        label, group = label[told], group[told]
    # Groups hold the classes unevenly, and some classes have fewer bins than folds: what scikit-learn would warn of is
    # said, in the terms of the history, by the caller's notes. Such classes are dealt with normal, and so is
    # time without a label.
    counts = np.bincount(label[label >= 0], minlength=len(history.classes))
    stratum = np.where((label >= 0) & (counts[label] >= folds), label, 0)
    fold = np.zeros(len(intervals), np.int64)
    if folds < 2:
        return fold
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Classes that some folds lack are said in the split's notes.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        dealt = list(splitter.split(label, stratum, group))
    for number, (_, held_out) in enumerate(dealt):
        fold[np.unique(group[held_out])] = number
    return fold


def describe_blocks(split: Split) -> list[dict[str, str]]:
    """Blocks as plain values, for ``split.json``."""
    return [
        {"device": b.device, "start": format_ms(b.start_ms), "end": format_ms(b.end_ms), "part": b.part}
        for b in split.blocks
    ]
