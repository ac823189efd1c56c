"""Columns: which channel each value of a sample is."""

from collections.abc import Mapping, Sequence
from typing import Any

from rarefault.runtime.errors import ConfigError
from rarefault.runtime.telemetry.reasons import ValueReason
from rarefault.runtime.telemetry.values import ENDS_HERE, LARGEST_VALUE, LOWEST_VALUE, number_of

#: How deep unknown objects are looked into for the names that are in them.
NAMED_LEVELS = 8

#: Where a channel stands in a message: names to columns, or to what is inside the object of that name.
Columns = dict[str, "int | Columns"]
#: Column and value of a channel.
Cell = tuple[int, float]
#: Column, reason and value of what is no number.
Dropped = tuple[int, ValueReason, Any]


class Cells:
    """Sorts the values of samples into cells.

    Args:
        columns: where channels stand; see :func:`column_tree`.
        channels: names, [C].
        states: of each channel, None where it has none, [C].
        others: paths that hold no value of a channel, such as that of the time, where they stand among the values.
        ends: whether a value that is no number ends the one before; else it is as if it were not there.
    """

    def __init__(
        self,
        columns: Columns,
        channels: Sequence[str],
        states: Sequence[Mapping[str, float] | None],
        others: frozenset[str] = frozenset(),
        *,
        ends: bool = False,
    ) -> None:
        self.ends = ends
        self.columns = columns
        self.channels = channels
        self.states = states
        self.others = others

    def collect(
        self, values: dict[str, Any], cells: list[Cell], unknown: list[str], dropped: list[Dropped], prefix: str
    ) -> None:
        """Sort the values of an object that has no name of its own.

        Args:
            values: by name.
            cells: takes those of channels.
            unknown: takes the names, or paths, of those that are of no channel.
            dropped: takes those of channels that are no numbers.
            prefix: path of the object in the names of channels.
        """
        for name in reversed(prefix.split(".")):
            values = {name: values}
        self.walk(values, self.columns, cells, unknown, dropped, "", len(prefix) + 1)

    def walk(
        self,
        values: dict[str, Any],
        columns: Columns,
        cells: list[Cell],
        unknown: list[str],
        dropped: list[Dropped],
        path: str,
        skipped: int,
    ) -> None:
        """As :meth:`collect`, for an object at a path, whose first characters are no part of ``others``."""
        get, add = columns.get, cells.append
        for name, value in values.items():
            place = get(name)
            if type(place) is int:
                if type(value) is float and LOWEST_VALUE <= value <= LARGEST_VALUE:
                    add((place, value))
                elif value is not None:
                    number = number_of(value, self.states[place])
                    if isinstance(number, ValueReason):
                        dropped.append((place, number, value))
                        if self.ends:
                            add((place, ENDS_HERE))
                    else:
                        add((place, number))
            elif place is None:
                self._take_unknown(value, columns, name, path, cells, unknown, dropped, skipped)
            elif type(value) is dict and not isinstance(place, int):
                self.walk(value, place, cells, unknown, dropped, f"{path}{name}.", skipped)
            elif value is not None:
                unknown.append(path + name)

    def _take_unknown(
        self,
        value: Any,
        columns: Columns,  # noqa: ARG002 - where the name could be known from now on
        name: str,
        path: str,
        cells: list[Cell],  # noqa: ARG002
        unknown: list[str],
        dropped: list[Dropped],  # noqa: ARG002
        skipped: int,
    ) -> None:
        """A value at a path that is not known."""
        names: list[str] = []
        name_paths(path + name, value, names)
        unknown += [name for name in names if name[skipped:] not in self.others] if self.others else names


def says_something(cells: Sequence[Cell]) -> bool:
    """Whether a sample has a value, and does not only say that a device lives or that its values end."""
    return any(value != ENDS_HERE for _, value in cells)


def column_tree(channels: Sequence[str], fields: Mapping[str, str], source: str, key: str = "telemetry") -> Columns:
    """Where each channel is found: under its own name or path, and under the foreign ones of ``fields``.

    Args:
        channels: names, [C].
        fields: foreign names and paths to names of channels.
        source: the file that ``fields`` is in.
        key: the section that it is in.

    Raises:
        ConfigError: fields of ``source`` name no channel of the model, or contradict each other.
    """
    column = {name: i for i, name in enumerate(channels)}
    tree: Columns = {**column}
    problems: list[str] = []
    for field, channel in fields.items():
        if channel not in column:
            problems.append(f"{key}.fields.{field}: the model has no channel {channel!r}, only {', '.join(channels)}")
            continue
        *outer, last = field.split(".")
        place: int | Columns = tree
        for name in outer:
            place = place.setdefault(name, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict) or isinstance(place.get(last), dict):
            problems.append(f"{key}.fields.{field}: a name on this path is a channel by another entry")
            continue
        place[last] = tree[field] = column[channel]
    if problems:
        raise ConfigError(source, problems)
    for name, i in column.items():
        add_path(tree, name, i)
    return tree


def add_path(tree: Columns, name: str, column: int) -> None:
    """Let a channel such as ``inlet.temp`` also be found in nested objects, where nothing else stands on its path."""
    *outer, last = name.split(".")
    place = tree
    for part in outer:
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            return
        place = inner
    place.setdefault(last, column)


def name_paths(path: str, value: Any, names: list[str], levels: int = NAMED_LEVELS) -> None:
    """Add the paths of all values at a path, some levels down."""
    if levels and isinstance(value, dict) and value:
        for name, inner in value.items():
            name_paths(f"{path}.{name}", inner, names, levels - 1)
    else:
        names.append(path)
