"""Two machines of one name on two topics: told, never merged; and one machine on several topics: taken."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from rarefault.runtime.daemon.config import LimitsConfig, TelemetryConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.publishing.announcer import Announcer
from rarefault.runtime.daemon.publishing.sink import Route
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.origins import MAX_TOPIC
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.daemon.turns.memory import TurnStore
from rarefault.runtime.daemon.turns.work import Work
from rarefault.runtime.inference.model_file import LoadedModel
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.writer import Journal
from rarefault.runtime.telemetry.reasons import REMEDY, Reason

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

NOW_MS = 1_767_323_045_000
SITES = [
    ("siteA/pump1/data", b'{"time": "2026-01-02T03:04:05Z", "values": {"temp": 41.2}}'),
    ("siteB/pump1/data", b'{"time": "2026-01-02T03:04:05Z", "values": {"temp": 12.0}}'),
]


class Reader:
    """A decoder with one channel, and what it has rejected."""

    def __init__(self, **telemetry: Any) -> None:
        config = msgspec.convert(telemetry, TelemetryConfig)
        self.table = DeviceTable()
        self.rejections = Rejections(keep=True)
        limits = LimitsConfig(max_devices=5)
        self.decoder = TelemetryDecoder([config], ("temp",), {}, self.table, limits, self.rejections, "test.toml")
        self.rows = SampleBuffer(10_000, 1)

    def read(self, *messages: tuple[str, bytes]) -> list[float]:
        """Values of what was taken of some messages."""
        self.rows.clear()
        for topic, payload in messages:
            self.decoder.decode(topic, payload, NOW_MS, self.rows)
        return [float(value) for value in self.rows.values[:, 0]]

    @property
    def refused(self) -> list[str]:
        return [f"{aside.reason}: {aside.detail}" for aside in self.rejections.take_aside()]


def test_the_second_site_is_refused_with_both_topics() -> None:
    """The first one is served as ever, before and after."""
    reader = Reader(topic="+/{device}/data")
    assert reader.read(*SITES, *SITES) == [41.2, 41.2]
    sentence = "two_topics: device 'pump1' comes on 'siteB/pump1/data', and came on 'siteA/pump1/data' before"
    assert reader.refused == [sentence] * 2


@pytest.mark.parametrize(
    ("telemetry", "topics"),
    [
        ({"topic": "+/{device}/data", "several_topics": True}, ["siteA/p/data", "siteB/p/data"]),
        ({"topic": "plant/{device}/+"}, ["plant/p/temp", "plant/p/flow"]),
        ({"topic": "+/{device}/+"}, ["siteA/p/temp", "siteA/p/flow"]),
        ({"topic": "gateways/data", "device": "name"}, ["gateways/data", "gateways/data"]),
        ({"topic": "lora/+/up", "device": "name", "several_topics": True}, ["lora/a/up", "lora/b/up"]),
    ],
)
def test_one_machine_on_several_topics_is_taken(telemetry: dict[str, Any], topics: list[str]) -> None:
    """Where people have said so, where the topics differ behind the device's name only, or where there is one topic."""
    reader = Reader(**telemetry)
    assert reader.read(*((topic, b'{"time": 1767323045, "name": "p", "values": {"temp": 1}}') for topic in topics)) == [
        1.0,
        1.0,
    ]
    assert reader.refused == []


def test_a_name_in_the_message_on_two_topics_is_asked_about() -> None:
    """Two pumps behind two gateways, or one that both hear: the key that decides it is named."""
    reader = Reader(topic="lora/+/up", device="name")
    message = b'{"time": 1767323045, "name": "p", "values": {"temp": 1}}'
    assert reader.read(("lora/a/up", message), ("lora/b/up", message)) == [1.0]
    assert "'lora/b/up', and came on 'lora/a/up' before" in reader.refused[0]
    assert "telemetry.several_topics = true" in REMEDY[Reason.TWO_TOPICS]


