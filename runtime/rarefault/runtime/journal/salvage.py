"""Salvage: a damaged journal is put aside, and what can be read of it goes into a new one.

The new journal is made beside the damaged one, as ``PATH.partial`` while it is not complete. When it is, it is
called ``PATH.damaged-DATE.new``; from then on, whatever interrupts the daemon, the next start goes
on: the damaged file becomes ``PATH.damaged-DATE`` (with its ``-wal`` and ``-shm``), the new one becomes ``PATH``. The
damaged file itself is only read.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rarefault.runtime.errors import JournalError
from rarefault.runtime.journal.damage import Damage, Salvaged
from rarefault.runtime.journal.files import PAGE, lock
from rarefault.runtime.journal.salvage_copy import TABLES, Copy, Target
from rarefault.runtime.journal.writer import Journal


def salvage(
    path: Path, channels: tuple[str, ...], model_id: str, reason: str, alive: Callable[[], object] = lambda: None
) -> Salvaged:
    """Put a damaged journal aside, and make a new one of what can be read of it.

    Args:
        path: of the journal, which nobody has open.
        channels: of the present model; samples are saved where they are of the same.
        model_id: of the present model.
        reason: how the damage showed.
        alive: called now and then, as this may take minutes.

    Raises:
        JournalError: another daemon has the journal, it is not of these channels or of this release, or the new file
            cannot be written. The damaged one is where it was.
    """
    descriptor = -1
    try:
        descriptor = lock(path)
        partial = _beside(path, ".partial")
        _remove(partial)
        try:
            return _salvage(path, partial, Target(channels, model_id, reason, alive))
        finally:
            _remove(partial)
    except (OSError, JournalError) as error:
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise JournalError(f"{path}: the journal is damaged ({reason}), and cannot be put aside: {text}") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def finish(path: Path) -> None:
    """Finish a salvage that was interrupted between the completion of the new journal and its coming into use.

    Raises:
        JournalError: another daemon has the journal, or the files cannot be moved.
    """
    complete = sorted(path.parent.glob(f"{path.name}.damaged-*.new"))
    if not complete:
        return
    try:
        descriptor = lock(path)
        try:
            _swap(path, complete[-1])
        finally:
            os.close(descriptor)
    except OSError as error:
        raise JournalError(f"{path}: the damaged journal cannot be put aside: {error.strerror or error}") from error


def _salvage(path: Path, partial: Path, target: Target) -> Salvaged:
    now_ms = time.time_ns() // 1_000_000
    aside = _free_name(path, now_ms)
    new = Journal(partial, target.channels, "normal")
    try:
        with _readable(path, partial) as old:
            copy = Copy(old, new, target)
            copy.run()
        damage = Damage(aside.name, target.reason, copy.losses, new.samples()[0])
        new.begin()
        new.note("damaged_ms", str(now_ms))
        new.note("damage", msgspec.json.encode(damage).decode())
        new.commit()
    finally:
        new.close()
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    complete = _beside(aside, ".new")
    partial.rename(complete)
    _swap(path, complete)
    return Salvaged(damage, copy.published.judged_ms, copy.published.silent)


def _swap(path: Path, complete: Path) -> None:
    """The damaged file last, so that it is never without its log; each step may be the last before a power cut."""
    aside = complete.with_name(complete.name.removesuffix(".new"))
    for suffix in ("-wal", "-shm", ""):
        if _beside(path, suffix).exists():
            _beside(path, suffix).replace(_beside(aside, suffix))
    complete.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(partial: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock", ".mended", ".mended-wal", ".mended-shm"):
        _beside(partial, suffix).unlink(missing_ok=True)


def _free_name(path: Path, now_ms: int) -> Path:
    stem = _beside(path, f".damaged-{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%dT%H%M%SZ}")
    names = (stem if n == 0 else _beside(stem, f"-{n}") for n in range(1_000_000))
    return next(name for name in names if not any(_beside(name, s).exists() for s in ("", "-wal", "-shm", ".new")))


@contextmanager
def _readable(path: Path, partial: Path) -> Iterator[sqlite3.Connection]:
    """The damaged file, or where its beginning is lost, a copy with the beginning of a new journal.

    Every journal is made in the same way, so that its first page is the same save for the length of the file.
    """
    if (db := _opened(path)) is None:
        mended = _beside(partial, ".mended")
        for log in (True, False):
            _repair(path, partial, mended, log=log)
            if (db := _opened(mended)) is not None:
                break
        else:
            raise JournalError("not even a mended copy of it can be opened")
    try:
        yield db
    finally:
        db.close()


def _opened(path: Path) -> sqlite3.Connection | None:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    try:
        db.execute("PRAGMA cell_size_check = ON")
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        db.close()
        return None
    if names < {*TABLES, "meta"}:
        db.close()
        return None
    return db


def _repair(path: Path, partial: Path, mended: Path, *, log: bool) -> None:
    for suffix in ("-wal", "-shm"):
        _beside(mended, suffix).unlink(missing_ok=True)
    shutil.copyfile(path, mended)
    if log and _beside(path, "-wal").exists():
        shutil.copyfile(_beside(path, "-wal"), _beside(mended, "-wal"))
    with sqlite3.connect(partial) as fresh:
        fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    fresh.close()
    with partial.open("rb") as file:
        first = bytearray(file.read(PAGE))
    pages = -(-max(mended.stat().st_size, partial.stat().st_size) // PAGE)
    first[28:32] = pages.to_bytes(4, "big")
    with mended.open("r+b") as file:
        file.write(first)
        file.truncate(pages * PAGE)
