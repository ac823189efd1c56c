"""Held-out windows: labels, times and events that the decision is fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rarefault.runtime.arrays import Bool, Float64, Int64
from rarefault.runtime.inference.manifest import DecisionSpec, GridSpec, WindowSpec
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.evaluation.alarms import AlarmJudge, AlarmTrial
from rarefault.train.evaluation.event_scores import device_days
from rarefault.train.history import History


@dataclass(frozen=True)
class HeldOutWindows:
    """Held-out windows, with what alarms depend on.

    Attributes:
        history: gives the events.
        device, end_ms, fresh: of all windows, sorted by device and time, [W].
        label: -1 where nobody knows it, [W].
        grid: the bins.
        span_ms: time between the ends of two windows.
    """

    history: History
    device: Int64
    end_ms: Int64
    fresh: Bool
    label: Int64
    grid: GridSpec
    span_ms: int

    @classmethod
    def of(cls, history: History, cut: LabelledWindows, grid: GridSpec, window: WindowSpec) -> "HeldOutWindows":
        """Windows cut from a history."""
        windows = cut.windows
        end_ms, device = grid.end_ms(windows.end_index), windows.device.astype(np.int64)
        return cls(history, device, end_ms, windows.fresh, cut.label, grid, window.stride * grid.period_ms)

    @classmethod
    def joined(cls, parts: Sequence["HeldOutWindows"]) -> tuple["HeldOutWindows", Int64]:
        """Windows of several parts as one, and the place of each among them one after the other, [W]."""
        device, end_ms, fresh, label = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("device", "end_ms", "fresh", "label")
        )
        order = np.lexsort((end_ms, device))
        whole = replace(parts[0], device=device[order], end_ms=end_ms[order], fresh=fresh[order], label=label[order])
        return whole, order

    @property
    def device_days(self) -> float:
        """Time that the windows with a label stand for."""
        return device_days(int((self.label >= 0).sum()), self.span_ms)

    def trial(self, spec: DecisionSpec, posterior: Float64, far: Bool | None = None) -> AlarmTrial:
        """Alarms under any thresholds.

        Args:
            spec: the decision.
            posterior: of all windows, [W, K].
            far: which are far from all classes; None: where no distance was measured, [W].
        """
        known = self.label >= 0
        judge = AlarmJudge(self.history, self.device[known], self.end_ms[known], self.grid)
        return AlarmTrial(judge, spec, self.device, self.end_ms, self.fresh, posterior, self.span_ms, far)
