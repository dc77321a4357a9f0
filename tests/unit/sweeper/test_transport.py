"""Files of runs: fetched and stored at addresses that grant access by themselves, which nobody else may learn."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._errors import ServerError, ServerUnreachableError
from hydra_plugins.hydra_wandb_sweeper._transport import ServerAccess, Transport
from tests.unit.sweeper.test_client import KEY, Answer, FakeTime, ScriptedServer, data


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def store() -> Iterator[ScriptedServer]:
    """Another host, where files are."""
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture(params=[False, True], ids=["wandb", "embedded"])
def transport(server: ScriptedServer, time: FakeTime, request: pytest.FixtureRequest) -> Transport:
    access = ServerAccess(server.url, server.url, KEY, is_local=request.param)
    return Transport(lambda: access, patience_s=100, sleep=time.sleep, clock=lambda: time.now)


def test_a_file_is_put_whole_and_with_the_server_s_headers_at_the_second_attempt_too(
    store: ScriptedServer, transport: Transport, time: FakeTime
) -> None:
    store.answers = [Answer(429, "later", {"Retry-After": "3"}), Answer(200, "")]
    transport.upload(f"{store.url}/place?signature=s", io.BytesIO(b"content"), {"X-Kind": "a"})
    assert [body for _, body, _ in store.requests] == [b"content", b"content"]
    assert time.naps == [3.0]


def test_an_empty_file_is_put(store: ScriptedServer, transport: Transport) -> None:
    store.answers = [Answer(200, "")]
    transport.upload(f"{store.url}/place", io.BytesIO(), {})
    assert [body for _, body, _ in store.requests] == [b""]


def test_credentials_stay_with_the_server_they_are_for(
    server: ScriptedServer,
    store: ScriptedServer,
    transport: Transport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers = [Answer(200, "from the server")]
    store.answers = [Answer(200, "from the store")]
    content = io.BytesIO(b"something longer than both")
    transport.download(f"{store.url}/file", content)
    assert content.getvalue() == b"from the store"
    transport.upload(f"{store.url}/file", content, {})
    transport.download(f"{server.url}/file", content)
    assert content.getvalue() == b"from the server"
    assert [authorization for _, _, authorization in store.requests] == [None, None]
    assert server.requests[0][2].startswith("Basic ")


def test_an_address_that_grants_access_is_neither_in_errors_nor_in_the_log(
    store: ScriptedServer, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    store.close()
    with caplog.at_level(logging.DEBUG, "hydra_plugins"), pytest.raises(ServerUnreachableError) as caught:
        transport.upload(f"{store.url}/upload/some-token?signature=signed", io.BytesIO(b"x"), {})
    assert "trying again" in caplog.text
    for secret in ("some-token", "signed"):
        assert secret not in str(caught.value) + caplog.text


def test_a_file_that_is_refused_is_not_tried_again(store: ScriptedServer, transport: Transport) -> None:
    store.answers = [Answer(403, "the signature has expired")]
    with pytest.raises(ServerError, match="the signature has expired"):
        transport.upload(f"{store.url}/place", io.BytesIO(b"x"), {})
    assert len(store.requests) == 1


def test_a_series_of_requests_is_repeated_as_a_whole(
    server: ScriptedServer, transport: Transport, time: FakeTime
) -> None:
    server.answers = [data(a=1), Answer(503, "busy"), data(a=2), data(b=3)]

    def attempt() -> int:
        transport.graphql("first", {}, 0.0)
        return int(transport.graphql("second", {}, 0.0)["b"])

    assert transport.insist(attempt) == 3
    assert [body["query"] for _, body, _ in server.requests] == ["first", "second", "first", "second"]
    assert len(time.naps) == 1
