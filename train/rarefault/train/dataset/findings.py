"""What matters most about a history for training; it is printed before all other notes.

A class that cannot be learnt, labels that look wrong, and channels that give the label away: each makes scores
meaningless, however good they look.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from rarefault.runtime.arrays import Bool, Float32
from rarefault.train.dataset.split import PARTS, Part
from rarefault.train.dataset.windows import LabelledWindows
from rarefault.train.history import History
from rarefault.train.history.notes import (
    FOREIGN_EVENTS,
    NORMAL_EVENTS,
    REVERSED_EVENTS,
    UNKNOWN_FAULTS,
    UNKNOWN_LABELS,
    Note,
)

#: Findings of the reading that are about labels.
ABOUT_LABELS = (UNKNOWN_LABELS, UNKNOWN_FAULTS, FOREIGN_EVENTS, REVERSED_EVENTS, NORMAL_EVENTS)
#: A fault with more of the training windows is no rare one.
MOSTLY = 0.5
#: A channel gives a fault away where of the windows with some value of it so many have the fault, and so many of the
#: fault's have such a value, as at the ends of events both may be a bin apart.
PURE, WHOLE = 0.99, 0.9
#: Such a channel has so many different values at most, as a state or a code has, and the fault so many events at least.
CODES, EVENTS = 12, 3


def in_order(notes: Iterable[Note]) -> tuple[list[str], list[str]]:
    """Findings of the reading as text: those about labels, and the others."""
    found = list(notes)
    labels = [str(note) for note in found if note.kind in ABOUT_LABELS and note.problem]
    return labels, [str(note) for note in found if str(note) not in labels]


def absent_classes(history: History, parts: Mapping[Part, LabelledWindows]) -> tuple[list[str], list[str]]:
    """Classes without a window in some part: those that cannot be learnt, and those that cannot be scored."""
    unlearnt, unscored = [], []
    for c, name in enumerate(history.classes):
        without = [part for part in PARTS if not (parts[part].label == c).any()]
        if without:
            sentence = f"class {name} has no window in the {' and '.join(without)} blocks"
            if "train" in without:
                unlearnt.append(f"{sentence}: the model cannot learn it")
            else:
                unscored.append(f"{sentence}: it cannot be scored there")
    return unlearnt, unscored


def common_faults(history: History, train: LabelledWindows) -> list[str]:
    """Faults that are the label of most training windows."""
    counts = train.counts(len(history.classes))
    return [
        f"fault {history.classes[c]} is the label of {counts[c] / counts.sum():.0%} of the training windows: no rare "
        "fault; look for events that were never closed, or for a name that stands for normal (data.normal)"
        for c in range(1, len(counts))
        if counts[c] > MOSTLY * counts.sum()
    ]


def leaks(history: History, train: LabelledWindows) -> list[str]:
    """Channels of which a value, or that it is missing, is there with a fault and never without it.

    A measurement may tell a fault perfectly, and ought to; a state or code that does was mostly written by who wrote
    the labels, and will not be there in service before somebody knows of the fault.
    """
    known = train.labelled
    label = train.label[known]
    rows = train.windows.rows[train.windows.end_row[known]]
    events = train.events(len(history.classes))
    found = []
    for channel, name in enumerate(history.channels):
        values = rows[:, channel]
        missing = np.isnan(values)
        codes = _codes(values[~missing])
        for c in range(1, len(history.classes)):
            if events[c] < EVENTS:
                continue
            fault = label == c
            share = _share(missing, fault)
            how = "that it is missing"
            if not share and (pure := [code for code in codes if _is_pure(values == code, fault)]):
                share = _share(np.isin(values, pure), fault)
                how = f"its value {', '.join(f'{code:g}' for code in pure)}"
            if share:
                found.append(
                    f"channel {name} gives fault {history.classes[c]} away: {how} comes with {share:.0%} of its "
                    "training windows, and hardly ever without it. If the channel is written with the labels, leave it "
                    "out (data.channels): scores say nothing then"
                )
    return found


def _codes(values: Float32) -> list[float]:
    """The values of a channel that has few of them, but more than one."""
    if len(np.unique(values[:1000])) > CODES:
        return []
    different = np.unique(values)
    return different.tolist() if 1 < len(different) <= CODES else []


def _is_pure(there: Bool, fault: Bool) -> bool:
    """Whether of some windows nearly all have a fault."""
    n = int(there.sum())
    return n > 0 and int((there & fault).sum()) >= PURE * n


def _share(there: Bool, fault: Bool) -> float:
    """Share of a fault's windows that are among some windows; 0 where those have no such fault, or it is too small."""
    share = float((there & fault).sum() / max(int(fault.sum()), 1))
    return share if share >= WHOLE and _is_pure(there, fault) else 0.0
