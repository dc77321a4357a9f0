"""Which requests are for pages, who may make them, and what every answer to them says to browsers."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response
from starlette.types import Message, Scope, Send

from . import notices
from .access import PageAccess, cookie_name

LOGIN_PATH = "/page/login"
ASSETS_PATH = "/page/assets/"
DATA_PATH = "/page/data/"
_OWN_PATH = "/page/"
_FILES_PATH = "/files/"

# First parts of other routes: no page of an entity of that name.
RESERVED = frozenset("graphql files upload blob artifactsV2 sdk healthz page".split())  # noqa: SIM905
_SHELL_PATH = re.compile(r"/(?:([^/]+)/[^/]+(?:/(?:sweeps|runs)/[^/]+)?)?\Z")

_HEADERS = {
    # 'unsafe-eval': what Plotly draws with WebGL (parallel coordinates, many points) makes functions of texts.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses of links hold their token
}
# Unless an answer says otherwise itself.
_UNLESS_SAID = {"Cache-Control": "no-store"}


def is_shell(path: str) -> bool:
    """Whether a path is that of a page people look at."""
    match = _SHELL_PATH.match(path)
    return match is not None and match[1] not in RESERVED


def looks_on(method: str, path: str) -> bool:
    """Whether a request comes from a page that is open, perhaps since long: it listens, or asks every few seconds."""
    return method in ("GET", "HEAD") and path.startswith(DATA_PATH)


class PageGate:
    """Decides by the head of a request.

    The host by which a browser knows this server needs no check. Another name that was made to mean this address (DNS
    rebinding) brings no cookie along: cookies are of the host that set them, and without one nothing is told.
    """

    def __init__(self, access: PageAccess) -> None:
        self._access = access

    def admits(self, scope: Scope) -> bool:
        """Whether a cookie is enough for this request, and there is a good one."""
        path, method = scope["path"], scope["method"]
        reads = method in ("GET", "HEAD") and (is_shell(path) or path.startswith((_OWN_PATH, _FILES_PATH)))
        changes = method == "POST" and path.startswith(DATA_PATH)
        return (reads or changes) and self._access.is_good(cookie_in(HTTPConnection(scope)))

    def refusal(self, scope: Scope) -> Response | None:
        """What visitors without a cookie get to read; None for programs, which are told in their own way."""
        accepted = HTTPConnection(scope).headers.get("accept", "")
        if not is_shell(scope["path"]) or "text/html" not in accepted:
            return None
        return HTMLResponse(notices.login_needed(), 401)

    def guarded(self, scope: Scope, send: Send) -> Send:
        """A `send` whose answers tell browsers what a page of this server may do: nothing but what its own do."""
        if not (is_shell(scope["path"]) or scope["path"].startswith(_OWN_PATH)):
            return send

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                for name, value in _UNLESS_SAID.items():
                    headers.setdefault(name, value)
            await send(message)

        return guarded


def cookie_in(request: HTTPConnection) -> str | None:
    """The cookie that a browser keeps for this server, whatever it is worth."""
    server = request.scope.get("server") or ("", 0)
    return request.cookies.get(cookie_name(request.headers.get("host", ""), server[1] or 0))
