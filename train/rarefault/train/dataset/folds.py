"""Fold assignment: stretches of time to folds, each class as evenly as whole stretches allow."""

import warnings

import numpy as np

from rarefault.runtime.arrays import Int64
from rarefault.runtime.inference.manifest import GridSpec
from rarefault.train.history import History, label_bins

#: Share of an interval's bins, drawn by the seed, that its fold is chosen by; all of them for seed 0.
SUBSAMPLE = 0.5


def assign_folds(
    history: History, intervals: list[tuple[int, int, int]], folds: int, seed: int, grid: GridSpec
) -> Int64:
    """Fold of each interval, stratified over the labels of its bins.

    Args:
        history: gives the labels.
        intervals: device slot, start and end of each, milliseconds since the epoch.
        folds: how many; with one, all intervals are in it.
        seed: of the assignment.
        grid: the bins.
    """
    bins = [np.arange(grid.bin_of(start), grid.bin_of(end - 1) + 1) for _, start, end in intervals]
    group = np.repeat(np.arange(len(intervals)), [len(b) for b in bins])
    device = np.array([slot for slot, _, _ in intervals])[group]
    label = label_bins(history, device, np.concatenate(bins), grid)
    if seed:
        # The splitter assigns the most mixed intervals first; its seed orders only those that are equally mixed, of
        # which there may be none (26 weeks of plant 31: the same folds for every seed). So the seed draws some of the
        # bins of each, its first one always.
        drawn = np.random.default_rng(seed).random(len(label)) < SUBSAMPLE
        drawn |= np.diff(group, prepend=-1) > 0
        label, group = label[drawn], group[drawn]
    # Groups hold the classes unevenly, and some classes have fewer bins than folds: scikit-learn would warn of it, the
    # caller's notes report it in the terms of the history. Such classes count as normal here, as does time without a
    # label.
    counts = np.bincount(label[label >= 0], minlength=len(history.classes))
    stratum = np.where((label >= 0) & (counts[label] >= folds), label, 0)
    fold = np.zeros(len(intervals), np.int64)
    if folds < 2:
        return fold
    from sklearn.model_selection import StratifiedGroupKFold  # takes half a second, which reading a history need not

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # The split's notes name the classes that some folds lack.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(splitter.split(label, stratum, group))
    for number, (_, held_out) in enumerate(parts):
        fold[np.unique(group[held_out])] = number
    return fold
