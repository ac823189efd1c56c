"""Values that look like codes for "no value": the extremes of a channel, far outside of all else that it holds."""

import re

import numpy as np

from rarefault.runtime.arrays import Float64
from rarefault.train.history.parsing.cells import LARGEST

#: A code that is not among the known ones stands at least so often, and is so many times larger than all other values.
OFTEN, LARGER = 3, 10

_LIMITS = {float(n) for bits in (16, 32, 64) for n in (2 ** (bits - 1) - 1, -(2 ** (bits - 1)), 2**bits - 1)}
_KNOWN = frozenset(_LIMITS | {-999.25, 1e20, -1e20, 1e30, -1e30, LARGEST})
_NINES = re.compile(r"-?9{3,}(\.9*|\.0)?")


def codes_of(value: Float64) -> dict[float, int]:
    """The codes of one channel (values [M], NaN where missing), and how often each stands there.

    A code is a value that devices write for "no value" (-9999, 65535) and that is further from all other values than
    these are from each other, or an extreme that stands there repeatedly and is ten times larger than all else.
    """
    value = value[np.isfinite(value)]
    known: dict[float, int] = {}
    while len(value):
        ends = {float(value.min()), float(value.max())}
        codes = [end for end in ends if _looks_like_code(end)]
        if not codes:
            break
        for code in codes:
            known[code] = int((value == code).sum())
            value = value[value != code]
    if not len(value):
        return {}
    low, high = float(value.min()), float(value.max())
    found = {
        code: count
        for code, count in known.items()
        if max(low - code, code - high) > max(high - low, abs(code) / LARGER)
    }
    for end in {low, high}:
        rest = value[value != end]
        count = len(value) - len(rest)
        if count >= OFTEN and len(rest) and abs(end) > LARGER * np.abs(rest).max() > 0:
            found[end] = count
    return found


def _looks_like_code(value: float) -> bool:
    return value in _KNOWN or _NINES.fullmatch(repr(value)) is not None
