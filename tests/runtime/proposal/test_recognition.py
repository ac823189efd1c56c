"""Mappings are recognised from messages of any shape, whatever topics they come on."""

import gzip
import json
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarefault.runtime.proposal.messages.recognition import recognise
from rarefault.runtime.proposal.messages.trial import Heard, try_mapping
from rarefault.runtime.proposal.proposal import Proposal, Section
from rarefault.runtime.telemetry.topics import Template

NOW = 1_767_323_044_000
ISO = "2026-01-02T03:04:04Z"
LOCAL = (datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(hours=1)).isoformat(timespec="seconds")[:19]
QUALITY = [{"name": "temp", "timestamp": NOW, "value": 1.5, "q": 192}, {"name": "rpm", "value": 2, "q": 0}]
OPC = {"temp": {"Value": 1.5, "SourceTimestamp": ISO}}
#: Topics and payloads, devices, channels, and keys that must be proposed.
CASES: dict[str, tuple[dict[str, Any], set[str], set[str], dict[str, Any]]] = {
    "another key of the time": (
        {f"factory/pump{n}/data": {"ts": NOW, "temp": 1.5, "rpm": 2, "on": True} for n in range(3)},
        {"pump0", "pump1", "pump2"},
        {"temp", "rpm", "on"},
        {"topic": "factory/{device}/data", "time": "ts", "values": ""},
    ),
    "the usual form": (
        {f"telemetry/p{n}": {"time": ISO, "values": {"temp": 1.5}} for n in range(2)},
        {"p0", "p1"},
        {"temp"},
        {"topic": "telemetry/{device}"},
    ),
    "two sites with the same machines": (
        {f"{s}/pump{n}/data": {"time": NOW, "values": {"temp": 1.5}} for s in ("north", "south") for n in range(3)},
        {f"{s}-pump{n}" for s in ("north", "south") for n in range(3)},
        {"temp"},
        {"device": "{site}-{device}"},
    ),
    "names and values with qualities": (
        {f"gw/line{n}": {"timestamp": NOW, "metrics": QUALITY} for n in range(2)},
        {"line0", "line1"},
        {"temp"},
        {},
    ),
    "devices as keys": (
        {"gw/tb": {"Pump A": [{"ts": NOW, "values": {"temp": 1.5}}], "B": [{"ts": NOW, "values": {"temp": 2}}]}},
        {"Pump A", "B"},
        {"temp"},
        {},
    ),
    "SenML": (
        {"sensors/x": [{"bn": "urn:dev:ow:p1:", "bt": NOW / 1000, "n": "temp", "v": 1.5}, {"n": "rpm", "v": 3}]},
        {"p1"},
        {"temp", "rpm"},
        {"format": "senml"},
    ),
    "line protocol": (
        {f"metrics/{n}": f"pump,machine=p{n},site=x temp=1.5,rpm=2i {NOW * 1_000_000}" for n in range(3)},
        {"p0", "p1", "p2"},
        {"temp", "rpm"},
        {"format": "influx", "device": "machine"},
    ),
    "OPC UA on a topic of its own": (
        {"plant/opc": {"PublisherId": "a", "Messages": [{"DataSetWriterId": 4, "Timestamp": ISO, "Payload": OPC}]}},
        {"a-4"},
        {"temp"},
        {"preset": "opcua-pubsub"},
    ),
    "one value a topic, in an object": (
        {f"site/{d}/{c}": {"value": 1.5, "timestamp": ISO} for d in ("m1", "m2") for c in ("temp", "rpm")},
        {"m1", "m2"},
        {"temp", "rpm"},
        {"format": "scalar", "topic": "site/{device}/{channel}", "time": "timestamp"},
    ),
    "one value a topic, one machine": (
        {f"boiler/{c}": "1.5" for c in ("temp", "pressure")},
        {"boiler"},
        {"temp", "pressure"},
        {"time": "arrival"},
    ),
    "one value a topic, halls with the same machines": (
        {f"x/hall{h}/m{n}/{c}/value": "2" for h in (1, 2) for n in (1, 2) for c in ("temp", "flow")},
        {f"hall{h}-m{n}" for h in (1, 2) for n in (1, 2)},
        {"temp", "flow"},
        {"topic": "x/{site}/{device}/{channel}/value"},
    ),
    "nested objects": (
        {f"iot/d{n}": {"id": 7, "sent_at": ISO, "sensors": {"in": {"t": 1.5}, "out": {"t": 2}}} for n in range(3)},
        {"d0", "d1", "d2"},
        {"in.t", "out.t"},
        {"values": "sensors", "time": "sent_at"},
    ),
    "the device in the message": (
        {"data/all": {"deviceId": "m1", "t": NOW, "temp": 1.5}},
        {"m1"},
        {"temp"},
        {"device": "deviceId"},
    ),
    "a kind of sensor in each message": (
        {"all/rows": [{"device": "m1", "sensor": s, "value": 1.5, "ts": NOW} for s in ("temp", "rpm")]},
        {"m1"},
        {"temp", "rpm"},
        {"name": "sensor", "device": "device"},
    ),
    "gzip": (
        {f"z/p{n}/data": gzip.compress(json.dumps({"time": NOW, "values": {"temp": 1.5}}).encode()) for n in range(2)},
        {"p0", "p1"},
        {"temp"},
        {},
    ),
    "local times": (
        {f"n/p{n}/data": {"time": LOCAL, "temp": 2.5} for n in range(2)},
        {"p0", "p1"},
        {"temp"},
        {"time_zone": "Etc/GMT-1"},
    ),
    "no time": (
        {f"n/p{n}/data": {"temp": 2.5, "mode": "AUTO"} for n in range(2)},
        {"p0", "p1"},
        {"temp"},
        {"time": "arrival"},
    ),
    "samples in an array under a key": (
        {f"n/p{n}/up": {"seq": 4, "samples": [{"at": NOW, "temp": 2.5}, {"at": NOW - 9, "temp": 2}]} for n in range(2)},
        {"p0", "p1"},
        {"temp"},
        {"records": "samples", "time": "at"},
    ),
    "devices in an array of samples": (
        {
            "edge/batch": {
                "metrics": [{"fields": {"temp": n}, "tags": {"device": f"p{n}"}, "time": NOW} for n in range(3)]
            }
        },
        {"p0", "p1", "p2"},
        {"temp"},
        {"topic": "edge/batch", "records": "metrics", "device": "tags.device"},
    ),
    "devices in arrays of samples, on several topics": (
        {
            f"edge/gw{g}": {"samples": [{"values": {"temp": n}, "machine": f"p{g}{n}", "time": NOW} for n in (1, 2)]}
            for g in range(2)
        },
        {"p01", "p02", "p11", "p12"},
        {"temp"},
        {"topic": "edge/+", "several_topics": True, "device": "machine"},
    ),
    "times in the German notation": (
        {f"n/p{n}/de": {"zeit": "02.01.2026 04:04:04", "temp": 2.5} for n in range(2)},
        {"p0", "p1"},
        {"temp"},
        {"time": "zeit", "time_format": "%d.%m.%Y %H:%M:%S", "time_zone": "Etc/GMT-1"},
    ),
    "times in the American notation": (
        {f"n/p{n}/us": {"when": "01/02/2026 03:04:04 AM", "temp": 2.5} for n in range(2)},
        {"p0", "p1"},
        {"temp"},
        {"time": "when", "time_format": "%m/%d/%Y %I:%M:%S %p"},
    ),
}


