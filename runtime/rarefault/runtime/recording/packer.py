"""The packer: compresses complete files, a bit at a time, so that messages do not wait for it."""

import gzip
import logging
import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO

from rarefault.runtime.daemon.host.sampled_log import SampledLog
from rarefault.runtime.recording.names import OPEN, PARTIAL, sync_folder

log = logging.getLogger(__name__)

#: Bytes that are compressed at once: some milliseconds.
STEP = 1 << 18
#: How long to wait before a file that could not be compressed is tried again.
RETRY_S = 60.0


class Packer:
    """Compresses files one after the other, and deletes each once its compressed form is on the disk.

    A compressed file is there as a whole or not at all, as it gets its name last.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: deque[Path] = deque()
        self._source: IO[bytes] | None = None
        self._raw: IO[bytes] | None = None
        self._packed: gzip.GzipFile | None = None
        self._retry_at = 0.0
        self._log = SampledLog(log)

    @property
    def busy(self) -> bool:
        """Whether there is something to do now."""
        return bool(self._waiting) and time.monotonic() >= self._retry_at

    def add(self, path: Path) -> None:
        """A file is complete."""
        self._waiting.append(path)

    def forget(self, path: Path) -> None:
        """A file is to be deleted."""
        if self._waiting and self._waiting[0] == path:
            self._drop()
        with suppress(ValueError):
            self._waiting.remove(path)

    def step(self) -> bool:
        """Go on for a bit; whether a file has been finished."""
        if not self.busy:
            return False
        path = self._waiting[0]
        try:
            if not self._go_on(path):
                return False
        except FileNotFoundError:
            self._drop()  # somebody has taken it away
        except OSError as error:
            self._drop()
            self._retry_at = time.monotonic() + RETRY_S
            text = "%s could not be compressed and stays as it is: %s; trying again in %.0f s"
            self._log.log("packer", logging.WARNING, text, path, error.strerror or error, RETRY_S)
            return False
        self._waiting.popleft()
        return True

    def close(self) -> None:
        """Leave what is not finished to the next start."""
        self._drop()

    def _go_on(self, path: Path) -> bool:
        """Compress some more of a file; whether it is finished."""
        if self._packed is None or self._source is None or self._raw is None:
            self._source = path.open("rb")
            self._raw = _partial_name(path).open("wb")
            self._packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=self._raw)
        if data := self._source.read(STEP):
            self._packed.write(data)
            return False
        self._packed.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._source.close()
        self._source = self._raw = self._packed = None
        _partial_name(path).replace(_packed_name(path))
        sync_folder(self._folder)
        path.unlink(missing_ok=True)
        return True

    def _drop(self) -> None:
        """Give up what was begun."""
        if self._source is not None:
            self._source.close()
        # Closing writes what is left, which a full disk refuses again.
        for file in (self._packed, self._raw):
            if file is not None:
                with suppress(OSError):
                    file.close()
        self._source = self._raw = self._packed = None
        if self._waiting:
            with suppress(OSError):
                _partial_name(self._waiting[0]).unlink()


def _packed_name(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def _partial_name(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(OPEN) + PARTIAL)
