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
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from benchmarks.speed.model import CHANNELS, PERIOD_S, telemetry_values
from paho.mqtt.enums import CallbackAPIVersion

PERIOD_MS = PERIOD_S * 1000
#: Messages that the broker may have taken from us and not confirmed.
AHEAD = 1000
#: Rounds that may be sent: the first is as many bins old.
ROUNDS = 50_000
_END = re.compile(rb'"end":\s*"?([^",}]+)')


class Load:
    """Sends rounds of telemetry: in each, one message of every device, at QoS 1."""

    def __init__(self, port: int, devices: int, seed: int = 7, prefix: str = "telemetry", name: str = "speed") -> None:
        self.devices = devices
        self.sent = 0
        self.confirmed = 0
        self._topics = [f"{prefix}/d{number:05d}".encode() for number in range(devices)]
        self._rng = np.random.default_rng(seed)
        self._round = time.time_ns() // 1_000_000 // PERIOD_MS - ROUNDS
        self._round -= self._round % 24  # so that windows are due at the same places in every run
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connect = b"\x00\x04MQTT\x04\x02\xff\xff" + struct.pack(">H", len(name)) + name.encode()
        self._socket.sendall(b"\x10" + bytes([len(connect)]) + connect)
        answer = self._receive(4)
        if answer[3]:
            raise ConnectionError(f"the broker refused the connection: {answer.hex()}")

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
        """Send at a fixed rate, evenly, whether or not anybody keeps up; when each packet was due."""
        due = time.perf_counter() + 0.05 + np.arange(len(packets)) / per_s
        done = 0
        while done < len(packets):
            ready = int(np.searchsorted(due, time.perf_counter()))
            if ready > done:
                self.write(packets[done:ready])
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

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._socket.recv(size - len(data))
        return data


class Watch:
    """Sees the verdicts: when each arrived, and of which device and window it is."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self.arrivals: list[tuple[float, str, int]] | None = None
        self.online = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([("rarefault/+/verdict", 0), ("rarefault/edge/status", 0)])
        self._client.loop_start()

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic.endswith("/status"):
            if message.payload == b"online":
                self.online.set()
            return
        self.count += 1
        if self.arrivals is not None:
            now = time.perf_counter()
            found = _END.search(message.payload)
            assert found is not None
            end = found.group(1).decode()
            end_ms = int(end) if end.isdigit() else round(np.datetime64(end.rstrip("Z"), "ms").astype(np.int64))
            self.arrivals.append((now, message.topic.split("/")[1], end_ms))


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
