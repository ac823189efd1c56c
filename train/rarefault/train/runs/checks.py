"""Histories that nothing can be learnt from."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.inference.manifest import UnitsSpec
from rarefault.train.dataset.split import Part
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.history import History
from rarefault.train.history.summary.findings import all_faulty_finding, majority_finding
from rarefault.train.model.parts import AT_DEVICE, AT_UNITS


def check_parts(history: History, parts: Mapping[Part, LabelledWindows]) -> None:
    """Refuse a history without faults, or with a part without labels.

    Raises:
        HistoryError: it is one.
    """
    if not len(history.events) or len(history.classes) < 2:
        raise HistoryError(
            "the history has no fault event, so there is nothing to learn: check the fault log, its devices, its time "
            "zone and time shift with 'rarefault describe'"
        )
    for part, windows in parts.items():
        if not len(windows):
            raise HistoryError(
                f"the {part} blocks give no window: raise split.block_s or grid.max_gap_s, or lower window.length"
            )
        if not windows.labelled.any():
            raise HistoryError(f"no window of the {part} blocks has a label: their time is 'unlabelled' in the events")
    if not (parts["train"].label > 0).any():
        raise HistoryError(
            "no window of the training blocks has a fault, so there is nothing to learn: the log's events may lie "
            "outside the samples' time (see 'rarefault describe'), or all in the held-out blocks (change split.seed)"
        )


def check_judges(parts: Collection[str], units: UnitsSpec | None, classes: Sequence[str]) -> None:
    """Refuse parts of which none judges some of the faults.

    Raises:
        HistoryError: there are such faults.
    """
    at_units = () if units is None else units.faults
    whole = [name for fault, name in enumerate(classes) if fault and fault not in at_units]
    found = (
        (AT_DEVICE, "whole devices", whole),
        (AT_UNITS, "units", [classes[fault] for fault in at_units]),
    )
    for judges, where, faults in found:
        if faults and not set(judges) & set(parts):
            raise HistoryError(
                f"training.parts has neither {' nor '.join(judges)}, but the history has faults of {where}, which "
                f"nothing would find: {', '.join(faults)}; name one of both"
            )


def check_majority(history: History, parts: Mapping[Part, LabelledWindows]) -> None:
    """Refuse a history in which one fault covers more than half, or several all: one of them is normal, as a rule.

    Raises:
        HistoryError: it is one.
    """
    counts = np.sum([windows.counts(len(history.classes)) for windows in parts.values()], axis=0)
    frequency = counts / max(counts.sum(), 1)
    most = int(frequency.argmax())
    if most and frequency[most] > 0.5:
        raise HistoryError(majority_finding(history.classes[most], float(frequency[most])))
    if not counts[0]:
        raise HistoryError(all_faulty_finding([history.classes[c] for c in np.flatnonzero(counts)]))
