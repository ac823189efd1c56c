"""What one network learns from: sequences of windows of whole devices, or of each of their units by itself.

Shapes: W windows, U units (one where a network takes whole devices), M columns of a unit, O outputs, Q sequences, T
windows of a sequence, R bins of it, B sequences of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.fitting.sequences import sequence_starts


class Batch(NamedTuple):
    """Some sequences.

    Attributes:
        bins: raw units, [B, R, M].
        target: 1 where an output is active, or a share where sequences were mixed, [B, T, O].
        known: 1 where it is known whether an output is active, else 0, [B, T, O].
    """

    bins: Tensor
    target: Tensor
    known: Tensor


@dataclass(frozen=True)
class Examples:
    """See the module.

    Attributes:
        windows: that the sequences are cut from.
        columns: of each unit, [U, M].
        active: which outputs are active, [W, U, O].
        known: where that is known, [W, U, O].
        exclusive: whether exactly one output is active at a time, as classes are; the first is ``normal``.
        length: T.
        start, unit: first window and unit of each sequence, [Q].
        kind: 0 for a sequence without any fault, else 1 + the number of its rarest active output, [Q].
    """

    windows: LabelledWindows
    columns: Int64
    active: Bool
    known: Bool
    exclusive: bool
    length: int
    start: Int64
    unit: Int64
    kind: Int64

    @classmethod
    def of_devices(cls, windows: LabelledWindows, n_classes: int, elsewhere: Sequence[int], length: int) -> "Examples":
        """Sequences of whole devices, with the class of each window.

        Args:
            windows: labelled.
            n_classes: K, which are the outputs.
            elsewhere: classes that are looked for at units; windows of theirs teach nothing here.
            length: T.

        Raises:
            HistoryError: no segment is long enough.
        """
        known: Bool = windows.labelled & np.isin(windows.label, elsewhere, invert=True)
        active: Bool = np.equal.outer(windows.label, np.arange(n_classes)) & known[:, None]
        columns = np.arange(windows.windows.rows.shape[1])[None]
        everywhere: Bool = np.repeat(known[:, None], n_classes, axis=1)
        return cls._cut(windows, columns, active[:, None, :], everywhere[:, None, :], length, exclusive=True)

    @classmethod
    def at_units(cls, windows: LabelledWindows, units: UnitsSpec, length: int) -> "Examples":
        """Sequences of each unit, with the faults that are active there.

        Args:
            windows: they know the faults at their units.
            units: what is looked for; its J faults are the outputs.
            length: T.

        Raises:
            HistoryError: no segment is long enough.
        """
        columns, labels = np.array(units.channels), windows.at_units
        shape = (len(windows), len(columns), len(units.faults))
        active, known = np.zeros(shape, bool), np.zeros(shape, bool)
        if labels is not None:
            for j, (known_at, active_at) in enumerate(map(labels.of, units.faults)):
                known[:, :, j] = (windows.labelled & known_at)[:, None]
                active[:, :, j] = active_at & known[:, :, j]
        return cls._cut(windows, columns, active, known, length, exclusive=False)

    @classmethod
    def _cut(
        cls, windows: LabelledWindows, columns: Int64, active: Bool, known: Bool, length: int, *, exclusive: bool
    ) -> "Examples":
        starts = sequence_starts(windows, length)
        faults = active[..., 1:] if exclusive else active
        rarest_last = np.argsort(-faults.sum(axis=(0, 1)), kind="stable")
        rank = np.zeros(active.shape[:2], np.int16)  # of the rarest fault that is active; 0 for none
        for place, fault in enumerate(rarest_last, 1):
            rank[faults[..., fault]] = place
        # A unit that a device does not have, or of which nothing is known throughout a sequence, teaches nothing.
        missing = np.isnan(windows.windows.rows[windows.windows.end_row][:, columns])
        seen: Bool = np.any(known, axis=2) & ~np.all(missing, axis=2)
        highest, some = np.zeros((len(starts), len(columns)), np.int16), np.zeros((len(starts), len(columns)), bool)
        for step in range(length):
            np.maximum(highest, rank[starts + step], out=highest)
            some |= seen[starts + step]
        at, unit = np.nonzero(some)
        number = np.concatenate(([0], rarest_last + (2 if exclusive else 1)))
        return cls(windows, columns, active, known, exclusive, length, starts[at], unit, number[highest[at, unit]])

    def __len__(self) -> int:
        return len(self.start)

    def at(self, chosen: Int64) -> Batch:
        """Some of the sequences, by their numbers, [B]."""
        first, unit = self.start[chosen], self.unit[chosen]
        rows = self.windows.sequence_rows(first, self.length)
        bins = self.windows.windows.rows[rows[:, :, None], self.columns[unit][:, None]]
        select = (first[:, None] + np.arange(self.length), unit[:, None])
        return Batch(
            torch.from_numpy(bins),
            torch.from_numpy(self.active[select]).float(),
            torch.from_numpy(self.known[select]).float(),
        )

    def totals(self, rate: Float64) -> tuple[Float64, Float64]:
        """How many windows have each output active, and of how many that is known, [O] each.

        Args:
            rate: how often the sequences of each kind are drawn, [kinds].
        """
        weight = np.zeros(self.active.shape[:2])
        drawn = rate[self.kind]
        for step in range(self.length):
            np.add.at(weight, (self.start + step, self.unit), drawn)
        return np.einsum("wu,wuo->o", weight, self.active), np.einsum("wu,wuo->o", weight, self.known)
