"""Telemetry of every sort: whatever arrives is used or counted, and what comes after it is served."""

import gc
import json
import logging
import math
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rarefault.runtime.daemon.config import LimitsConfig, TelemetryConfig
from rarefault.runtime.daemon.devices import DeviceTable
from rarefault.runtime.daemon.telemetry.decoder import TelemetryDecoder
from rarefault.runtime.daemon.telemetry.rejections import MAX_SET_ASIDE, Rejections
from rarefault.runtime.daemon.telemetry.sample_buffer import SampleBuffer
from rarefault.runtime.telemetry.reasons import Reason, ValueReason
from rarefault.runtime.telemetry.topics import Template, topic_level_problem
from rarefault.runtime.telemetry.values import LARGEST_VALUE
from rarefault.runtime.times import TIME_LIMIT_MS, format_ms

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer

CHANNELS = ("c1.S1", "c1.S2", "z1.E1")
NOW_MS = 1_298_980_803_000  # 2011-03-01T12:00:03Z
PERIOD_MS = 10_000  # of the tiny model's grid
MAX_DEVICES = 50
#: How many messages go through the decoder, and how many of them in one example.
MESSAGES, PER_EXAMPLE = 10_000, 12
#: A message that the decoder may be given: topic, payload, whether it is retained, who sent it.
Telemetry = tuple[str, bytes, bool, str | None]


@dataclass(frozen=True)
class Shape:
    """What messages look like by the configuration, and a good one of that look, with the names it uses."""

    telemetry: dict[str, Any]
    topic: str
    good: dict[str, Any]
    device: str = "good"

    @property
    def keys(self) -> list[str]:
        names = [*self.good, *(key for value in self.good.values() if isinstance(value, dict) for key in value)]
        return [*dict.fromkeys([*names, *CHANNELS])]


SHAPES = {
    "plain": Shape(
        {},
        "telemetry/good",
        {"time": "2011-03-01T12:00:03Z", "values": {"c1.S1": 759, "c1.S2": 729.5}},
    ),
    "foreign": Shape(
        {
            "topic": "site/+/{device}/data",
            "device": "tags.machine",
            "time": "meta.ts",
            "values": "",
            "fields": {"sensors.inlet.value": "c1.S1", "out": "c1.S2"},
        },
        "site/a/good/data",
        {"meta": {"ts": NOW_MS}, "tags": {"machine": "good"}, "sensors": {"inlet": {"value": 759}}, "out": 729.5},
    ),
    "signed": Shape(
        {"topic": "all", "device": "machine", "sender_property": "from", "max_age_s": math.inf, "max_batch": 20},
        "all",
        {"machine": "good", "time": NOW_MS / 1000, "values": {"c1.S1": 759, "c1.S2": 729.5}},
    ),
    "lists": Shape(
        {
            "topic": "gw/{device}",
            "records": ["metrics", ""],
            "name": "name",
            "value": "v",
            "quality": "q",
            "time": ["t", "time"],
            "ignore": {"kind": ["event"]},
            "max_batch": 2000,
        },
        "gw/good",
        {
            "time": NOW_MS,
            "metrics": [
                {"name": "c1.S1", "v": 759, "q": 192},
                {"name": "c1.S2", "v": 729.5, "q": 192, "t": "2011-03-01T12:00:03Z"},
                {"name": "z1.E1", "v": 4, "q": 0},
            ],
        },
    ),
    "devices as keys": Shape(
        {"topic": "v1/+", "records": "*", "several_topics": True},
        "v1/x",
        {"good": [{"time": NOW_MS, "values": {"c1.S1": 759, "c1.S2": 729.5}}]},
    ),
    "values with details": Shape(
        {
            "topic": "opc",
            "device": "{site}-{writer.id}",
            "records": "Messages",
            "values": "Payload",
            "value": "Value",
            "time": ["SourceTimestamp", "Timestamp"],
        },
        "opc",
        {
            "site": "north",
            "Messages": [
                {
                    "writer": {"id": 7},
                    "Timestamp": NOW_MS * 1000,
                    "Payload": {"c1.S1": {"Value": 759, "SourceTimestamp": NOW_MS}, "c1.S2": 729.5},
                }
            ],
        },
        "north-7",
    ),
}

NUMBER = st.integers() | st.floats() | st.sampled_from([10**400, -(10**30), 1e308, 3.5e38, -0.0, 5e-324, NOW_MS])
TIME = st.datetimes().map(str) | st.sampled_from(
    ["2011-03-01T12:00:03+23:59", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9Z", "2011-W09-2", "\ud800", "now"]
)
SCALAR = st.none() | st.booleans() | NUMBER | TIME | st.text(max_size=20)
#: Texts that no writer of JSON would write.
RAW = st.sampled_from(
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "-1E+400", "1" * 5000, "0." + "3" * 5000, "01", "1.", "+1", "'x'"),
        *('"\\ud800"', '"\\u0000"', '"\\x"', '"\x01"', "tru", "nul", "[1,]", "[" * 999 + "]" * 999, '{"a":1,"a":2}'),
    ]
)


