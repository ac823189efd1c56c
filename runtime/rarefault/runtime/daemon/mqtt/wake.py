"""A wait that another thread or a signal handler can end."""

import socket


class Waker:
    """A pair of sockets: one to wait for, one to write to.

    Attributes:
        socket: becomes readable with :meth:`wake`, until :meth:`clear`.
    """

    def __init__(self) -> None:
        self.socket, self._other = socket.socketpair()
        self.socket.setblocking(False)
        self._other.setblocking(False)

    def wake(self) -> None:
        """End a wait at once; may be called from anywhere, and after :meth:`close`."""
        try:
            self._other.send(b"\0")
        except OSError:
            return  # full of wake-ups already, or closed

    def sleep(self, timeout_s: float) -> None:
        """Wait, at most so long."""
        self.socket.settimeout(timeout_s)
        try:
            self.socket.recv(1)
        except (TimeoutError, BlockingIOError):
            return
        finally:
            self.socket.setblocking(False)

    def clear(self) -> None:
        """Be ready for the next wait."""
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the sockets back."""
        self.socket.close()
        self._other.close()
