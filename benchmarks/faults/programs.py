"""What the fault suite runs: clients that always come back, programs that are killed, small disks."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from benchmarks.faults.recording import Message
from benchmarks.harness.clients import send_at_once
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class Client:
    """An MQTT client that is always on its way back to the broker.

    Every connection begins anew: what the last one had not sent is not sent by itself, as it would overtake what a
    sender has to send again first.
    """

    def __init__(self, port: int, name: str, on_message: Callable[[str, bytes], None] | None = None) -> None:
        self.port, self.name = port, name
        self.connected = threading.Event()
        self.deaths = 0
        self._over = False
        self._on_message = on_message
        self._lock = threading.Lock()  # held where a connection begins, ends, or takes a message
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.name, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = self._on_connect
        on_message = self._on_message
        if on_message is not None:
            client.on_message = lambda _c, _d, m: on_message(m.topic, bytes(m.payload))
        return client

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        if self._on_message is not None:
            client.subscribe("rarefault/#", 1)
        self.connected.set()

    def _loop(self) -> None:
        keeps = self._on_message is not None
        while not self._over:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 3600 if keeps else 0
            try:
                self._client.connect("127.0.0.1", self.port, clean_start=not keeps, properties=properties)
            except OSError:
                time.sleep(0.02)
                continue
            send_at_once(self._client)
            while self._client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS and not self._over:
                pass
            if not self._over:
                with self._lock:
                    self.connected.clear()
                    self.deaths += 1
                    self._client = self._new_client()

    def publish(self, message: Message) -> bool:
        """Send, and wait for the broker's confirmation; whether it came."""
        if not self.connected.wait(1):
            return False
        with self._lock:
            if not self.connected.is_set():
                return False
            deaths = self.deaths
            info = self._client.publish(*message, qos=1)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:  # the connection has ended just now; asking further would raise
            time.sleep(0.002)
            return False
        while not info.is_published() and deaths == self.deaths:
            time.sleep(0.0005)
        return info.is_published() and deaths == self.deaths

    def wait_until_all_is_read(self, patience_s: float) -> None:
        """Wait until nothing of what has been sent to it is left to read."""

        def all_is_read() -> bool:
            with self._lock:  # no connection begins or ends
                sock = self._client.socket()
                return not isinstance(sock, socket.socket) or not select.select([sock], [], [], 0)[0]

        self._wait(all_is_read, patience_s, "read what the broker had sent it")

    def wait_for_the_end(self, patience_s: float) -> None:
        """Wait until it knows that its connection has ended."""
        self._wait(lambda: not self.connected.is_set(), patience_s, "noticed that the broker is gone")

    def _wait(self, condition: Callable[[], bool], patience_s: float, what: str) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                sys.exit(f"the {self.name} has not {what} in {patience_s:g} s")
            time.sleep(0.001)

    def close(self) -> None:
        """Leave."""
        self._over = True
        self._thread.join()
        self._client.disconnect()


@dataclass
class Process:
    """A program that is started, frozen, killed and started again."""

    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None)
    before: int = 0
    """Bytes of its log of before the present start."""

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.before = log.tell()
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=os.environ | self.environment)

    def has_logged(self, words: str) -> bool:
        """Whether it has logged these words since its start."""
        return words.encode() in self.log.read_bytes()[self.before :]

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it, and return its exit code: not that of the signal where it had ended by itself."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def stop(self) -> None:
        """Stop it, and return when it stands still or has ended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        if self.process.returncode is None:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def freeze(self, seconds: float) -> None:
        """Stop it for a while."""
        assert self.process is not None
        self.stop()
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A disk that can be filled, where this process may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