def test_what_is_remembered_is_bounded_and_follows_the_template() -> None:
    """Very long topics are refused; a device that is forgotten, or another template, begins anew."""
    reader = Reader(topic="+/{device}/data")
    message = SITES[0][1]
    assert reader.read(("x" * MAX_TOPIC + "/p/data", message), ("a\n/p/data", message)) == []
    assert [refusal.partition(":")[0] for refusal in reader.refused] == ["unknown_topic"] * 2
    assert len(reader.table) == 0
    assert reader.read(*SITES) == [41.2]
    slot = reader.table.slot("pump1")
    reader.table.topic[slot] = "siteB/pump1/data"
    assert reader.read(*SITES) == [12.0]
    reader.table.forget([slot])
    assert reader.read(*SITES) == [41.2]
    reader.table.topic[slot] = "an/earlier/template/pump1"
    assert reader.read(*reversed(SITES)) == [12.0]


def _send(peer: "Peer", site: str, value: float) -> None:
    now = round(time.time() * 1000)
    peer.publish(f"{site}/pump1/data", json.dumps({"time": now, "values": {"c1.S1": value}}))


def test_the_daemon_remembers_over_a_restart(
    mosquitto: "Mosquitto",
    peer: "Peer",
    serving: Callable[..., Any],
    wait_until: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whichever site speaks first after it, the journal stays that of the first site, and the other is counted."""
    sections = {"telemetry": {"topic": "+/{device}/data"}, "journal": {"path": "edge.journal"}}
    with serving(mosquitto.url, **sections) as service:
        _send(peer, "siteA", 1.0)
        _send(peer, "siteB", 2.0)
        wait_until(lambda: service.intake.messages == 2, "both messages")
        assert service.intake.rejections.samples == 1
    with serving(mosquitto.url, **sections) as service:
        _send(peer, "siteB", 3.0)
        _send(peer, "siteA", 4.0)
        wait_until(lambda: service.intake.messages == 2, "both messages")
        assert service.intake.rejections.counts["two_topics"] == 1
        with JournalReader(tmp_path / "edge.journal") as reader:
            assert [float(v) for batch in reader.batches() for v in batch.values[:, 0]] == [1.0, 4.0]
            assert [(aside.topic, aside.reason) for aside in reader.set_aside()] == [
                ("siteB/pump1/data", "two_topics")
            ] * 2
    assert "comes on 'siteB/pump1/data', and came on 'siteA/pump1/data' before" in caplog.text


def test_without_a_journal_it_is_kept_in_memory(model: LoadedModel) -> None:
    """As long as the device is, so that another decoder (after a reload) knows it, too."""
    store = TurnStore(
        lambda slots: Pipeline(model.manifest, model.step, model.model_id, slots), Announcer("x", [Route("broker")])
    )
    samples = SampleBuffer(10, len(model.manifest.channels))
    slot = store.devices.slot("p")
    store.devices.topic[slot] = "siteA/p"
    assert store.turn(Work(samples)) is not None
    assert store.devices.topic[slot] == "siteA/p"
    assert store.turn(Work(samples, forgotten=np.array([slot]))) is not None
    assert store.devices.topic[slot] == ""
    cleared = store.outboxes["broker"].next()
    assert cleared is not None
    assert (cleared.topic, cleared.payload) == ("x/p/alarm", b"")


def test_an_older_journal_gets_the_table_and_a_forgotten_device_leaves_it(tmp_path: Path) -> None:
    """Nothing of a journal without it is lost."""
    path = tmp_path / "edge.journal"
    journal = Journal(path, ("temp",), "normal")
    journal._execute("DROP TABLE origin")
    number, _ = journal.add_device("pump1")
    journal.close()
    journal = Journal(path, ("temp",), "normal")
    assert journal.devices() == {number: "pump1"}
    journal.note_origins({"pump1": "siteA/pump1", "nobody": "siteA/nobody"})
    assert journal.origins() == {"pump1": "siteA/pump1"}
    journal.forget_device(number, 0, 0)
    assert journal.origins() == {}
    journal.close()
