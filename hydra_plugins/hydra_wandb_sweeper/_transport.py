"""Requests to one server, each retried while that makes sense. The only module that speaks HTTP."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from ._errors import ServerError, ServerUnreachableError
from ._local_session import LocalConnectionError, LocalResponse, LocalSession

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
TIMEOUT_S = 60.0
_CHECK_LOGIN = ". Check WANDB_API_KEY (or run `wandb login`), and that you may use this entity and project."
# Between two pieces of a file's content; the whole of it may take as long as it takes.
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class ServerAccess:
    """Where a server is and how to be let in. url: of its API; app_url: of its pages. is_local: it is embedded."""

    url: str
    app_url: str
    api_key: str = field(repr=False)
    is_local: bool = False


class Transport:
    """Requests of one thread to one server.

    open_access: returns where the server is; asked again whenever it can't be reached there, since an embedded server
    may come back on another node. patience_s: how long a request is retried while the server can't be reached or says
    "later" (429, 5xx). The waits grow from 1 to 30 s with jitter, and obey Retry-After. timeout_s: how long an answer
    may take to begin, and between two pieces of it. is_given_up: asked before every retry; True ends the request as
    if patience were at its end. Errors of every method: ServerError for a lasting answer, ServerUnreachableError when
    patience is at its end, and those of open_access.
    """

    def __init__(
        self,
        open_access: Callable[[], ServerAccess],
        *,
        patience_s: float,
        timeout_s: float = TIMEOUT_S,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._open_access = open_access
        self._access: ServerAccess | None = None
        self.place = "the sweep server"
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._given_session = session
        self._session: requests.Session | LocalSession | None = None
        self._connection_errors: tuple[type[Exception], ...] = ()
        self._sleep = sleep
        self._clock = clock
        self._is_given_up = is_given_up

    def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            self._session.close()

    def graphql(self, query: str, variables: Mapping[str, Any], patience_s: float | None = None) -> dict[str, Any]:
        """Return the data of a GraphQL answer. patience_s: for this request."""
        answer = self.post("/graphql", {"query": query, "variables": dict(variables)}, patience_s)
        if answer.get("errors"):
            raise ServerError(f"{self.place} refused the request: {_messages(answer)}", 200)
        return answer.get("data") or {}

    def post(self, path: str, body: Mapping[str, Any], patience_s: float | None = None) -> dict[str, Any]:
        """Post JSON to a path of the API and return the JSON that is answered. patience_s: for this request."""
        return self._patiently(lambda: self._post_once(path, body), patience_s)

    def download(self, url: str, into: BinaryIO) -> None:
        """Write what is at an address into a file, from its beginning."""
        self._patiently(lambda: self._download_once(url, into))

    def upload(self, url: str, content: BinaryIO, headers: Mapping[str, str]) -> None:
        """Put a file's content at an address that the server named for it."""
        self._patiently(lambda: self._upload_once(url, content, headers))

    def insist(self, attempt: Callable[[], T]) -> T:
        """Repeat a series of requests as a whole, as a single one is: for those that must not just be sent again."""

        def once() -> T:
            try:
                return attempt()
            except ServerUnreachableError as error:
                raise _Later(str(error)) from error

        return self._patiently(once)

    def _patiently(self, request: Callable[[], T], patience_s: float | None = None) -> T:
        patience_s = self._patience_s if patience_s is None else patience_s
        deadline = self._clock() + patience_s
        waits = 0
        while True:
            try:
                return request()
            except _Later as later:
                wait_s = _wait_s(later, waits)
                # A wait beyond the deadline would be for nothing.
                if self._is_given_up() or self._clock() + wait_s >= deadline:
                    within = f" within {patience_s:.0f} s" if patience_s else ""
                    raise ServerUnreachableError(
                        f"No usable answer from {self.place}{within}: {str(later).rstrip('.')}. "
                        "Check that the server runs and can be reached from this machine."
                    ) from later
                log.warning("The sweep server can't answer (%s); trying again in %.1f s.", later, wait_s)
            waits += 1
            self._sleep(wait_s)

    def _post_once(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        access = self._current_access()
        response = self._send("POST", access.url.rstrip("/") + path, json=body, auth=("api", access.api_key))
        try:
            return dict(response.json() or {})
        except ValueError as error:
            raise ServerError(
                f"{self.place} doesn't answer like a W&B server: {response.text[:200]!r}. "
                "Check hydra.sweeper.server and WANDB_BASE_URL.",
                response.status_code,
            ) from error

    def _download_once(self, url: str, into: BinaryIO) -> None:
        access = self._current_access()
        # Other hosts (of signed addresses) have no business with the key.
        is_own = urlsplit(url).netloc == urlsplit(access.url).netloc
        auth = ("api", access.api_key) if is_own else _unsigned
        into.seek(0)
        into.truncate()
        with self._send("GET", url, auth=auth, stream=True) as response:
            try:
                for block in response.iter_content(_BLOCK_BYTES):
                    into.write(block)
            except self._connection_errors as error:
                raise _Later(str(error)) from error

    def _upload_once(self, url: str, content: BinaryIO, headers: Mapping[str, str]) -> None:
        size = content.seek(0, 2)
        content.seek(0)
        # An empty file would be sent in chunks, which stores behind signed addresses refuse.
        self._send("PUT", url, data=content if size else b"", headers=dict(headers), auth=_unsigned)

    def _send(self, method: str, url: str, **options: Any) -> requests.Response | LocalResponse:
        session = self._session or self._open_session()
        try:
            response = session.request(method, url, timeout=self._timeout_s, **options)
        except self._connection_errors as error:
            self._access = None
            # An address of a file has a signature or a token in it; urllib3 tells the address in its errors.
            words = str(error) if method == "POST" else str(error).replace(_path_of(url), "/…")
            raise _Later(words) from error
        if response.status_code in _RETRIED_STATUS:
            raise _Later(f"HTTP {response.status_code}: {response.text[:500]}", retry_after_s(response))
        if response.status_code >= 400:
            raise ServerError(
                f"{self.place} refused the request (HTTP {response.status_code}): {_messages_of(response)}"
                f"{_CHECK_LOGIN if response.status_code in (401, 403) else ''}",
                response.status_code,
            )
        return response

    def _open_session(self) -> requests.Session | LocalSession:
        if self._given_session is None and self._current_access().is_local:
            self._session, self._connection_errors = LocalSession(), (LocalConnectionError,)
        else:
            import requests

            self._session = self._given_session or requests.Session()
            self._connection_errors = (requests.RequestException,)
        self._session.headers["User-Agent"] = "hydra-wandb-sweeper"
        return self._session

    def _current_access(self) -> ServerAccess:
        if self._access is None:
            try:
                self._access = self._open_access()
            except ServerUnreachableError as error:  # it isn't anywhere now
                raise _Later(str(error)) from error
            self.place = self._access.url
        return self._access


def _unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No credentials: with none given, requests would add those that netrc has for the host."""
    return request


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


class _Later(Exception):
    """An answer that means: try again. after_s: how long the server asks to wait, None if it doesn't say."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


def _wait_s(later: _Later, waits: int) -> float:
    """Return how long to wait after an answer. waits: how often that has been done for this request."""
    if later.after_s is not None:
        return later.after_s
    # Jitter, so that 80 agents that lost the server together don't come back together.
    return min(30.0, 2.0**waits) * random.uniform(0.5, 1.0)


def retry_after_s(response: requests.Response | LocalResponse) -> float | None:
    """Return how long an answer asks to wait, in seconds; None if it doesn't say."""
    header = response.headers.get("Retry-After")
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _messages(answer: Mapping[str, Any]) -> str:
    return "; ".join(str(e.get("message", e)) if isinstance(e, dict) else str(e) for e in answer["errors"])


def _messages_of(response: requests.Response | LocalResponse) -> str:
    try:
        answer = response.json()
        return _messages(answer) if answer.get("errors") else response.text[:500]
    except (ValueError, AttributeError, TypeError):
        return response.text[:500]
