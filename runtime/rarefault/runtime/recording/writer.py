"""The writer: appends lines to files that rotate, are compressed when complete, and are bounded in their bytes."""

import fcntl
import logging
import mmap
import os
from contextlib import suppress
from pathlib import Path

from rarefault.runtime.daemon.config import RecordConfig
from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.errors import UsageError
from rarefault.runtime.recording.lines import is_line
from rarefault.runtime.recording.names import (
    COMPLETE,
    OPEN,
    PARTIAL,
    day_of,
    file_day,
    files_of,
    next_file,
    sync_folder,
)
from rarefault.runtime.recording.packer import Packer

log = logging.getLogger(__name__)


class RecordingWriter:
    """The files of one recording, in one folder.

    What a kill has left is put in order first: a torn last line is cut off, the newest file is gone on with, older ones
    are compressed.

    Args:
        folder: made where it does not exist.
        config: of the files.
        now_ms: milliseconds since the epoch.

    Attributes:
        deleted, deleted_bytes: oldest files that were deleted to stay within ``max_bytes``, and their bytes.
        repaired, cut_bytes: files whose end was torn, and what was cut off.

    Raises:
        UsageError: the folder cannot be used, or another recorder uses it.
    """

    def __init__(self, folder: Path, config: RecordConfig, now_ms: int) -> None:
        self.deleted = self.deleted_bytes = self.repaired = self.cut_bytes = 0
        self._folder, self._config = folder, config
        self._packer = Packer(folder)
        self._log = SampledLog(log)
        self._files = self._all_bytes = 0
        self._file = -1
        self._path: Path | None = None  # of the open file
        self._open_size = 0  # of the open file, as far as it is on the disk
        self._torn = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageError(f"--output {folder}: the folder cannot be made or read: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._put_in_order(day_of(now_ms))
            self.count()
        except BlockingIOError:
            os.close(self._lock)
            raise UsageError(
                f"--output {folder}: another recorder writes to this folder; stop it, or name another folder"
            ) from None
        except OSError as error:
            os.close(self._lock)
            raise UsageError(f"--output {folder}: the folder cannot be used: {error}") from None

    @property
    def files(self) -> int:
        """Number of files."""
        return self._files

    @property
    def size(self) -> int:
        """Bytes of all files, as they are on the disk."""
        return self._all_bytes

    @property
    def busy(self) -> bool:
        """Whether :meth:`step` has something to do."""
        return self._packer.busy

    def write(self, lines: bytes, now_ms: int) -> None:
        """Append lines; afterwards they are on the disk.

        Args:
            lines: with their ends.
            now_ms: milliseconds since the epoch.

        Raises:
            OSError: they could not be written. Nothing of them is in a file.
        """
        if self._torn:
            self._take_back()
        self.look(now_ms)
        if self._path is None:
            self._open(next_file(self._folder, day_of(now_ms)), 0)
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            self._torn = True
            with suppress(OSError):  # it is tried again before the next lines
                self._take_back()
            raise
        self._open_size += len(lines)
        self._all_bytes += len(lines)
        try:
            if self._open_size >= self._config.file_bytes:
                self._finish()
            if self._all_bytes > self._config.max_bytes:
                self._trim()
        except OSError as error:  # the lines are there all the same
            self._log.log("trim", logging.ERROR, "%s cannot be put in order: %s", self._folder, error)

    def look(self, now_ms: int) -> None:
        """Complete a file whose day is over, and leave one that somebody has deleted."""
        if self._path is None or self._torn:
            return
        if not os.fstat(self._file).st_nlink:
            log.warning("%s was deleted while it was written; going on with a new file", self._path)
            self._leave()
        elif file_day(self._path) != day_of(now_ms):
            self._finish()

    def step(self) -> None:
        """Compress a bit of what is complete."""
        if self._packer.step():
            self.count()

    def count(self) -> None:
        """Count files and bytes anew: others may have taken files away."""
        sizes = files_of(self._folder)
        self._files, self._all_bytes = len(sizes), sum(sizes.values())

    def close(self) -> None:
        """Leave the files to the next start."""
        self._packer.close()
        if self._path is not None:
            self._leave()
        os.close(self._lock)

    def _put_in_order(self, today: str) -> None:
        """Mend and complete what an earlier process has left."""
        for path in self._folder.glob(f"*{PARTIAL}"):
            path.unlink()
        plain = [path for path in files_of(self._folder) if path.name.endswith(OPEN)]
        for path in plain:
            if path.with_name(path.name.removesuffix(OPEN) + COMPLETE).exists():
                path.unlink()  # a compressed file is whole
            else:
                self._repair(path)
        left = [(path, size) for path, size in files_of(self._folder).items() if path.name.endswith(OPEN)]
        if left and file_day(left[-1][0]) == today and left[-1][1] < self._config.file_bytes:
            self._open(*left.pop())
        for path, _ in left:
            self._packer.add(path)

    def _repair(self, path: Path) -> None:
        """Cut off what was being written when the process or the machine stopped. It was not acknowledged."""
        size = path.stat().st_size
        whole = _whole_bytes(path)
        if whole < size:
            os.truncate(path, whole)
            self.repaired += 1
            self.cut_bytes += size - whole
            log.warning(
                "%s ended in a torn line: %d byte(s) were cut off; the broker sends it again", path, size - whole
            )
        if not whole:
            path.unlink()

    def _open(self, path: Path, size: int) -> None:
        """Go on with a file, or begin one where it has no bytes."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        file = os.open(path, flags | (0 if size else os.O_CREAT | os.O_EXCL), 0o666)
        try:
            sync_folder(self._folder)
        except OSError:
            os.close(file)
            if not size:
                path.unlink()
            raise
        self._file, self._path, self._open_size = file, path, size

    def _take_back(self) -> None:
        """Cut off what was begun and could not be finished."""
        os.ftruncate(self._file, self._open_size)
        self._torn = False

    def _leave(self) -> None:
        """Close the open file."""
        with suppress(OSError):  # what was written is on the disk
            os.close(self._file)
        self._file, self._path, self._open_size = -1, None, 0

    def _finish(self) -> None:
        """The open file is complete."""
        assert self._path is not None
        if self._open_size:
            self._packer.add(self._path)
        else:
            self._path.unlink(missing_ok=True)
        self._leave()

    def _trim(self) -> None:
        """Delete the oldest files, as far as there are too many bytes."""
        sizes = files_of(self._folder)
        over = sum(sizes.values()) - self._config.max_bytes
        for path, size in sizes.items():
            if over <= 0:
                break
            if path == self._path:
                continue
            self._packer.forget(path)
            path.unlink(missing_ok=True)
            over -= size
            self.deleted += 1
            self.deleted_bytes += size
            text = "deleted %s (%.1f MB), the oldest: the recording has reached record.max_bytes (%.1f MB)"
            log.warning(text, path, size / 1e6, self._config.max_bytes / 1e6)
        self.count()


def _whole_bytes(path: Path) -> int:
    """Bytes of a file up to the end of its last whole line; after a power failure, a file may end in zeros."""
    if not path.stat().st_size:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = data.rfind(b"\n") + 1
        while end:
            begin = data.rfind(b"\n", 0, end - 1) + 1
            if is_line(data[begin : end - 1]):
                break
            end = begin
        return end
