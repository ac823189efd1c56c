"""A single value of a message as the number that it stands for."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rarefault.runtime.telemetry.reasons import ValueReason, quote

#: The grid keeps float32; a larger value would become infinite there.
LARGEST_VALUE = float(np.finfo(np.float32).max)
LOWEST_VALUE = -LARGEST_VALUE

#: Longest text that is read as a number.
MAX_TEXT = 64
#: What stands for a Boolean in text, where a channel names no states of its own.
WORDS: Mapping[str, float] = {"true": 1.0, "false": 0.0, "on": 1.0, "off": 0.0}

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
#: Numbers that no JSON has, and that many write all the same.
_NOT_FINITE = frozenset({"nan", "inf", "infinity"})


class BadQuality:
    """Stands for a value whose quality is not good.

    Attributes:
        quality: what it is.
    """

    __slots__ = ("quality",)

    def __init__(self, quality: Any) -> None:
        self.quality = quality

    def __repr__(self) -> str:
        """For the log."""
        return f"of quality {quote(self.quality)}"


class NoValue:
    """Stands for a value that a device says it has no longer."""

    def __repr__(self) -> str:
        """For the log."""
        return "no value"


#: The only one.
NO_VALUE = NoValue()
#: Stands among the numbers of a sample for a channel whose value ends there. Samples never hold an infinite number, and
#: NaN means that a channel is not in the sample.
ENDS_HERE = math.inf


def number_of(value: Any, states: Mapping[str, float] | None = None) -> float | ValueReason:
    """The number that a value stands for, or why there is none.

    A Boolean is 1 or 0, numeric text is a number, and a word is what the channel's states say. The words true, false,
    on and off, in letters of either case, are 1 and 0 where the channel has no states.

    >>> number_of(True), number_of(" 41.2"), number_of("OFF"), number_of("AUTO", {"AUTO": 2.0})
    (1.0, 41.2, 0.0, 2.0)
    >>> number_of("unknown"), number_of("1_000"), number_of(float("nan"))
    (<ValueReason.NO_NUMBER: 'no_number'>, <ValueReason.NO_NUMBER: 'no_number'>, <ValueReason.NOT_FINITE: 'not_finite'>)

    Args:
        value: as a message has it.
        states: number of each word that the channel may have.
    """
    kind = type(value)
    if kind is bool:
        return float(value) if states is None else states.get("true" if value else "false", float(value))
    if kind is float or kind is int:
        return float(value) if -LARGEST_VALUE <= value <= LARGEST_VALUE else ValueReason.NOT_FINITE
    if kind is str:
        return _of_text(value, states)
    if value is NO_VALUE:
        return ENDS_HERE
    return ValueReason.BAD_QUALITY if kind is BadQuality else ValueReason.NO_NUMBER


def _of_text(text: str, states: Mapping[str, float] | None) -> float | ValueReason:
    if states is not None and text in states:
        return states[text]
    text = text.strip()
    if len(text) > MAX_TEXT:
        return ValueReason.NO_NUMBER
    if states is not None and text in states:
        return states[text]
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if -LARGEST_VALUE <= number <= LARGEST_VALUE else ValueReason.NOT_FINITE
    word = text.lower()
    if states is None and word in WORDS:
        return WORDS[word]
    return ValueReason.NOT_FINITE if word.lstrip("+-") in _NOT_FINITE else ValueReason.NO_NUMBER
