"""Edge nodes of Sparkplug and a daemon at a real broker: births, deaths, steady values, kills."""

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.harness.broker import Mosquitto
from tests.harness.daemon import Daemon
from tests.harness.sparkplug import EdgeNode, Payload
from tests.harness.tiny_model import MANIFEST, save_tiny_model

from rarefault.runtime.cli import main
from rarefault.runtime.daemon.config import JournalConfig, LimitsConfig, TelemetryConfig
from rarefault.runtime.daemon.publishing.announcer import Announcer
from rarefault.runtime.daemon.publishing.sink import Route
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.rejections import Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.daemon.turns.durable import JournalledTurnStore
from rarefault.runtime.daemon.turns.work import Work
from rarefault.runtime.errors import JournalError
from rarefault.runtime.inference.model_file import load_model
from rarefault.runtime.inference.pipeline import Pipeline
from rarefault.runtime.journal.reader import JournalReader
from rarefault.runtime.journal.records import BROKER

if TYPE_CHECKING:
    from tests.harness.client import Peer

FIELDS = {"Motor/S1": "c1.S1", "Motor/S2": "c1.S2"}
HOLDING = msgspec.structs.replace(MANIFEST, grid=msgspec.structs.replace(MANIFEST.grid, hold="until death"))
REBIRTH = "spBv1.0/hall/NCMD/gw"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Plant:
    """A daemon with Sparkplug, an edge node, and what the daemon says."""

    def __init__(self, folder: Path, mosquitto: Mosquitto, peer: "Peer", wait_until: Callable[..., None]) -> None:
        save_tiny_model(folder / "tiny.onnx", HOLDING)
        self.config = folder / "edge.toml"
        self.journal = folder / "journal"
        fields = "\n".join(f'"{name}" = "{channel}"' for name, channel in FIELDS.items())
        self.config.write_text(
            f'[model]\npath = "tiny.onnx"\n[broker]\nurl = "{mosquitto.url}"\nreconnect_min_s = 0.1\n'
            '[telemetry]\npreset = "sparkplug"\nmax_age_s = inf\nsilent_after_s = 1\nalive_s = 10\n'
            f"[telemetry.fields]\n{fields}\n"
            '[limits]\nsamples_per_s = inf\n[publish]\nruntime = "edge"\n[journal]\npath = "journal"\nsync = "normal"\n'
            "snapshot_s = 0.2\n"
        )
        self.peer, self.wait_until = peer, wait_until
        self.daemon = Daemon(self.config)
        self.node = EdgeNode()
        for topic in ("rarefault/#", "spBv1.0/+/NCMD/#"):
            peer.subscribe(topic)

    def start(self) -> None:
        """Start the daemon and wait until it listens."""
        seen = len(self.peer.payloads("rarefault/edge/status"))
        self.daemon.start()
        self.wait_until(
            lambda: (self.peer.payloads("rarefault/edge/status")[seen:] or [b"offline"])[-1] != b"offline",
            "a daemon that listens",
        )

    def send(self, message: tuple[str, bytes], qos: int = 0) -> None:
        self.peer.publish(*message, qos=qos)

    def born(self, at_ms: int, *devices: str) -> None:
        """The edge node and its devices are born."""
        self.send(self.node.node_birth(at_ms))
        for device in devices:
            self.send(self.node.birth(device, at_ms, {"Motor/S1": 1.0, "Motor/S2": 2.0}))

    def verdicts(self, device: str) -> dict[str, Any]:
        """Probabilities by the end of the window."""
        found = map(json.loads, self.peer.payloads(f"rarefault/hall.gw.{device}/verdict"))
        return {verdict["end"]: verdict["probabilities"] for verdict in found}

    def states(self, device: str) -> list[str]:
        """States of alarms in their order."""
        return [json.loads(p)["state"] for p in self.peer.payloads(f"rarefault/hall.gw.{device}/alarm")]

    def health(self) -> dict[str, Any]:
        """The last health."""
        found: dict[str, Any] = json.loads(self.peer.payloads("rarefault/edge/health")[-1])
        return found

    def values(self) -> dict[str, list[tuple[int, list[float]]]]:
        """All samples of each device in the journal: time and values."""
        found: dict[str, list[tuple[int, list[float]]]] = {}
        with JournalReader(self.journal) as reader:
            names = reader.devices()
            for batch in reader.batches():
                if batch.kind == 0:
                    for number, at, row in zip(
                        batch.device.tolist(), batch.time_ms.tolist(), batch.values.tolist(), strict=True
                    ):
                        found.setdefault(names[number], []).append((at, row))
        return found


@pytest.fixture
def plant(tmp_path: Path, mosquitto: Mosquitto, peer: "Peer", wait_until: Callable[..., None]) -> Iterator[Plant]:
    made = Plant(tmp_path, mosquitto, peer, wait_until)
    yield made
    made.daemon.kill()


