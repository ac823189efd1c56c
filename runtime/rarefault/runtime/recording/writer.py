"""The writer: appends lines to files that rotate, are compressed when complete, and are bounded in their bytes."""

import fcntl
import logging
import mmap
import os
from contextlib import suppress
from pathlib import Path

from rarefault.runtime.daemon.config import RecordConfig
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
        mended, mended_bytes: files whose end was torn, and what was cut off.

    Raises:
        UsageError: the folder cannot be used, or another recorder uses it.
    """

    def __init__(self, folder: Path, config: RecordConfig, now_ms: int) -> None:
        self.deleted = self.deleted_bytes = self.mended = self.mended_bytes = 0
        self._folder, self._config = folder, config
        self._packer = Packer(folder)
        self._file = -1
        self._path: Path | None = None
        self._torn = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageError(f"--output {folder}: the folder cannot be made or read: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sizes = self._put_in_order(day_of(now_ms))
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
        return len(self._sizes)

    @property
    def bytes(self) -> int:
        """Bytes of all files, as they are on the disk."""
        return sum(self._sizes.values())

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
            self._open(next_file(self._folder, day_of(now_ms)), new=True)
        path = self._path
        assert path is not None
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
        self._sizes[path] += len(lines)
        if self._sizes[path] >= self._config.file_bytes:
            self._finish()
        self._trim()

    def look(self, now_ms: int) -> None:
        """Complete a file whose day is over."""
        if self._path is not None and file_day(self._path) != day_of(now_ms) and not self._torn:
            self._finish()

    def step(self) -> None:
        """Compress a bit of what is complete."""
        if (finished := self._packer.step()) is not None:
            before, after = finished
            del self._sizes[before]
            self._sizes[after] = after.stat().st_size

    def close(self) -> None:
        """Leave the files to the next start."""
        self._packer.close()
        if self._file >= 0:
            os.close(self._file)
            self._file, self._path = -1, None
        os.close(self._lock)

    def _put_in_order(self, today: str) -> dict[Path, int]:
        """Mend and complete what an earlier process has left; the files and their sizes, oldest first."""
        for path in self._folder.glob(f"*{PARTIAL}"):
            path.unlink()
        plain = [path for path in files_of(self._folder) if path.name.endswith(OPEN)]
        for path in plain:
            if path.with_name(path.name.removesuffix(OPEN) + COMPLETE).exists():
                path.unlink()  # a compressed file is whole
            else:
                self._mend(path)
        sizes = files_of(self._folder)
        plain = [path for path in sizes if path.name.endswith(OPEN)]
        for i, path in enumerate(plain):
            last = i == len(plain) - 1
            if last and file_day(path) == today and sizes[path] < self._config.file_bytes:
                self._open(path, new=False)
            else:
                self._packer.add(path)
        return sizes

    def _mend(self, path: Path) -> None:
        """Cut off what was being written when the process or the machine stopped. It was not acknowledged."""
        size = path.stat().st_size
        whole = _whole_bytes(path)
        if whole < size:
            os.truncate(path, whole)
            self.mended += 1
            self.mended_bytes += size - whole
            log.warning("%s ended in a torn line: %d byte(s) were cut off; the broker sends it again", path, size - whole)
        if not whole:
            path.unlink()

    def _open(self, path: Path, *, new: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        file = os.open(path, flags | (os.O_CREAT | os.O_EXCL if new else 0), 0o666)
        if new:
            try:
                sync_folder(self._folder)
            except OSError:
                os.close(file)
                path.unlink()
                raise
            self._sizes[path] = 0
        self._file, self._path = file, path

    def _take_back(self) -> None:
        """Cut off what was begun and could not be finished."""
        assert self._path is not None
        os.ftruncate(self._file, self._sizes[self._path])
        self._torn = False

    def _finish(self) -> None:
        """The open file is complete."""
        if self._path is not None:
            os.close(self._file)
            if self._sizes[self._path]:
                self._packer.add(self._path)
            else:
                self._path.unlink()
                del self._sizes[self._path]
            self._file, self._path = -1, None

    def _trim(self) -> None:
        """Delete the oldest files, as far as there are too many bytes."""
        over = self.bytes - self._config.max_bytes
        for path, size in sorted(self._sizes.items()):
            if over <= 0 or path == self._path:
                return
            self._packer.forget(path)
            path.unlink(missing_ok=True)
            del self._sizes[path]
            over -= size
            self.deleted += 1
            self.deleted_bytes += size
            log.warning(
                "deleted %s (%.1f MB): the recording has reached record.max_bytes (%.1f MB)",
                path,
                size / 1e6,
                self._config.max_bytes / 1e6,
            )


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
