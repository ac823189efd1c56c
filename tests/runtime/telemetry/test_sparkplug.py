"""Sparkplug B: what is made of births, data and deaths that protobuf itself has written."""

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.mapping import NOW_MS, Mapping
from tests.harness.sparkplug import (
    BOOLEAN,
    DATETIME,
    DOUBLE,
    FLOAT,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    TEMPLATE,
    UINT8,
    UINT64,
    EdgeNode,
    Metric,
    Payload,
    metric,
)

from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.sparkplug import Nodes, read_payload
from rarefault.runtime.telemetry.sparkplug.nodes import MAX_BYTES, MAX_NODES, MAX_WANTED
from rarefault.runtime.telemetry.sparkplug.payload import signed

KEYS = {"preset": "sparkplug"}
ENDED = dict.fromkeys(("temp", "rpm", "power", "pump", "mode"), math.inf)


def plant(**keys: Any) -> tuple[Mapping, Nodes]:
    """A reader of Sparkplug and what it remembers."""
    mapping = Mapping({**KEYS, **keys})
    nodes = mapping.reader.sources[0].nodes
    assert nodes is not None
    return mapping, nodes


def started(**keys: Any) -> tuple[Mapping, Nodes, EdgeNode]:
    """The same with an edge node whose pump1 is born with temp 41.2 and rpm 1480."""
    mapping, nodes = plant(**keys)
    node = EdgeNode()
    assert mapping.read(*node.node_birth(NOW_MS)) == []
    born = mapping.read(*node.birth("pump1", NOW_MS, {"temp": 41.2, "rpm": 1480.0}))
    assert born == [("hall.gw.pump1", NOW_MS, {**ENDED, "temp": 41.2, "rpm": 1480.0})]
    assert not mapping.unused
    return mapping, nodes, node


def test_data_by_alias_is_read_by_the_birth() -> None:
    """Names, datatypes and devices are those of the birth; '/' is part of a metric's name."""
    mapping, nodes = plant(fields={"Motor/Speed": "rpm"})
    node = EdgeNode()
    mapping.read(*node.node_birth(NOW_MS))
    mapping.read(*node.birth("pump1", NOW_MS, {"temp": 41.2, "Motor/Speed": 1480.0}))
    assert mapping.read(*node.data("pump1", NOW_MS + 1000, {"temp": 42.5, "Motor/Speed": 1490.0})) == [
        ("hall.gw.pump1", NOW_MS + 1000, {"temp": 42.5, "rpm": 1490.0})
    ]
    assert nodes.counts == {"births": 2}
    assert not nodes.wanted


def test_metrics_of_the_edge_node_are_of_a_device_of_its_name() -> None:
    """Metrics of NBIRTH and NDATA that are channels; others, such as bdSeq, are no error."""
    mapping, _ = plant()
    node = EdgeNode()
    born = mapping.read(*node.node_birth(NOW_MS, {"temp": 20.0}))
    assert born == [("hall.gw", NOW_MS, {**ENDED, "temp": 20.0})]
    assert mapping.read(*node.data("", NOW_MS + 5, {"temp": 21.0})) == [("hall.gw", NOW_MS + 5, {"temp": 21.0})]
    assert not mapping.rejected
    assert not mapping.unknown  # Sparkplug's own metrics are no channels


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("{group}.{edge}.{device}", ("hall.gw", "hall.gw.pump1")),
        ("{edge}-{device}", ("gw", "gw-pump1")),
        ("{device}", ("gw", "pump1")),
        ("{device}@{edge}", ("gw", "pump1@gw")),
    ],
)
def test_devices_are_named_by_the_template(device: str, names: tuple[str, str]) -> None:
    """An edge node is named as its devices are, without their part."""
    config = MappingConfig.checked({**KEYS, "device": device})
    mapping, _ = plant(device=device)
    node = EdgeNode()
    found = mapping.read(*node.node_birth(NOW_MS, {"temp": 1.0})) + mapping.read(
        *node.birth("pump1", NOW_MS, {"temp": 2.0})
    )
    assert tuple(name for name, *_ in found) == names
    assert config.from_anywhere


