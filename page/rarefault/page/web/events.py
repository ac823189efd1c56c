"""Server-sent events: that there is something new, not what; a reader that is slow misses nothing and costs nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rarefault.page.journal.follower import Follower

log = logging.getLogger(__name__)

#: How often the journal is looked at, and a reader is told that the page is still there, seconds.
LOOK_S, ALIVE_S = 0.5, 15.0
#: Most readers at a time.
MOST_READERS = 64


class News(msgspec.Struct, frozen=True):
    """How far things are.

    Attributes:
        revision: grows with every change.
        alarms: grows with every alarm that is raised.
    """

    revision: int
    alarms: int


class Events:
    """Looks at the journal, and tells readers when there is something new.

    Args:
        follower: of the journal.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._changed = asyncio.Event()
        self._readers = 0
        self._closed = False

    def routes(self) -> list[Route]:
        """The route of the events."""
        return [Route("/api/v1/events", self.events)]

    async def look(self) -> None:
        """Look at the journal once."""
        if await run_in_threadpool(self._follower.look):
            self._tell()

    async def follow(self) -> None:
        """Look at the journal for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:
                # A mistake of ours must not freeze the page in silence.
                log.exception("the journal could not be followed; next attempt in %g s", ALIVE_S)
                await asyncio.sleep(ALIVE_S)

    def close(self) -> None:
        """End the streams of all readers."""
        self._closed = True
        self._tell()

    async def events(self, _request: Request) -> Response:
        """The stream of one reader."""
        if self._readers >= MOST_READERS:
            return Response("too many readers", 503, {"Retry-After": "10"}, "text/plain")
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _stream(self) -> AsyncIterator[bytes]:
        self._readers += 1
        sent: News | None = None
        try:
            while not self._closed:
                changed = self._changed
                news = News(self._follower.revision, self._follower.alarms)
                if news != sent:
                    yield b"data: " + msgspec.json.encode(news) + b"\n\n"
                    sent = news
                try:
                    await asyncio.wait_for(changed.wait(), ALIVE_S)
                except TimeoutError:
                    yield b": here\n\n"
        finally:
            self._readers -= 1
