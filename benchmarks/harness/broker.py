"""A real Mosquitto broker on the loopback."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mosquitto() -> str:
    """Path of the program; ends this one where it is not installed."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        sys.exit("this needs the broker Mosquitto: apt-get install mosquitto")
    return program


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def broker(folder: Path, settings: str = "") -> Iterator[int]:
    """Run Mosquitto on a free port with further settings; yields the port."""
    port = free_port()
    config = folder / "mosquitto.conf"
    # Without TCP_NODELAY every other small message would wait for the TCP acknowledgement of the one before.
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type error\n{settings}\n"
    )
    process = subprocess.Popen([mosquitto(), "-c", str(config)])
    try:
        while not _answers(port):
            if process.poll() is not None:
                sys.exit("Mosquitto did not start")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
