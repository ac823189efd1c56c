"""Load: telemetry of many devices as fast as a broker takes it, or at a fixed rate; and who watches for the verdicts.

A client library would be the bottleneck of the measurement: what is sent is the same few bytes again and again, so the
packets are put together beforehand (MQTT 3.1.1, section 3.3) and written to the socket in large pieces.
"""

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from benchmarks.speed.model import CHANNELS, PERIOD_S, telemetry_values

PERIOD_MS = PERIOD_S * 1000
#: Messages that the broker may have taken from us and not confirmed.
AHEAD = 1000
#: Rounds that may be sent: the first is as many bins old.
ROUNDS = 50_000
_END = re.compile(rb'"end":\s*"?([^",}]+)')
#: What is watched, and what the broker sends when a program is online.
VERDICTS, STATUS = b"rarefault/+/verdict", b"rarefault/edge/status"
ONLINE = STATUS + b"online"
PUBLISH = 0x30


class Load:
    """Sends rounds of telemetry: in each, one message of every device, at QoS 1."""

    def __init__(self, port: int, devices: int, seed: int = 7, prefix: str = "telemetry", name: str = "speed") -> None:
        self.devices = devices
        self.sent = 0
        self.confirmed = 0
        self.late_s = np.zeros(0)
        self._topics = [f"{prefix}/d{number:05d}".encode() for number in range(devices)]
        self._rng = np.random.default_rng(seed)
        self._round = time.time_ns() // 1_000_000 // PERIOD_MS - ROUNDS
        self._round -= self._round % 24  # so that windows are due at the same places in every run
        self._socket = connected(port, name)

    def close(self) -> None:
        """Leave the broker."""
        self._socket.sendall(b"\xe0\x00")
        self._socket.close()

    @property
    def next_end_ms(self) -> int:
        """End of the bin that the next round closes, where a bin closes with the first sample of the next."""
        return self._round * PERIOD_MS

    def packets(self) -> list[bytes]:
        """The messages of the next round, in the order of the devices."""
        values = telemetry_values(self._rng, self.devices)
        time_ms = self._round * PERIOD_MS + 1000
        self._round += 1
        made = []
        for i, (topic, row) in enumerate(zip(self._topics, values.tolist(), strict=True)):
            content = json.dumps({"time": time_ms, "values": dict(zip(CHANNELS, row, strict=True))}).encode()
            body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", (self.sent + i) % 65535 + 1) + content
            made.append(b"\x32" + _remaining(len(body)) + body)
        return made

    def send(self, packets: Sequence[bytes]) -> None:
        """Send, as fast as the broker confirms."""
        for first in range(0, len(packets), AHEAD // 2):
            part = packets[first : first + AHEAD // 2]
            self.write(part)
            self.drain(AHEAD // 2)
        self.drain(0)

    def send_at(self, packets: Sequence[bytes], per_s: float) -> np.ndarray:
        """Send at a fixed rate, evenly, whether or not anybody keeps up; when each packet was due.

        How late each was sent is in :attr:`late_s` then.
        """
        due = time.perf_counter() + 0.05 + np.arange(len(packets)) / per_s
        self.late_s = np.zeros(len(packets))
        done = 0
        while done < len(packets):
            ready = int(np.searchsorted(due, time.perf_counter()))
            if ready > done:
                self.write(packets[done:ready])
                self.late_s[done:ready] = time.perf_counter() - due[done:ready]
                done = ready
            self.drain(0, wait=False)
            if done < len(packets):
                time.sleep(max(0.0, min(0.001, due[done] - time.perf_counter())))
        self.drain(0)
        return due

    def write(self, packets: Sequence[bytes]) -> None:
        """Send without waiting."""
        self._socket.sendall(b"".join(packets))
        self.sent += len(packets)

    def drain(self, most: int, *, wait: bool = True) -> None:
        """Read confirmations until at most so many are open; without ``wait``, those that are there."""
        while self.sent - self.confirmed > most:
            if not wait:
                self._socket.setblocking(False)
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            finally:
                self._socket.setblocking(True)
            if not data:
                raise ConnectionError("the broker closed the connection")
            self._left += len(data)
            self.confirmed, self._left = self.confirmed + self._left // 4, self._left % 4

    _left = 0  # bytes of a confirmation that has not arrived whole


class Watch:
    """Sees the verdicts: how many came, when each arrived, and of which device and window it is.

    What arrives is kept as it is and read when it is asked for: a client library that handles each verdict would take
    the processor from the program that is measured, and from the load.
    """

    def __init__(self, port: int) -> None:
        self.online = threading.Event()
        self._count = 0
        self._arrivals: list[tuple[float, str, int]] = []
        self._chunks: list[tuple[float, bytes]] = []
        self._rest = b""  # of a packet that has not arrived whole
        self._socket = connected(port, "watch")
        topics = b"".join(struct.pack(">H", len(topic)) + topic + b"\0" for topic in (VERDICTS, STATUS))
        self._socket.sendall(b"\x82" + _remaining(2 + len(topics)) + b"\0\1" + topics)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the broker."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    @property
    def count(self) -> int:
        """Number of verdicts so far."""
        self._read()
        return self._count

    def take(self) -> list[tuple[float, str, int]]:
        """When each verdict arrived that has not been taken, its device, and the end of its window."""
        self._read()
        taken, self._arrivals = self._arrivals, []
        return taken

    def _receive(self) -> None:
        tail = b""
        while data := self._socket.recv(1 << 18):
            self._chunks.append((time.perf_counter(), data))
            # A status that was seen before does not count once more.
            if (tail + data).find(ONLINE, max(0, len(tail) - len(ONLINE) + 1)) >= 0:
                self.online.set()
            tail = data[-len(ONLINE) :]

    def _read(self) -> None:
        """Read the packets that are here (MQTT 3.1.1, section 3.3)."""
        chunks, self._chunks = self._chunks, []
        for at, chunk in chunks:
            data, start = self._rest + chunk, 0
            while (found := _packet(data, start)) is not None:
                kind, body, start = found
                if kind & 0xF0 != PUBLISH:
                    continue
                size = 2 + int.from_bytes(body[:2], "big")
                if body[2:size].endswith(b"/verdict"):
                    self._count += 1
                    self._arrivals.append((at, body[2:size].decode().split("/")[1], _end_ms(body[size:])))
            self._rest = data[start:]


def connected(port: int, name: str) -> socket.socket:
    """A connection to the broker that it has accepted (MQTT 3.1.1, section 3.1); it never times out."""
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connect = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(name)) + name.encode()
    made.sendall(b"\x10" + bytes([len(connect)]) + connect)
    answer = b""
    while len(answer) < 4:
        answer += made.recv(4 - len(answer))
    if answer[3]:
        raise ConnectionError(f"the broker refused the connection: {answer.hex()}")
    return made


@contextmanager
def load_and_watch(port: int, devices: int) -> Iterator[tuple[Load, Watch]]:
    """Both, and their end."""
    watch = Watch(port)
    load = Load(port, devices)
    try:
        yield load, watch
    finally:
        load.close()
        watch.close()


def _remaining(length: int) -> bytes:
    """The length of a packet's rest, MQTT 3.1.1, section 2.2.3."""
    found = bytearray()
    while True:
        length, digit = divmod(length, 128)
        found.append(digit | (128 if length else 0))
        if not length:
            return bytes(found)


def _packet(data: bytes, start: int) -> tuple[int, bytes, int] | None:
    """The packet at a place, and where the next one begins; None where it is not here to its end."""
    length = shift = 0
    for at in range(start + 1, min(start + 5, len(data))):
        length |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            end = at + 1 + length
            return (data[start], data[at + 1 : end], end) if end <= len(data) else None
    return None


def _end_ms(payload: bytes) -> int:
    """End of a verdict's window."""
    found = _END.search(payload)
    assert found is not None
    end = found.group(1).decode()
    return int(end) if end.isdigit() else round(np.datetime64(end.rstrip("Z"), "ms").astype(np.int64))
