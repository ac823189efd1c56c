"""Honest splits: by blocks of time or by device, never by windows.

Time is cut at multiples of the block length. A cut is moved to the nearest instant, at most half a block away, at which
no event that is shorter than a block is active, and left out where there is none: whole events never straddle. Events
longer than a block cannot be kept whole; they are counted and reported.

A part (train, validation, test) is the samples of its blocks. Blocks are longer than the grid's ``max_gap_s``, so a
foreign block between two of a part's own is a gap that resets the device: no window straddles a border, and the first
verdict in a block comes a whole window after its border. That is the embargo of one window between labels of different
parts.

Why: decision 0021.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool
from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import GridSpec, WindowSpec
from rarefault.runtime.settings import Section
from rarefault.runtime.times import format_ms
from rarefault.train.dataset.cuts import find_cuts
from rarefault.train.dataset.folds import assign_folds
from rarefault.train.history import History
from rarefault.train.history.parsing.files import listed

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


class SplitConfig(Section, frozen=True, kw_only=True):
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
    """All blocks, in order of device and time, and notes on them for the user."""

    blocks: tuple[Block, ...]
    notes: tuple[str, ...]

    def mask(self, history: History, part: Part | None) -> Bool:
        """Which samples are in the part, or with None in any, [M]."""
        chosen = np.zeros(len(history), bool)
        for slot, name in enumerate(history.devices):
            own = [block for block in self.blocks if block.device == name]
            if not own:
                continue
            rows = np.flatnonzero(history.device == slot)
            at = np.searchsorted([block.start_ms for block in own], history.time_ms[rows], "right") - 1
            inside = (at >= 0) & (history.time_ms[rows] < np.array([block.end_ms for block in own])[at])
            chosen[rows] = inside & np.array([part in {None, block.part} for block in own])[at]
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
    """Cut the history into blocks and assign them to the parts, each fault as evenly as whole blocks allow.

    Raises:
        HistoryError: too few blocks or devices for the folds.
    """
    notes: list[str] = []
    spans = _device_spans(history)
    block_ms = round(config.block_s * 1000)
    intervals: list[tuple[int, int, int]] = []
    for slot, (start, end) in spans.items():
        cuts = find_cuts(history, slot, start, end, block_ms) if config.by == "time" else []
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
        raise HistoryError(_too_few(history, config, len(intervals), spans, block_ms))
    fold = assign_folds(history, intervals, config.folds, config.seed, grid)
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


def _too_few(
    history: History, config: SplitConfig, count: int, spans: dict[int, tuple[int, int]], block_ms: int
) -> str:
    """Why there are fewer blocks or devices than folds, and the remedy."""
    if config.by == "device":
        return (
            f"the history has {count} devices, fewer than split.folds = {config.folds}: split by time, lower "
            "split.folds or bring more history"
        )
    if sum((end - start) // block_ms for start, end in spans.values()) >= config.folds:
        return (
            f"the history has {count} blocks, fewer than split.folds = {config.folds}: its events leave "
            "hardly any time between them where a border could be. If a name stands for normal "
            f"({listed(history.classes[1:])}), name it as data.normal; else set split.block_s to no more than most "
            "events last, so that they are cut, or split by device"
        )
    return (
        f"the history has {count} blocks, fewer than split.folds = {config.folds}: shorten split.block_s, lower "
        "split.folds or bring more history"
    )


def _device_spans(history: History) -> dict[int, tuple[int, int]]:
    """First and one past last instant of each device that has samples."""
    spans = {}
    for slot in range(len(history.devices)):
        times = history.time_ms[history.device == slot]
        if len(times):
            spans[slot] = (int(times[0]), int(times[-1]) + 1)
    return spans


def rotations(history: History, split: Split, of: Part, folds: int, seed: int, grid: GridSpec) -> list[Split]:
    """Splits that hold out some of a part's blocks in turn and train on all blocks but those and the test's.

    The part's blocks are assigned to so many folds; no split where there are fewer blocks than folds. In each split the
    blocks that are held out are its validation blocks.

    Args:
        history: that the split is of.
        split: any, such as one of several sources.
        of: the part.
        folds: how many.
        seed: of the fold assignment.
        grid: the bins.
    """
    slot = {name: number for number, name in enumerate(history.devices)}
    own = [at for at, block in enumerate(split.blocks) if block.part == of]
    if len(own) < folds:
        return []
    intervals = [(slot[b.device], b.start_ms, b.end_ms) for b in (split.blocks[at] for at in own)]
    fold = dict(zip(own, assign_folds(history, intervals, folds, seed, grid).tolist(), strict=True))
    found = []
    for held_out in range(folds):
        blocks = [
            block
            if block.part == "test"
            else replace(block, part="validation" if fold.get(at) == held_out else "train")
            for at, block in enumerate(split.blocks)
        ]
        found.append(Split(tuple(blocks), ()))
    return found


def describe_blocks(split: Split) -> list[dict[str, str]]:
    """Blocks as plain values, for ``split.json``."""
    return [
        {"device": b.device, "start": format_ms(b.start_ms), "end": format_ms(b.end_ms), "part": b.part}
        for b in split.blocks
    ]
