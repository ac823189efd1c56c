"""Verdicts in the journal: those that were published, once each, whatever ends the daemon."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarefault.runtime.errors import DamagedJournalError
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.salvage import salvage
from rarefault.runtime.journal.verdicts import pack_verdicts, unpack_verdicts
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.times import format_ms

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

CHANNELS = ("a",)
CLASSES = ("normal", "leak", "wear")


def some(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Devices, ends, classes and probabilities of verdicts."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.ones(3), n)
    return rng.integers(1, 9, n).astype(np.int32), rng.integers(0, 1 << 41, n), posterior.argmax(1), posterior


@given(st.integers(1, 40), st.integers(0, 99), st.data())
def test_they_come_back(n: int, seed: int, data: st.DataObject) -> None:
    """Probabilities to three digits, the rest as it was; a changed byte or a wrong number is noticed."""
    device, end_ms, fault, posterior = some(n, seed)
    packed = pack_verdicts(device, end_ms, fault, posterior)
    back = unpack_verdicts(packed, n)
    for there, again in zip((device, end_ms, fault), back, strict=False):
        np.testing.assert_array_equal(there, again)
    np.testing.assert_allclose(back[3], posterior, atol=5e-4)
    at = data.draw(st.integers(0, len(packed) - 1))
    for wrong in (packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :], packed[:at]):
        with pytest.raises(ValueError, match=r"checksum|fit"):
            unpack_verdicts(wrong, n)


def journal_with(path: Path, turns: int) -> Journal:
    """A journal with ten verdicts of each turn."""
    journal = Journal(path, CHANNELS)
    for turn in range(turns):
        journal.begin()
        journal.append_verdicts(*some(10, turn), 1000 * turn, "m-1" if turn < 5 else "m-2", CLASSES)
        journal.commit()
    return journal


def test_retention(tmp_path: Path) -> None:
    """By age and by size, oldest first; the measure of what is there stays right."""
    journal = journal_with(tmp_path / "j", 10)
    size = journal.verdict_bytes // 10
    journal.clean_up(3000, 1 << 30, 0, most_verdict_bytes=1 << 30)
    assert [batch.made_ms for batch in journal.verdicts()] == list(range(3000, 10_000, 1000))
    journal.clean_up(0, 1 << 30, 0, most_verdict_bytes=4 * size)
    assert [batch.key for batch in journal.verdicts(from_ms=8000)] == [9, 10]
    assert journal.verdict_bytes == sum(10 * (14 + 2 * 3) + 4 for _ in journal.verdicts()) == 4 * size
    journal.close()
    again = Journal(tmp_path / "j", CHANNELS)
    assert again.verdict_bytes == 4 * size
    assert again.classes("m-1") == CLASSES
    assert again.classes("another") == ()
    again.close()


def test_what_was_rolled_back_is_not_there(tmp_path: Path) -> None:
    """Neither the verdicts nor the classes' names."""
    journal = Journal(tmp_path / "j", CHANNELS)
    for end in (journal.rollback, journal.commit):
        journal.begin()
        journal.append_verdicts(*some(10), 1, "m", CLASSES)
        end()
    assert len(list(journal.verdicts())) == 1
    assert journal.classes("m") == CLASSES
    journal.close()


def test_damage(tmp_path: Path) -> None:
    """A damaged row is an error to readers; salvage leaves it and keeps the others."""
    path = tmp_path / "j"
    journal = journal_with(path, 10)
    journal._execute("UPDATE verdict SET data = substr(data, 2) WHERE key = 4")
    with pytest.raises(DamagedJournalError, match="verdicts 4"):
        list(journal.verdicts())
    journal.close()
    found = salvage(path, CHANNELS, "m-1", "for a test")
    loss = found.damage.tables["verdict"]
    assert (loss.saved, loss.lost) == (9, 1)
    with JournalReader(path) as reader:
        assert [batch.key for batch in reader.verdicts()] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
        assert reader.classes("m-2") == CLASSES


def test_the_daemon_keeps_what_it_publishes(
    model: LoadedModel,
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Callable[..., Any],
    wait_until: Callable[[Callable[[], object], str], None],
    tmp_path: Path,
) -> None:
    """Each verdict once, also over a restart; and with each alarm what moved it."""
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/+/alarm")

    def got(topic: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in peer.payloads(topic) if payload]

    def send(first: int, last: int) -> None:
        for i in range(first, last):
            values = {"c1.S1": float(i % 7), "c1.S2": 3.0, "z1.E1": float(i)}
            peer.publish("telemetry/p", json.dumps({"time": 1_300_000_000_000 + 60_000 * i, "values": values}).encode())

    for first, last in ((0, 200), (200, 400)):
        with serving(mosquitto.url, journal={"path": str(tmp_path / "edge.journal")}):
            before = len(got("rarefault/p/verdict"))
            send(first, last)
            wait_until(lambda before=before: len(got("rarefault/p/verdict")) >= before + 30, "verdicts")  # type: ignore[misc]
    published = {verdict["end"]: verdict for verdict in got("rarefault/p/verdict")}
    with JournalReader(tmp_path / "edge.journal") as journal:
        names, kept = journal.devices(), {}
        for batch in journal.verdicts():
            classes = journal.classes(batch.model)
            for device, end_ms, fault, posterior in zip(
                batch.device.tolist(), batch.end_ms.tolist(), batch.fault.tolist(), batch.posterior, strict=True
            ):
                assert format_ms(end_ms) not in kept
                kept[format_ms(end_ms)] = (names[device], classes[fault], posterior)
        alarms = list(journal.alarms())
    assert set(published) <= set(kept)
    for end, verdict in published.items():
        device, fault, posterior = kept[end]
        assert (device, fault) == (verdict["device"], verdict["fault"])
        np.testing.assert_allclose(posterior, list(verdict["probabilities"].values()), atol=1e-3)
    said = {alarm["id"]: alarm for alarm in got("rarefault/p/alarm")}
    assert said
    for alarm in alarms:
        detail = json.loads(alarm.detail or "{}")
        assert detail.get("channels", {}) == said[alarm.id]["channels"]
        assert detail.get("probability") == said[alarm.id].get("probability")
