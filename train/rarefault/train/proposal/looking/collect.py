"""The files that a person names, sorted by what can be read of them: tables, folders, journals, recordings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rarefault.runtime.errors import HistoryError
from rarefault.runtime.journal.summary import is_journal
from rarefault.train.history.parsing.files import SUFFIXES, listed
from rarefault.train.history.parsing.natural import natural
from rarefault.train.history.parsing.packed import exists, members
from rarefault.train.history.parsing.sheets import WORKBOOKS

#: A file of the data challenge, whose folder is read as a whole.
_PHM = re.compile(r"plant_\d+[abc]\.csv")
_RECORDINGS = (".jsonl", ".ndjson")
#: Endings of tables.
TABLES = frozenset({*SUFFIXES, *WORKBOOKS})


@dataclass(slots=True)
class Found:
    """What was found, each in the order of the names.

    Attributes:
        tables: files that may be tables, of samples or of events.
        challenges: folders of the PHM 2015 data challenge.
        journals: of daemons.
        recordings: of messages.
        others: files that no format reads.
    """

    tables: list[Path] = field(default_factory=list)
    challenges: list[Path] = field(default_factory=list)
    journals: list[Path] = field(default_factory=list)
    recordings: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def collect(sources: Sequence[str], output: Path) -> Found:
    """Look through files and folders.

    Args:
        sources: names of files and folders.
        output: the file that will be written; it is none of them.

    Raises:
        HistoryError: one is not there, or there is nothing to read.
    """
    found = Found()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            for item in _inside(path):
                _sort(item, found, named=False)
        elif exists(path):
            _sort(path, found, named=True)
        else:
            raise HistoryError(f"{source}: there is no such file or folder; a broker's address begins with mqtt://")
    taken = output.resolve()
    found.others = [path for path in found.others if path.resolve() != taken]
    if not (found.tables or found.challenges or found.journals or found.recordings):
        there = f"; there are {listed([path.name for path in found.others])}" if found.others else ""
        raise HistoryError(
            f"{', '.join(sources)}: no file there can be read{there}; name tables (CSV, Parquet, workbooks), a folder "
            "of the PHM 2015 data challenge, journals, or recordings of messages"
        )
    return found


def _inside(folder: Path) -> list[Path]:
    """The files below a folder; hidden ones, and what is in hidden folders, are left out."""
    below = (item for item in folder.rglob("*") if item.is_file())
    visible = [
        item for item in below if not any(part.startswith((".", "~$", "__")) for part in item.relative_to(folder).parts)
    ]
    return sorted(visible, key=lambda item: natural(str(item)))


def _sort(path: Path, found: Found, *, named: bool) -> None:
    """Put a file where it belongs; one that is named itself is a table whatever its ending."""
    if path.name.removesuffix(".gz").endswith(_RECORDINGS):
        found.recordings.append(path)
    elif _PHM.fullmatch(path.name):
        if path.parent not in found.challenges:
            found.challenges.append(path.parent)
    elif is_journal(path):
        found.journals.append(path)
    elif path.suffix.lower() in TABLES or (named and path.suffix.lower() not in {".toml", ".json", ".md", ".pdf"}):
        found.tables += [member for member in members(path) if member not in found.tables]
    else:
        found.others.append(path)
