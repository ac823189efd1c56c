"""While everything is rejected, neither the status nor /readyz is green, and both say why."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.daemon.telemetry import acceptance
from rarefault.runtime.daemon.telemetry.acceptance import ENOUGH, PATIENCE_S, Acceptance

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

COUNTS = dict.fromkeys(("bad_time", "not_json", "bad_feedback", "late"), 0)


def test_it_takes_a_while_and_more_than_one_message() -> None:
    """A single bad message is no trouble, nor are many at once; a minute of nothing else is."""
    watch = Acceptance(10.0)
    watch.look(0, COUNTS, 0.0)
    watch.look(0, COUNTS | {"bad_time": 1}, 10.0)
    watch.look(0, COUNTS | {"bad_time": 1}, 10.0 + 2 * PATIENCE_S)
    assert watch.problem == ""
    watch.look(0, COUNTS | {"bad_time": ENOUGH, "not_json": 9}, 20.0)
    assert watch.problem == ""
    watch.look(0, COUNTS | {"bad_time": ENOUGH, "not_json": 9}, 10.0 + PATIENCE_S)
    assert watch.problem.startswith("all telemetry of the last 60 s was rejected (9 not_json, 3 bad_time)")
    watch.look(1, COUNTS | {"bad_time": ENOUGH, "not_json": 9}, 11.0 + PATIENCE_S)
    assert watch.problem == ""


def test_foreign_nonsense_between_rare_samples_is_no_trouble() -> None:
    """Bins of a quarter of an hour: their devices are waited for, once one of them has been heard."""
    watch = Acceptance(900.0)
    watch.look(0, COUNTS, 0.0)
    for second in range(1, 5400):
        watch.look(1 + second // 900, COUNTS | {"not_json": second}, float(second))
        assert watch.problem == ""
    for second in range(5400, 7300):
        watch.look(6, COUNTS | {"not_json": second}, float(second))
    assert "was rejected" in watch.problem


def test_late_samples_are_rejected_ones_and_answers_of_people_are_not() -> None:
    """A device whose clock went back is read, and yet nothing of it is used."""
    watch = Acceptance(1.0, 5, COUNTS | {"late": 7})
    for second in (1, 100):
        watch.look(5, COUNTS | {"late": 7, "bad_feedback": second * 10}, float(second))
    assert watch.problem == ""
    for second in (101, 200):
        watch.look(5, COUNTS | {"late": second}, float(second))
    assert "(193 late)" in watch.problem


def _ready(port: int) -> tuple[int, list[str]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as page:
            return page.status, json.load(page)["problems"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["problems"]


def test_status_and_readyz(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Callable[..., Any],
    wait_until: Callable[..., None],
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Samples with a key for the time that is none: impaired, with the reason; and online again after a good one."""
    monkeypatch.setattr(acceptance, "PATIENCE_S", 1.0)
    peer.subscribe("rarefault/edge/status")
    with serving(mosquitto.url, metrics={"port": free_port}) as service:
        peer.wait_for("rarefault/edge/status")
        assert _ready(free_port) == (200, [])
        for _ in range(5):
            peer.publish("telemetry/a", json.dumps({"time": "yesterday", "values": {"c1.S1": 1}}))
        assert peer.wait_for("rarefault/edge/status", 2)[1] == b"impaired"
        code, problems = _ready(free_port)
        assert code == 503
        assert "was rejected (5 bad_time); the log and 'rarefault doctor' say why" in problems[0]
        assert not any(problem.sick for problem in service.health.problems())  # a restart would not help
        peer.publish("telemetry/a", json.dumps({"time": time.time(), "values": {"c1.S1": 1}}))
        assert peer.wait_for("rarefault/edge/status", 3)[2] == b"online"
        wait_until(lambda: _ready(free_port) == (200, []), "the page to be green again")
