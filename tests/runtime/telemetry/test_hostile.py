"""Hostile payloads in every format: nothing raises, each is counted, work is bounded, and the next one is read."""

import gzip
import json
import math
import os
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.harness.mapping import NOW_MS, Mapping

from rarefault.runtime.telemetry.reasons import Reason
from rarefault.runtime.telemetry.values import LARGEST_VALUE

#: Payloads of each format; ten thousand where ``RAREFAULT_FUZZ`` says so.
PAYLOADS = int(os.environ.get("RAREFAULT_FUZZ", "300"))
#: Most memory that one message may take, times its size or the limit of what is inflated, and its processor time.
MOST_MEMORY, MOST_SECONDS = 40, 2.0

SENML = [{"bn": "urn:dev:ow:p1:", "bt": NOW_MS / 1000, "n": "temp", "v": 41.2}, {"n": "rpm", "v": 1480}]
#: Mapping, topic, and a good payload of each format; all have temp 41.2 and rpm 1480 but for the scalar. A new format,
#: a binary one as well, is an entry here, and a generator of its own in ``STRUCTURED`` below.
FORMATS: dict[str, tuple[dict[str, Any], str, bytes]] = {
    "scalar": (
        {"format": "scalar", "topic": "plant/{device}/{channel}", "time": "arrival"},
        "plant/p1/temp",
        b"41.2",
    ),
    "senml": ({"format": "senml", "topic": "senml/#"}, "senml/gw", json.dumps(SENML).encode()),
    "influx": (
        {"format": "influx", "topic": "influx"},
        "influx",
        b'pump,device=p1 temp=41.2,rpm=1480i,note="a \\"b\\" c" 1767323044000000000\n',
    ),
    "json": (
        {},
        "telemetry/p1",
        b'{"time": 1767323044, "values": {"temp": 41.2, "rpm": 1480}}',
    ),
    "lists": (
        {"topic": "gw/{device}", "records": "metrics", "name": "name", "value": "v", "time": ["t", "ts"]},
        "gw/p1",
        b'{"ts": 1767323044000, "metrics": [{"name": "temp", "v": 41.2}, {"name": "rpm", "v": 1480}]}',
    ),
    "named": (
        {
            "topic": "tags",
            "records": "m",
            "name": "n",
            "value": "v",
            "quality": "q",
            "name_pattern": "{device}.{channel}",
        },
        "tags",
        b'{"time": 1767323044, "m": [{"n": "p1.temp", "v": 41.2, "q": 192}, {"n": "p1.rpm", "v": 1480, "q": 192}]}',
    ),
    "keys": (
        {"topic": "tags", "name_pattern": ["{device}/{channel}", "{device}.{channel}"]},
        "tags",
        b'{"time": 1767323044, "values": {"p1/temp": 41.2, "p1.rpm": 1480}}',
    ),
    "details": (
        {"topic": "opc/{device}", "records": "M", "values": "P", "value": "Value", "time": ["T", "ts"]},
        "opc/p1",
        b'{"ts": 1767323044, "M": [{"P": {"temp": {"Value": 41.2, "T": 1767323044}, "rpm": {"Value": 1480}}}]}',
    ),
    "devices": (
        {"topic": "all", "records": "*", "time": "ts"},
        "all",
        b'{"p1": [{"ts": 1767323044000, "values": {"temp": 41.2, "rpm": 1480}}]}',
    ),
}
WIDE = dict.fromkeys(map(str, range(900)), 1)
#: What no writer of any of them would write, or only a bad one.
PIECES = st.sampled_from(
    [
        *(
            b"",
            b" ",
            b"\n",
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\xed\xa0\x80",
            b'"',
            b"\\",
            b",",
            b"=",
            b"[",
            b"]",
            b"{",
        ),
        *(b"]", b"{", b"}", b":", b"NaN", b"1e999", b"-", b"i", b"null", b"true", b'"ON"', b"[]", b"{}", b"9" * 400),
        *(b'{"n":1}', b'{"bn":7}', b'{"bver":99}', b'{"x_":1}', b'"bt":1e300', b"device=", b",,", b"  ", b"\r\n", b"#"),
        *(b"[" * 400, b'{"a":' * 400, b"\x1f\x8b\x08", b"x\x9c", b"x^", gzip.compress(b"41.2"), zlib.compress(b"7")),
    ]
)


