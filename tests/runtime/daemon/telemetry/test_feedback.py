"""Feedback is answered on a topic, may be taken back, and what nobody can know of is refused."""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.host.counts import counts
from rarefault.runtime.daemon.telemetry.feedback import FeedbackReader, Known
from rarefault.runtime.daemon.turns import durable
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.records import AlarmRecord, Feedback
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.telemetry.reasons import RejectionError

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

CLASSES = ("normal", "fault_1", "fault_2")
HOUR = {"start": "2026-01-02T03:00:00Z", "end": "2026-01-02T04:00:00Z"}


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    """A journal of pump p with an alarm, and of q."""
    journal = Journal(tmp_path / "edge.journal", ("flow",), "normal")
    for name in ("p", "q"):
        journal.add_device(name)
    journal.note_alarms([AlarmRecord(1, "a1", "p", "fault_1", 0, 1, "m"), AlarmRecord(1, "a2", "p", "leak", 0, 1, "m")])
    yield journal
    journal.close()


@pytest.fixture
def tell(journal: Journal) -> Callable[..., str]:
    """Says something of a device; gives why it is refused, or nothing, and then it is kept."""
    reader = FeedbackReader("rarefault/{device}/feedback")

    def say(device: str = "p", pending: list[Feedback] | None = None, **message: Any) -> str:
        known = Known(journal, (), CLASSES, pending or [])
        try:
            said = reader.read(device, json.dumps(message).encode(), 1, known)
        except RejectionError as error:
            return error.detail
        journal.note_feedback([said])
        return ""

    return say


@pytest.mark.parametrize(
    "message",
    [
        {"alarm": "a1", "answer": "confirmed"},
        {"alarm": "a1", "answer": "refuted", "fault": "fault_2"},
        {"alarm": "a1", "answer": "refuted", "fault": "normal"},
        {"alarm": "a1", "answer": "refuted", "fault": "leak"},  # of a model before this one
        {"alarm": "a1", "answer": "confirmed", "fault": "gearbox crack", "new": True},
        {"answer": "confirmed", "fault": "fault_1", **HOUR},
        {"device": "q", "answer": "refuted", **HOUR},
    ],
)
def test_what_can_be_known_is_accepted(tell: Callable[..., str], message: dict[str, Any]) -> None:
    """Known alarms and faults, and new faults that are said to be new."""
    assert tell(**message) == ""


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"alarm": "a9", "answer": "confirmed"}, "there is no alarm 'a9' in the journal"),
        ({"device": "q", "alarm": "a1", "answer": "confirmed"}, "is one of device 'p', the topic one of 'q'"),
        ({"device": "ghost", "answer": "refuted", **HOUR}, "the journal has no device 'ghost'"),
        ({"alarm": "a1", "answer": "refuted", "fault": "faul_2"}, "did you mean 'fault_2'? If it is a new one, send"),
        ({"alarm": "a1", "answer": "retracted"}, "nothing to take back"),
        ({"answer": "retracted", **HOUR}, "nothing to take back"),
        ({"alarm": "a1", "answer": "retracted", "fault": "fault_1"}, "leave out the rest"),
        ({"alarm": "a1", "answer": "retracted", **HOUR}, "leave out the rest"),
        ({"alarm": "\ud800", "answer": "confirmed"}, ""),
    ],
)
def test_what_nobody_knows_is_refused_with_the_reason(
    tell: Callable[..., str], message: dict[str, Any], why: str
) -> None:
    """Each with what is wrong."""
    refusal = tell(**message)
    assert refusal
    assert why in refusal


def test_an_answer_can_be_taken_back_once(tell: Callable[..., str]) -> None:
    """Of an alarm, and of a stretch of time; afterwards it can be given again."""
    for subject, answer in (({"alarm": "a1"}, {"answer": "confirmed"}), (HOUR, {"answer": "refuted"})):
        assert tell(**subject, **answer) == ""
        assert tell(**subject, answer="retracted") == ""
        assert "nothing to take back" in tell(**subject, answer="retracted")
        assert tell(**subject, **answer) == ""
        assert tell(**subject, answer="retracted") == ""


def test_what_came_in_the_same_turn_counts(tell: Callable[..., str]) -> None:
    """An answer and its retraction may be taken together, before either is in the journal."""
    given = Feedback(1, "p", "a1", "confirmed", "cracked", None, None, "")
    assert tell(alarm="a1", answer="retracted", pending=[given]) == ""
    taken_back = Feedback(2, "p", "a1", "retracted", "", None, None, "")
    assert "nothing to take back" in tell(alarm="a1", answer="retracted", pending=[given, taken_back])
    assert tell(alarm="a2", answer="confirmed", fault="cracked", pending=[given]) == ""


