"""Reading a history, whatever its format."""

from pathlib import Path

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.telemetry.channels import ChannelSpecs
from rarefault.train.history.channel_specs import with_specs
from rarefault.train.history.config import DataConfig
from rarefault.train.history.data import History


def read_history(
    config: DataConfig,
    base: Path,
    *,
    strict: bool = False,
    allow_incomplete: bool = False,
    channels: ChannelSpecs | None = None,
) -> History:
    """Read the history that a ``[data]`` section names.

    Args:
        config: the section.
        base: folder that its paths are relative to (the configuration file's).
        strict: refuse bad lines, duplicates, unordered times, unknown faults and the like instead of counting them.
        allow_incomplete: accept a history without samples (a fault log alone) or without a fault log, which can be
            described but not trained on.
        channels: what channels are, by name: those of the configuration, or of the model that the history is for.

    Raises:
        HistoryError: a file or a column is missing, nothing is in it, or ``strict`` found problems.
    """
    specs = channels or {}
    history = config.read(base, allow_incomplete=allow_incomplete, specs=specs)
    history = with_specs(history, specs, everything=bool(len(history)))
    if not len(history) and not allow_incomplete:
        span = " between start and end" if any(limit is not None for limit in config.span_ms) else ""
        lost = f"; {history.notes}" if len(history.notes) else ""
        raise HistoryError(f"data: there is no sample{span} in what was read{lost}")
    if strict and (problems := history.notes.problems()):
        found = "".join(f"\n  {note}" for note in problems)
        raise HistoryError(f"strict reading found {len(problems)} kind(s) of problems:{found}")
    return history