def test_two_devices_of_one_name_are_refused() -> None:
    """Names with the text between the parts in them could make two machines one."""
    mapping, _ = plant()
    for node, device in ((EdgeNode("hall", "gw.a"), "b"), (EdgeNode("hall", "gw"), "a.b")):
        mapping.read(*node.node_birth(NOW_MS))
        mapping.read(*node.birth(device, NOW_MS, {"temp": 1.0}))
    assert mapping.rejected == {"two_topics": 1}


@pytest.mark.parametrize(
    ("value", "datatype", "number"),
    [
        (-5, INT8, -5.0),
        (-300, INT16, -300.0),
        (-70_000, INT32, -70_000.0),
        (-(2**40), INT64, -float(2**40)),
        (200, UINT8, 200.0),
        (2**40, UINT64, float(2**40)),
        (1.5, FLOAT, 1.5),
        (-2.25, DOUBLE, -2.25),
        (True, BOOLEAN, 1.0),
        (False, BOOLEAN, 0.0),
        ("41.5", STRING, 41.5),
        ("ON", STRING, 1.0),
        (NOW_MS, DATETIME, float(NOW_MS)),
    ],
)
def test_values_of_each_datatype(value: Any, datatype: int, number: float) -> None:
    """Whole numbers are in two's complement where their datatype, from birth or data, has a sign."""
    mapping, _, node = started()
    mapping.read(*node.raw("DBIRTH", NOW_MS, [metric("temp", value, datatype, alias=9)], "pump1"))
    for typed in (True, False):
        sent = metric(None, value, datatype, alias=9, time_ms=NOW_MS + 7, typed=typed)
        assert mapping.read(*node.raw("DDATA", NOW_MS + 7, [sent], "pump1")) == [
            ("hall.gw.pump1", NOW_MS + 7, {"temp": number})
        ]


def test_what_is_no_single_value_is_counted_and_ends_the_value() -> None:
    """A template, text that is no number, NaN: the value before is over, and the others are used."""
    mapping, _, node = started()
    for value, datatype, why in (
        ("?", TEMPLATE, "no_number"),
        ("AUTO", STRING, "no_number"),
        (math.nan, DOUBLE, "not_finite"),
    ):
        sent = [metric("temp", value, datatype), metric("rpm", 7.0)]
        found = mapping.read(*node.raw("DDATA", NOW_MS, sent, "pump1"))
        assert found == [("hall.gw.pump1", NOW_MS, {"temp": math.inf, "rpm": 7.0})]
        assert mapping.dropped.pop(("temp", why)) == 1


@pytest.mark.parametrize(("quality", "good"), [(192, True), (None, True), (0, False), (500, False)])
def test_bad_and_stale_values_end_what_held(quality: int | None, good: bool) -> None:
    """Quality 192 or none is good; others are missing from then on, and counted."""
    mapping, _, node = started()
    found = mapping.read(*node.data("pump1", NOW_MS + 1, {"temp": 50.0}, quality=quality))
    assert found == [("hall.gw.pump1", NOW_MS + 1, {"temp": 50.0 if good else math.inf})]
    assert mapping.dropped == ({} if good else {("temp", "bad_quality"): 1})


def test_null_ends_a_value_without_being_an_error() -> None:
    """A metric that is said to have no value."""
    mapping, _, node = started()
    sent = metric("temp", null=True, time_ms=NOW_MS + 1)
    assert mapping.read(*node.raw("DDATA", NOW_MS + 1, [sent], "pump1")) == [
        ("hall.gw.pump1", NOW_MS + 1, {"temp": math.inf})
    ]
    assert not mapping.unused
    assert not mapping.dropped


