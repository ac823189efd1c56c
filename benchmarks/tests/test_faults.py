"""The fault-injection suite in short, and proof that it would notice."""

import copy
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.faults.__main__ import make_schedule
from benchmarks.faults.programs import Process
from benchmarks.faults.recording import compare

ROOT = Path(__file__).parents[2]


@pytest.mark.broker
@pytest.mark.slow
def test_whatever_happens_the_verdicts_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    """Daemon and broker are killed and frozen, the disk fills up: nothing is lost, doubled or contradicted."""
    path = tmp_path / "faults.json"
    command = [sys.executable, "-m", "benchmarks.faults", "--quick", "--seed", "7", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["daemon_kills"] >= 5
    assert result["broker_kills"] >= 2
    assert result["kills_of_both"] == 1
    assert result["verdicts"] > 200
    assert result["malformed"] > 50
    assert result["disk_fills_felt"] == result["disk_fills"]
    for count in ("lost", "extra", "contradicting", "alarms_differ", "differing_in_peace", "ended_alone"):
        assert result[count] == 0


def test_the_comparison_notices() -> None:
    """A lost, an extra and a contradicting verdict are each counted; a repeated one is not."""

    def verdict(name: str, fault: str = "normal", probability: float = 0.9) -> dict[str, Any]:
        exact = dict.fromkeys(("device", "start", "end", "model"), "x")
        return exact | {
            "id": name,
            "fault": fault,
            "time": "now",
            "probabilities": {"normal": probability, "fault_1": 1 - probability},
        }

    peaceful = {name: [verdict(name)] for name in "abcd"}
    same = copy.deepcopy(peaceful)
    same["a"].append(verdict("a") | {"time": "later"})
    assert compare(peaceful, same) == {"lost": 0, "extra": 0, "contradicting": 0}
    other = copy.deepcopy(peaceful)
    del other["a"]
    other["e"] = [verdict("e")]
    other["b"] = [verdict("b", fault="fault_1")]
    other["c"] = [verdict("c", probability=0.8)]
    other["d"].append(verdict("d", probability=0.9000001))
    assert compare(peaceful, other) == {"lost": 1, "extra": 1, "contradicting": 3}


def test_the_schedule_has_what_it_promises() -> None:
    """In full at least 100 kills of the daemon and 20 of the broker, in short 5 and 2."""
    full, quick = (make_schedule(random.Random(0), quick=quick) for quick in (False, True))
    assert full.count("daemon_kills") >= 100
    assert full.count("broker_kills") >= 20
    assert (quick.count("daemon_kills"), quick.count("broker_kills")) == (5, 2)


def test_what_had_ended_by_itself_was_not_killed(tmp_path: Path) -> None:
    """A program's own end shows in its exit code, and so is not counted as a kill."""
    ended = Process([sys.executable, "-c", "exit(3)"], tmp_path / "log")
    running = Process(["sleep", "60"], tmp_path / "log")
    for process in (ended, running):
        process.start()
    assert ended.process is not None
    ended.process.wait()
    assert (ended.kill(), running.kill()) == (3, -9)
