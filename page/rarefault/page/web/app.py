"""The application: all routes, behind what keeps others out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from rarefault.page.journal.follower import Follower
from rarefault.page.model_card import ModelCards
from rarefault.page.web.api import Api
from rarefault.page.web.assets import asset_routes
from rarefault.page.web.events import Events
from rarefault.page.web.security import Guard

#: Questions that are answered at a time; the others wait.
THREADS = 12


def make_app(follower: Follower, cards: ModelCards) -> tuple[Starlette, Events]:
    """The application, and what ends its streams.

    Args:
        follower: of the journal; the application makes it look.
        cards: of the model file.
    """
    events = Events(follower)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await events.look()  # so that nobody is shown an empty fleet first
        following = asyncio.create_task(events.follow())
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    routes = [*asset_routes(), *Api(follower, cards).routes(), *events.routes()]
    middleware = [Middleware(Guard), Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)]
    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan), events
