"""Uploads of artifacts' files against limits that a test can reach."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from tests.unit.server.support import Server
from wandb_sweep_server.artifact_http import artifact_routes
from wandb_sweep_server.artifacts import NewArtifact
from wandb_sweep_server.bodies import Bodies, BodyLimits
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.store import Limits


async def put(server: Server, token: str, pieces: list[bytes]) -> None:
    """An upload that comes in pieces. Raises what the app would turn into an answer."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(_: Any) -> None:
        return

    scope = {"type": "http", "method": "PUT", "path": f"/blob/{token}", "headers": [], "query_string": b""}
    await Starlette(routes=artifact_routes(server.store, Bodies(BodyLimits())))(scope, receive, send)


def announce(server: Server, content: bytes) -> str:
    project = server.project()
    artifacts = server.store.artifacts
    artifact = server.do(lambda: artifacts.create(project, None, NewArtifact("model", "model", "digest")))
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    return server.do(lambda: artifacts.announce_file(artifact, "a", md5)).token


def stored_files(directory: Path) -> list[bytes]:
    folders = ("artifacts", "incoming")
    return [path.read_bytes() for folder in folders for path in (directory / folder).rglob("*") if path.is_file()]


def test_a_file_that_is_too_large_is_413_and_leaves_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path, Limits(artifact_file_bytes=5))
    token = announce(server, b"x" * 6)
    with pytest.raises(ClientError, match="more than 5 bytes") as refused:
        asyncio.run(put(server, token, [b"x" * 3, b"x" * 3]))
    assert refused.value.status == 413
    assert stored_files(tmp_path) == []


def test_a_file_in_many_pieces_is_stored_whole(tmp_path: Path) -> None:
    server = Server(tmp_path)
    pieces = [bytes([number]) * 700_000 for number in range(5)]
    asyncio.run(put(server, announce(server, b"".join(pieces)), pieces))
    assert stored_files(tmp_path) == [b"".join(pieces)]
