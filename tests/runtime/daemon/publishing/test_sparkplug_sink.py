"""The daemon as an edge node: what protobuf itself reads of its messages, over real connections."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.harness.broker import Mosquitto
from tests.harness.daemon import Daemon
from tests.harness.sparkplug import BOOLEAN, DATETIME, DOUBLE, INT32, INT64, STRING, EdgeNode, Payload, metric
from tests.harness.tiny_model import save_tiny_model

from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.publishing.sinks import check_sinks, open_sinks
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.journal.records import Entry
from rarefault.runtime.settings import from_mapping
from rarefault.runtime.times import parse_time_ms

if TYPE_CHECKING:
    from tests.harness.client import Peer

    from rarefault.runtime.daemon.publishing.sparkplug import SparkplugSink

SINCE = "2026-01-02T03:04:05.000Z"
COMMAND = "spBv1.0/plant/NCMD/edge1"


def entry(key: int, device: str, state: str, since: str = SINCE) -> Entry:
    """An alarm as the announcer makes it."""
    alarm: dict[str, Any] = {"id": f"id{key}", "device": device, "state": state, "since": since, "model": "m1"}
    alarm["channels"] = {}
    alarm |= {} if state in {"no data", "unknown"} else {"probability": 0.75, "score": 0.9}
    return Entry(key, f"rarefault/{device}/alarm", json.dumps(alarm).encode(), retain=True)


class Seen:
    """The messages of an edge node, as protobuf reads them."""

    def __init__(self, peer: "Peer") -> None:
        self.peer = peer
        peer.subscribe("spBv1.0/plant/#")

    def all(self) -> list[tuple[str, str, Any]]:
        """Type, device and payload of each message that is no command."""
        found = []
        for message in list(self.peer.messages):
            levels = message.topic.split("/")
            if levels[0] == "spBv1.0" and levels[2] != "NCMD":
                assert (levels[1], levels[3], message.retain) == ("plant", "edge1", False)
                found.append((levels[2], "/".join(levels[4:]), Payload.FromString(bytes(message.payload))))
        return found

    def of(self, *types: str) -> list[tuple[str, Any]]:
        return [(device, payload) for type_, device, payload in self.all() if type_ in types]


def values(payload: Any) -> dict[str, Any]:
    """Values of metrics by name."""
    fields = ("int_value", "long_value", "double_value", "boolean_value", "string_value")
    return {
        m.name: None if m.is_null else next(getattr(m, f) for f in fields if m.HasField(f)) for m in payload.metrics
    }


@pytest.fixture
def make(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Callable[..., "SparkplugSink"]]:
    """Makes a sink; it is closed at the end."""
    made = []

    def sink(**keys: Any) -> "SparkplugSink":
        section = {"kind": "sparkplug", "group": "plant", "edge": "edge1", "path": "state.json", **keys}
        given = {"model": {"path": "m.onnx"}, "broker": {"url": mosquitto.url}, "sink": [section]}
        config = from_mapping(given, DaemonConfig, "edge.toml")
        (found,) = open_sinks(config, tmp_path / "edge.toml")
        made.append(found)
        return found  # type: ignore[return-value]

    yield sink
    for one in made:
        one.close()


@pytest.fixture
def seen(peer: "Peer") -> Seen:
    return Seen(peer)


def test_machines_are_born_change_and_die(
    make: Callable[..., "SparkplugSink"], seen: Seen, wait_until: Callable[..., None]
) -> None:
    """NBIRTH, DBIRTH with all metrics, DDATA for a change, DDEATH for no data, a birth for what is back, NDEATH."""
    sink = make()
    wait_until(lambda: sink.room, "a connection")
    for key, state in enumerate(["normal", "fault_2", "no data", "unknown"], 1):
        sink.publish(entry(key, "pump 1", state))
        wait_until(sink.confirmations, "a confirmation")
    sink.close()
    wait_until(lambda: seen.of("NDEATH"), "a death")
    found = seen.all()
    assert [(type_, device) for type_, device, _ in found] == [
        ("NBIRTH", ""),
        ("DBIRTH", "pump 1"),
        ("DDATA", "pump 1"),
        ("DDEATH", "pump 1"),
        ("DBIRTH", "pump 1"),
        ("NDEATH", ""),
    ]
    assert [payload.seq for _, _, payload in found[:5]] == [0, 1, 2, 3, 4]
    assert not found[5][2].HasField("seq")
    assert all(payload.timestamp > 1_700_000_000_000 for _, _, payload in found)
    assert values(found[0][2]) == {"bdSeq": 0, "Node Control/Rebirth": False}
    assert {m.name: m.datatype for m in found[0][2].metrics} == {"bdSeq": INT64, "Node Control/Rebirth": BOOLEAN}
    birth = found[1][2]
    assert {m.name: m.datatype for m in birth.metrics} == {
        "Fault": STRING,
        "Fault Code": INT32,
        "Probability": DOUBLE,
        "Alarm Id": STRING,
        "Since": DATETIME,
        "Model": STRING,
    }
    since = parse_time_ms(SINCE)
    expected = {
        "Fault": "normal",
        "Fault Code": 0,
        "Probability": 0.75,
        "Alarm Id": "id1",
        "Since": since,
        "Model": "m1",
    }
    assert values(birth) == expected
    assert values(found[2][2]) == {**expected, "Fault": "fault_2", "Fault Code": 1, "Alarm Id": "id2"}
    last = {"Fault": "unknown", "Fault Code": (1 << 32) - 2, "Probability": None, "Alarm Id": "id4"}  # -2
    assert values(found[4][2]) == {**expected, **last}
    assert values(found[5][2]) == {"bdSeq": 0}
    assert sink.written == 4


def test_a_restarted_node_is_born_with_what_it_knew(
    make: Callable[..., "SparkplugSink"], seen: Seen, wait_until: Callable[..., None]
) -> None:
    """The next session's number, the machines with their last alarm, and the same code for a fault."""
    sink = make()
    wait_until(lambda: sink.room, "a connection")
    for key, (device, state) in enumerate([("p1", "fault_1"), ("p2", "no data"), ("p3", "fault_2")], 1):
        sink.publish(entry(key, device, state))
    wait_until(lambda: sink.written == 3, "alarms that are sent")
    sink.close()
    first = len(seen.all())
    again = make(codes={"fault_9": 7})
    wait_until(lambda: again.room, "a connection")
    wait_until(lambda: len(seen.all()) >= first + 3, "births")
    again.publish(entry(9, "p1", "fault_9"))
    wait_until(lambda: again.written == 1, "an alarm")
    again.publish(Entry(10, "rarefault/p3/alarm", b"", retain=True))
    wait_until(lambda: again.written == 2, "a device that is forgotten")
    seen.peer.catch_up()
    found = seen.all()[first:]
    found = found[next(i for i, (type_, *_) in enumerate(found) if type_ == "NBIRTH") :]
    assert [(t, d) for t, d, _ in found] == [
        ("NBIRTH", ""), ("DBIRTH", "p1"), ("DBIRTH", "p3"), ("DDATA", "p1"), ("DDEATH", "p3"),
    ]  # fmt: skip
    assert values(found[0][2])["bdSeq"] == 1
    assert [(values(p)["Fault"], values(p)["Fault Code"]) for _, _, p in found[1:4]] == [
        ("fault_1", 1), ("fault_2", 2), ("fault_9", 7),
    ]  # fmt: skip


