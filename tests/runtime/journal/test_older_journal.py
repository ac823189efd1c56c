"""A journal of an earlier version, whose outbox knew of no sinks: it is opened, and nothing that it owes is lost."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.records import BROKER, Entry
from rarefault.runtime.journal.salvage import salvage
from rarefault.runtime.journal.writer import Journal

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

CHANNELS = ("c1.S1", "c1.S2", "z1.E1")
#: The tables as they were made before there were sinks.
TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE device (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, newest_ms INTEGER, forgotten_ms INTEGER
);
CREATE TABLE batch (
    seq INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, kind INTEGER NOT NULL, samples INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE snapshot (
    only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, model TEXT NOT NULL, state BLOB NOT NULL
);
CREATE TABLE outbox (
    key INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, retain INTEGER NOT NULL
);
CREATE TABLE alarm (
    key INTEGER PRIMARY KEY, said_ms INTEGER NOT NULL, id TEXT NOT NULL, device TEXT NOT NULL, state TEXT NOT NULL,
    since_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, model TEXT NOT NULL
);
CREATE TABLE feedback (
    key INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, device TEXT NOT NULL, alarm TEXT NOT NULL,
    answer TEXT NOT NULL, fault TEXT NOT NULL, start_ms INTEGER, end_ms INTEGER, note TEXT NOT NULL
);
CREATE TABLE rejected (
    key INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL,
    detail TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE origin (device INTEGER PRIMARY KEY, topic TEXT NOT NULL);
CREATE INDEX alarm_id ON alarm (id);
"""
OWED = [
    Entry(
        key,
        f"rarefault/plant_{key % 3}/{'alarm' if key % 5 == 0 else 'verdict'}",
        json.dumps({"id": f"id {key}", "device": f"plant_{key % 3}", "end": "2011-03-01T12:00:00.000Z"}).encode(),
        retain=key % 5 == 0,
    )
    for key in range(3, 200)
]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal with much that is owed."""
    path = tmp_path / "edge.journal"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(TABLES)
        db.executemany(
            "INSERT INTO meta VALUES (?, ?)", [("schema", "2"), ("channels", json.dumps(CHANNELS).replace(" ", ""))]
        )
        db.execute("INSERT INTO device (name) VALUES ('plant_1')")
        db.executemany(
            "INSERT INTO outbox VALUES (?, ?, ?, ?)", [(e.key, e.topic, e.payload, int(e.retain)) for e in OWED]
        )
        db.commit()
    return path


def test_it_is_migrated_where_it_is(old: Path) -> None:
    """All that is owed is owed to the broker; what comes new names its sink; once more nothing changes."""
    for _ in range(2):
        journal = Journal(old, CHANNELS)
        assert [entry for entry in journal.owed() if entry.sink == BROKER] == OWED
        journal.close()
    journal = Journal(old, CHANNELS)
    journal.put(Entry(1000, "t", b"x", retain=False, sink="a file"))
    assert [entry.sink for entry in journal.owed()] == [BROKER] * len(OWED) + ["a file"]
    journal.close()


def test_it_can_be_read_before(old: Path) -> None:
    """Readers do not need the new column."""
    with JournalReader(old) as reader:
        assert list(reader.devices().values()) == ["plant_1"]


@pytest.mark.parametrize("damage", ["beginning", "index"])
def test_a_damaged_one_is_salvaged(old: Path, damage: str) -> None:
    """Also where it has never been migrated, and where its beginning is lost with the form of its tables."""
    data = bytearray(old.read_bytes())
    if damage == "beginning":
        data[:4096] = bytes(4096)
    else:
        data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    old.write_bytes(data)
    found = salvage(old, CHANNELS, "tiny@1", "it was damaged by a test")
    assert found.damage.tables["outbox"].saved == len(OWED)
    journal = Journal(old, CHANNELS)
    assert list(journal.owed()) == OWED
    journal.close()


def test_the_daemon_delivers_what_it_owes(
    old: Path, mosquitto: "Mosquitto", peer: "Peer", serving: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """To the broker, in order, and not to a file that came later."""
    peer.subscribe("rarefault/+/verdict")
    peer.subscribe("rarefault/+/alarm")
    sink = [{"kind": "file", "path": "late.jsonl"}]
    with serving(mosquitto.url, journal={"path": old.name}, sink=sink) as service:
        wait_until(lambda: not len(service.broker_delivery.outbox), "the broker")
    peer.catch_up()
    got = [message for message in peer.messages if message.topic.startswith("rarefault/plant_")]
    assert [(message.topic, bytes(message.payload)) for message in got] == [(e.topic, e.payload) for e in OWED]
    assert (old.parent / "late.jsonl").read_bytes() == b""
