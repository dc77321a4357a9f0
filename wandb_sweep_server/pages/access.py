"""Who may look at pages: whoever has the API key, or a cookie that a one-time link gave.

A browser can't show the key, and keeps a history of whatever is typed into its address bar. So there are links that
work once (as Jupyter's do), and a cookie that proves itself: its value holds the time until which it is good, signed
with a key that comes from the API key. It survives a restart of the server, which remembers no cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from wandb_sweep_server.clock import Clock
from wandb_sweep_server.errors import ClientError

LINK_S = 600.0
COOKIE_S = 30 * 86_400
# Those that nobody uses; the oldest goes first.
_MOST_LINKS = 1_000

# No other origin (`//host`, `/\host`), and nothing that browsers leave out before they look.
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f]*\Z")


def local_path(text: object) -> str:
    """Return where a visitor is to be taken.

    Raises:
        ClientError: That is not a path of this server.
    """
    if not isinstance(text, str) or not _LOCAL_PATH.match(text):
        raise ClientError(f"next = {text!r} must be a path of this server, such as /local/project/sweeps/ab12cd34")
    return text


class PageAccess:
    """Links, cookies, and what protects forms. Times of links are in memory only: a restart ends them.

    Args:
        api_key: Of this server.
        clock: For how long links and cookies are good.
        new_token: Makes a text of 32 random bytes.
    """

    def __init__(
        self, api_key: str, clock: Clock, new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    ) -> None:
        self._key = hmac.digest(api_key.encode(), b"pages of wandb_sweep_server", hashlib.sha256)
        self._clock = clock
        self._new_token = new_token
        # By digest, so that looking one up tells nothing by the time it takes.
        self._links: OrderedDict[bytes, float] = OrderedDict()

    def new_link(self) -> str:
        """The token of a link that works once, for LINK_S."""
        token = self._new_token()
        self._links[_digest(token)] = self._clock.monotonic_s() + LINK_S
        while len(self._links) > _MOST_LINKS:
            self._links.popitem(last=False)
        return token

    def use_link(self, token: str) -> bool:
        """Whether a link is good; from now on it isn't."""
        until_s = self._links.pop(_digest(token), None)
        return until_s is not None and self._clock.monotonic_s() < until_s

    def new_cookie(self) -> str:
        """A value that is good for COOKIE_S."""
        said = f"{self._clock.wall_s() + COOKIE_S:.0f}.{secrets.token_hex(16)}"
        return f"{said}.{self._sign('cookie', said)}"

    def is_good(self, cookie: str | None) -> bool:
        """Whether a cookie is one of this server's, and not too old."""
        said, _, signature = (cookie or "").rpartition(".")
        until, _, _ = said.partition(".")
        if not _is_same(signature, self._sign("cookie", said)):
            return False
        return self._clock.wall_s() < int(until)

    def csrf_token(self, cookie: str) -> str:
        """What the pages of that cookie send with all that they ask to be done; other sites can't know it."""
        return self._sign("csrf", cookie)

    def is_own_request(self, cookie: str, token: str | None) -> bool:
        """Whether a request comes from a page that was shown to the owner of the cookie."""
        return _is_same(token or "", self.csrf_token(cookie))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _is_same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


def is_foreign(origin: str | None, host: str) -> bool:
    """Whether a browser says that a request comes from a page of another server.

    Only the host and port count: a proxy that speaks TLS changes the scheme.
    """
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True


def cookie_name(host: str, port: int) -> str:
    """The cookie's name. Browsers send cookies to all ports of a host: each server there has a name of its own.

    host: as the browser has it in its address bar, whose port may be that of a tunnel. port: of this server.
    """
    _, _, given = host.rpartition(":")
    return f"wandb_sweep_server_{given if given.isascii() and given.isdigit() else port}"
