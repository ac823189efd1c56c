"""Real brokers on the loopback: Mosquitto as a process, amqtt in a thread."""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.harness.waiting import wait_until

#: Below the ports that Linux gives to outgoing connections, one of which could take a port before its broker does.
PORTS = range(10_000, 32_768)


def before_start() -> None:
    """Called before a broker is started; tests put a check here."""


def free_port() -> int:
    """A port of the loopback that nobody listens on; tests that run side by side draw different ones."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def answers(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Mosquitto:
    """A Mosquitto broker on a free loopback port; the port stays the same over restarts."""

    def __init__(self, folder: Path, settings: str) -> None:
        before_start()
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.fail("these tests need the broker Mosquitto: apt-get install mosquitto")
        self.folder = folder
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        config = folder / "mosquitto.conf"
        # Without TCP_NODELAY every other small message would wait for the TCP acknowledgement of the one before.
        common = f"user root\nset_tcp_nodelay true\npersistence true\npersistence_location {folder}/"
        config.write_text(f"listener {self.port} 127.0.0.1\n{common}\n{settings}\n")
        self._command = [program, "-c", str(config)]

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(
            lambda: answers(self.port), f"Mosquitto on port {self.port}; its log: {self.folder / 'mosquitto.log'}"
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it: on SIGTERM it saves its sessions, on SIGKILL it does not."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """A context in which it keeps its connections and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_amqtt(port: int, plugins: dict[str, Any]) -> Iterator[None]:
    """The broker amqtt in a thread of its own."""
    before_start()
    from amqtt.broker import Broker  # type: ignore[import-not-found, unused-ignore]

    loop = asyncio.new_event_loop()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}} | plugins,
    }
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Any:
        broker = Broker(config)
        await broker.start()
        return broker

    broker = asyncio.run_coroutine_threadsafe(start(), loop).result(20)

    async def stop() -> None:
        await broker.shutdown()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
