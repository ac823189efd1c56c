"""From a part of the history to labelled windows, through the runtime's own grid and streams."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rarefault.runtime.arrays import Bool, Float32, Int64
from rarefault.runtime.inference.grid import Grid
from rarefault.runtime.inference.manifest import GridSpec, WindowSpec, derived_columns
from rarefault.runtime.inference.window_buffer import WindowBuffer, Windows
from rarefault.train.dataset.derived import GridConfig
from rarefault.train.dataset.label_runs import event_of
from rarefault.train.dataset.unit_labels import NO_UNITS, UnitLabels, label_units
from rarefault.train.history import History, label_bins


@dataclass(frozen=True)
class LabelledWindows:
    """Windows of one part and the class of each one's last bin.

    Attributes:
        windows: in order of device, then time.
        label: -1 where nobody knows it, [W].
        segment: number of the unbroken stretch that each window is in, [W].
        stride: bins from one window of a segment to the next.
        at_units: what is known of each unit; None where units play no part.
    """

    windows: Windows
    label: Int64
    segment: Int64
    stride: int
    at_units: UnitLabels | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def labelled(self) -> Bool:
        """Which windows have a class, [W]."""
        return self.label >= 0

    def counts(self, n_classes: int) -> Int64:
        """Number of windows of each class, [K]."""
        return np.bincount(self.label[self.labelled], minlength=n_classes)

    def events(self, n_classes: int) -> Int64:
        """Number of events of each class: runs of windows with one label, of one device without a gap, [K]."""
        event = event_of(self.windows.device.astype(np.int64), self.windows.fresh, self.label)
        _, first = np.unique(event, return_index=True)
        label = self.label[first]
        return np.bincount(label[label >= 0], minlength=n_classes)

    def head(self, most: int) -> "LabelledWindows":
        """The first windows, without what is known of units."""
        cut = self.windows
        first = {name: getattr(cut, name)[:most] for name in ("device", "end_index", "fresh", "end_row")}
        return LabelledWindows(replace(cut, **first), self.label[:most], self.segment[:most], self.stride)

    def rows(self) -> Tensor:
        """The bins that all windows are cut from, [R, I]."""
        return torch.from_numpy(self.windows.rows)

    def sequence_rows(self, first: Int64, length: int) -> Int64:
        """Rows of the sequences of ``length`` windows from ``first`` [B] on, [B, R]; they must not leave a segment."""
        begin = self.windows.end_row[first] - self.windows.length + 1
        rows: Int64 = begin[:, None] + np.arange(self.windows.length + (length - 1) * self.stride)
        return rows

    def segments(self) -> list[tuple[int, int]]:
        """First and one past last window of each segment."""
        starts = np.flatnonzero(self.windows.fresh)
        ends = np.r_[starts[1:], len(self)]
        return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def cut_windows(
    history: History,
    grid: GridSpec,
    window: WindowSpec,
    units: Int64 = NO_UNITS,
    faults: Sequence[int] | None = None,
) -> LabelledWindows:
    """Push a history through grid and streams and label the windows.

    Args:
        history: any.
        grid, window: how it is cut; a ``GridConfig`` says what is derived from the channels.
        units: channels of each unit, [U, M]; with them, the windows hold the faults at each.
        faults: that are looked for at units; None: those of whose events the log mostly names the unit.
    """
    derived = derived_columns(grid.chosen if isinstance(grid, GridConfig) else (), history.channels)
    grid_of_all = Grid(grid, len(history.channels), history.counter_mask, derived)
    bins = grid_of_all.push(history.device, history.time_ms, history.values)
    windows = WindowBuffer(window, bins.values.shape[1], history.devices).push(bins)
    label = label_bins(history, windows.device, windows.end_index, grid)
    at_units = label_units(history, windows.device, windows.end_index, grid, units, faults)
    return LabelledWindows(windows, label, np.cumsum(windows.fresh), window.stride, at_units)


def channel_statistics(rows: Float32) -> tuple[Float32, Float32, list[int], list[int]]:
    """Centre and scale of each channel over the training bins, and which channels carry no information.

    Args:
        rows: bins, NaN where missing, [R, C].

    Returns:
        Mean [C], standard deviation [C], channels that are always missing, channels that are constant. The first kind
        gets centre 0 and scale 1, the second scale 1: they stay inputs of the model and carry no information.
    """
    known = ~np.isnan(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0, dtype=np.float64)
    center = total / np.maximum(count, 1)
    variance = np.where(known, (rows - center) ** 2, 0.0).sum(axis=0) / np.maximum(count, 1)
    scale = np.sqrt(variance)
    absent = count == 0
    constant = ~absent & (scale <= 1e-6 * np.maximum(np.abs(center), 1e-6))
    scale = np.where(absent | constant, 1.0, scale)
    return (
        center.astype(np.float32),
        scale.astype(np.float32),
        np.flatnonzero(absent).tolist(),
        np.flatnonzero(constant).tolist(),
    )