def test_deaths_are_no_data_at_once_and_a_birth_brings_the_device_back(plant: Plant) -> None:
    """While they are born, devices may be silent for long; of what is dead, nothing is judged."""
    begin = now_ms() - 3_000_000
    plant.start()
    plant.born(begin, "p1", "p2")
    for i in range(1, 20):
        plant.send(plant.node.data("p1", begin + 10_000 * i, {"Motor/S1": float(i)}))
    plant.wait_until(lambda: len(plant.verdicts("p2")) >= 5, "verdicts of a device that has nothing to report")
    time.sleep(2.5)  # longer than silent_after_s
    assert plant.states("p1")[-1] != "no data"
    assert plant.states("p2")[-1] != "no data"
    plant.send(plant.node.death("p2", begin + 200_000))
    plant.wait_until(lambda: plant.states("p2")[-1] == "no data", "a death of a device")
    assert plant.states("p1")[-1] != "no data"
    plant.send(plant.node.node_death())
    plant.wait_until(lambda: plant.states("p1")[-1] == "no data", "a death of the node")
    plant.node.connect()
    plant.born(begin + 400_000, "p1", "p2")
    for i in range(1, 20):
        plant.send(plant.node.data("p1", begin + 400_000 + 10_000 * i, {"Motor/S1": float(i)}))
    plant.wait_until(lambda: plant.states("p1")[-1] != "no data", "a device that is back")
    plant.wait_until(lambda: plant.states("p2")[-1] != "no data", "another one that is back")
    assert plant.daemon.stop() == 0


def test_a_killed_daemon_reads_on_without_a_rebirth(plant: Plant) -> None:
    """Killed at random moments and started again, it knows the aliases, misses nothing, and takes nothing for a gap."""
    rng = random.Random(4)
    begin = now_ms() - 3_000_000
    plant.start()
    plant.born(begin, "p1", "p2")
    sent: list[tuple[int, float]] = []
    for round_ in range(5):
        for _ in range(rng.randrange(1, 40)):
            at = begin + 10_000 * (len(sent) + 1)
            sent.append((at, float(rng.randrange(1000))))
            # With QoS 1 the broker keeps what the daemon has not kept.
            plant.send(plant.node.data("p1", at, {"Motor/S1": sent[-1][1]}), qos=1)
            if rng.random() < 0.2:
                time.sleep(rng.random() / 50)
        if rng.random() < 0.7:
            _wait_for(plant, len(sent))
        plant.daemon.kill()
        if round_ < 4:
            plant.start()
    plant.start()
    at = begin + 10_000 * (len(sent) + 1)
    sent.append((at, 7.0))
    plant.send(plant.node.data("p1", at, {"Motor/S1": 7.0}), qos=1)
    _wait_for(plant, len(sent))
    assert plant.daemon.stop() == 0
    assert not plant.peer.payloads(REBIRTH)
    got = {at: row[0] for at, row in plant.values()["hall.gw.p1"] if row[0] == row[0]}
    assert got == {begin: 1.0, **dict(sent)}


def _wait_for(plant: Plant, count: int) -> None:
    def kept() -> bool:
        rows = plant.values().get("hall.gw.p1", [])
        return len({at for at, row in rows if row[0] == row[0]}) > count

    plant.wait_until(kept, f"{count} values in the journal")


def test_what_is_missed_is_noticed_and_a_rebirth_asked_for(plant: Plant) -> None:
    """Messages that were sent while the daemon was away (QoS 0): the next one shows it; the birth makes all right."""
    begin = now_ms() - 3_000_000
    plant.start()
    plant.born(begin, "p1")
    plant.send(plant.node.data("p1", begin + 10_000, {"Motor/S1": 5.0}))
    _wait_for(plant, 1)
    plant.daemon.kill()
    plant.send(plant.node.data("p1", begin + 20_000, {"Motor/S2": 99.0}))
    plant.start()
    plant.send(plant.node.data("p1", begin + 30_000, {"Motor/S1": 6.0}))
    (command,) = plant.peer.wait_for(REBIRTH)
    made = Payload.FromString(command)
    assert [(m.name, m.boolean_value, m.datatype) for m in made.metrics] == [("Node Control/Rebirth", True, 11)]
    assert not made.HasField("seq")
    plant.send(plant.node.node_birth(begin + 30_500))
    plant.send(plant.node.birth("p1", begin + 30_500))
    plant.wait_until(lambda: plant.values()["hall.gw.p1"][-1][1][:2] == [6.0, 99.0], "the value that was missed")
    # Nobody answers: one request in 30 s, however much there is to complain about.
    for i in range(300):
        plant.node.seq += 2
        plant.send(plant.node.data("p1", begin + 40_000 + i, {"Motor/S1": 1.0}))
    for i in range(50):
        plant.send(EdgeNode("hall", f"foreign{i}").data("p1", begin, {"Motor/S1": 1.0}))
    _wait_for(plant, 302)
    plant.wait_until(lambda: plant.peer.payloads("spBv1.0/hall/NCMD/foreign49"), "a request to the last one")
    plant.peer.catch_up()
    assert len(plant.peer.payloads(REBIRTH)) == 1
    assert len([m for m in plant.peer.messages if m.topic.startswith("spBv1.0/hall/NCMD/")]) == 51


