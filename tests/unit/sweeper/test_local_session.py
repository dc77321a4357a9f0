"""The embedded server's own way: one kept connection, whatever becomes of it and whatever the environment says."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from hydra_plugins.hydra_wandb_sweeper._local_session import LocalConnectionError, LocalSession

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class RawServer:
    """Answers the requests of each connection with its list of answers, and closes it after the last of them."""

    def __init__(self, *connections: list[bytes]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x"
        self.closed = threading.Semaphore(0)
        threading.Thread(target=self._serve, args=(connections,), daemon=True).start()

    def _serve(self, connections: tuple[list[bytes], ...]) -> None:
        for answers in connections:
            connection, _ = self._listener.accept()
            with connection:
                for answer in answers:
                    while not connection.recv(65536).endswith(b"{}"):
                        pass
                    connection.sendall(answer)
            self.closed.release()
        self._listener.close()


@pytest.fixture
def session() -> Iterator[LocalSession]:
    session = LocalSession()
    yield session
    session.close()


def post(session: LocalSession, url: str) -> int:
    return session.request("POST", url, timeout=10, json={}).status_code


def test_a_connection_is_kept(session: LocalSession) -> None:
    server = RawServer([OK, OK, OK])
    assert [post(session, server.url) for _ in range(3)] == [200, 200, 200]


def test_a_connection_that_the_server_has_closed_meanwhile_is_made_anew(session: LocalSession) -> None:
    server = RawServer([OK], [LAST], [OK])
    for _ in range(3):
        assert post(session, server.url) == 200
        server.closed.acquire()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"no HTTP\r\n\r\n"])
def test_an_answer_that_breaks_off_is_an_error_and_the_next_request_has_its_own_connection(
    session: LocalSession, answer: bytes
) -> None:
    server = RawServer([answer], [OK])
    with pytest.raises(LocalConnectionError):
        post(session, server.url)
    assert post(session, server.url) == 200


def test_proxies_of_the_environment_have_no_business_here(
    session: LocalSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert post(session, RawServer([OK]).url) == 200


def test_what_is_no_address_of_an_embedded_server_is_not_asked(session: LocalSession) -> None:
    with pytest.raises(LocalConnectionError, match="https"):
        post(session, "https://127.0.0.1:1/x")


def test_a_sweep_on_the_embedded_server_needs_no_requests() -> None:
    code = (
        "import sys, hydra_plugins.hydra_wandb_sweeper._run_sweep\n"
        "from hydra_plugins.hydra_wandb_sweeper._client import SweepClient\n"
        "sys.exit('requests' in sys.modules or 'wandb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
