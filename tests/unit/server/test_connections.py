"""Connections that keep the server waiting, on a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from requests.auth import _basic_auth_str

from tests.unit.server.asgi import KEY
from tests.unit.server.support import Server
from tests.waiting import wait_for
from wandb_sweep_server.app import Activity, build_app
from wandb_sweep_server.connections import Connections

GET = b"GET /healthz HTTP/1.1\r\nHost: h\r\n"
WITH_KEY = f"Authorization: {_basic_auth_str('api', KEY)}\r\n".encode()


class Listening:
    """The app behind uvicorn, in a thread."""

    def __init__(self, server: Server, connections: Connections) -> None:
        app = build_app(server.store, KEY, "i1", Activity(), connections=connections)
        config = uvicorn.Config(
            app,
            log_config=None,
            lifespan="off",
            http=connections.protocol,
            timeout_graceful_shutdown=1,  # type: ignore[arg-type]
        )
        self._uvicorn = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._uvicorn.run, args=([self._listener],), daemon=True)
        self._thread.start()
        self._clients: list[socket.socket] = []
        wait_for(lambda: self._uvicorn.started, "the server has started")

    def connect(self, said: bytes = b"") -> socket.socket:
        """A client that says so much."""
        client = socket.create_connection(self._listener.getsockname(), timeout=30)
        self._clients.append(client)
        client.sendall(said)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._uvicorn.should_exit = True
        self._thread.join()
        self._listener.close()


@pytest.fixture
def listening(server: Server) -> Iterator[Callable[..., Listening]]:
    made: list[Listening] = []

    def make(**limits: Any) -> Listening:
        made.append(Listening(server, Connections(**limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def answer_of(client: socket.socket) -> bytes:
    """One answer, whose body has one line."""
    answer = b""
    while not answer.endswith(b"}") and (more := client.recv(65_536)):
        answer += more
    return answer


def to_the_end(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    with client.makefile("rb") as reader:
        return reader.read()


def test_a_connection_that_says_nothing_is_closed(listening: Callable[..., Listening]) -> None:
    assert to_the_end(listening(quiet_s=0.05).connect()) == b""


@pytest.mark.parametrize("said", [b"G", GET, GET + b"X: " + b"y" * 1000])
def test_half_a_head_is_408(listening: Callable[..., Listening], said: bytes) -> None:
    answer = to_the_end(listening(quiet_s=0.05).connect(said))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"took too long" in answer


def test_a_head_that_trickles_has_no_more_time_than_one_that_stops(listening: Callable[..., Listening]) -> None:
    client = listening(quiet_s=0.3).connect()
    client.settimeout(0.01)
    answer = b""
    for byte in GET + b"X: " + b"y" * 5_000:
        with suppress(TimeoutError):
            with suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(bytes([byte]))
            answer = answer_of(client)
            break
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_half_a_second_request_is_408_too_and_a_whole_one_is_answered(listening: Callable[..., Listening]) -> None:
    client = listening(quiet_s=0.5).connect(GET + b"\r\n")
    assert answer_of(client).startswith(b"HTTP/1.1 200 ")
    client.sendall(GET + b"\r\n")
    assert answer_of(client).startswith(b"HTTP/1.1 200 ")
    client.sendall(GET)
    assert to_the_end(client).startswith(b"HTTP/1.1 408 ")


def test_a_request_that_takes_long_is_not_hurried_and_several_at_once_are_answered(
    listening: Callable[..., Listening],
) -> None:
    server = listening(quiet_s=0.2)
    slow = server.connect(b"POST /graphql HTTP/1.1\r\nHost: h\r\nContent-Length: 34\r\n" + WITH_KEY + b"\r\n")
    assert to_the_end(server.connect()) == b""  # one that came later has been closed meanwhile
    slow.sendall(b'{"query": "{ viewer { entity } }"}' + GET + b"\r\n" + GET + b"\r\n")
    assert to_the_end(slow).count(b"HTTP/1.1 200 ") == 3


def test_who_goes_on_with_a_body_that_was_refused_is_cut_off(listening: Callable[..., Listening]) -> None:
    head = b"POST /graphql HTTP/1.1\r\nHost: h\r\n" + WITH_KEY + b"Content-Length: 1000000000000\r\n\r\n"
    client = listening(quiet_s=0.3).connect(head)
    assert answer_of(client).startswith(b"HTTP/1.1 413 ")
    with pytest.raises(OSError):  # noqa: PT012
        while True:
            client.sendall(b"x" * 65_536)


def test_beyond_the_most_connections_strangers_go_first_and_the_trusted_stay(
    listening: Callable[..., Listening],
) -> None:
    server = listening(most=3)
    trusted = server.connect(GET + WITH_KEY + b"\r\n")
    assert answer_of(trusted).startswith(b"HTTP/1.1 200 ")
    strangers = [server.connect(GET + b"\r\n") for _ in range(2)]
    for stranger in strangers:
        assert answer_of(stranger).startswith(b"HTTP/1.1 200 ")
    newcomer = server.connect(GET + WITH_KEY + b"\r\n")
    assert answer_of(newcomer).startswith(b"HTTP/1.1 200 ")
    assert to_the_end(strangers[0]) == b""
    for still_there in (trusted, strangers[1], newcomer):
        still_there.sendall(GET + WITH_KEY + b"\r\n")
        assert answer_of(still_there).startswith(b"HTTP/1.1 200 ")
    # Now all have shown the key.
    assert to_the_end(server.connect()) == b""