def _set_aside(journal: Path) -> str:
    with JournalReader(journal) as reader:
        return " ".join(aside.reason for aside in reader.set_aside())


def test_without_rebirths_nothing_is_asked(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    """telemetry.rebirth = false: the daemon only counts."""
    plant.config.write_text(plant.config.read_text().replace("alive_s = 10", "alive_s = 10\nrebirth = false"))
    plant.start()
    plant.send(plant.node.data("p1", now_ms(), {"Motor/S1": 1.0}))
    plant.daemon.wait_for("has not been born here")
    plant.wait_until(lambda: "no_birth" in _set_aside(plant.journal), "the message in the journal")
    assert main(["retake", str(plant.journal), "--reason", "no_birth", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "1 are of Sparkplug, which only their edge node may publish" in said
    assert "0 would be published again" in said
    begin = now_ms()
    plant.born(begin, "p1")
    plant.node.seq += 1
    plant.send(plant.node.data("p1", begin + 10, {"Motor/S1": 1.0}))
    _wait_for(plant, 1)
    plant.peer.catch_up()
    assert not plant.peer.payloads(REBIRTH)


def test_a_host_application_says_that_it_is_there(plant: Plant) -> None:
    """STATE is retained, with the time of its will; false is answered at once; a kill and a stop take it back."""
    plant.config.write_text(plant.config.read_text().replace("alive_s = 10", 'alive_s = 10\nhost_id = "rare"'))
    topic = "spBv1.0/STATE/rare"
    plant.peer.subscribe(topic)

    def states() -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in plant.peer.payloads(topic)]

    plant.start()
    plant.wait_until(lambda: states() and states()[-1]["online"], "a host that is there")
    first = states()[-1]
    plant.peer.publish(topic, json.dumps({"online": False, "timestamp": 1}), retain=True)
    plant.wait_until(lambda: len(states()) >= 3 and states()[-1] == first, "an answer")
    plant.daemon.kill()
    plant.wait_until(lambda: states()[-1] == {"online": False, "timestamp": first["timestamp"]}, "the will")
    plant.start()
    plant.wait_until(lambda: states()[-1]["online"], "a host that is back")
    assert states()[-1]["timestamp"] > first["timestamp"]
    assert plant.daemon.stop() == 0
    plant.wait_until(lambda: not states()[-1]["online"], "a leave")


def test_an_observer_says_nothing_of_a_host(plant: Plant) -> None:
    """By default no edge node is made to wait for it."""
    plant.peer.subscribe("spBv1.0/STATE/#")
    plant.start()
    plant.born(now_ms(), "p1")
    plant.wait_until(lambda: plant.values().get("hall.gw.p1"), "a sample")
    assert plant.daemon.stop() == 0
    plant.peer.catch_up()
    assert not [m for m in plant.peer.messages if "STATE" in m.topic]


def test_a_large_edge_node_writes_little_for_each_message(tmp_path: Path) -> None:
    """A thousand devices are born once; a message after that adds no more to the journal than one of a small node."""
    grown = {}
    for devices in (1, 1000):
        store = _store(tmp_path / str(devices))
        assert store.journal is not None
        decoder = _decoder(store)
        node = EdgeNode()
        samples = SampleBuffer(5000, 3)
        messages = [node.node_birth(now_ms())]
        messages += [node.birth(f"p{i}", now_ms(), {"Motor/S1": 1.0}) for i in range(devices)]
        _turn(store, decoder, samples, messages)
        before = store.bytes()
        for i in range(1, 51):
            _turn(store, decoder, samples, [node.data("p0", now_ms() + i, {"Motor/S1": float(i)})])
        grown[devices] = store.bytes() - before
        store.close()
    assert grown[1000] < 1.5 * grown[1] + 100_000
    again = _store(tmp_path / "1000")
    (found,) = again.nodes
    assert len(found.state.born) == 1001
    assert len(found.tables) == 1001
    decoder = _decoder(again)
    assert int(again.devices.born.sum()) == 1000
    node_death = node.node_death()
    _turn(again, decoder, samples, [node_death])
    again.close()
    again = _store(tmp_path / "1000")
    (found,) = again.nodes
    assert not found.state.born
    assert not found.state.alive
    again.close()


def _store(folder: Path) -> JournalledTurnStore:
    folder.mkdir(exist_ok=True)
    save_tiny_model(folder / "tiny.onnx", HOLDING)
    model = load_model(folder / "tiny.onnx")
    return JournalledTurnStore(
        JournalConfig(path="journal", sync="normal"),
        folder,
        lambda slots: Pipeline(model.manifest, model.step, model.model_id, slots),
        Announcer("rarefault", [Route(BROKER)]),
    )


def _decoder(store: JournalledTurnStore) -> TelemetryDecoder:
    source = TelemetryConfig.checked({"preset": "sparkplug", "fields": FIELDS, "max_age_s": math.inf})
    limits = LimitsConfig(max_devices=2000)
    decoder = TelemetryDecoder(
        [source], HOLDING.channels, {}, store.devices, limits, Rejections(), "edge.toml", store.nodes
    )
    decoder.mark_born()
    return decoder


def _turn(
    store: JournalledTurnStore, decoder: TelemetryDecoder, samples: SampleBuffer, messages: list[tuple[str, bytes]]
) -> None:
    work = Work(samples)
    for topic, payload in messages:
        decoder.decode(topic, payload, now_ms(), samples)
    work.died = decoder.take_died()
    assert store.turn(work) is not None
    samples.clear()


def test_a_gap_is_not_forgotten_by_a_restart(tmp_path: Path) -> None:
    """A rebirth that is wanted is wanted by the next process, until there is a birth."""
    store, node, samples = _store(tmp_path), EdgeNode(), SampleBuffer(100, 3)
    _turn(store, _decoder(store), samples, [node.node_birth(now_ms(), {"Load": 1.0})])
    node.seq += 1
    _turn(store, _decoder(store), samples, [node.data("", now_ms() + 1, {"Load": 2.0})])
    assert store.nodes.wanted
    store.close()
    store = _store(tmp_path)
    assert list(store.nodes.wanted) == [("hall", "gw")]
    _turn(store, _decoder(store), samples, [node.node_birth(now_ms() + 2)])
    assert not store.nodes.wanted
    store.close()
    store = _store(tmp_path)
    assert not store.nodes.wanted
    store.close()


def test_a_turn_that_cannot_be_kept_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    """A death in a turn that fails: the device is born as before; the same messages are then read the same."""
    store, node, samples = _store(tmp_path), EdgeNode(), SampleBuffer(100, 3)
    decoder = _decoder(store)
    at = now_ms()
    _turn(store, decoder, samples, [node.node_birth(at), node.birth("p1", at, {"Motor/S1": 1.0})])
    message = node.death("p1", at + 5)
    work = Work(samples)
    decoder.decode(*message, at + 5, samples)
    work.died = decoder.take_died()
    assert work.died.tolist() == [0]
    store.fail(JournalError("a full disk"))
    samples.clear()
    store.nodes.go_back()
    decoder.mark_born()
    assert store.devices.born[0]
    _turn(store, decoder, samples, [message])
    assert not store.devices.born[0]
    assert store.nodes.counts["deaths"] == 1
    assert store.nodes.counts["gaps"] == 0
    store.close()


def test_ten_thousand_damaged_messages_leave_the_good_ones_as_they_are(tmp_path: Path) -> None:
    """Bytes changed, cut and added in messages of all types: counted, bounded, and a birth makes all good again."""
    rng = random.Random(11)
    store, samples = _store(tmp_path), SampleBuffer(25_000, 3)
    decoder = _decoder(store)
    node = EdgeNode()
    at = now_ms()
    good = [node.node_birth(at, {"Motor/S1": 1.0}), node.birth("p1", at, {"Motor/S1": 1.0, "Motor/S2": 2.0})]
    good += [node.data("p1", at, {"Motor/S1": 5.0}, quality=0), node.death("p1", at), node.node_death()]
    for number in range(10_000):
        topic, payload = rng.choice(good)
        data = bytearray(payload)
        for _ in range(rng.randrange(4)):
            begin = rng.randrange(len(data) + 1)
            data[begin : begin + rng.randrange(3)] = rng.randbytes(rng.randrange(4))
        before = decoder.rejections.samples
        decoder.decode(topic, bytes(data), at, samples)
        assert decoder.rejections.samples - before == len(samples) >= 0
        work = Work(samples)
        work.died = decoder.take_died()
        decoder.rejections.take_aside()
        if number % 100 == 0:
            assert store.turn(work) is not None
        samples.clear()
    assert len(store.devices) < 3000
    for message in (node.node_birth(at + 1), node.birth("p1", at + 1), node.data("p1", at + 2, {"Motor/S1": 7.0})):
        samples.clear()
        decoder.decode(*message, at + 2, samples)
    assert store.devices.names[int(samples.device[0])] == "hall.gw.p1"
    assert samples.values[0, 0] == 7.0
    store.close()
