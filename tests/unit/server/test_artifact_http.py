"""Uploads of artifacts' files and manifests against limits that a test can reach."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from tests.unit.server.support import Server
from wandb_sweep_server.artifact_http import artifact_routes
from wandb_sweep_server.artifacts import NewArtifact
from wandb_sweep_server.bodies import Bodies, BodyLimits
from wandb_sweep_server.errors import ClientError, GoneError
from wandb_sweep_server.graphql_http import GraphQLEndpoint
from wandb_sweep_server.records import global_id
from wandb_sweep_server.store import Limits
from wandb_sweep_server.suggestions import Suggester


async def put(server: Server, token: str, pieces: Iterable[bytes]) -> None:
    """An upload that comes in pieces. Raises what the app would turn into an answer."""
    to_come = iter(pieces)

    async def receive() -> dict[str, Any]:
        piece = next(to_come, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(_: Any) -> None:
        return

    scope = {"type": "http", "method": "PUT", "path": f"/blob/{token}", "headers": [], "query_string": b""}
    await Starlette(routes=artifact_routes(server.store, Bodies(BodyLimits())))(scope, receive, send)


def announce(server: Server, content: bytes) -> str:
    project = server.project()
    artifacts = server.store.artifacts
    artifact = server.do(lambda: artifacts.create(project, None, NewArtifact("model", "model", "digest")))
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    return server.do(lambda: artifacts.announce_files(artifact, [("a", md5)]))[0].token


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


def test_a_file_whose_artifact_is_deleted_while_it_comes_is_refused_and_not_kept(server: Server) -> None:
    content = b"x" * 6
    token = announce(server, content)
    artifact = server.store.artifacts.require(global_id("Artifact", 1))

    def pieces() -> Iterator[bytes]:
        yield content
        server.do(lambda: server.store.artifacts.delete(artifact, with_aliases=True))

    with pytest.raises(GoneError, match="the artifact of this file was deleted"):
        asyncio.run(put(server, token, pieces()))
    assert stored_files(server.directory) == []


MANIFEST = json.dumps({"version": 1, "contents": {"there": {"digest": "an etag", "ref": "s3://b/x"}}}).encode()


async def commit(server: Server, manifests: list[bytes], width: int = 1) -> list[Any]:
    """Artifacts that have arrived are all finished at once, `width` by a request. Returns answers and errors."""
    project = server.project()
    artifacts, store = server.store.artifacts, server.store
    ids = []
    for number, content in enumerate(manifests):
        new = NewArtifact(f"model{number}", "model", "digest")
        artifact = server.do(lambda new=new: artifacts.create(project, None, new))
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        blob = server.do(lambda a=artifact, m=md5: artifacts.announce_manifest(a, m))
        assert blob is not None
        await put(server, blob.token, [content])
        ids.append(global_id("Artifact", artifact.id))
    endpoint = GraphQLEndpoint(store, Suggester(store.run, store.suggestions))
    field = 'c{}: commitArtifact(input: {{artifactID: "{}"}}) {{ artifact {{ state fileCount }} }}'
    groups = [ids[start : start + width] for start in range(0, len(ids), width)]
    queries = ["mutation {" + " ".join(field.format(i, id) for i, id in enumerate(group)) + "}" for group in groups]
    bodies = [json.dumps({"query": query}).encode() for query in queries]
    return await asyncio.gather(*(endpoint.answer(body, "") for body in bodies), return_exceptions=True)


DONE = {"artifact": {"state": "COMMITTED", "fileCount": 1}}


def test_artifacts_are_finished_by_manifests_that_are_read_beside_the_store(server: Server) -> None:
    manifests = [MANIFEST + b" " * number for number in range(6)]
    answers = asyncio.run(commit(server, manifests, width=2))
    assert answers == [{"data": {"c0": DONE, "c1": DONE}}] * 3


def test_a_manifest_that_is_none_keeps_its_artifact_from_being_finished_and_no_other(server: Server) -> None:
    broken, done = asyncio.run(commit(server, [b"{", MANIFEST]))
    assert isinstance(broken, ClientError)
    assert str(broken).startswith("artifact manifest: it is not valid JSON")
    assert done == {"data": {"c0": DONE}}


def test_a_manifest_that_is_too_large_is_refused_by_name_and_not_read(tmp_path: Path) -> None:
    server = Server(tmp_path, Limits(manifest_bytes=len(MANIFEST)))
    large, done = asyncio.run(commit(server, [MANIFEST + b" ", MANIFEST]))
    assert isinstance(large, ClientError)
    assert f"its manifest has {len(MANIFEST) + 1} bytes, and this server reads at most {len(MANIFEST)}" in str(large)
    assert done == {"data": {"c0": DONE}}
    server.store.close()
