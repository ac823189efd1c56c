"""Whether a fault log fits its telemetry better when it is shifted: a search of the history, before any model."""

import msgspec

from rarefault.train.history.data import History
from rarefault.train.history.shift.search import find_log_shift
from rarefault.train.history.shift.structs import LogShift
from rarefault.train.history.source import HistoryConfig

__all__ = ["LogShift", "find_log_shift", "log_shift"]


def log_shift(history: History, data: HistoryConfig) -> LogShift:
    """Search a history for a shift of its log; a finding says how the log would be mended.

    Args:
        history: any; it is not changed.
        data: what it was read by.
    """
    result = find_log_shift(history, from_log=data.has_log)
    if result.kind == "none":
        return result
    return msgspec.structs.replace(result, text=f"{result.text}; {data.with_offset(result.offset_s)}")