def test_a_command_has_it_born_again(
    make: Callable[..., "SparkplugSink"], seen: Seen, wait_until: Callable[..., None]
) -> None:
    """Node Control/Rebirth: births with numbers from 0 in the same session; anything else does nothing."""
    sink = make()
    wait_until(lambda: sink.room, "a connection")
    sink.publish(entry(1, "p1", "normal"))
    wait_until(lambda: sink.written == 1, "an alarm")
    for payload in (b"\xff\xff", b"", _command(False), _command(True)):
        seen.peer.publish(COMMAND, payload)
    wait_until(lambda: len(seen.of("NBIRTH")) == 2, "a second birth")
    wait_until(lambda: len(seen.of("DBIRTH")) == 2, "and of the machine")
    assert [values(p)["bdSeq"] for _, p in seen.of("NBIRTH")] == [0, 0]
    assert [p.seq for _, p in seen.of("NBIRTH")] == [0, 0]
    assert [p.seq for _, p in seen.of("DBIRTH")] == [1, 1]


def _command(value: bool) -> bytes:
    sent: bytes = Payload(timestamp=1, metrics=[metric("Node Control/Rebirth", value, BOOLEAN)]).SerializeToString()
    return sent


def test_after_an_outage_earlier_alarms_are_history(
    make: Callable[..., "SparkplugSink"], seen: Seen, mosquitto: Mosquitto, wait_until: Callable[..., None]
) -> None:
    """The broker is away: nothing is taken. Then the last alarm is the present one, and those before it historical."""
    sink = make()
    wait_until(lambda: sink.room, "a connection")
    sink.publish(entry(1, "p1", "normal"))
    wait_until(lambda: sink.written == 1, "an alarm")
    mosquitto.stop()
    wait_until(lambda: not sink.room, "an end of the connection")
    assert "127.0.0.1" in sink.problem
    mosquitto.start()
    wait_until(lambda: sink.room, "a connection")
    assert not sink.problem
    seen.peer.subscribe("spBv1.0/plant/#")
    with sink._lock:  # so that the thread finds all of them
        for key, state in enumerate(["fault_1", "fault_2", "normal"], 2):
            sink._gathered.append((key, entry(key, "p1", state, f"2026-01-02T0{key}:00:00.000Z")))
    wait_until(lambda: sink.written == 4, "alarms")
    seen.peer.catch_up()
    data = [p for _, p in seen.of("DDATA")]
    assert [(values(p)["Fault"], {m.is_historical for m in p.metrics}) for p in data] == [
        ("fault_1", {True}), ("fault_2", {True}), ("normal", {False}),
    ]  # fmt: skip
    times = [{m.timestamp for m in p.metrics} for p in data]
    assert times[:2] == [{parse_time_ms(f"2026-01-02T0{hour}:00:00Z")} for hour in (2, 3)]


