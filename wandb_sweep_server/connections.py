"""Connections: how many there may be, and for how long they may keep the server waiting."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Client = tuple[str, int]

_SLOW = "the head of a request, or a body that was refused, took too long"


class Connections:
    """Closes what uvicorn leaves open: clients that send half a head or none, or go on with a body that was refused.

    Args:
        quiet_s: How long a connection may be without a request. Longer than clients pause between heartbeats (W&B's:
            up to 30 s): a request that meets a closing connection is lost.
        most: How many connections there may be. Beyond that the oldest one that has never shown the key is closed;
            if all have, the new one is.
    """

    def __init__(self, quiet_s: float = 75.0, most: int = 8192) -> None:
        self.quiet_s = quiet_s
        self._most = most
        self._open: dict[Client, _Watched] = {}
        self._trusted: set[Client] = set()

    def protocol(self, **arguments: Any) -> asyncio.Protocol:
        """What uvicorn calls for each connection (`http` of uvicorn.Config)."""
        return _Watched(H11Protocol(**arguments), self)

    def opened(self, client: Client, connection: _Watched) -> None:
        """A client has come."""
        if len(self._open) >= self._most:
            strangers = (other for known, other in self._open.items() if known not in self._trusted)
            next(strangers, connection).close()
        self._open[client] = connection

    def closed(self, client: Client, connection: _Watched) -> None:
        """It has gone."""
        if self._open.get(client) is connection:
            del self._open[client]
            self._trusted.discard(client)

    def request_began(self, client: Client | None) -> None:
        """The head of a request is there."""
        if client is not None and tuple(client) in self._open:
            self._open[client[0], client[1]].request_began()

    def request_ended(self, client: Client | None, *, has_key: bool) -> None:
        """It was answered."""
        if client is not None and tuple(client) in self._open:
            self._open[client[0], client[1]].request_ended()
            if has_key:
                self._trusted.add((client[0], client[1]))


class _Watched(asyncio.Protocol):
    """Uvicorn's protocol, with an eye on the time while no request is being answered."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._client: Client = ("", 0)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._requests = 0
        self._has_sent = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host, port, *_ = transport.get_extra_info("peername") or ("", 0)
        self._client = (str(host), int(port))
        self._inner.connection_made(transport)
        self._wait()
        self._connections.opened(self._client, self)

    def data_received(self, data: bytes) -> None:
        self._has_sent = True
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._connections.closed(self._client, self)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def request_began(self) -> None:
        self._requests += 1
        self._stop_waiting()

    def request_ended(self) -> None:
        self._requests -= 1
        # A client may send several requests at once.
        if self._requests == 0:
            self._has_sent = False
            self._wait()

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(self._connections.quiet_s, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lose_patience(self) -> None:
        if self._transport is not None and self._has_sent:
            body = json.dumps({"errors": [{"message": _SLOW}]}).encode()
            head = b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\n"
            self._transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.close()
