"""The gateway's clock: whether it can be right. A gateway without a battery boots hours, or decades, behind.

With a clock that is behind, good telemetry looks as if it came from the future, and would be rejected for good. So
nothing is taken while the clock cannot be right, and the broker keeps what comes. The clock cannot be right

* before this release was made, or before the model was trained: however long that lasts;
* before the journal's samples were received, before the system has set the time, or while all devices contradict it:
  for ``telemetry.clock_wait_s`` at most, as these may be wrong themselves, and a plant may have no time server.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rarefault.runtime.inference.manifest import Manifest
from rarefault.runtime.times import format_ms, parse_time_ms

#: The wall clock was set where it moves so much against the monotonic one between two looks.
STEP_MS = 2000
#: No clock that is right shows a time before; to be moved on with a release, never beyond its day.
RELEASED_MS = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp() * 1000)
#: There while systemd-timesyncd runs, with a file in it once the time has been set.
TIME_SYNC = Path("/run/systemd/timesync")


def wall_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class WallClock:
    """The wall clock, watched against the monotonic one.

    Args:
        wall: gives milliseconds since the epoch.
        monotonic: gives seconds.
    """

    def __init__(self, wall: Callable[[], int] = wall_ms, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.now_ms = wall
        self._monotonic = monotonic
        self._offset_ms = self._offset()

    def step_ms(self) -> int:
        """By how much the clock was set since the last look, ahead where positive; 0 where it was not."""
        before, self._offset_ms = self._offset_ms, self._offset()
        step = self._offset_ms - before
        return step if abs(step) >= STEP_MS else 0

    def _offset(self) -> int:
        return self.now_ms() - round(self._monotonic() * 1000)


class ClockTrust:
    """Whether the clock can be right.

    Args:
        clock: the clock.
        tolerance_s: it may be behind by so much.
        wait_s: see the module.
        monotonic: gives seconds since the machine started.
        time_sync: folder of systemd-timesyncd.

    Attributes:
        trained_ms: when the model was trained; 0 where that is not known.
        received_ms: when the journal's samples were received; 0 where there are none.
    """

    def __init__(
        self,
        clock: WallClock,
        tolerance_s: float,
        wait_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        time_sync: Path = TIME_SYNC,
    ) -> None:
        self.trained_ms = self.received_ms = 0
        self._clock = clock
        self._tolerance_ms = tolerance_s * 1000
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._time_sync = time_sync
        self._behind_since: float | None = None
        self._contradicted_since: float | None = None
        self._contradictions: int = 0
        self._synced = False

    def change(self, tolerance_s: float, wait_s: float) -> None:
        """Go on with other settings."""
        self._tolerance_ms, self._wait_s = tolerance_s * 1000, wait_s

    def problem(self) -> str:
        """Why the clock cannot be right, in a sentence; empty where it can, or where there was no more patience."""
        now_ms = self._clock.now_ms()
        for floor_ms, what in (
            (RELEASED_MS, "this release was made"),
            (self.trained_ms, "the model was trained"),
        ):
            if now_ms < floor_ms - self._tolerance_ms:
                return self._sentence(now_ms, f"{what} at {format_ms(floor_ms)}")
        if now_ms < self.received_ms - self._tolerance_ms:
            if self._behind_since is None:
                self._behind_since = self._monotonic()
            if self._monotonic() - self._behind_since < self._wait_s:
                return self._sentence(now_ms, f"the journal's samples were received at {format_ms(self.received_ms)}")
        else:
            self._behind_since = None
        if not self._is_set():
            return self._sentence(now_ms, "and systemd-timesyncd has not set the time since the machine was started")
        if self._contradictions:
            return self._sentence(now_ms, f"but all of {self._contradictions} device(s) heard send from the future")
        return ""

    def contradict(self, devices: int) -> bool:
        """All of so many devices send what would be too new; whether to wait because of that."""
        now = self._monotonic()
        if self._contradicted_since is None:
            self._contradicted_since = now
        waits = now - self._contradicted_since < self._wait_s
        self._contradictions = devices if waits else 0
        return waits

    @property
    def contradicted(self) -> bool:
        """Whether it is the devices that contradict, and nothing else."""
        return bool(self._contradictions)

    def agree(self) -> None:
        """A device has sent what fits the clock, or the clock was set: begin anew to wait."""
        self._contradicted_since, self._contradictions = None, 0

    def _is_set(self) -> bool:
        """Whether the system has set the time, or will not. A system that has run for long has had the time to."""
        if not self._synced:
            there = self._time_sync.is_dir() and not (self._time_sync / "synchronized").exists()
            self._synced = not there or self._monotonic() >= self._wait_s
        return self._synced

    def _sentence(self, now_ms: int, why: str) -> str:
        join = "" if why.startswith(("and", "but")) else "but "
        return (
            f"this machine's clock cannot be right: it shows {format_ms(now_ms)}, {join}{why}; telemetry waits at the "
            "broker until the clock is set"
        )


def trained_ms(manifest: Manifest) -> int:
    """When a model was trained; 0 where its manifest does not have it."""
    created = manifest.training.get("created")
    try:
        return parse_time_ms(created) if isinstance(created, str) else 0
    except ValueError:
        return 0  # free text, for people