def payloads(good: bytes) -> st.SearchStrategy[bytes]:
    """Good ones cut and spliced with pieces, compressed or not, and anything."""

    def splice(cuts: list[tuple[int, int, bytes]]) -> bytes:
        found = good
        for at, length, piece in cuts:
            begin = at % (len(found) + 1)
            found = found[:begin] + piece + found[begin + length :]
        return found

    spliced = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 12), PIECES), max_size=5).map(splice)
    return spliced | spliced.map(gzip.compress) | spliced.map(zlib.compress) | st.binary(max_size=60) | PIECES


#: What stands where a value, a name or a time does.
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from([NOW_MS, NOW_MS / 1000, 20260102, "ON", "41.2", "1e999", "NaN", "p1.temp", "p1/temp", "a" * 2000]),
    st.sampled_from([192, "good", "", "2026-01-02T03:04:04Z", "\0", "\ud800", "9999-12-31", 10**400, {}, [], [[]]]),
)


def resembling(good: Any) -> st.SearchStrategy[Any]:
    """Values in the shape of a good one, whose leaves, names and lengths are others here and there."""
    if isinstance(good, dict):
        names = {name: resembling(value) for name, value in good.items()}
        kept = st.fixed_dictionaries({}, optional=names)
        return (
            st.builds(lambda a, b: {**a, **b}, kept, st.dictionaries(st.text(max_size=6), LEAVES, max_size=2)) | LEAVES
        )
    if isinstance(good, list):
        return st.lists(st.one_of([resembling(item) for item in good] + [LEAVES]), max_size=4) | LEAVES
    return st.just(good) | LEAVES


def as_json(value: Any) -> bytes:
    """JSON with NaN, Infinity, long numbers and halves of surrogate pairs, which some senders write."""
    return json.dumps(value).encode()


def lines(good: bytes) -> st.SearchStrategy[bytes]:
    """Line protocol with other measurements, tags, fields and times."""
    word = st.sampled_from(
        [b"pump", b"device", b"p1", b"temp", b"rpm", b"", b" ", b"a\\ b", b"\xff", b'"', b"#", b"=", b","]
    )
    value = st.sampled_from(
        [b"41.2", b"1480i", b"1u", b"t", b'"x"', b'"', b"", b"NaN", b"1e999", b"9" * 400, b"-", b"0x1"]
    )
    when = st.sampled_from([b"", b" 1767323044000000000", b" 1767323044", b" -1", b" x", b" 1e9", b" " + b"9" * 30])
    pair = st.builds(lambda a, b: a + b"=" + b, word, value)
    many = st.lists(pair, max_size=3).map(b",".join)
    line = st.builds(lambda m, tags, fields, at: m + b"," + tags + b" " + fields + at, word, many, many, when)
    return st.lists(line | st.just(good), max_size=4).map(b"\n".join)


#: Payloads that have the form of a format and say something else.
STRUCTURED: dict[str, st.SearchStrategy[bytes]] = {
    name: lines(good)
    if keys.get("format") == "influx"
    else LEAVES.map(as_json) | resembling({"value": 41.2}).map(as_json)
    if keys.get("format") == "scalar"
    else resembling(json.loads(good)).map(as_json)
    for name, (keys, _, good) in FORMATS.items()
}


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_arrives_is_used_or_counted(name: str) -> None:
    """In bounded time, and the good message after it gives what it always gives."""
    keys, topic, good = FORMATS[name]
    mapping = Mapping(keys)
    (expected,) = mapping.read(topic, good)
    assert expected[0] == "p1"
    assert expected[1] == NOW_MS

    @settings(max_examples=PAYLOADS, deadline=None, suppress_health_check=list(HealthCheck))
    @given(payload=STRUCTURED[name] | payloads(good), retained=st.booleans())
    @example(payload=b"", retained=False)
    def check(payload: bytes, retained: bool) -> None:
        before, dropped, unknown = mapping.unused, mapping.dropped.total(), len(mapping.unknown)
        begin = time.process_time()
        samples = mapping.read(topic, payload, retained=retained)
        assert time.process_time() - begin < MOST_SECONDS
        assert samples or mapping.unused > before
        for _, time_ms, cells in samples:
            assert 0 <= time_ms < 1 << 42
            assert cells
            assert all(math.isfinite(value) and abs(value) <= LARGEST_VALUE for value in cells.values())
        assert mapping.dropped.total() - dropped <= len(payload)
        assert len(mapping.unknown) - unknown <= max(len(payload), 1)
        assert mapping.read(topic, good) == [expected]

    check()


