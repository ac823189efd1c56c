"""What signals, and other threads, want of the daemon: that it stops, or reads its files again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Wakeable(Protocol):
    """Whoever may be waiting when a request comes.

    Attributes:
        connecting: whether it is in the midst of what only an exception ends.
    """

    connecting: bool

    def wake(self) -> None:
        """End a wait at once."""


class Requests:
    """What is wanted and not done yet.

    Attributes:
        stopping: whether the daemon is to stop.
        reason: the signal that wants it to.
        reloading: whether it is to read its files again.
        waiter: woken by every request; None while nobody can wait.
    """

    def __init__(self) -> None:
        self.stopping = self.reloading = False
        self.reason = "asked to"
        self.waiter: Wakeable | None = None

    def stop(self) -> None:
        """The daemon is to stop; may be called from a signal handler or another thread."""
        self.stopping = True
        self._wake()

    def reload(self) -> None:
        """The daemon is to read its files again; may be called from a signal handler or another thread."""
        self.reloading = True
        self._wake()

    def _wake(self) -> None:
        if self.waiter is not None:
            self.waiter.wake()

    @contextmanager
    def from_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop, SIGHUP reloads; what they did before is restored afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may capture signals
            return

        # No logging in these: the signal may have come in the middle of that.
        def on_stop(number: int, _frame: FrameType | None) -> None:
            self.reason = signal.Signals(number).name
            self.stop()
            if self.waiter is not None and self.waiter.connecting:
                raise InterruptedError(None, "the daemon is to stop")

        def on_reload(_number: int, _frame: FrameType | None) -> None:
            self.reload()

        handlers = {signal.SIGTERM: on_stop, signal.SIGINT: on_stop, signal.SIGHUP: on_reload}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
