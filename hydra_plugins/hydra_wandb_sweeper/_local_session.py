"""Requests to an embedded server over one kept connection, without `requests`: importing that takes 40 ms.

Every command starts with it, and every spawned trial. Nothing here is for servers behind TLS or a proxy: of the
embedded one's own address no proxy of the environment knows anything.
"""

from __future__ import annotations

import base64
import http.client
import json
import select
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit


class LocalConnectionError(OSError):
    """No answer; what happened to the request isn't known."""


class LocalResponse:
    """What is used of a requests.Response. Its body is read when it is asked for, or dropped with its connection."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status_code = response.status
        self.headers: Mapping[str, str] = response.headers  # type: ignore[assignment] # looked up in any case
        self._content: bytes | None = None

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        if self._content is None:
            self._content = b"".join(self.iter_content(1 << 16))
        return self._content.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON. Errors: ValueError."""
        return json.loads(self.text)

    def iter_content(self, size_bytes: int) -> Iterator[bytes]:
        """Yield the body in pieces. Errors: LocalConnectionError if it isn't whole."""
        read_bytes = 0
        try:
            while block := self._response.read(size_bytes):
                read_bytes += len(block)
                yield block
        except (OSError, http.client.HTTPException) as error:
            raise LocalConnectionError(_words(error)) from error
        # Read by pieces, http.client takes what broke off for the end.
        if read_bytes != int(self.headers.get("Content-Length", read_bytes)):
            raise LocalConnectionError(f"the answer broke off after {read_bytes} bytes")

    def __enter__(self) -> LocalResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()


class LocalSession:
    """Requests of one thread, as of a requests.Session. Errors: LocalConnectionError."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self._connection: http.client.HTTPConnection | None = None
        self._host = ""

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self,
        method: str,
        url: str,
        *,
        timeout: float,
        auth: Any = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> LocalResponse:
        """Return the answer. auth: user and key, anything else is none. timeout: in seconds, of each step.

        json: is sent as such; else data, bytes or an open file. stream: leave the body to be read piece by piece.
        """
        parts = urlsplit(url)
        if parts.scheme != "http":
            raise LocalConnectionError(f"{parts.scheme}: no address of an embedded server is of this kind")
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        sent = {**self.headers, **_authorization(auth), **(headers or {})}
        if json is not None:
            data, sent["Content-Type"] = _to_json(json), "application/json"
        elif hasattr(data, "seek"):
            # Else it would be sent in chunks.
            sent["Content-Length"] = str(data.seek(0, 2))
            data.seek(0)
        try:
            connection = self._connected(parts.netloc, timeout)
            connection.request(method, path, data, sent)
            response = LocalResponse(connection.getresponse())
            if not stream:
                _ = response.text  # so that the connection is free for the next request
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise LocalConnectionError(_words(error)) from error
        return response

    def _connected(self, host: str, timeout_s: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is None or host != self._host or not _is_quiet(connection):
            self.close()
            connection = self._connection = http.client.HTTPConnection(host, timeout=timeout_s)
            self._host = host
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        return connection


def _is_quiet(connection: http.client.HTTPConnection) -> bool:
    """True if a connection can be used again: the server says nothing unasked but that it closes one."""
    sock = connection.sock
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)


def _authorization(auth: Any) -> dict[str, str]:
    if not isinstance(auth, tuple):
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(auth).encode()).decode()}


def _to_json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
