"""Signals of the operating system while the daemon runs."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handled_signals(stop: Callable[[str], None], reload: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT stop, SIGHUP reloads; what they did before is restored afterwards.

    Args:
        stop: told the signal's name; may raise an OSError to end what is under way. No logging in it: the signal may
            have come in the middle of that.
        reload: called without anything.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may capture signals
        return

    def on_stop(number: int, _frame: FrameType | None) -> None:
        stop(signal.Signals(number).name)

    def on_reload(_number: int, _frame: FrameType | None) -> None:
        reload()

    handlers = {signal.SIGTERM: on_stop, signal.SIGINT: on_stop, signal.SIGHUP: on_reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
