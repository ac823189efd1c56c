"""The wire reads and writes the packets that paho would, however they are cut; what is not plain it leaves to paho."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket

from rarefault.runtime.daemon.mqtt.wire import FIRST_MID, BufferedSocket, Publish

VERSIONS = {True: MQTTProtocolVersion.MQTTv5, False: MQTTProtocolVersion.MQTTv311}
PINGRESP = b"\xd0\x00"


@contextmanager
def wired() -> Iterator[tuple[BufferedSocket, socket.socket]]:
    """A buffered socket, and the other end."""
    ours, broker = socket.socketpair()
    ours.setblocking(False)
    wire = BufferedSocket(ours)
    try:
        yield wire, broker
    finally:
        wire.close()
        broker.close()


def length_of(size: int) -> bytes:
    """A remaining length."""
    found = bytearray()
    while True:
        size, digit = divmod(size, 128)
        found.append(digit | (128 if size else 0))
        if not size:
            return bytes(found)


def packet(header: int, body: bytes) -> bytes:
    """A whole packet."""
    return bytes((header,)) + length_of(len(body)) + body


def published(publish: Publish, *, five: bool, properties: bytes = b"") -> bytes:
    """A PUBLISH packet."""
    body = len(publish.topic).to_bytes(2, "big") + publish.topic
    if publish.qos:
        body += publish.mid.to_bytes(2, "big")
    if five:
        body += length_of(len(properties)) + properties
    return packet(0x30 | publish.qos << 1 | publish.retain, body + publish.payload)


def take_all(wire: BufferedSocket, *, five: bool) -> list[Publish | tuple[int, int] | bytes]:
    """All that there is, in order: messages, confirmations, and what paho gets."""
    found: list[Publish | tuple[int, int] | bytes] = []
    while True:
        if got := wire.publishes(1000, five=five, properties=False):
            found += got
        elif confirmed := wire.confirmations():
            found += confirmed
        elif wire.grant():
            whole = b""
            while True:
                try:
                    whole += wire.recv(3)
                except BlockingIOError:
                    break
            found.append(whole)
        elif not wire.fill():
            return found


publishes = st.builds(
    lambda topic, payload, mid, retain: Publish(topic.encode(), payload, 1 if mid else 0, mid, retain),
    st.text(min_size=1, max_size=9),
    st.one_of(st.binary(max_size=300), st.integers(16_000, 17_000).map(bytes)),
    st.one_of(st.just(0), st.integers(1, 65535)),
    st.booleans(),
)
others = st.one_of(publishes, st.tuples(st.integers(FIRST_MID, 65535), st.just(0)), st.just(PINGRESP))


@given(st.booleans(), st.lists(others, max_size=12), st.lists(st.integers(1, 5000), max_size=20))
def test_packets_are_the_same_however_they_arrive(
    five: bool, sent: list[Publish | tuple[int, int] | bytes], cuts: list[int]
) -> None:
    """Messages, confirmations and other packets come out whole and in their order."""
    data = b""
    for item in sent:
        if isinstance(item, Publish):
            data += published(item, five=five)
        elif isinstance(item, tuple):
            data += packet(0x40, item[0].to_bytes(2, "big"))
        else:
            data += item
    found: list[Publish | tuple[int, int] | bytes] = []
    with wired() as (wire, broker):
        for size in [*cuts, len(data)]:
            broker.sendall(data[:size])
            data = data[size:]
            found += take_all(wire, five=five)
        for start in range(0, len(data), 10_000):
            broker.sendall(data[start : start + 10_000])
            found += take_all(wire, five=five)
    assert found == sent


@settings(max_examples=500)
@given(st.booleans(), st.integers(0, 15), st.binary(min_size=0, max_size=40))
def test_what_is_taken_is_what_paho_reads(five: bool, flags: int, body: bytes) -> None:
    """Any bytes as a PUBLISH packet: what the wire takes, paho reads the same; else it is paho's."""
    whole = packet(0x30 | flags, body)
    with wired() as (wire, broker):
        broker.sendall(whole)
        wire.fill()
        taken = wire.publishes(10, five=five, properties=True)
        if not taken:
            assert wire.grant()
            assert wire.recv(len(whole) + 1) == whole
            return
    expected = _packet.decode_publish(0x30 | flags, body, VERSIONS[five])
    assert taken == [
        Publish(expected.topic, bytes(expected.payload), expected.qos, expected.mid, expected.retain),
    ]


