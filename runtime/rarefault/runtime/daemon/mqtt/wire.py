"""The wire: what stands between paho and the socket, so that a message costs neither system calls nor objects.

paho reads a packet in pieces of one byte, writes every packet by itself, and makes some thirty objects of each.
:class:`BufferedSocket` reads and writes in large pieces, and the four kinds of packets of which there are many are read
and written here: PUBLISH and PUBACK in both directions (MQTT 3.1.1 and 5.0, sections 3.3 and 3.4). All others are
paho's, and so is whatever is not plain, errors included.

Why: decision 0016.
"""

import socket
import ssl
import struct
from typing import NamedTuple

#: Bytes that are read at once.
CHUNK = 1 << 16
_PUBLISH, _QOS_2, _QOS_1, _RETAIN = 0x30, 0x04, 0x02, 0x01
_PUBACK = 0x40
_puback = struct.Struct(">BBH").pack
#: Packet identifiers from here on are ours, those below are paho's, which needs a few for its subscriptions.
FIRST_MID, LAST_MID = 1024, 65535


class Publish(NamedTuple):
    """A plain PUBLISH packet."""

    topic: bytes
    payload: bytes
    qos: int
    mid: int
    retain: bool


class BufferedSocket:
    """A connected, non-blocking socket with a buffer on both sides; what paho takes for its socket.

    Args:
        sock: plain or TLS.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = b""  # received
        self._at = 0  # how much of it has been taken
        self._granted = 0  # how much of it paho may take
        self._needed = 0  # bytes that the packet at the front lacks
        self._chunks: list[bytes] = []  # received since, where they are not enough for it
        self._more = 0  # bytes in these
        self._out = bytearray()
        self._over: OSError | None = None  # why nothing more will come
        self._closed = False

    def fill(self) -> bool:
        """Receive what there is, one piece; False where there is nothing at present or will be nothing more."""
        if self._over is not None or self._closed:
            return False
        try:
            data = self._sock.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self._over = error
            return False
        if not data:
            self._over = ConnectionResetError("the broker closed the connection")
            return False
        self._chunks.append(data)
        self._more += len(data)
        if self._more >= self._needed:
            self._data = b"".join((self._data[self._at :], *self._chunks))
            self._at = self._granted = self._needed = self._more = 0
            self._chunks.clear()
        return True

    @property
    def over(self) -> bool:
        """Whether nothing more will be received."""
        return self._over is not None

    @property
    def readable(self) -> bool:
        """Whether a packet may be had without waiting: one is here, or TLS has decrypted more than has been read."""
        if self._needed == 0 and self._at < len(self._data):
            return True
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def publishes(self, most: int, *, five: bool, properties: bool) -> list[Publish]:
        """Take PUBLISH packets of QoS 0 and 1 from the front, up to the first packet of another kind.

        Args:
            most: number of them.
            five: whether they are of MQTT 5.
            properties: whether those with properties are to be left to paho.
        """
        found: list[Publish] = []
        data, at, size = self._data, self._at, len(self._data)
        while len(found) < most and at + 2 <= size:
            header = data[at]
            if header & 0xF0 != _PUBLISH or header & _QOS_2:
                break
            start, length = at + 2, data[at + 1]
            if length & 0x80:
                length, start = _variable(data, at + 1)
            end = start + length
            if start < 0 or end > size or length < 2:
                break
            here = start + 2 + (data[start] << 8 | data[start + 1])
            topic, mid, qos = data[start + 2 : here], 0, header & _QOS_1
            if qos:
                if here + 2 > end:
                    break
                mid = data[here] << 8 | data[here + 1]
                here += 2
            if five:
                if here >= end:
                    break
                extra, here = _variable(data, here) if data[here] else (0, here + 1)
                if extra and (properties or here < 0):
                    break
                here += extra
            # An empty topic is one that MQTT 5 may have an alias for, which the daemon never allows.
            if here > end or not topic or (qos and not mid):
                break
            found.append(Publish(topic, data[here:end], qos >> 1, mid, bool(header & _RETAIN)))
            at = end
        self._at = at
        return found

    def confirmations(self) -> list[tuple[int, int]]:
        """Take PUBACK packets for identifiers of ours from the front, up to the first other packet: (id, reason)."""
        found: list[tuple[int, int]] = []
        data, at, size = self._data, self._at, len(self._data)
        while at + 4 <= size and data[at] == _PUBACK:
            length = data[at + 1]
            if not 2 <= length < 0x80 or at + 2 + length > size:
                break
            mid = data[at + 2] << 8 | data[at + 3]
            if mid < FIRST_MID:
                break
            # MQTT 3.1.1 has no reason; MQTT 5 leaves it out where all is well.
            found.append((mid, data[at + 4] if length > 2 else 0))
            at += 2 + length
        self._at = at
        return found

    def publish(self, topic: str, payload: bytes, qos: int, mid: int, *, retain: bool, five: bool) -> None:
        """Put a PUBLISH packet into the buffer; MQTT 5 without properties."""
        name = topic.encode()
        tail = (mid.to_bytes(2, "big") if qos else b"") + (b"\0" if five else b"")
        length = 2 + len(name) + len(tail) + len(payload)
        header = bytearray((_PUBLISH | qos << 1 | retain,))
        while length > 0x7F:
            header.append(length & 0x7F | 0x80)
            length >>= 7
        header.append(length)
        self._out += b"".join((header, len(name).to_bytes(2, "big"), name, tail, payload))

    def grant(self) -> bool:
        """Let paho take the packet at the front, whatever it is; False where it is not here to its end."""
        data, at, size = self._data, self._at, len(self._data)
        if at + 2 > size:
            self._needed = at + 2 - size
        else:
            length, start = _variable(data, at + 1)
            if start < 0 and size - at >= 5:
                self._granted = size  # a length that cannot be: paho will refuse it
                return True
            self._needed = max(0, start + length - size) if start >= 0 else 1
        self._granted = at if self._needed else start + length
        return self._needed == 0

    def recv(self, size: int) -> bytes:
        """What paho calls; it gets no more than was granted."""
        if self._at < self._granted:
            data = self._data[self._at : min(self._at + size, self._granted)]
            self._at += len(data)
            return data
        if self._over is not None:
            raise self._over
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        """What paho calls; it is written with the next :meth:`flush`."""
        self._out += data
        return len(data)

    def acknowledge(self, mids: list[int]) -> None:
        """PUBACK, MQTT section 3.4: without a reason, which both versions allow where all is well."""
        self._out += b"".join([_puback(_PUBACK, 2, mid) for mid in mids])

    @property
    def unsent(self) -> int:
        """Bytes that wait for the socket."""
        return len(self._out)

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it; an error is met again when reading."""
        while self._out and self._over is None and not self._closed:
            try:
                sent = self._sock.send(self._out)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self._over = error
                return
            del self._out[:sent]

    def setblocking(self, blocking: bool) -> None:
        """As of a socket."""
        self._sock.setblocking(blocking)

    def fileno(self) -> int:
        """As of a socket."""
        return self._sock.fileno()

    def close(self) -> None:
        """Write what can be written, and close."""
        self.flush()
        self._closed = True
        self._sock.close()


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5.0, section 1.5.5) and where it ends; -1 where it does not within the data."""
    value = shift = 0
    for i in range(at, min(at + 4, len(data))):
        value |= (data[i] & 0x7F) << shift
        if not data[i] & 0x80:
            return value, i + 1
        shift += 7
    return 0, -1
