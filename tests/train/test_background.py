"""Threads beside the one that waits for them."""

import threading
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from rarefault.train.background import MOST, Background, Stopped


def test_calls_are_made_side_by_side() -> None:
    """Each of two waits for the other one, as neither could alone."""
    meet = threading.Barrier(2)
    with Background(2) as background:
        first, second = background.submit(meet.wait), background.submit(meet.wait)
    assert {first.result(), second.result()} == {0, 1}


def test_what_a_call_raises_comes_to_whom_waits_for_it() -> None:
    """With the arguments that were given."""
    with Background(1) as background:
        number = background.submit(int, "ff", base=16)
        broken = background.submit(int, "no number")
        assert number.result() == 255
        with pytest.raises(ValueError, match="no number"):
            broken.result()


def test_an_interrupt_stops_what_runs_and_drops_what_waits() -> None:
    """Whatever it is busy with: a loop without an end ends."""
    begun = threading.Event()
    calls: list[Future[Any]] = []

    def endless() -> None:
        begun.set()
        while True:
            pass

    def interrupted() -> None:
        with Background(1) as background:
            calls.extend((background.submit(endless), background.submit(int)))
            begun.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    running, waiting = calls
    with pytest.raises(Stopped):
        running.result()
    with pytest.raises(CancelledError):
        waiting.result()


def test_there_are_as_many_threads_as_cores_but_a_few_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default."""
    for cores, expected in ((1, 1), (3, 3), (64, MOST)):
        monkeypatch.setattr("joblib.cpu_count", lambda cores=cores: cores)
        with Background(0) as background:
            assert background._pool._max_workers == expected
