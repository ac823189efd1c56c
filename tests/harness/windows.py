"""Labelled windows of made-up bins."""

import numpy as np

from rarefault.runtime.arrays import Bool, Float32, Int64
from rarefault.runtime.inference.grid import Bins
from rarefault.runtime.inference.manifest import WindowSpec
from rarefault.runtime.inference.window_buffer import WindowBuffer
from rarefault.train.dataset.unit_labels import UnitLabels
from rarefault.train.dataset.windows import LabelledWindows


def labelled_windows(
    values_DRC: Float32,
    label_DR: Int64,
    window: WindowSpec,
    *,
    faults: tuple[int, ...] = (),
    active_DRUJ: Bool | None = None,
) -> LabelledWindows:
    """Windows of devices without gaps; each has the label of its last bin.

    Args:
        values_DRC: bins of each device.
        label_DR: class of each bin, -1 where nobody knows it.
        window: how they are cut.
        faults: that are looked for at units, [J].
        active_DRUJ: at which units they are; None without units.
    """
    devices, bins, channels = values_DRC.shape
    index = np.tile(np.arange(bins), devices)
    slots = np.repeat(np.arange(devices, dtype=np.int32), bins)
    values = values_DRC.reshape(-1, channels).astype(np.float32)
    cut = WindowBuffer(window, channels).push(Bins(slots, index, values, index == 0))
    ends = (cut.device, cut.end_index)
    at_units = None
    if active_DRUJ is not None:
        rarest_first = tuple(range(int(label_DR.max()), 0, -1))
        known = np.ones((len(cut), len(faults)), bool)
        at_units = UnitLabels(faults, active_DRUJ[ends], known, rarest_first)
    return LabelledWindows(cut, label_DR[ends], np.cumsum(cut.fresh), window.stride, at_units)