def test_telemetry_must_not_come_on_the_topic_of_the_answers() -> None:
    """It would be rejected for ever, by the daemon that sends it."""
    with pytest.raises(ConfigError, match=r"telemetry\.topic '.*rarefault/x/feedback/result"):
        from_mapping({"model": {"path": "m"}, "telemetry": {"topic": "+/{device}/+/result"}}, DaemonConfig, "edge.toml")


def test_over_the_broker(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Callable[..., Any],
    wait_until: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every message is answered, good or bad; the journal keeps what was accepted, and sets aside the rest."""
    peer.subscribe("rarefault/#")
    topic = "rarefault/a/feedback"
    with serving(mosquitto.url, journal={"path": "edge.journal"}) as service:
        start_ms = round(time.time() * 1000) - 10_000_000
        samples = [{"time": start_ms + i * 10_000, "values": {"c1.S1": i % 7, "c1.S2": 1.0}} for i in range(200)]
        peer.publish("telemetry/a", json.dumps(samples))
        alarm = json.loads(peer.wait_for("rarefault/a/alarm")[0])["id"]
        said = [
            {"alarm": alarm, "answer": "confirmed"},
            {"alarm": alarm, "answer": "retracted"},
            {"alarm": "gone", "answer": "refuted"},
            {"alarm": alarm, "answer": "refuted", "fault": "fault_3"},
            {"alarm": alarm, "answer": "perhaps"},
        ]
        for message in said:
            peer.publish(topic, json.dumps(message))
        peer.publish(topic, b"\xff{")
        peer.publish(f"rarefault/{'x' * 129}/feedback", json.dumps(said[0]))
        results = [json.loads(payload) for payload in peer.wait_for(f"{topic}/result", 6)]
        wait_until(lambda: service.intake.rejections.counts["bad_device"] == 1, "the name that is none")
        assert counts(service)["rarefault_feedback_total"] == 2
    assert [r["accepted"] for r in results] == [True, True, False, False, False, False]
    assert [r["alarm"] for r in results] == [alarm, alarm, "gone", alarm, alarm, ""]
    assert {r["runtime"] for r in results} == {"edge"}
    assert results[0]["reason"] == ""
    assert "there is no alarm 'gone' in the journal" in results[2]["reason"]
    assert "nobody knows a fault 'fault_3'; did you mean" in results[3]["reason"]
    assert results[3]["faults"] == ["fault_1", "fault_2", "normal"]
    assert "Invalid enum value 'perhaps'" in results[4]["reason"]
    assert not any(message.retain for message in peer.messages if message.topic.endswith("/result"))
    with JournalReader(tmp_path / "edge.journal") as reader:
        assert [f.answer for f in reader.feedback()] == ["confirmed", "retracted"]
        assert [a.reason for a in reader.set_aside()] == ["bad_feedback"] * 4 + ["bad_device"]
    assert main(["inspect", str(tmp_path / "edge.journal")]) == 0
    assert "1 confirmed, 1 retracted" in capsys.readouterr().out


def test_a_journal_that_cannot_be_asked_costs_no_answer(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Callable[..., Any],
    wait_until: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The turn is given up with the telemetry in it, and made again once the journal can be read."""
    monkeypatch.setattr(durable, "RETRY_S", 0.2)
    peer.subscribe("rarefault/a/feedback/result")
    with serving(mosquitto.url, journal={"path": "edge.journal"}) as service:
        other = sqlite3.connect(tmp_path / "edge.journal")
        other.execute("ALTER TABLE alarm RENAME COLUMN id TO hidden")
        peer.publish("telemetry/a", json.dumps({"time": time.time(), "values": {"c1.S1": 1}}))
        peer.publish("rarefault/a/feedback", json.dumps({"alarm": "x", "answer": "confirmed"}))
        wait_until(lambda: service.store.failures > 0, "the turn to fail")
        assert peer.payloads("rarefault/a/feedback/result") == []
        other.execute("ALTER TABLE alarm RENAME COLUMN hidden TO id")
        other.close()
        peer.publish("rarefault/a/feedback", json.dumps({"answer": "refuted", **HOUR}))
        first, second = (json.loads(p) for p in peer.wait_for("rarefault/a/feedback/result", 2))
        assert (first["alarm"], first["accepted"]) == ("x", False)
        assert second["accepted"]
        assert service.intake.rejections.samples == 1
    with JournalReader(tmp_path / "edge.journal") as reader:
        assert sum(len(batch.time_ms) for batch in reader.batches()) == 1
        assert len(list(reader.set_aside())) == 1