def values_of(shape: Shape) -> st.SearchStrategy[Any]:
    """Any JSON, made of the names that the shape uses among others."""
    names = st.text(max_size=10) | st.sampled_from(shape.keys)
    return st.recursive(
        SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=8
    )


def altered(shape: Shape) -> st.SearchStrategy[bytes]:
    """Good messages with some values, at any depth, replaced or removed or given twice."""
    paths: list[tuple[str, ...]] = [(key,) for key in shape.good]
    paths += [(key, inner) for key, value in shape.good.items() if isinstance(value, dict) for inner in value]

    def alter(changes: list[Any]) -> bytes:
        message = json.loads(json.dumps(shape.good))
        raws = {}
        for i, (path, how, content) in enumerate(changes):
            place = message
            for name in path[:-1]:
                place = place[name] if isinstance(place.get(name), dict) else message
            if how == "remove":
                place.pop(path[-1], None)
            elif how == "rename":
                place[str(content)] = place.pop(path[-1], content)
            elif how == "raw":
                place[path[-1]], raws[f'"<{i}>"'] = f"<{i}>", content
            elif how == "twice":
                place[f"<{i}>"], raws[f'"<{i}>"'] = content, json.dumps(path[-1])
            else:
                place[path[-1]] = content
        text = json.dumps(message)
        for mark, raw in raws.items():
            text = text.replace(mark, raw)
        return text.encode("utf-8", "surrogatepass")

    path = st.sampled_from(paths)
    change = (
        st.tuples(path, st.sampled_from(["replace", "rename", "twice"]), values_of(shape))
        | st.tuples(path, st.just("remove"), st.none())
        | st.tuples(path, st.just("raw"), RAW)
    )
    return st.lists(change, min_size=1, max_size=3).map(alter)


