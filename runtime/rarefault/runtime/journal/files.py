"""The files of a journal: the lock that keeps other daemons out, and what a damaged log has lost."""

import fcntl
import os
from pathlib import Path
from typing import Literal

from rarefault.runtime.errors import JournalError

#: Size of SQLite's pages; the daemon does not choose another.
PAGE = 4096


def has_turns_after(log: Path, read: int) -> bool:
    """Whether a log has whole turns behind its first ``read`` frames, other than the one that a power cut has torn.

    SQLite takes a damaged frame for the end. Where a turn was begun after one behind it, that one had been kept, and is
    lost. The format is that of https://sqlite.org/walformat.html.
    """
    with log.open("rb") as file:
        header = file.read(32)
        salts = {header[16:24]} if _is_header(header) else None  # frames of an earlier time have others
        committed = b""
        for at in range(32 + read * (24 + PAGE), log.stat().st_size - 23, 24 + PAGE):
            file.seek(at)
            frame = file.read(24)
            salt = frame[8:16]
            if salt == committed:
                return True
            if frame[4:8] != bytes(4) and (salts is None or salt in salts):
                committed = salt
    return False


def _is_header(header: bytes) -> bool:
    if len(header) < 32 or header[:4] not in (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"):
        return False
    order: Literal["big", "little"] = "big" if header[3] & 1 else "little"
    first = second = 0
    for at in range(0, 24, 8):
        first = (first + int.from_bytes(header[at : at + 4], order) + second) & 0xFFFFFFFF
        second = (second + int.from_bytes(header[at + 4 : at + 8], order) + first) & 0xFFFFFFFF
    return header[24:] == first.to_bytes(4, "big") + second.to_bytes(4, "big")


def lock(path: Path) -> int:
    """Keep other daemons from a journal for as long as the returned file descriptor is open.

    Raises:
        JournalError: another daemon has it.
        OSError: the file for the lock cannot be made.
    """
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise JournalError(f"{path}: another daemon has it open; give each its own journal.path") from None
    return descriptor