def test_times_are_those_of_metrics_and_make_samples() -> None:
    """One payload of several times; a metric without one has that of the payload."""
    mapping, _, node = started()
    sent = [
        metric("temp", 1.0, time_ms=NOW_MS + 1),
        metric("temp", 2.0, time_ms=NOW_MS + 2),
        metric("rpm", 3.0, time_ms=NOW_MS + 1),
        metric("power", 4.0),
    ]
    mapping.read(*node.birth("pump1", NOW_MS, {"power": 0.0}))
    found = mapping.read(*node.raw("DDATA", NOW_MS + 3, sent, "pump1"))
    assert found == [
        ("hall.gw.pump1", NOW_MS + 1, {"temp": 1.0, "rpm": 3.0}),
        ("hall.gw.pump1", NOW_MS + 2, {"temp": 2.0}),
        ("hall.gw.pump1", NOW_MS + 3, {"power": 4.0}),
    ]


def test_a_birth_counts_at_its_own_time() -> None:
    """A value that has not changed for a day is true at the birth, and not late."""
    mapping, _, node = started()
    found = mapping.read(*node.birth("pump1", NOW_MS + 60_000, value_ms=NOW_MS - 86_400_000))
    assert found[:1] == [("hall.gw.pump1", NOW_MS + 60_000, {**ENDED, "temp": 41.2, "rpm": 1480.0})]


def test_historical_values_keep_their_times() -> None:
    """What a node stored while it was away is as old as it says."""
    mapping, _, node = started()
    found = mapping.read(*node.data("pump1", NOW_MS - 5000, {"temp": 3.0}, historical=True))
    assert found == [("hall.gw.pump1", NOW_MS - 5000, {"temp": 3.0})]


def test_deaths_end_all_values_and_are_told() -> None:
    """DDEATH of one device; NDEATH of all, at their arrival, by the clock of the node."""
    mapping, nodes, node = started()
    mapping.read(*node.birth("pump2", NOW_MS, {"temp": 1.0}))
    assert nodes.take_events() == [("hall.gw", True), ("hall.gw.pump1", True), ("hall.gw.pump2", True)]
    died = mapping.read(*node.death("pump1", NOW_MS + 2_000), arrived_ms=NOW_MS + 2_100)
    assert died == [("hall.gw.pump1", NOW_MS + 2_000, ENDED)]
    # The clock of the node is 100 ms behind, and its will was written when it connected.
    died = mapping.read(*node.node_death(), arrived_ms=NOW_MS + 9_100)
    assert died == [("hall.gw", NOW_MS + 9_000, ENDED), ("hall.gw.pump2", NOW_MS + 9_000, ENDED)]
    assert nodes.take_events() == [("hall.gw.pump1", False), ("hall.gw", False), ("hall.gw.pump2", False)]
    assert nodes.counts["deaths"] == 3


def test_a_death_of_a_session_that_is_over_counts_for_nothing() -> None:
    """The will of an earlier connection may come after the birth of the next."""
    mapping, nodes, node = started()
    old = node.node_death()
    node.connect()
    mapping.read(*node.node_birth(NOW_MS + 10))
    mapping.read(*node.birth("pump1", NOW_MS + 10))
    assert nodes.take_events()[-3:] == [("hall.gw.pump1", None), ("hall.gw", True), ("hall.gw.pump1", True)]
    assert mapping.read(*old) == []
    assert nodes.counts["old_deaths"] == 1
    assert nodes.take_events() == []
    assert mapping.read(*node.data("pump1", NOW_MS + 20, {"temp": 7.0}))


def test_a_birth_of_another_session_without_a_death_ends_what_held() -> None:
    """The death was not received: the values of the devices are over until they are born."""
    mapping, _, node = started()
    node.connect()
    assert mapping.read(*node.node_birth(NOW_MS + 60_000)) == [("hall.gw.pump1", NOW_MS + 60_000, ENDED)]
    found = mapping.read(*node.data("pump1", NOW_MS + 60_001, {"temp": 5.0}))
    assert found == []
    assert mapping.rejected == {"no_birth": 1}


