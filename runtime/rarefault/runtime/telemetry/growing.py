"""Channels that nobody has named: every name that holds a number is one."""

from collections.abc import Mapping, Sequence
from typing import Any

from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.runtime.telemetry.columns import Cell, Cells, Columns, Dropped
from rarefault.runtime.telemetry.reasons import ValueReason
from rarefault.runtime.telemetry.values import ENDS_HERE, number_of

#: Channels that messages may have; more are values in the place of names.
MOST_CHANNELS = 10_000
#: How deep objects are looked into for channels.
LEVELS = 8


class TooManyChannelsError(Exception):
    """There are more than ``MOST_CHANNELS``; ``name`` is the first of the others."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


class GrowingChannels:
    """The channels that were met, in the order of their first appearance.

    Args:
        specs: whose words are numbers.
        names: of the first columns.
        fixed: whether there are no others.

    Attributes:
        names: of all columns.
        states: of each.
        fixed: whether names are not to be added.
    """

    def __init__(self, specs: ChannelSpecs, names: Sequence[str], *, fixed: bool) -> None:
        self.names: list[str] = []
        self.states: list[Mapping[str, float] | None] = []
        self.fixed = fixed
        self._specs = specs
        self._column: dict[str, int] = {}
        for name in names:
            self.column(name)

    def column(self, name: str) -> int:
        """The column of a channel, new or known; TooManyChannelsError where there is no place for it."""
        if name not in self._column:
            if len(self.names) >= MOST_CHANNELS:
                raise TooManyChannelsError(name)
            self._column[name] = len(self.names)
            self.names.append(name)
            self.states.append(self.states_of(name))
        return self._column[name]

    def states_of(self, name: str) -> Mapping[str, float] | None:
        """The words of a channel."""
        spec = self._specs.get(name)
        return (spec.states or None) if spec is not None else None


class GrowingCells(Cells):
    """Takes every name that holds a number for a channel.

    Args:
        columns: where known channels stand.
        channels: takes the new ones.
        others: paths that hold no value of a channel.
    """

    def __init__(self, columns: Columns, channels: GrowingChannels, others: frozenset[str]) -> None:
        super().__init__(columns, channels.names, channels.states, others)
        self._channels = channels

    def _take_unknown(
        self,
        value: Any,
        columns: Columns,
        name: str,
        path: str,
        cells: list[Cell],
        unknown: list[str],
        dropped: list[Dropped],
        skipped: int,
    ) -> None:
        whole = path + name
        if whole[skipped:] in self.others or value is None:
            return
        if type(value) is dict and path.count(".") < LEVELS:
            inner: Columns = {}
            columns[name] = inner
            self.walk(value, inner, cells, unknown, dropped, f"{whole}.", skipped)
            return
        number = number_of(value, self._channels.states_of(whole))
        if isinstance(number, ValueReason) or self._channels.fixed:
            unknown.append(whole)
            return
        if number == ENDS_HERE:
            return
        columns[name] = column = self._channels.column(whole)
        self.columns.setdefault(whole, column)
        cells.append((column, number))