#: A million values in each format.
MILLION = {
    "lists": '{"ts": 1767323044000, "metrics": [' + '{"name":"temp","v":1},' * 1_000_000 + '{"name":"temp","v":1}]}',
    "named": '{"time": 1767323044, "m": [' + '{"n":"p1.temp","v":1},' * 1_000_000 + '{"n":"p1.temp","v":1}]}',
    "json": '{"time": 1767323044, "values": {' + ",".join(f'"x{i}":1' for i in range(1_000_000)) + "}}",
    "keys": '{"time": 1767323044, "values": {' + ",".join(f'"p{i}.x":1' for i in range(1_000_000)) + "}}",
    "devices": "{" + ",".join(f'"p{i}":[{{"ts":1767323044,"values":{{"temp":1}}}}]' for i in range(300_000)) + "}",
    "senml": '[{"bn":"p1","bt":1767323044,"n":"temp","v":1}' + ',{"n":"x","v":1}' * 1_000_000 + "]",
    "influx": "pump,device=p1 temp=1\n" * 1_000_000,
    "scalar": "1" * 10_000_000,
}


@pytest.mark.parametrize("name", MILLION)
@pytest.mark.parametrize("limit", [1 << 20, 1 << 26])
def test_a_million_values_are_bounded(name: str, limit: int) -> None:
    """They are refused, counted once, within the memory that their own size explains; the next message is read."""
    keys, topic, good = FORMATS[name]
    mapping = Mapping(keys | {"max_payload_bytes": limit})
    payload = MILLION[name].encode()
    tracemalloc.start()
    begin = time.process_time()
    try:
        assert mapping.read(topic, payload) == []
        seconds, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mapping.rejected.total() == 1
    if limit < len(payload):
        assert mapping.rejected == {str(Reason.TOO_LARGE): 1}
        assert (seconds < 0.1, peak < 1 << 16) == (True, True)
    assert peak < MOST_MEMORY * len(payload)
    (sample,) = mapping.read(topic, good)
    assert sample[:2] == ("p1", NOW_MS)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("compression", ["auto", "gzip"])
def test_a_bomb_is_bounded(compress: Any, compression: str) -> None:
    """A payload of a thousand times its size is not inflated beyond the limit."""
    mapping = Mapping({"compression": compression, "max_payload_bytes": 100_000})
    bomb = compress(b"[" + b" " * 50_000_000 + b"]")
    tracemalloc.start()
    begin = time.process_time()
    try:
        assert mapping.read("telemetry/p1", bomb) == []
        assert time.process_time() - begin < 0.5
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY * 100_000
    finally:
        tracemalloc.stop()
    wrong = compression == "gzip" and compress is zlib.compress
    assert mapping.rejected == {str(Reason.BAD_COMPRESSION if wrong else Reason.TOO_LARGE): 1}


@pytest.mark.parametrize(
    ("keys", "topic", "payload"),
    [
        ({"records": "a.*"}, "telemetry/p", json.dumps({"a": {str(i): [[]] * 50 for i in range(4500)}})),
        (
            {"records": "", "values": "", "value": "v"},
            "telemetry/p",
            json.dumps([dict.fromkeys(map(str, range(900)), 1)] * 90),
        ),
        (FORMATS["influx"][0], "influx", "m,device=p1 a=1 1767323044\n" * 30_000),
        (FORMATS["senml"][0], "senml/x", json.dumps(SENML * 8000)),
        ({"records": "a"}, "telemetry/p", '{"a":' + "[" * 900 + "]" * 900 + "}"),
    ],
)
def test_work_is_bounded(keys: dict[str, Any], topic: str, payload: str) -> None:
    """A message of a megabyte that holds very many samples, or none in very many arrays, is refused soon."""
    mapping = Mapping(keys)
    assert len(payload) < 1 << 20
    begin = time.process_time()
    assert mapping.read(topic, payload.encode()) == []
    assert time.process_time() - begin < 2.0
    assert sum(mapping.rejected.values()) >= 1
