"""The files for the browser, read once: what is not among them does not exist, whatever a path says."""

import hashlib
import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

STATIC = Path(__file__).parents[1] / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class Asset:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._type = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
        self._tag = f'"{hashlib.sha256(self._content).hexdigest()[:20]}"'

    async def __call__(self, request: Request) -> Response:
        """Its content, or that it is still the same."""
        headers = {"ETag": self._tag, "Cache-Control": "no-cache"}
        if self._tag in request.headers.get("if-none-match", "").replace("W/", "").split(", "):
            return Response(status_code=304, headers=headers)
        return Response(self._content, headers=headers, media_type=self._type)


def asset_routes() -> list[Route]:
    """A route for each file, and ``/`` for the page itself."""
    files = {path.relative_to(STATIC).as_posix(): path for path in sorted(STATIC.rglob("*")) if path.is_file()}
    index = files.pop("index.html")
    routes = [Route("/", Asset(index).__call__)]
    return routes + [Route(f"/static/{name}", Asset(path).__call__) for name, path in files.items()]
