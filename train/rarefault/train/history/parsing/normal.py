"""The usual words for "no fault" in labels and fault logs, in any case and spelling."""

import re

from rarefault.train.history.parsing.cells import EMPTY

_WORDS = frozenset(
    {
        *("normal", "nominal", "ok", "okay", "good", "healthy", "fine", "none", "no", "false"),
        *("no fault", "no faults", "nofault", "no failure", "no error", "no alarm", "fault free", "faultfree"),
        *("non faulty", "not faulty", "normal operation"),
    }
)
_ZERO = re.compile(r"[+-]?0+([.,]0*)?")


def is_empty(label: str) -> bool:
    """Whether a label is empty, or one of the words that programs write for an empty cell."""
    return label.strip().casefold() in EMPTY


def means_normal(label: str) -> bool:
    """Whether a label is a usual word for "no fault": ``NORMAL``, ``OK``, ``no_fault``, ``False``, ``0.0``."""
    word = re.sub(r"[\s_-]+", " ", label).strip().casefold()
    return word in _WORDS or _ZERO.fullmatch(word) is not None
