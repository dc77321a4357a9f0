"""What is asked for too often, too large, too slowly, or in disguise."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.requests import Request

from tests.unit.server.asgi import App
from tests.unit.server.support import Server
from wandb_sweep_server.app import AccessLimits
from wandb_sweep_server.bodies import Bodies, BodyLimits
from wandb_sweep_server.error_answers import errors
from wandb_sweep_server.errors import BusyError, ClientError
from wandb_sweep_server.query_limits import check_size, parse_query
from wandb_sweep_server.store import Limits
from wandb_sweep_server.throttle import Rate

VIEWER = b'{"query": "{ viewer { entity } }"}'
STREAM = "/files/local/p/r/file_stream"


@pytest.fixture
def make(server: Server) -> Iterator[Callable[..., App]]:
    """Makes an app with these limits, on a store with the run r."""
    server.start("r")
    apps: list[App] = []

    def make(**limits: Any) -> App:
        apps.append(App(server, AccessLimits(**limits)))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def app(make: Callable[..., App]) -> App:
    return make()


# --- too often ---


def test_who_asks_too_often_is_told_when_to_come_back_and_others_are_not(make: Callable[..., App]) -> None:
    app = make(requests=Rate(burst=2, per_s=0.1))
    assert [app.ask("POST", "/graphql", VIEWER).status for _ in range(3)] == [200, 200, 429]
    refusal = app.ask("POST", "/graphql", VIEWER)
    assert 1 <= int(refusal.headers["retry-after"]) <= 10
    assert re.fullmatch(r"too many requests from 10\.0\.0\.1; try again in [0-9]+ s", refusal.message)
    assert app.ask("POST", "/graphql", VIEWER, machine="10.0.0.2").status == 200


def test_what_needs_no_key_is_counted_too_but_costs_those_with_the_key_nothing(make: Callable[..., App]) -> None:
    app = make(requests=Rate(burst=2, per_s=0.1))
    statuses = [app.ask("GET", "/healthz", key=None).status for _ in range(2)]
    statuses += [app.ask("PUT", "/upload/x", key=None).status]
    assert statuses == [200, 200, 429]
    assert app.ask("POST", "/graphql", VIEWER).status == 200


def test_wrong_keys_are_refused_sooner_and_cost_those_with_the_right_one_nothing(make: Callable[..., App]) -> None:
    app = make(strangers=Rate(burst=3, per_s=0.1))
    statuses = [app.ask("POST", "/graphql", VIEWER, key=key).status for key in ("wrong", None, "", "x" * 46, "y")]
    assert statuses == [401, 401, 401, 429, 429]
    assert "without the right API key" in app.ask("GET", "/", key=None).message
    assert app.ask("POST", "/graphql", VIEWER).status == 200


# --- too large ---


@pytest.mark.parametrize("path", ["/graphql", STREAM])
def test_a_body_that_announces_too_many_bytes_is_refused_unread(app: App, path: str) -> None:
    answer = app.ask("POST", path, [], content_length=str(10**12))
    assert answer.status == 413
    assert re.fullmatch("the body has more than [0-9]+ bytes, which is this server's limit.*", answer.message)


def upload_path(server: Server, name: str) -> str:
    (file,) = server.do(lambda: server.store.files.announce(server.run("r"), [name]))
    return f"/upload/{file.token}"


def test_an_upload_that_announces_too_many_bytes_is_refused_unread(app: App) -> None:
    answer = app.ask("PUT", upload_path(app.server, "f"), [], key=None, content_length=str(101 * 2**20))
    assert answer.status == 413
    assert left_over(app.server) == []


def left_over(server: Server) -> list[str]:
    return [path.name for path in (server.directory / "incoming").glob("*")]


def test_an_upload_beyond_the_limit_leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(tmp_path_factory.mktemp("small"), Limits(file_bytes=3_000_000))
    server.start("r")
    app, path = App(server), upload_path(server, "f")
    assert app.ask("PUT", path, [b"x" * 2_000_000] * 2, key=None).status == 413
    assert left_over(server) == []
    assert app.ask("GET", "/files/local/p/r/f").status == 404
    assert app.ask("PUT", path, [b"x" * 1_500_000] * 2 + [None], key=None).status == 200
    assert app.ask("GET", "/files/local/p/r/f").body == b"x" * 3_000_000
    app.close()
    server.store.close()


def test_bodies_that_together_take_too_much_memory_are_put_off_and_one_alone_is_not() -> None:
    def request(parts: asyncio.Queue[dict[str, Any]]) -> Request:
        return Request({"type": "http", "method": "POST", "headers": []}, parts.get)

    def part(size: int, *, more: bool) -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * size, "more_body": more}

    async def work() -> None:
        bodies = Bodies(BodyLimits(held_bytes=100))
        first, second = asyncio.Queue[dict[str, Any]](), asyncio.Queue[dict[str, Any]]()
        first.put_nowait(part(150, more=True))
        alone = asyncio.create_task(bodies.whole(request(first), 1_000))
        while not first.empty():
            await asyncio.sleep(0)
        second.put_nowait(part(1, more=False))
        with pytest.raises(BusyError, match="the server holds too many large requests already") as refusal:
            await bodies.whole(request(second), 1_000)
        assert (refusal.value.status, refusal.value.retry_after_s) == (429, 5.0)
        first.put_nowait(part(0, more=False))
        assert len(await alone) == 150
        second.put_nowait(part(1, more=False))
        assert await bodies.whole(request(second), 1_000) == b"x"

    asyncio.run(work())


# --- too slow ---


@pytest.mark.parametrize("limits", [BodyLimits(pause_s=0.01), BodyLimits(start_s=0.01)])
@pytest.mark.parametrize("parts", [[], [b'{"query":']])
def test_a_body_that_does_not_come_is_408(make: Callable[..., App], limits: BodyLimits, parts: list[bytes]) -> None:
    app = make(bodies=limits)
    for path in ("/graphql", STREAM):
        answer = app.ask("POST", path, parts)
        assert answer.status == 408
        assert "too slowly" in answer.message
    assert app.ask("POST", "/graphql", VIEWER).status == 200


def test_an_upload_that_does_not_come_is_408_and_leaves_nothing(make: Callable[..., App]) -> None:
    app = make(bodies=BodyLimits(pause_s=0.01))
    for half in (b"half", bytes(2 * 2**20)):
        assert app.ask("PUT", upload_path(app.server, "f"), [half], key=None).status == 408
    assert left_over(app.server) == []


# --- compressed ---


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_gzip_is_read_in_every_kind_of_request(app: App, encoding: str) -> None:
    post = json.dumps({"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"a": 1}']}}}).encode()
    assert app.ask("POST", "/graphql", gzip.compress(VIEWER), content_encoding=encoding).status == 200
    assert app.ask("POST", STREAM, gzip.compress(post), content_encoding=encoding).status == 200
    assert app.server.lines("r") == ['{"a": 1}']
    path = upload_path(app.server, "f")
    assert app.ask("PUT", path, gzip.compress(b"x" * 9), key=None, content_encoding=encoding).status == 200
    assert app.ask("GET", "/files/local/p/r/f").body == b"x" * 9


def test_gzip_may_come_in_any_parts(app: App) -> None:
    packed = gzip.compress(VIEWER)
    parts = [packed[i : i + 1] for i in range(len(packed))]
    assert app.ask("POST", "/graphql", [*parts, None], content_encoding="gzip").status == 200


@pytest.mark.parametrize(
    # mtime: what is tested must be called the same by all workers of a test run.
    "body",
    [b"", b"x", VIEWER, gzip.compress(VIEWER, mtime=0)[:-5], zlib.compress(VIEWER), b"\x1f\x8b"],
)
def test_broken_gzip_is_a_lasting_error(app: App, body: bytes) -> None:
    answer = app.ask("POST", "/graphql", body, content_encoding="gzip")
    assert answer.status == 400
    assert "not valid gzip" in answer.message


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "\xff"])
def test_other_encodings_are_named(app: App, encoding: str) -> None:
    answer = app.ask("POST", "/graphql", VIEWER, content_encoding=encoding)
    assert answer.status == 415
    assert "reads gzip" in answer.message


def test_a_bomb_is_refused_when_it_passes_the_limit(app: App) -> None:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(2**20)
    bomb = b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
    assert len(bomb) < 2**20
    for method, path in (("POST", "/graphql"), ("POST", STREAM), ("PUT", upload_path(app.server, "f"))):
        assert app.ask(method, path, bomb, content_encoding="gzip").status == 413
    assert left_over(app.server) == []


# --- too deep, too wide ---


def nested(depth: int) -> str:
    return "{ project { " + "run { project { " * (depth // 2) + "id" + " } }" * (depth // 2) + " } }"


@pytest.mark.parametrize(
    ("query", "what"),
    [
        (nested(40), "levels"),
        ("{" + " ".join(f"a{i}: viewer {{ id }}" for i in range(1_500)) + "}", "3000 fields"),
        ("{ viewer { " + "id " * 2_001 + "} }", "2002 fields"),
        ("{ p { " + "runs { edges { node { " * 5 + "id" + " } } }" * 5 + " } }", "5 lists within one another"),
        (
            "{ ...F0 } "
            + " ".join(f"fragment F{i} on Query {{ a {{ ...F{i + 1} ...F{i + 1} }} }}" for i in range(25))
            + " fragment F25 on Query { id }",
            "fields",
        ),
        ("{ viewer { id } } { ... on Query { " + "id " * 2_001 + "} }", "fields"),
    ],
)
def test_a_query_beyond_the_limits_is_refused_by_what_it_has_too_much_of(query: str, what: str) -> None:
    with pytest.raises(ClientError, match=what):
        check_size(parse_query(query))


@pytest.mark.parametrize("query", ["{" * 100_000, "{ a " * 5_000, "[", "{ a(b: " + "[" * 3_000, "", "\x00"])
def test_a_query_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises(ClientError, match="the query can't be read: "):
        parse_query(query)


def test_the_largest_of_ordinary_queries_are_answered() -> None:
    check_size(parse_query(nested(20)))
    check_size(parse_query("{" + " ".join(f"a{i}: viewer {{ id }}" for i in range(900)) + "}"))


# --- what the disk says ---


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            503,
            "disk doesn't let it write (No space left on device)",
        ),
        (OSError(errno.EROFS, "Read-only file system"), 503, "it write (Read-only file system)"),
        (OSError(errno.ESTALE, "Stale file handle"), 503, "it write (Stale file handle)"),
        (sqlite3.OperationalError("disk I/O error"), 503, "it write (disk I/O error)"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), 400, "file system can't have such a name: File name too"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), 404, "this file is gone"),
    ],
)
def test_what_will_pass_is_put_off_and_what_will_not_is_a_lasting_error(
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    words: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(app.server.store.files, "path", fail)
    answer = app.ask("GET", "/files/local/p/r/f")
    assert answer.status == status
    assert words in answer.message
    assert str(app.server.directory) not in answer.message
    assert ("retry-after" in answer.headers) == (status == 503)
    assert ("GET /files/local/p/r/f can't be answered for now: " in caplog.text) == (status == 503)


def test_an_error_of_ours_is_in_the_log_with_what_was_asked_for(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("of ours")

    monkeypatch.setattr(app.server.store.files, "path", fail)
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    with pytest.raises(RuntimeError, match="of ours"):  # raised again once it is answered
        app.loop.run_until_complete(app.stream("/files/local/p/r/f", sent, asyncio.Event(), {}))
    assert sent.get_nowait()["status"] == 500
    assert json.loads(sent.get_nowait()["body"]) == errors("the server failed: RuntimeError; see its log")
    assert "GET /files/local/p/r/f failed" in caplog.text
    assert "of ours" in caplog.text
