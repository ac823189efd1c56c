"""What systemd wants to know of a service: ready, alive, stopping, and how it is.

The protocol is a line or several as one datagram to the socket that the environment names (sd_notify(3)).
"""

import os
import socket
import time
from collections.abc import Mapping

#: A long task reports this often that it goes on; it may take a minute until the next report.
ALIVE_S, PATIENCE_S = 1.0, 60


class Notifier:
    """Notifies systemd, where the daemon runs under it; does nothing elsewhere.

    Args:
        environment: with NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, where systemd has set them.

    Attributes:
        watchdog_s: systemd wants to hear of the daemon at least this often; 0 where it does not.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self._address else None
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if usec.isdecimal() and ours and self._socket else 0.0
        self._status = ""
        self._alive_at = 0.0

    def send(self, *lines: str) -> None:
        """Send assignments such as ``READY=1``."""
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                # systemd is restarting, or its queue is full: it asks again through the watchdog.
                return

    def status(self, text: str) -> None:
        """A line for ``systemctl status``; sent when it is another one."""
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")

    def alive(self) -> None:
        """What takes long goes on: wait for it."""
        if time.monotonic() - self._alive_at > ALIVE_S:
            self._alive_at = time.monotonic()
            self.send("WATCHDOG=1", f"EXTEND_TIMEOUT_USEC={PATIENCE_S * 1_000_000}")

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