def test_a_device_that_a_rebirth_leaves_out_was_away() -> None:
    """Where its birth follows at once its values went on; where it comes later, they ended with the node's birth."""
    mapping, _, node = started()
    mapping.read(*node.node_birth(NOW_MS + 1_000))
    assert [s[1] for s in mapping.read(*node.birth("pump1", NOW_MS + 1_500))] == [NOW_MS + 1_500]
    mapping.read(*node.node_birth(NOW_MS + 10_000))
    found = mapping.read(*node.birth("pump1", NOW_MS + 900_000))
    assert found[0] == ("hall.gw.pump1", NOW_MS + 10_000, ENDED)
    assert found[1][1:] == (NOW_MS + 900_000, {**ENDED, "temp": 41.2, "rpm": 1480.0})


def test_metrics_that_a_birth_no_longer_has_end() -> None:
    """A birth has all that the device has."""
    mapping, _, node = started()
    found = mapping.read(*node.raw("DBIRTH", NOW_MS + 5, [metric("temp", 1.0, alias=1)], "pump1"))
    assert found == [("hall.gw.pump1", NOW_MS + 5, {**ENDED, "temp": 1.0})]


@pytest.mark.parametrize("sent", ["alias", "name", "device", "node"])
def test_what_no_birth_has_is_counted_and_a_rebirth_wanted(sent: str) -> None:
    """An alias out of nowhere, a foreign name, a device or a node without a birth; good metrics beside it are used."""
    mapping, nodes, node = started()
    if sent in {"alias", "name"}:
        foreign = metric(None, 1.0, alias=999) if sent == "alias" else metric("foreign", 1.0)
        message = node.raw("DDATA", NOW_MS, [foreign, metric("temp", 5.0)], "pump1")
    elif sent == "device":
        message = node.data("pump9", NOW_MS, {"temp": 5.0})
    else:
        message = EdgeNode("hall", "other").data("pump1", NOW_MS, {"temp": 5.0})
    found = mapping.read(*message)
    if sent in {"alias", "name"}:
        assert found == [("hall.gw.pump1", NOW_MS, {"temp": 5.0})]
        assert mapping.rejected == {"unknown_metric": 1}
    else:
        assert found == []
        assert mapping.rejected == {"no_birth": 1}
    assert list(nodes.wanted) == [("hall", "other" if sent == "node" else "gw")]


def test_ten_thousand_gaps_are_counted_and_want_one_rebirth() -> None:
    """Numbers that are missing, with all values still used."""
    mapping, nodes, node = started()
    for i in range(10_000):
        node.seq = (node.seq + 1 + i % 200) % 256
        assert mapping.read(*node.data("pump1", NOW_MS + i, {"temp": float(i)}))
    assert nodes.counts["gaps"] == 10_000
    assert list(nodes.wanted) == [("hall", "gw")]


def test_messages_that_come_again_are_no_gap() -> None:
    """The broker repeats what was not acknowledged: data do no harm, and a birth or death is not taken twice."""
    mapping, nodes, node = started()
    messages = [
        node.data("pump1", NOW_MS + 1, {"temp": 1.0}),
        node.death("pump1", NOW_MS + 2),
        node.birth("pump1", NOW_MS + 3),
        node.data("pump1", NOW_MS + 4, {"temp": 2.0}),
    ]
    for message in messages:
        mapping.read(*message)
    nodes.take_events()
    found = [mapping.read(*message) for message in messages]
    assert [len(samples) for samples in found] == [1, 0, 0, 1]
    assert mapping.ignored == {"repeated": 2}
    assert nodes.take_events() == []
    mapping.read(*node.data("pump1", NOW_MS + 5, {"temp": 3.0}))
    assert nodes.counts["gaps"] == 0
    assert not nodes.wanted


