"""Which faults are active at which unit of a device, where the fault log names the unit.

Shapes: W windows, U units, K classes, V events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rarefault.runtime.arrays import Bool, Int64
from rarefault.runtime.inference.manifest import GridSpec, UnitsSpec
from rarefault.train.history import History
from rarefault.train.history.data import NO_UNIT
from rarefault.train.history.labels import active_bins, precedence

#: No units: [0, 0].
NO_UNITS: Int64 = np.empty((0, 0), np.int64)
#: Of a fault that is looked for at each unit, the log names the unit of so many of the events at least.
NAMED_SHARE = 0.9


@dataclass(frozen=True)
class UnitLabels:
    """The faults whose unit the log names, at each unit.

    Attributes:
        faults: those of whose events the log mostly names the unit, [J].
        active: whether each of them is active at a unit, [W, U, J].
        known: whether its unit is known wherever it is active, [W, J].
        rarest_first: all faults, in the order in which they give a window its label, [K - 1].
    """

    faults: tuple[int, ...]
    active: Bool
    known: Bool
    rarest_first: tuple[int, ...]

    def of(self, fault: int) -> tuple[Bool, Bool]:
        """Where the unit of a fault is known wherever it is active, [W], and at which units it is, [W, U]."""
        j = self.faults.index(fault)
        return self.known[:, j], self.active[:, :, j]


def label_units(
    history: History,
    device: ArrayLike,
    index: ArrayLike,
    grid: GridSpec,
    units: Int64,
    faults: Sequence[int] | None = None,
) -> UnitLabels | None:
    """What is known of the units at the bins that windows end with; None where the log names no units.

    Args:
        history: gives the events.
        device: slot of each bin's device, [W].
        index: number of the bin since the epoch, [W].
        grid: the bins.
        units: channels of each unit, [U, M].
        faults: those to label, [J]; None: those of whose events the log mostly names the unit.
    """
    events = history.events
    # Where a later line of the log wins, what is active at the units does not tell which label a window has.
    if not len(units) or history.overlap != "rarest":
        return None
    place = _places(history, units)
    if faults is None:
        faults = [c for c, share in named_shares(history, units).items() if share >= NAMED_SHARE]
    if not faults:
        return None

    def active(which: Bool) -> Bool:
        return active_bins(history, device, index, grid, which)

    at = [[active((events.fault == c) & (place == u)) for c in faults] for u in range(len(units))]
    known = [~active((events.fault == c) & (place == NO_UNIT)) for c in faults]
    order = tuple(int(c) for c in reversed(precedence(history)))
    return UnitLabels(tuple(faults), np.array(at).transpose(2, 0, 1), np.array(known).T, order)


def units_spec(labels: UnitLabels | None, labelled: Bool, units: Int64, channels: Sequence[str]) -> UnitsSpec | None:
    """What a model looks for at units; None where nothing is.

    Args:
        labels: of the training windows.
        labelled: which of them have a label, [W].
        units: columns of each unit, [U, M].
        channels: names of the columns, [C].
    """
    if labels is None:
        return None
    found = {}
    for fault in labels.faults:
        known, active = labels.of(fault)
        active = active[labelled & known]
        if active.any() and not active.all():
            found[fault] = float(active.mean())
    return (
        UnitsSpec(
            names=tuple(unit_names(channels, units)),
            channels=tuple(tuple(own) for own in units.tolist()),
            faults=tuple(found),
            rarest_first=labels.rarest_first,
            prior=tuple(found.values()),
        )
        if found
        else None
    )


def unit_names(channels: Sequence[str], units: Int64) -> list[str]:
    """Names of units, which are what the names of their channels begin with.

    >>> unit_names(("c1.S1", "c1.S2", "c11.S1", "c11.S2"), np.array([[0, 1], [2, 3]]))
    ['c1', 'c11']
    >>> unit_names(("pump1_flow", "pump2_flow"), np.array([[0], [1]]))
    ['pump1', 'pump2']

    Args:
        channels: names, [C].
        units: channels of each unit, those of one name in one column, [U, M].
    """
    first = [channels[own[0]] for own in units.tolist()]
    shared = 0  # letters that all of them end with
    while len({name[-1 - shared : len(name) - shared] for name in first}) == 1 and shared < min(map(len, first)):
        shared += 1
    names = []
    for name in first:
        end = len(name) - shared
        while name[end : end + 1].isdigit():  # c1 and c11 end alike
            end += 1
        names.append(name[:end].rstrip("._-/: ") or name)
    return names


def named_shares(history: History, units: Int64) -> dict[int, float]:
    """Of each fault that has events, the share of them whose unit the log names."""
    named, fault = _places(history, units) != NO_UNIT, history.events.fault
    return {int(c): float(named[fault == c].mean()) for c in np.unique(fault)}


def unit_notes(history: History, labels: UnitLabels | None, units: Int64) -> list[str]:
    """Notes for the user: which faults are looked for at each unit, and which nearly are."""
    if labels is None:
        return []
    names = ", ".join(history.classes[c] for c in labels.faults)
    notes = [f"looked for at each of {len(units)} units, as the log names the unit of their events: {names}"]
    few = {c: share for c, share in named_shares(history, units).items() if 0 < share < NAMED_SHARE}
    if few:
        listed = ", ".join(f"{history.classes[c]} ({share:.0%})" for c, share in few.items())
        notes.append(
            f"the log names the unit of too few events to look for a fault there ({NAMED_SHARE:.0%} wanted): {listed}"
        )
    return notes


def _places(history: History, units: Int64) -> Int64:
    """Row of ``units`` that each event is at, -1 where the log names none, [V]."""
    numbers = [*unit_numbers(history.units, history.channels, units), NO_UNIT]
    return np.array(numbers, np.int64)[history.events.unit]


def unit_numbers(names: Sequence[str], channels: Sequence[str], units: Int64) -> list[int]:
    """The row of ``units`` that each name is of, -1 where there is none.

    A name is a unit's where all of its channels begin with it, and no letter or digit follows: ``c1`` is the unit of
    ``c1.S1`` and not that of ``c10.S1``, ``pump1_`` is that of ``pump1_flow``, and so is ``pump1``.

    Args:
        names: as the log has them.
        channels: names, [C].
        units: inputs of each unit, [U, M]; those beyond the channels are derived from them.
    """

    def begins(channel: str, name: str) -> bool:
        after = channel[len(name) : len(name) + 1]
        return channel.startswith(name) and not (name[-1:].isalnum() and after.isalnum())

    channels_of = [[c for c in own if c < len(channels)] for own in units.tolist()]
    return [
        next((u for u, own in enumerate(channels_of) if all(begins(channels[c], name) for c in own)), NO_UNIT)
        for name in names
    ]
