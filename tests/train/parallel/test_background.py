"""Threads beside the one that waits for them."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

from rarefault.train.parallel.background import MOST_JOBS, Background, Stopped


def test_calls_are_made_side_by_side() -> None:
    """Each of two waits for the other one, as neither could alone."""
    meet = threading.Barrier(2)
    with Background(2) as background:
        first, second = background.submit(meet.wait), background.submit(meet.wait)
    assert {first.result(), second.result()} == {0, 1}


def test_what_a_call_raises_comes_to_who_waits_for_it() -> None:
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
    for cores, expected in ((1, 1), (2, 2), (64, MOST_JOBS)):
        monkeypatch.setattr("joblib.cpu_count", lambda cores=cores: cores)
        with Background(0) as background:
            assert background._pool._max_workers == expected


WAITS = """
import sys
import polars
from rarefault.train.parallel.background import Background

def endless():
    while True:
        pass

polars.LazyFrame({"a": [1]}).filter(polars.col("a") > 0).collect()
with Background(1) as background:
    call = background.submit(endless)
    print("waits", flush=True)
    background.result(call)
"""


def test_ctrl_c_ends_the_waiting() -> None:
    """Even after a history was read: polars leaves a handler of SIGINT that lets a wait without an end go on."""
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"waits\n"
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert b"KeyboardInterrupt" in said
    assert process.returncode == -signal.SIGINT


@pytest.mark.training
@pytest.mark.parametrize(
    ("network", "expected"), [(True, "--out {out} --resume"), (False, "nothing is kept to go on from: remove {out}")]
)
def test_an_interrupted_training_says_how_to_go_on(plant: Path, tmp_path: Path, network: bool, expected: str) -> None:
    """Stopped while further models are trained; a network is kept, trees are grown anew."""
    out = tmp_path / "run"
    settings = {"model.network": network, "training.cross_fit": True, "training.epochs": 2, "trees.rounds": 300}
    words = [f"{key}={str(value).lower()}" for key, value in settings.items()]
    command = [sys.executable, "-m", "rarefault.runtime.cli", "train", str(plant), "--out", str(out)]
    command += [part for word in words for part in ("--set", word)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "400"}) as process:
        try:
            assert process.stdout is not None
            assert any("without some of the blocks" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert expected.format(out=out) in said
    assert process.returncode == 130