def damaged(payload: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Payloads cut short, with bytes flipped, put in or doubled."""

    def damage(content: bytes, hits: list[tuple[int, int]], keep: int) -> bytes:
        found = bytearray(content)
        for at, change in hits:
            if found and change < 256:
                found[at % len(found)] ^= change
            else:
                found[at % (len(found) + 1) : 0] = bytes([change % 256])
        return bytes(found[: keep % (len(found) + 1)] if keep else found)

    hits = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 511)), max_size=4)
    return st.builds(damage, payload, hits, st.sampled_from([0, 0, 1]) | st.integers(1, 2000))


def bulky(shape: Shape) -> st.SearchStrategy[bytes]:
    """Payloads that are deep, wide, long or large."""
    good = json.dumps(shape.good).encode()
    wide = dict.fromkeys(map(str, range(1500)), 1)

    hows: dict[str, Callable[[int], bytes]] = {
        "many samples": lambda n: b"[" + b",".join([good] * (n % 60 + 1)) + b"]",
        "no number": lambda n: good.replace(b"759", [b'"n/a"', b"[1]", b"NaN"][n % 3]).replace(b"729.5", b"null"),
        "many zeros": lambda n: json.dumps([0] * (n * 6)).encode(),
        "many values": lambda n: json.dumps(shape.good | wide | {"values": wide | {"c1.S1": n}}).encode(),
        "deep": lambda n: b'{"a":' * n + b"1" + b"}" * n,
        "deep value": lambda n: good.replace(b"759", b"[" * n + b"]" * n),
        "deep unknown": lambda n: good.replace(b"759", b'759,"x":' + b"[" * n + b"]" * n),
        "never closed": lambda n: b"[" * (n * 50),
        "spaces": lambda n: good + b" " * (n * 600),
        "digits": lambda n: good.replace(b"759", b"7" * n),
        "long name": lambda n: good.replace(b"good", b"g" * n),
    }
    return st.builds(lambda how, n: hows[how](n), st.sampled_from(list(hows)), st.integers(1, 2000))


def payloads_of(shape: Shape) -> st.SearchStrategy[bytes]:
    """Payloads of every sort."""
    good = st.just(json.dumps(shape.good).encode())
    anything = values_of(shape).map(lambda x: json.dumps(x).encode())
    some = altered(shape)
    several = st.lists(some, max_size=5).map(lambda parts: b"[" + b",".join(parts) + b"]")
    like = st.text(alphabet='{}[]":,.0123456789eE+-NaInfity \n', max_size=60).map(str.encode)
    return (
        some
        | some
        | some
        | several
        | st.binary(max_size=200)
        | anything
        | damaged(good | some | several)
        | bulky(shape)
        | like
    )


def topics_of(shape: Shape) -> st.SearchStrategy[str]:
    """Topics of every sort, mostly such that the messages on them are read."""
    level = st.text(max_size=12) | st.sampled_from(
        ["", "+", "#", "$SYS", "good", "\0", "é\u202e", "g" * 129, "x" * 65000]
    )
    levels = st.lists(level, max_size=5).map("/".join)
    named = level.map(lambda name: shape.topic.replace("good", name))
    numbered = st.integers(0, 200).map(lambda n: shape.topic.replace("good", f"m{n}"))
    usual = st.just(shape.topic)
    elsewhere = usual.map(lambda topic: topic.replace("/a/", "/b/"))
    return usual | usual | usual | elsewhere | numbered | named | levels | levels.map("$share/{}".format)


def sound(shape: Shape) -> st.SearchStrategy[Telemetry]:
    """Messages that are sound but for their time and the number of devices that send them."""
    good, good_time = json.dumps(shape.good), json.dumps(shape.good.get("time", NOW_MS))

    def make(number: int, ahead_s: int) -> Telemetry:
        name = f"m{number}"
        content = good.replace("good", name).replace(good_time, str(NOW_MS + ahead_s * 1000))
        return shape.topic.replace("good", name), content.encode(), False, name

    return st.builds(make, st.integers(0, 200), st.integers(-1000, 1000) | st.integers(-(10**7), 10**7))


def messages_of(shape: Shape) -> st.SearchStrategy[Telemetry]:
    """Messages of every sort."""
    senders = st.sampled_from(["good", "good", "good", "m1", None]) | st.text(max_size=5)
    return sound(shape) | st.tuples(topics_of(shape), payloads_of(shape), st.booleans(), senders)


class Reader:
    """A decoder that lives as long as the test, and what it is asked to keep to after every message."""

    def __init__(self, shape: Shape) -> None:
        config = msgspec.convert({"fields": {}} | shape.telemetry, TelemetryConfig)
        self.shape = shape
        self.table = DeviceTable()
        self.devices = self.table.names
        self.messages = 0
        self.rejections = Rejections(keep=True, clock=lambda: 0.0)
        self.decoder = TelemetryDecoder(
            [config],
            CHANNELS,
            {},
            self.table,
            LimitsConfig(max_devices=MAX_DEVICES),
            self.rejections,
            "test.toml",
        )
        self.rows = SampleBuffer(config.max_batch, len(CHANNELS))
        self._oldest_ms = max(0.0, NOW_MS - config.max_age_s * 1000)
        self._newest_ms = NOW_MS + config.max_future_s * 1000

    def read(self, message: Telemetry) -> None:
        """Read one message, as a turn of the daemon would."""
        topic, payload, retained, sender = message
        self.messages += 1
        self.rows.clear()
        self.decoder.decode(topic, payload, NOW_MS, self.rows, retained=retained, sender=sender)

    def check(self, message: Telemetry) -> None:
        """Read one message, and check what became of it."""
        samples, unused = self.rejections.samples, self.rejections.unused
        self.read(message)
        rows = self.rows
        assert self.rejections.samples - samples == len(rows)
        assert len(rows) or self.rejections.unused > unused
        slots, times, values = rows.device.tolist(), rows.time_ms.tolist(), rows.values.tolist()
        assert all(0 <= slot < len(self.devices) for slot in slots)
        assert all(self._oldest_ms <= t <= self._newest_ms and t < TIME_LIMIT_MS for t in times)
        assert all(math.isnan(x) or abs(x) <= LARGEST_VALUE for row in values for x in row)
        assert all(any(not math.isnan(x) for x in row) for row in values)
        assert len(self.table) == len(self.devices) <= MAX_DEVICES
        assert all(topic_level_problem(device) is None for device in self.devices[-1:])

    def check_good(self) -> None:
        """A good message is read, and read right, as ever."""
        self.read((self.shape.topic, json.dumps(self.shape.good).encode(), False, "good"))
        assert self.devices[self.rows.device[0]] == self.shape.device
        assert self.rows.time_ms.tolist() == [NOW_MS]
        assert self.rows.values[0, :2].tolist() == [759.0, 729.5]
        assert math.isnan(self.rows.values[0, 2])
        kept = self.rejections.take_aside()
        assert len(kept) <= MAX_SET_ASIDE
        for one in kept:
            one.topic.encode()
            one.detail.encode()


@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_are_read(name: str) -> None:
    """The good message that the others are made of is good, and its keys are those that are looked for."""
    reader = Reader(SHAPES[name])
    reader.check_good()
    assert sum(reader.rejections.counts.values()) == 0


@pytest.mark.slow
def test_ten_thousand_messages_of_every_sort(caplog: pytest.LogCaptureFixture) -> None:
    """None raises, each is used or counted, rows are sound, and memory, devices and log are bounded."""
    caplog.set_level(logging.INFO)
    readers = [Reader(shape) for shape in SHAPES.values()]
    for reader in readers:
        reader.check_good()
    seen: list[tuple[Reader, Telemetry]] = []
    example = st.integers(0, len(readers) - 1).flatmap(
        lambda i: st.tuples(
            st.just(readers[i]), st.lists(messages_of(readers[i].shape), min_size=PER_EXAMPLE, max_size=PER_EXAMPLE)
        )
    )

    @settings(
        max_examples=MESSAGES // PER_EXAMPLE + 1,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(example)
    def fuzz(found: tuple[Reader, list[Telemetry]]) -> None:
        reader, messages = found
        for message in messages:
            reader.check(message)
            seen.append((reader, message))
        reader.check_good()

    fuzz()
    assert len(seen) >= MESSAGES
    counts = [sum(reader.rejections.counts[reason] for reader in readers) for reason in Reason]
    used = sum(reader.rejections.samples for reader in readers)
    dropped = {why for reader in readers for _, why in reader.rejections.dropped_values}
    assert dropped == {ValueReason.NO_NUMBER, ValueReason.NOT_FINITE, ValueReason.BAD_QUALITY}
    assert used > MESSAGES // 20
    assert {reason for reason, n in zip(Reason, counts, strict=True) if not n} <= {
        Reason.BAD_FEEDBACK,
        Reason.TOO_FAST,
        Reason.BAD_COMPRESSION,
        # That a device comes on two topics is left to chance here; it has tests of its own.
        Reason.TWO_TOPICS,
        # Sparkplug is read by state, and has a test of its own like this one.
        Reason.NO_BIRTH,
        Reason.UNKNOWN_METRIC,
    }

    assert len(caplog.records) <= len(readers) * (len(Reason) + len(ValueReason) + 1)
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 1000

    again = seen[::3]

    def replay(passes: int) -> int:
        """Read messages again; returns the bytes that are in use afterwards."""
        for reader, message in passes * again:
            reader.read(message)
            reader.rejections.take_aside()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    caplog.set_level(logging.CRITICAL)
    tracemalloc.start()
    try:
        # Python keeps some freed memory for itself, which is bounded; what is kept of messages would add up.
        before = replay(3)
        grown = replay(3) - before
    finally:
        tracemalloc.stop()
    assert grown < 8 * 3 * len(again)  # bytes for each message; the smallest object takes more


def publishable(topic: str) -> bool:
    """Whether a broker takes messages on the topic."""
    return (
        0 < len(topic.encode("utf-8", "replace")) <= 65_535
        and topic.count("/") < 200
        and not any(c in "+#" or not c.isprintable() or ord(c) & 0xFFFE == 0xFFFE for c in topic)
    )


def test_the_daemon_survives_messages_of_every_sort(
    mosquitto: "Mosquitto", peer: "Peer", serving: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    """Sent over the broker, with the journal on, each is counted, and good telemetry is served as ever."""
    shape = SHAPES["plain"]
    messages: list[tuple[str, bytes]] = []

    @settings(max_examples=600, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(messages_of(shape))
    def collect(message: Telemetry) -> None:
        if publishable(message[0]):
            messages.append(message[:2])

    collect()
    template = Template("telemetry/{device}")
    fitting = sum(template.matches(topic) for topic, _ in messages)
    assert fitting >= 300

    peer.subscribe("rarefault/good/verdict")
    journal = {"path": str(tmp_path / "edge.journal")}
    with serving(mosquitto.url, journal=journal, limits={"max_devices": 20}, telemetry={"max_batch": 100}) as service:
        peer.publish("telemetry/good", json.dumps(shape.good).encode())
        for topic, payload in messages:
            peer.publish(topic, payload)
        wait_until(lambda: service.intake.messages >= fitting + 1, "all messages")
        assert service.intake.messages == fitting + 1
        rejected = sum(service.intake.rejections.counts.values())
        assert service.intake.rejections.samples > 0
        assert rejected > fitting // 4
        assert service.intake.rejections.samples + rejected >= fitting + 1
        assert len(service.store.devices) <= 20
        verdicts, samples = len(peer.payloads("rarefault/good/verdict")), service.intake.rejections.samples
        # Ahead of whatever time the messages before have brought the device to; none of them is of the future.
        now_ms = time.time_ns() // 1_000_000
        for number in range(1, 13):
            good = shape.good | {"time": format_ms(now_ms + number * PERIOD_MS)}
            peer.publish("telemetry/good", json.dumps(good).encode())
        peer.wait_for("rarefault/good/verdict", verdicts + 1)
        wait_until(lambda: service.intake.rejections.samples == samples + 12, "the good samples")
        assert service.session.connections == 1