def test_numbers_that_go_round_are_no_gap() -> None:
    """After 255 comes 0."""
    mapping, nodes, node = started()
    for i in range(1000):
        assert mapping.read(*node.data("pump1", NOW_MS + i, {"temp": float(i)}))
    assert nodes.counts["gaps"] == 0


def test_a_message_shows_that_other_devices_of_the_node_live() -> None:
    """At most once in alive_s, with no value, at the time of the message; a dead one is not shown."""
    mapping, _, node = started(alive_s=60)
    mapping.read(*node.birth("pump2", NOW_MS, {"temp": 1.0}))
    mapping.read(*node.birth("pump3", NOW_MS, {"temp": 1.0}))
    mapping.read(*node.death("pump3", NOW_MS + 10))
    shown: list[tuple[str, int]] = []
    for second in range(1, 301):
        found = mapping.read(*node.data("pump1", NOW_MS + second * 1000, {"temp": float(second)}))
        assert found[0] == ("hall.gw.pump1", NOW_MS + second * 1000, {"temp": float(second)})
        for name, time_ms, cells in found[1:]:
            assert cells == {}
            shown.append((name, (time_ms - NOW_MS) // 1000))
    assert [at for name, at in shown if name == "hall.gw.pump2"] == [61, 122, 183, 244]
    assert {name for name, _ in shown} == {"hall.gw", "hall.gw.pump2"}


def test_topics_that_are_no_telemetry_are_ignored() -> None:
    """Commands, the state of host applications, and types without or with a device too many."""
    mapping, nodes = plant()
    for topic in ("spBv1.0/hall/NCMD/gw", "spBv1.0/hall/DCMD/gw/p", "spBv1.0/hall/NDATA/gw/p", "spBv1.0/hall/DDATA/gw"):
        assert mapping.read(topic, b"\x08\x01") == []
    assert mapping.ignored == {"topic": 4}
    assert not len(nodes)


def test_the_turn_can_be_read_again() -> None:
    """After a turn that was not kept, all is as before it."""
    mapping, nodes, node = started()
    nodes.kept()
    nodes.take_events()
    messages = [
        node.data("pump1", NOW_MS + 1, {"temp": 1.0}),
        node.birth("pump2", NOW_MS + 2, {"rpm": 5.0}),
        EdgeNode("hall", "other").node_birth(NOW_MS),
        node.node_death(),
    ]
    first = [mapping.read(*message) for message in messages]
    assert len(nodes) == 2
    nodes.go_back()
    assert len(nodes) == 1
    assert nodes.counts == {"births": 2}
    assert [mapping.read(*message) for message in messages] == first
    assert not mapping.rejected


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"topic": "plant/{device}"}, "is none of Sparkplug"),
        ({"device": "{group}"}, "must have {edge} or {device}"),
        ({"device": "{group}-{site}"}, "there are {group}, {edge} and {device}"),
        ({"device": "name"}, "must be made of"),
        ({"time": "ts"}, "can only be 'arrival'"),
        ({"time_unit": "s"}, "cannot be given"),
        ({"records": "metrics"}, "'json' only"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys: dict[str, Any], said: str) -> None:
    """Each with what would do."""
    with pytest.raises(Exception, match=said.replace("{", r"\{").replace("}", r"\}")):
        MappingConfig.checked({**KEYS, **keys})


NUMBERS = st.integers(0, 2**64 - 1)
METRICS = st.builds(
    lambda name, alias, stamp, datatype, value: metric(name, value & (2**31 - 1), datatype, alias=alias, time_ms=stamp),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    st.sampled_from([INT8, INT16, INT32, INT64, UINT8, UINT64, BOOLEAN]),
    NUMBERS,
)


