"""The process: a socket of the loopback, uvicorn, and an end in good order."""

import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from rarefault.page.journal.follower import Follower
from rarefault.page.model_card import ModelCards
from rarefault.page.web.app import make_app
from rarefault.page.web.events import Events
from rarefault.runtime.daemon.config import DaemonConfig, PageConfig
from rarefault.runtime.daemon.host.logs import set_up_logging
from rarefault.runtime.errors import ConfigError

log = logging.getLogger(__name__)

#: Most connections at a time, and how long an idle one is kept, seconds.
CONNECTIONS, KEEP_S = 256, 5
#: How long answers that are under way may take when the page ends, seconds.
END_S = 5


class _Server(uvicorn.Server):
    """Ends open streams, so that the process ends at once, and with exit code 0."""

    events: Events

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self.events.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on a signal; uvicorn's own would raise it once more at the end."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(config: DaemonConfig, source: Path) -> None:
    """Serve the page until a signal comes.

    Args:
        config: of the daemon whose journal is shown.
        source: the configuration file, which paths are relative to, and which errors name.

    Raises:
        ConfigError: there is no journal to show, or the port cannot be had.
    """
    set_up_logging(config.log)
    if not config.journal.path:
        problem = (
            "journal.path: not set; the page shows what the daemon keeps in its journal, so name one and restart it"
        )
        raise ConfigError(str(source), [problem])
    follower = Follower(source.parent / config.journal.path)
    app, events = make_app(follower, ModelCards(source.parent / config.model.path))
    listening = _listen(config.page, source)
    host = f"[{config.page.host}]" if ":" in config.page.host else config.page.host
    log.info("http://%s:%d shows %s; it has no users, so it is read-only", host, config.page.port, follower.path)
    options = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_S,
        timeout_graceful_shutdown=END_S,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = _Server(options)
    server.events = events
    server.run(sockets=[listening])


def _listen(page: PageConfig, source: Path) -> socket.socket:
    family = socket.AF_INET6 if ":" in page.host else socket.AF_INET
    try:
        return socket.create_server((page.host, page.port), family=family, backlog=128)
    except OSError as error:
        problem = f"page.port: {page.host} port {page.port} cannot be listened on: {error.strerror}; choose another"
        raise ConfigError(str(source), [problem]) from None
