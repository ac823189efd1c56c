"""Hostile payloads in every format: nothing raises, each is counted, work is bounded, and the next one is read."""

import gzip
import json
import math
import time
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.harness.mapping import NOW_MS, Mapping

from rarefault.runtime.telemetry.reasons import Reason
from rarefault.runtime.telemetry.values import LARGEST_VALUE

SENML = [{"bn": "urn:dev:ow:p1:", "bt": NOW_MS / 1000, "n": "temp", "v": 41.2}, {"n": "rpm", "v": 1480}]
#: Mapping, topic, and a good payload of each format; all have temp 41.2 and rpm 1480 but for the scalar.
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


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_arrives_is_used_or_counted(name: str) -> None:
    """And the good message after it gives what it always gives."""
    keys, topic, good = FORMATS[name]
    mapping = Mapping(keys)
    (expected,) = mapping.read(topic, good)
    assert expected[0] == "p1"
    assert expected[1] == NOW_MS

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(payload=payloads(good), retained=st.booleans())
    @example(payload=b"", retained=False)
    def check(payload: bytes, retained: bool) -> None:
        before = mapping.unused
        samples = mapping.read(topic, payload, retained=retained)
        assert samples or mapping.unused > before
        for _, time_ms, cells in samples:
            assert 0 <= time_ms < 1 << 42
            assert cells
            assert all(math.isfinite(value) and abs(value) <= LARGEST_VALUE for value in cells.values())
        assert mapping.read(topic, good) == [expected]

    check()


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("compression", ["auto", "gzip"])
def test_a_bomb_is_bounded(compress: Any, compression: str) -> None:
    """A payload of a thousand times its size is not inflated beyond the limit."""
    mapping = Mapping({"compression": compression, "max_payload_bytes": 100_000})
    bomb = compress(b"[" + b" " * 50_000_000 + b"]")
    begin = time.process_time()
    assert mapping.read("telemetry/p1", bomb) == []
    assert time.process_time() - begin < 0.5
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
