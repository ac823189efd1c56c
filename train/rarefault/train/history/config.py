"""The ``[data]`` section: one source of any format, or several together."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rarefault.runtime.errors import HistoryError
from rarefault.train.history.formats import Source
from rarefault.train.history.together import TogetherConfig

DataConfig = Source | TogetherConfig


def absolute(data: DataConfig, base: Path) -> DataConfig:
    """The section with its paths made absolute, so that it can be used from anywhere.

    Args:
        data: the section.
        base: folder that its paths are relative to.
    """
    return data.absolute(base)


def source_of(paths: Sequence[Path]) -> Source:
    """The section, with absolute paths, that reads files or folders as they are.

    Raises:
        HistoryError: no format reads them all.
    """
    resolved = [path.resolve() for path in paths]
    for format_ in get_args(Source):
        found: Source | None = format_.of_paths(resolved)
        if found is not None:
            return found
    raise HistoryError(
        f"{', '.join(map(str, paths))}: no format reads all of these; name one folder, or CSV and Parquet files, or "
        "journals, or combine them with a CONFIG.toml"
    )
