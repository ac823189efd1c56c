"""A wall clock of a process that can be set while it runs: libfaketime, which leaves the monotonic clock alone."""

from pathlib import Path

#: Where Debian and others put the library.
PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


def library() -> Path:
    """The library; FileNotFoundError with what to do where it is not installed."""
    for place in PLACES:
        for path in Path("/").glob(place.lstrip("/")):
            return path
    raise FileNotFoundError("this needs libfaketime: apt-get install faketime")


class FakeClock:
    """The clock of one process, and of those that it starts.

    Args:
        file: through which it is set.

    Attributes:
        environment: of the process.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set it so far ahead of the right time; behind where negative."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n", encoding="ascii")
        fresh.replace(self._file)
