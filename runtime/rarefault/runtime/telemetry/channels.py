"""What a channel is: the words and numbers that a device sends for it, and what they mean.

It is said once, for the training, travels in the manifest, and is applied to a history and to live telemetry by the
same function. Samples in the journal are as they were received, so that they can be read by another meaning later.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np

from rarefault.runtime.arrays import Bool, Float64
from rarefault.runtime.inference.missing import NO_VALUE_HERE, stands_for_none
from rarefault.runtime.settings import Section
from rarefault.runtime.telemetry.reasons import ValueReason
from rarefault.runtime.telemetry.values import LARGEST_VALUE

Finite = Annotated[float, msgspec.Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]


class ChannelSpec(Section, frozen=True):
    """``[channels."NAME"]``: what the values of a channel mean, in the history and live alike.

    A value is read in this order: a word becomes its number, a number in ``missing`` becomes no value, then
    ``value * scale + offset``, and what is outside of ``valid`` then becomes no value.
    """

    states: dict[str, Finite] = msgspec.field(default_factory=dict)
    """Number of each word that the channel may have, such as ``{OFF = 0, ON = 1}``. Without it, ``true``, ``false``,
    ``on`` and ``off`` are 1 and 0."""
    missing: tuple[Finite, ...] = ()
    """Numbers that mean "no value" in this channel, such as 65535, before ``scale`` and ``offset``."""
    scale: Finite = 1.0
    """Factor that brings the number to ``unit``."""
    offset: Finite = 0.0
    """What is added after ``scale``."""
    unit: str = ""
    """The unit of the result, for people."""
    valid: tuple[Finite, Finite] | None = None
    """Lowest and highest value that can be true, in ``unit``. Others count as missing."""

    def __post_init__(self) -> None:
        problems = []
        if not self.scale:
            problems.append("scale must not be 0")
        if self.valid is not None and self.valid[0] >= self.valid[1]:
            problems.append(f"valid must be [lowest, highest], got {list(self.valid)}")
        if padded := [word for word in self.states if word != word.strip()]:
            problems.append(f"states names {padded[0]!r}: write it without the blanks around it, as words are read")
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def is_numeric(self) -> bool:
        """Whether it changes numbers."""
        return bool(self.missing) or (self.scale, self.offset) != (1.0, 0.0) or self.valid is not None

    def describe(self) -> str:
        """All of it in one line, for people.

        >>> ChannelSpec(states={"OFF": 0, "ON": 1}, missing=(9,), scale=0.1, unit="bar", valid=(0, 6)).describe()
        'OFF = 0, ON = 1; 9 is no value; value * 0.1; in bar; valid from 0 to 6'
        """
        parts = []
        if self.states:
            parts.append(", ".join(f"{word} = {number:g}" for word, number in self.states.items()))
        if self.missing:
            parts.append(f"{', '.join(f'{number:g}' for number in self.missing)} is no value")
        if (self.scale, self.offset) != (1.0, 0.0):
            parts.append(f"value * {self.scale:g}" + (f" + {self.offset:g}" if self.offset else ""))
        if self.unit:
            parts.append(f"in {self.unit}")
        if self.valid is not None:
            parts.append(f"valid from {self.valid[0]:g} to {self.valid[1]:g}")
        return "; ".join(parts) or "as it is sent"


#: What channels are, by name.
ChannelSpecs = Mapping[str, ChannelSpec]


def states_of(specs: ChannelSpecs, channels: Sequence[str]) -> tuple[Mapping[str, float] | None, ...]:
    """The states of each channel, None where it has none, [C]."""
    return tuple((specs[name].states or None) if name in specs else None for name in channels)


class ChannelMeaning:
    """Applies what channels are to numbers.

    Args:
        specs: by name of the channel.
        channels: names, [C].
    """

    def __init__(self, specs: ChannelSpecs, channels: Sequence[str]) -> None:
        self._channels = tuple(channels)
        self._specs = [(i, specs[name]) for i, name in enumerate(channels) if name in specs and specs[name].is_numeric]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._specs)

    def apply(self, values: Float64) -> tuple[Float64, list[tuple[int, ValueReason, Bool]]]:
        """The values in the units of the channels, and which were taken as missing.

        >>> meaning = ChannelMeaning({"p": ChannelSpec(missing=(65535,), scale=0.1, valid=(0, 150))}, ["p"])
        >>> values, dropped = meaning.apply(np.array([[412.0], [65535.0], [9000.0]]))
        >>> values[:, 0].round(3).tolist(), [(why.value, which.tolist()) for _, why, which in dropped]
        ([41.2, -inf, -inf], [('named_missing', [False, True, False]), ('out_of_range', [False, False, True])])

        Args:
            values: as they were received, NaN = not reported, infinite = the value ends, [M, C].

        Returns:
            New values, [M, C], minus infinite where one was dropped; and column, reason and rows [M] of these.
        """
        result = values.copy() if self._specs else values
        dropped: list[tuple[int, ValueReason, Bool]] = []
        for column, spec in self._specs:
            ends = np.isinf(values[:, column])
            result[ends, column] = np.nan
            for why, which in _apply(result, column, spec):
                if which.any():
                    dropped.append((column, why, which))
                    result[which, column] = np.nan
            for _, _, which in (one for one in dropped if one[0] == column):
                result[which, column] = NO_VALUE_HERE
            result[ends, column] = values[ends, column]
        return result, dropped


def _apply(values: Float64, column: int, spec: ChannelSpec) -> Iterator[tuple[ValueReason, Bool]]:
    """Change one column in place; what must become missing is given out before the next step."""
    if spec.missing:
        yield ValueReason.NAMED_MISSING, stands_for_none(values[:, column], spec.missing)
    with np.errstate(over="ignore", invalid="ignore"):
        if (spec.scale, spec.offset) != (1.0, 0.0):
            values[:, column] = values[:, column] * spec.scale + spec.offset
            yield ValueReason.NOT_FINITE, np.abs(values[:, column]) > LARGEST_VALUE
    if spec.valid is not None:
        low, high = spec.valid
        yield ValueReason.OUT_OF_RANGE, (values[:, column] < low) | (values[:, column] > high)
