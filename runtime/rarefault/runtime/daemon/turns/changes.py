"""Changes: whether files are other ones than when they were last looked at."""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int]


class Changes:
    """Watches files by their time, size and inode.

    A change is reported once the file has stayed the same from one look to the next, so that a file which is being
    copied is not read half-way.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = {path: _stamp(path) for path in paths}
        self._seen = dict(self._known)

    def look(self) -> bool:
        """Whether a file has changed, and is at rest."""
        now = {path: _stamp(path) for path in self._known}
        at_rest = now == self._seen
        self._seen = now
        # A file that is missing is in the midst of being replaced.
        if not at_rest or now == self._known or None in now.values():
            return False
        self._known = now
        return True


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
