"""Work in further threads beside what the calling one does.

The libraries that grow trees, and torch, release Python's lock while they compute, so that trees grow beside a network
that is being fitted (decision 0028).
"""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import joblib

P = ParamSpec("P")
T = TypeVar("T")
#: Threads where the configuration names no number, at most. Each holds the statistics that it grows trees from, and a
#: third core is the network's, which takes longer than two of them (decision 0028).
MOST_JOBS = 2
#: Seconds until an interrupt is noticed, at most.
WAIT_S = 0.2


class Stopped(BaseException):
    """Raised in what runs in the background when nobody waits for it any more."""


class Background:
    """Threads for the length of a ``with``; what they do must not depend on what the others do.

    Where the block is left by an exception, such as Ctrl-C, what waits in line is not begun and what runs is stopped.

    Args:
        jobs: threads; 0: as many as the process may use cores (:func:`joblib.cpu_count`), ``MOST_JOBS`` at most.
    """

    def __init__(self, jobs: int) -> None:
        self._pool = ThreadPoolExecutor(jobs or min(joblib.cpu_count(), MOST_JOBS))
        self._lock = threading.Lock()
        self._running: set[int] = set()

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """What a call will return, or raise."""

        def run() -> T:
            me = threading.get_ident()
            with self._lock:
                self._running.add(me)
            try:
                return call(*args, **kwargs)
            finally:
                with self._lock:
                    self._running.discard(me)

        return self._pool.submit(run)

    @staticmethod
    def result(call: "Future[T]") -> T:
        """What a call has returned, or raises; waits for it, and an interrupt ends the waiting at once.

        Reading with polars leaves a handler of SIGINT that lets a wait without an end go on.
        """
        while not call.done():
            wait((call,), timeout=WAIT_S)
        return call.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            with self._lock:
                for thread in self._running:
                    # The only way to stop a library's loop from outside its thread, at its next line of Python.
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Stopped))
        self._pool.shutdown()
