"""Names of the files of a recording: day and number, so that their order is that of their making."""

import os
import re
from contextlib import suppress
from pathlib import Path

from rarefault.runtime.times import format_ms

#: What a file has behind its name while it is written, and once it is complete.
OPEN, COMPLETE = ".jsonl", ".jsonl.gz"
#: What is being compressed; no pattern for recordings matches it.
PARTIAL = ".partial"

_NAME = re.compile(r"(\d{4}-\d\d-\d\d)-(\d{6,})\.jsonl(\.gz)?")


def day_of(time_ms: int) -> str:
    """The day of a time in milliseconds since the epoch, UTC, such as ``2024-03-01``."""
    return format_ms(time_ms)[:10]


def files_of(folder: Path) -> dict[Path, int]:
    """The files of a recording and their sizes in bytes, oldest first; other files are none of it."""
    sizes: dict[Path, int] = {}
    for path in sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)):
        with suppress(FileNotFoundError):  # somebody has taken it away
            sizes[path] = path.stat().st_size
    return sizes


def file_day(path: Path) -> str:
    """The day in a file's name."""
    return path.name[:10]


def next_file(folder: Path, day: str) -> Path:
    """A new file of a day, behind those that there are."""
    names = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
    numbers = [int(found[2]) for found in names if found and found[1] == day]
    return folder / f"{day}-{max(numbers, default=0) + 1:06}{OPEN}"


def sync_folder(folder: Path) -> None:
    """Have the disk keep which files a folder holds."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