def heard(messages: dict[str, Any], times: int = 3) -> list[Heard]:
    return [
        Heard(topic, payload if isinstance(payload, bytes) else _raw(payload), NOW + i)
        for i in range(times)
        for topic, payload in messages.items()
    ]


def _raw(payload: Any) -> bytes:
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode()


@pytest.mark.parametrize("name", CASES)
def test_a_shape_is_recognised(name: str) -> None:
    """Devices and channels are those that were meant, all messages are read, and the keys can stand in a file."""
    messages, devices, channels, wanted = CASES[name]
    found = recognise(heard(messages))
    assert not found.unread
    (source,) = found.sources
    keys = {finding.key: finding.value for finding in source.findings}
    assert set(source.trial.topics) == devices, keys
    assert set(source.trial.channels) == channels, keys
    assert source.trial.share == 1
    assert wanted.items() <= keys.items()
    if source.trial.has_times:
        assert {sample.time_ms // 1000 for sample in source.trial.samples} <= {NOW // 1000, NOW // 1000 - 1}
    section = Section("telemetry", source.findings)
    read = tomllib.loads(Proposal("", (section,)).as_toml())["telemetry"]
    assert read == {key: list(value) if isinstance(value, tuple) else value for key, value in keys.items()}


def test_several_senders_are_several_sources() -> None:
    """All shapes on one broker, each on topics of its own: a source for each, and each reads its own."""
    messages = {f"v{number}/{topic}": m for number, case in enumerate(CASES.values()) for topic, m in case[0].items()}
    found = recognise(heard(messages))
    assert not found.unread
    read = {topic for source in found.sources for topic in source.topics}
    assert read == set(messages)
    assert all(source.trial.share == 1 for source in found.sources)


def test_shapes_that_share_levels_stay_apart() -> None:
    """Kinds of messages on topics that look alike: each is read by the first mapping whose topic fits, and rightly."""
    forms: dict[str, Any] = {
        "a": "1.5",
        "b": {"value": 1.5, "ts": NOW},
        "c": {"t": NOW, "temp": 1.5},
        "d": {"time": NOW, "values": {"temp": 1.5}},
        "e": {"when": ISO, "temp": 1.5},
    }
    forms["h"] = forms["d"]
    messages = {f"{form}/p{n}/temp": payload for form, payload in forms.items() for n in range(3)}
    messages |= {f"plug{n}/p0": "2" for n in range(9)} | {f"{x}/p{n}": forms[x] for x in "cde" for n in range(3)}
    messages |= {"boiler": {"time": NOW, "values": {"temp": 1}}, "list": {"id": 3, "ts": NOW, "temp": 1.5}}
    found = recognise(heard(messages))
    assert not found.unread
    for one in heard(messages, 1):
        first = next(source for source in found.sources if Template(source.trial.mapping.topic).matches(one.topic))
        keys = {finding.key: finding.value for finding in first.findings}
        trial = try_mapping(keys, [one])
        assert trial is not None
        assert trial.used == 1, (one, keys)
        assert trial.has_times == (one.payload[:1] == b"{"), (one, keys)
        assert set(trial.channels) <= {"temp", "p0", "value"}, (one, keys)
    by_device = {
        (device, topic) for source in found.sources for device, own in source.trial.topics.items() for topic in own
    }
    assert {("h-p0", "h/p0/temp"), ("d-p0", "d/p0/temp")} <= by_device  # the same name at several places
    for source in found.sources:  # and none takes the daemon's own
        ignored = next((finding.value for finding in source.findings if finding.key == "ignore_topics"), [])
        assert ignored or not Template(source.trial.mapping.topic).matches("rarefault/x/verdict")


def test_data_and_status_of_a_machine_stay_apart() -> None:
    """The last level says of what kind a message is, and not of which machine; times of each are found."""
    kinds = {
        "data": {"ts": NOW, "temp": 1.5, "rpm": 3},
        "status": {"t": NOW, "up": True},
        "log": {"msg": "all is well"},
    }
    found = recognise(heard({f"m/p{n}/{kind}": kinds[kind] for n in range(3) for kind in kinds}))
    keys = {source.topics[0]: {finding.key: finding.value for finding in source.findings} for source in found.sources}
    assert {topic: own["topic"] for topic, own in keys.items()} == {
        "m/p0/data": "m/{device}/data",
        "m/p0/status": "m/{device}/status",
    }
    assert [own["time"] for own in keys.values()] == ["ts", "t"]
    assert set(found.unread) == {"m/+/log"}


def test_no_device_of_many_is_left_out() -> None:
    """More messages than are tried, of machines that take turns: all of their devices and channels are there."""
    one_by_one = [
        Heard(f"many/dev{n // 2}/{'temp' if n % 2 else 'rpm'}", b"2.5", NOW) for n in range(1800) for _ in range(2)
    ]
    turns = [Heard("sensors", _raw({"id": n % 5, "ts": NOW, "temp": 1.5}), NOW) for n in range(2000)]
    scalars, objects = recognise([*one_by_one, *turns]).sources
    assert len(scalars.trial.topics) == 900
    assert scalars.trial.channels == ["rpm", "temp"]
    assert scalars.trial.messages == 3600
    assert set(objects.trial.topics) == {"0", "1", "2", "3", "4"}


def test_what_is_no_telemetry_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Discovery, commands, the daemon's own topics; pictures and prose are unread, with an example."""
    found = recognise(
        heard(
            {
                "homeassistant/sensor/x/config": {"name": "x"},
                "rarefault/p1/verdict": {"fault": "normal", "probability": 0.9},
                "zigbee2mqtt/lamp/set": {"state": "ON"},
                "camera/front": b"\xff\xd8\xff\xe0" + bytes(200),
                "log/gateway": "all is well in the hall, nobody has complained about anything at all today, or has he",
            }
        )
    )
    assert not found.sources
    assert sum(found.noise.values()) == 9
    assert set(found.unread) == {"camera/front", "log/gateway"}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "data", "", "ü", "{device}", "x" * 70]), min_size=1, max_size=4),
            st.one_of(
                st.binary(max_size=60),
                st.recursive(
                    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=8)),
                    lambda inner: st.one_of(
                        st.lists(inner, max_size=3),
                        st.dictionaries(
                            st.sampled_from(["time", "v", "n", "values", "a.b", "", "*"]), inner, max_size=3
                        ),
                    ),
                    max_leaves=12,
                ).map(lambda value: json.dumps(value).encode()),
            ),
        ),
        max_size=12,
    )
)
def test_whatever_comes(messages: list[tuple[list[str], bytes]]) -> None:
    """Nothing of it ends the command; what is proposed can be read as a file and as a mapping."""
    found = recognise([Heard("/".join(levels), payload, NOW) for levels, payload in messages])
    for source in found.sources:
        text = Proposal("", (Section("telemetry", source.findings),)).as_toml()
        assert tomllib.loads(text)["telemetry"]
