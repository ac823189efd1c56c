"""What keeps others out, for every request and every answer.

The page is bound to the loopback. That alone does not keep a browser of the same machine from being made to read it: a
page of another origin may ask, and a name of another's may be pointed at 127.0.0.1. So the ``Host`` must be one of this
machine, requests of other sites get no data, and answers may not be used by other origins.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Longest path with its query, bytes.
LONGEST_URL = 4096
#: What is asked with; what changes something comes with users.
METHODS = ("GET", "HEAD")
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Guard:
    """Refuses what is none of ours, and puts headers on all answers.

    Args:
        app: what it stands before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = refusal_of(scope)
        await (refusal or self._app)(scope, receive, guarded)


def refusal_of(scope: Scope) -> PlainTextResponse | None:
    """Why a request is not answered; None where it is."""
    headers = Headers(scope=scope)
    if scope["method"] not in METHODS:
        text = "this page only shows: it has no users, so nothing can be changed here"
        return PlainTextResponse(text, 405, {"Allow": ", ".join(METHODS)})
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_URL:
        return PlainTextResponse(f"the address has more than {LONGEST_URL} bytes", 414)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return PlainTextResponse("a question has no body", 413, {"Connection": "close"})
    if not is_local(headers.get("host", "")):
        text = "the page answers to the names of this machine alone: localhost and 127.0.0.1"
        return PlainTextResponse(text, 421)
    if scope["path"].startswith("/api/") and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return PlainTextResponse("another site asks", 403)
    return None


def is_local(host: str) -> bool:
    """Whether the ``Host`` of a request names this machine's loopback."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