@pytest.mark.parametrize("five", [True, False])
@given(message=publishes)
def test_what_is_published_is_what_paho_reads(five: bool, message: Publish) -> None:
    """A packet that the wire writes is the message for paho."""
    with wired() as (wire, broker):
        topic = message.topic.decode()
        wire.publish(topic, message.payload, message.qos, message.mid, retain=message.retain, five=five)
        wire.acknowledge([7, 65535])
        wire.flush()
        assert wire.unsent == 0
        data = broker.recv(1 << 16)
    assert data.endswith(b"\x40\x02\x00\x07\x40\x02\xff\xff")
    start = next(i for i in range(1, 5) if data[i] < 0x80) + 1
    body = data[start:-8]
    assert data[1:start] == length_of(len(body))
    read = _packet.decode_publish(data[0], body, VERSIONS[five])
    assert (read.topic, bytes(read.payload), read.qos, read.retain) == (*message[:3], message.retain)
    assert read.mid == message.mid


def test_properties_are_skipped_or_left_to_paho() -> None:
    """A sender may be named among the properties; where nobody asks for it, they cost nothing."""
    message = Publish(b"telemetry/a", b"{}", 1, 9, False)
    user_property = b"\x26\x00\x01k\x00\x01v"
    with wired() as (wire, broker):
        broker.sendall(published(message, five=True, properties=user_property))
        wire.fill()
        assert wire.publishes(10, five=True, properties=True) == []
        assert wire.publishes(10, five=True, properties=False) == [message]


def test_reasons_of_refused_messages_are_read() -> None:
    """MQTT 5 says why a message was not taken; identifiers of paho's own are left to it."""
    with wired() as (wire, broker):
        broker.sendall(packet(0x40, b"\x10\x00\x87") + packet(0x40, b"\x10\x01\x97\x00") + packet(0x40, b"\x00\x01"))
        wire.fill()
        assert wire.confirmations() == [(0x1000, 0x87), (0x1001, 0x97)]
        assert wire.grant()
        assert wire.recv(100) == packet(0x40, b"\x00\x01")


def test_a_length_that_cannot_be_is_left_to_paho() -> None:
    """Five bytes of length are no packet; paho ends the connection over it."""
    with wired() as (wire, broker):
        broker.sendall(b"\x30\xff\xff\xff\xff\x7f")
        wire.fill()
        assert wire.publishes(10, five=False, properties=False) == []
        assert wire.grant()
        assert wire.recv(100) == b"\x30\xff\xff\xff\xff\x7f"


def test_a_malformed_message_is_left_to_paho() -> None:
    """A topic that is longer than its packet."""
    body = b"\x00\x20topic"
    with wired() as (wire, broker):
        broker.sendall(packet(0x30, body))
        wire.fill()
        assert wire.publishes(10, five=False, properties=False) == []
        assert wire.grant()
    with pytest.raises(MalformedPacket):
        _packet.decode_publish(0x30, body, VERSIONS[False])


def test_the_end_is_met_after_what_came_before() -> None:
    """What was received before the broker left is still there; then reading raises, and writing is no error."""
    message = Publish(b"a", b"1", 0, 0, False)
    with wired() as (wire, broker):
        broker.sendall(published(message, five=False))
        broker.close()
        assert wire.fill()
        assert wire.publishes(10, five=False, properties=False) == [message]
        assert not wire.fill()
        assert wire.over
        with pytest.raises(ConnectionResetError):
            wire.recv(1)
        wire.acknowledge([1])
        wire.flush()