def test_a_killed_daemon_is_told_by_its_will(
    mosquitto: Mosquitto, seen: Seen, wait_until: Callable[..., None], tmp_path: Path
) -> None:
    """The broker publishes NDEATH of that session; the next has another number. Its own messages are no telemetry."""
    save_tiny_model(tmp_path / "tiny.onnx")
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[model]\npath = "tiny.onnx"\n[broker]\nurl = "{mosquitto.url}"\n[telemetry]\npreset = "sparkplug"\n'
        'max_age_s = inf\n[telemetry.fields]\n"Motor/S1" = "c1.S1"\n[limits]\nsamples_per_s = inf\n'
        '[publish]\nruntime = "edge1"\n[journal]\npath = "journal"\n'
        '[[sink]]\nkind = "sparkplug"\ngroup = "plant"\npath = "state.json"\n'
    )
    daemon = Daemon(config)
    seen.peer.subscribe("rarefault/edge1/#")
    daemon.start()
    seen.peer.wait_for("rarefault/edge1/status")
    wait_until(lambda: seen.of("NBIRTH"), "a birth")
    node = EdgeNode()
    begin = parse_time_ms("2026-01-02T03:00:00Z")
    seen.peer.publish(*node.node_birth(begin))
    seen.peer.publish(*node.birth("p1", begin, {"Motor/S1": 1.0}))
    for i in range(1, 30):
        seen.peer.publish(*node.data("p1", begin + 10_000 * i, {"Motor/S1": float(i % 3)}))
    wait_until(lambda: seen.of("DBIRTH"), "a machine")
    assert seen.of("DBIRTH")[0][0] == "hall.gw.p1"
    daemon.kill()
    wait_until(lambda: seen.of("NDEATH"), "the will")
    assert values(seen.of("NDEATH")[0][1]) == {"bdSeq": 0}
    with daemon:
        wait_until(lambda: len(seen.of("NBIRTH")) == 2, "another birth")
        wait_until(lambda: len(seen.of("DBIRTH")) >= 2, "the machine, from the file")
        health = seen.peer.wait_for("rarefault/edge1/health")
    assert values(seen.of("NBIRTH")[1][1])["bdSeq"] == 1
    assert "plant" not in daemon.text().replace("plant/edge1", "")
    assert json.loads(health[-1])["problems"] == []


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Names with '/', a file of something else, two faults with one code."""
    section = {"kind": "sparkplug", "group": "a/b", "edge": "x#", "path": "s.json", "codes": {"a": 1, "b": 1}}
    with pytest.raises(ConfigError) as wrong:
        from_mapping({"model": {"path": "m"}, "sink": [section]}, DaemonConfig, "edge.toml")
    said = "\n".join(wrong.value.problems)
    for part in ("group 'a/b'", "edge 'x#'", "the same number"):
        assert part in said
    good = {"kind": "sparkplug", "group": "a", "path": "s.json"}
    config = from_mapping({"model": {"path": "m"}, "sink": [good]}, DaemonConfig, "edge.toml")
    assert check_sinks(config, tmp_path / "edge.toml") == []
    (tmp_path / "s.json").write_bytes(msgspec.json.encode({"bd_seq": "x"}))
    (problem,) = check_sinks(config, tmp_path / "edge.toml")
    assert "not the state of a Sparkplug sink" in problem
