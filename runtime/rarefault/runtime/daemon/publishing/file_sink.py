"""A file as a sink: verdicts and alarms as lines of JSON, each whole, kept on the disk before it counts as written.

A line is the payload that the broker gets, with ``"kind": "verdict"`` or ``"alarm"`` before the rest. The lines of a
turn are written and synced together. After a crash the last ones may come once more, with the same ``id``. A line that
the crash has torn is cut off when the file is opened again.

What has no meaning in a file is not written: the empty message by which the broker forgets the alarm of a device that
is forgotten. Such a device has had ``no data`` as its last line long before.
"""

import errno
import fcntl
import itertools
import logging
import os
import shutil
import time
from pathlib import Path

from rarefault.runtime.daemon.config import FileSinkConfig
from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.journal.records import Entry

log = logging.getLogger(__name__)

#: Lines that are gathered at most before they are written.
TOGETHER = 1000
#: How long to wait before a file that could not be written is tried again.
RETRY_S = 5.0
#: What every line begins with; what begins otherwise is not cut, as it is not ours.
BEGIN = b'{"kind":"'
#: Bytes that are read at once in search of the last whole line.
BLOCK = 1 << 16

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FileSink:
    """Appends lines to a file and rotates it.

    Args:
        config: of the sink.
        base: folder that the path is relative to.

    Attributes:
        name: the path as it is configured.
        problem: why the file cannot be written at present; empty where it can.
        generation: changes with every failure, after which all that is not confirmed must be published again.
        written: number of lines so far.
        failures: number of times that lines could not be written.
    """

    def __init__(self, config: FileSinkConfig, base: Path) -> None:
        self.name = config.name
        self.problem = ""
        self.generation = self.written = self.failures = 0
        self._config = config
        self._path = base / config.path
        self._file = -1
        self._size = 0
        self._ids = itertools.count(1)
        self._gathered: list[tuple[int, bytes]] = []
        self._confirmed: list[int] = []
        self._retry_at = 0.0
        self._log = SampledLog(log)
        try:
            self._open()
        except OSError as error:
            self._fail(error)

    @staticmethod
    def place(config: FileSinkConfig, base: Path) -> str:
        """The file that a configuration means, however it writes the path."""
        return str((base / config.path).resolve())

    @staticmethod
    def check(config: FileSinkConfig, base: Path) -> str:
        """Why a sink cannot be used, beginning with the key, with what to do; empty where it can."""
        path = base / config.path
        if not path.parent.is_dir():
            return f"path: there is no folder {path.parent}; make it"
        if path.exists() and not path.is_file():
            return f"path: {path} is no regular file; name a file"
        if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
            return f"path: {path} or its folder cannot be written; give this user the right to"
        return ""

    @staticmethod
    def warn(config: FileSinkConfig, base: Path) -> str:
        """What may keep a sink that can be used from writing later; empty where nothing does."""
        path = base / config.path
        free = shutil.disk_usage(path.parent).free
        files = [part for part in (path, *path.parent.glob(f"{path.name}.*")) if part.is_file()]
        needed = config.max_bytes * (config.keep + 1) - sum(part.stat().st_size for part in files)
        if free >= needed:
            return ""
        return (
            f"sink {config.name}: the disk of {path.parent} has {free / 1e9:.2f} GB free, the files may take "
            f"{needed / 1e9:.2f} GB more; free some room, or lower max_bytes or keep"
        )

    @property
    def room(self) -> int:
        """Number of entries that can be published now."""
        return 0 if time.monotonic() < self._retry_at else TOGETHER - len(self._gathered)

    def publish(self, entry: Entry) -> int:
        """Gather an entry; it is written by :meth:`confirmations`."""
        kind = b"alarm" if entry.retain else b"verdict"
        number = next(self._ids)
        self._gathered.append((number, BEGIN + kind + b'",' + entry.payload[1:] + b"\n"))
        return number

    def confirmations(self) -> list[int]:
        """Write what was gathered, and return the ids of what is on the disk."""
        if self._gathered:
            try:
                self._write()
            except OSError as error:
                self._fail(error)
        confirmed, self._confirmed = self._confirmed, []
        return confirmed

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self) -> None:
        while self._gathered:
            if self._file < 0 or not self._is_there():
                self._open()
            count = self._fitting()
            if count == 0:
                self._rotate()
                continue
            self._append(b"".join(line for _, line in self._gathered[:count]))
            self._confirmed += [number for number, _ in self._gathered[:count]]
            self.written += count
            del self._gathered[:count]
        if self.problem:
            self.problem = ""
            log.info("sink %s: %s is written again", self.name, self._path)

    def _is_there(self) -> bool:
        """Whether the path still names the file that is open; another program may have moved or deleted it."""
        ours = os.fstat(self._file)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def _fitting(self) -> int:
        """Number of lines that the file has room for; an empty file takes one of any length."""
        size = self._size
        for count, (_, line) in enumerate(self._gathered):
            size += len(line)
            if size > self._config.max_bytes:
                return max(count, self._size == 0)
        return len(self._gathered)

    def _append(self, lines: bytes) -> None:
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            self._cut_back()
            raise
        self._size += len(lines)

    def _cut_back(self) -> None:
        """Take back what was written of lines that will be written again."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            log.debug("sink %s: the lines that were begun stay for now: %s", self.name, error)

    def _open(self) -> None:
        self.close()
        new = not self._path.exists()
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if new:
            self._sync_folder()
        self._size = self._mended(os.fstat(self._file).st_size)

    def _mended(self, size: int) -> int:
        """Cut off a line that a crash has torn, end one that is not ours, and return the size of the file then."""
        begin, tail = self._after_last_line(size)
        if not tail:
            return size
        # A power cut may leave zeros for what was not written.
        begun = tail.rstrip(b"\0")[: len(BEGIN)]
        if BEGIN.startswith(begun):
            log.warning("sink %s: cut off %d bytes of a line that was not written whole", self.name, len(tail))
            os.ftruncate(self._file, begin)
            return begin
        os.write(self._file, b"\n")
        return size + 1

    def _after_last_line(self, size: int) -> tuple[int, bytes]:
        """Where the last whole line ends, and what comes behind it."""
        tail = b""
        while len(tail) < size and b"\n" not in tail:
            begin = max(0, size - len(tail) - BLOCK)
            tail = os.pread(self._file, size - len(tail) - begin, begin) + tail
        behind = tail[tail.rfind(b"\n") + 1 :]
        return size - len(behind), behind

    def _rotate(self) -> None:
        """Rename the file to ``PATH.1`` and the older ones up by one; the oldest goes."""
        self.close()
        for number in range(self._config.keep, 0, -1):
            source = self._numbered(number - 1)
            if source.exists():
                source.replace(self._numbered(number))
        self._open()
        self._sync_folder()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _fail(self, error: OSError) -> None:
        self.close()
        self._gathered.clear()
        self.generation += 1
        self.failures += 1
        self._retry_at = time.monotonic() + RETRY_S
        self.problem = f"sink {self.name}: {self._path} cannot be written: {_reason(error)}"
        self._log.log("failed", logging.ERROR, "%s; its lines wait, next attempt in %g s", self.problem, RETRY_S)


def _reason(error: OSError) -> str:
    """The reason that the system gives, and what to do."""
    if isinstance(error, BlockingIOError):
        return "another process has it locked; give each daemon a path of its own"
    text = error.strerror or str(error)
    if error.errno in _FULL:
        return f"{text}; free some room, or lower max_bytes or keep"
    return f"{text}; check the folder and its rights"