@settings(max_examples=300, deadline=None)
@given(NUMBERS, st.integers(0, 300), st.lists(METRICS, max_size=5))
def test_payloads_are_read_as_protobuf_reads_them(stamp: int, seq: int, metrics: list[Any]) -> None:
    """Every field that is needed."""
    made = Payload(timestamp=stamp, seq=seq, metrics=metrics)
    found = read_payload(made.SerializeToString(), 10)
    assert (found.timestamp, found.seq, len(found.metrics)) == (stamp, seq, len(metrics))
    for one, other in zip(found.metrics, metrics, strict=True):
        assert one.name == (other.name if other.HasField("name") else None)
        assert one.alias == (other.alias if other.HasField("alias") else None)
        assert one.timestamp == (other.timestamp if other.HasField("timestamp") else None)
        assert one.datatype == other.datatype
        fields = [f for f in ("int_value", "long_value", "boolean_value") if other.HasField(f)]
        assert one.value == getattr(other, fields[0])
        assert signed(int(one.value), one.datatype) < 2**64


GOOD = EdgeNode()
GOOD.node_birth(NOW_MS)
_BYTES = GOOD.birth("pump1", NOW_MS, {"temp": 41.2, "rpm": 1480.0})[1]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good payload with some bytes changed, left out or added; or any bytes."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=200))
    found = bytearray(_BYTES)
    for at, length, piece in draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 4), st.binary(max_size=12)))):
        begin = at % (len(found) + 1)
        found[begin : begin + length] = piece
    return bytes(found)


@settings(max_examples=500, deadline=None)
@given(damaged(), st.sampled_from(["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"]))
def test_any_bytes_leave_the_next_good_message_readable(payload: bytes, type_: str) -> None:
    """Nothing raises, whatever the bytes are; a birth makes all good again."""
    mapping, _, node = started()
    device = "pump1" if type_.startswith("D") else ""
    mapping.read(node.topic(type_, device), payload)
    mapping.read(*node.node_birth(NOW_MS + 600_000))
    found = mapping.read(*node.birth("pump1", NOW_MS + 600_000), arrived_ms=NOW_MS + 600_000)
    assert ("hall.gw.pump1", NOW_MS + 600_000, {**ENDED, "temp": 41.2, "rpm": 1480.0}) in found
    found = mapping.read(*node.data("pump1", NOW_MS + 600_001, {"temp": 1.0}))
    assert found[0] == ("hall.gw.pump1", NOW_MS + 600_001, {"temp": 1.0})


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_protobuf_refuses_are_refused(payload: bytes) -> None:
    """And what protobuf takes is taken, but for depths that nobody needs."""
    try:
        made = Payload.FromString(payload)
    except Exception:
        return
    try:
        found = read_payload(payload, 10_000)
    except ValueError:
        return  # such as groups, which protobuf still skips
    assert len(found.metrics) == len(made.metrics)


def test_hostile_payloads_take_bounded_work() -> None:
    """A megabyte of tiny metrics, of properties, of one endless number; and more nodes than anybody has."""
    mapping, nodes, node = started()
    begin = time.perf_counter()
    many = b"\x12\x00" * 500_000
    properties = bytes(Metric(name="temp", properties={"keys": ["Quality"] * 100_000}).SerializeToString())
    for payload in (many, b"\xff" * 1_000_000, b"\x12" + _varint(len(properties)) + properties):
        assert mapping.read(node.topic("DDATA", "pump1"), payload) == []
    assert mapping.rejected == {"too_large": 1, "not_json": 2}
    for i in range(MAX_NODES + 500):
        other = EdgeNode("hall", f"edge{i}")
        mapping.read(*other.node_birth(NOW_MS))
        mapping.read(*EdgeNode("foreign", f"edge{i}").data("p", NOW_MS, {"temp": 1.0}))
    assert len(nodes) == MAX_NODES
    big = EdgeNode("hall", "edge1")
    values = {f"{i}" * 200: 1.0 for i in range(900)}
    for i in range(250):
        mapping.read(*big.birth(f"p{i}", NOW_MS, values))
    assert sum(node.bytes for node in nodes) <= MAX_BYTES
    assert "no room for more births" in mapping.details[-1]
    assert len(nodes.wanted) == MAX_WANTED
    assert time.perf_counter() - begin < 20


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
