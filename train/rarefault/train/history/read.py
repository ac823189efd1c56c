"""Reading a history, whatever its format."""

from pathlib import Path

import msgspec

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.config import DataConfig, JournalConfig, Phm2015Config, Source, TogetherConfig
from rarefault.train.history.data import History


def read_history(config: DataConfig, base: Path, *, strict: bool = False, allow_incomplete: bool = False) -> History:
    """Read the history that a ``[data]`` section names.

    Args:
        config: the section.
        base: folder that its paths are relative to (the configuration file's).
        strict: refuse bad lines, duplicates, unordered times, unknown faults and the like instead of counting them.
        allow_incomplete: accept a history without samples (a fault log alone) or without a fault log, which can be
            described but not learnt from.

    Raises:
        HistoryError: a file or a column is missing, nothing is in it, or ``strict`` found problems.
    """
    if isinstance(config, TogetherConfig):
        from rarefault.train.history.together import together

        # What stands for no value in one source does so in all, as it will live.
        sources = [msgspec.structs.replace(source, missing=config.missing) for source in config.sources]
        history = together([_read(source, base, allow_incomplete=True) for source in sources], sources)
    else:
        history = _read(config, base, allow_incomplete=allow_incomplete)
    if not len(history) and not allow_incomplete:
        span = " between start and end" if config.start or config.end else ""
        lost = f"; {history.notes}" if len(history.notes) else ""
        raise HistoryError(f"data: there is no sample{span} in what was read{lost}")
    if strict and (problems := history.notes.problems()):
        found = "".join(f"\n  {note}" for note in problems)
        raise HistoryError(f"strict reading found {len(problems)} kind(s) of problems:{found}")
    return history


def _read(config: Source, base: Path, *, allow_incomplete: bool) -> History:
    # The readers import polars; configuration and arrays do not.
    if isinstance(config, Phm2015Config):
        from rarefault.train.history.formats.phm2015 import read_phm2015

        return read_phm2015(config, base, allow_incomplete=allow_incomplete)
    if isinstance(config, JournalConfig):
        from rarefault.train.history.formats.journal import read_journal

        return read_journal(config, base)
    from rarefault.train.history.formats.table import read_table

    return read_table(config, base)
