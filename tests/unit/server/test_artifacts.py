"""Artifacts in the store: versions, aliases, contents that are kept once, and what deleting leaves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest

from tests.unit.server.support import Server
from wandb_sweep_server.artifact_files import ArtifactFile
from wandb_sweep_server.artifacts import DRAFT_TIMEOUT_S, Artifact, NewArtifact
from wandb_sweep_server.blobs import Blob, md5_of_base64
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.manifests import Entry, parse_manifest
from wandb_sweep_server.records import global_id


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def manifest(files: dict[str, bytes], **more: Any) -> bytes:
    contents = {name: {"digest": md5(content), "size": len(content)} for name, content in files.items()}
    return json.dumps({"version": 1, "contents": {**contents, **more}}).encode()


def store_content(server: Server, blob: Blob | None, content: bytes) -> None:
    assert blob is not None
    writer = server.store.blobs.writer(blob)
    writer.write(content)
    writer.finish()
    assert server.do(lambda: server.store.blobs.stored(blob, len(content)))


def create(
    server: Server, files: dict[str, bytes], name: str = "model", run: str | None = None, **more: Any
) -> Artifact:
    digest = hashlib.md5(manifest(files)).hexdigest()
    new = NewArtifact("model", more.pop("type", "model"), digest, **more)
    creator = server.run(run) if run else None
    return server.do(lambda: server.store.artifacts.create(server.project_row(), creator, new))


def upload(server: Server, artifact: Artifact, files: dict[str, bytes]) -> list[str]:
    """Upload what isn't there; returns the names of that."""
    uploaded = []
    for name, content in files.items():
        blob = server.do(lambda n=name, c=content: server.store.artifacts.announce_files(artifact, [(n, md5(c))]))[0]
        if blob.size_bytes is None:
            store_content(server, blob, content)
            uploaded.append(name)
    return uploaded


def commit(server: Server, artifact: Artifact, content: bytes) -> Artifact:
    blob = server.do(lambda: server.store.artifacts.announce_manifest(artifact, md5(content)))
    store_content(server, blob, content)
    return finish(server, artifact)


def finish(server: Server, artifact: Artifact) -> Artifact:
    artifacts, blobs = server.store.artifacts, server.store.blobs

    def work() -> Artifact:
        now = artifacts.require(global_id_of(artifact))
        return artifacts.commit(now, parse_manifest(blobs.path(artifacts.manifest(now)).read_bytes()))

    return server.do(work)


def global_id_of(artifact: Artifact) -> str:
    return global_id("Artifact", artifact.id)


def log(
    server: Server, files: dict[str, bytes], name: str = "model", run: str | None = None, **more: Any
) -> Artifact:
    artifact = create(server, files, name, run, **more)
    if artifact.version is not None:
        return artifact
    upload(server, artifact, files)
    return commit(server, artifact, manifest(files))


def find(server: Server, name: str) -> Artifact | None:
    return server.store.artifacts.by_name(server.project_row().id, name)


def versions(server: Server) -> dict[str, list[str]]:
    """The aliases of each version."""
    artifacts = server.store.artifacts
    collection = artifacts.collection_by_name(server.project_row().id, "model")
    assert collection is not None
    return {f"v{a.version}": artifacts.aliases(a) for a in artifacts.versions(collection)}


def stored_files(server: Server) -> list[str]:
    folders = ("artifacts", "incoming")
    return sorted(p.name for folder in folders for p in (server.directory / folder).rglob("*") if p.is_file())


def remove_garbage(server: Server) -> None:
    asyncio.run(server.store.remove_deleted_files())


@pytest.fixture(autouse=True)
def _project(server: Server) -> None:
    server.project()
    server.start("one")


def test_versions_count_up_and_the_newest_is_the_latest(server: Server) -> None:
    log(server, {"a": b"1"}, aliases=("latest", "best"))
    second = log(server, {"a": b"2", "b/c": b""}, aliases=("latest",))
    assert versions(server) == {"v1": ["latest"], "v0": ["best"]}
    assert (second.file_count, second.size_bytes) == (2, 1)
    assert [(f.name, f.size_bytes) for f in server.store.artifacts.files(second)] == [("a", 1), ("b/c", 0)]
    for name, version in {"model": 1, "model:latest": 1, "model:v1": 1, "model:v0": 0, "model:best": 0}.items():
        found = find(server, name)
        assert found is not None
        assert found.version == version
    for name in ("model:v2", "model:worst", "other", "model:v01", "model:V0"):
        assert find(server, name) is None


def test_the_same_content_again_is_the_same_version_with_more_aliases(server: Server) -> None:
    first = log(server, {"a": b"1"}, run="one")
    server.start("two")
    again = create(server, {"a": b"1"}, run="two", aliases=("good",))
    assert (again.id, again.version) == (first.id, 0)
    assert versions(server) == {"v0": ["good", "latest"]}
    for name in ("one", "two"):
        assert server.store.artifacts.of_run(server.run(name), is_output=True) == [first]


def test_old_content_is_a_new_version_and_is_not_uploaded_again(server: Server) -> None:
    log(server, {"a": b"1"})
    log(server, {"a": b"2"})
    third = create(server, {"a": b"1"})
    assert third.version is None
    assert upload(server, third, {"a": b"1"}) == []
    before = stored_files(server)
    assert server.do(lambda: server.store.artifacts.announce_manifest(third, md5(manifest({"a": b"1"})))) is not None
    assert finish(server, third).version == 2
    assert stored_files(server) == before


def test_a_client_that_missed_the_answer_gets_the_same_artifact(server: Server) -> None:
    first, again = (create(server, {"a": b"1"}, client_id="c") for _ in range(2))
    assert first == again
    upload(server, first, {"a": b"1"})
    done = commit(server, first, manifest({"a": b"1"}))
    assert finish(server, done) == done
    assert create(server, {"a": b"1"}, client_id="c") == done


def test_an_artifact_is_finished_only_when_all_of_it_has_arrived(server: Server) -> None:
    artifact = create(server, {"a": b"1", "b": b"2"})
    artifacts = server.store.artifacts
    with pytest.raises(ClientError, match="this artifact can't be finished: its manifest was not uploaded"):
        finish(server, artifact)
    server.do(lambda: artifacts.announce_manifest(artifact, md5(b"x")))
    with pytest.raises(ClientError, match="its manifest was not uploaded"):
        finish(server, artifact)
    upload(server, artifact, {"a": b"1"})
    with pytest.raises(ClientError, match="this artifact can't be finished: its file 'b' was not uploaded"):
        commit(server, artifact, manifest({"a": b"1", "b": b"2"}))
    assert find(server, "model") is None
    upload(server, artifact, {"b": b"2"})
    assert finish(server, artifact).version == 0


def test_a_finished_artifact_gets_no_more_files(server: Server) -> None:
    artifact = log(server, {"a": b"1"})
    with pytest.raises(ClientError, match="artifact model:v0 is finished: log a new version"):
        server.do(lambda: server.store.artifacts.announce_files(artifact, [("b", md5(b"2"))]))
    with pytest.raises(ClientError, match="artifact model:v0 is finished: log a new version"):
        server.do(lambda: server.store.artifacts.announce_manifest(artifact, md5(b"2")))


def test_an_artifact_consists_of_what_its_manifest_says_whatever_was_announced(server: Server) -> None:
    log(server, {"x": b"of the version before"})
    announced = {"a": b"1", "b": b"2", "gone": b"3", "copy": b"1"}
    artifact = create(server, announced)
    upload(server, artifact, announced)
    files = {"a": b"1", "b": b"of the version before", "copy": b"1", "new": b"2"}
    done = commit(server, artifact, manifest(files))
    found = server.store.artifacts.files(done)
    assert {f.name: (contents(server, f), f.size_bytes) for f in found} == {
        name: (content, len(content)) for name, content in files.items()
    }
    remove_garbage(server)
    assert b"3" not in [path.read_bytes() for path in (server.directory / "artifacts").rglob("*") if path.is_file()]


def contents(server: Server, file: ArtifactFile) -> bytes:
    assert file.blob_id is not None
    return server.store.blobs.path(server.store.blobs.by_id(file.blob_id)).read_bytes()


def test_many_files_are_announced_at_once_and_have_their_places_in_their_order(server: Server) -> None:
    artifact = create(server, {"a": b"1"})
    names = [(f"f{number % 700}", md5(b"%d" % (number % 500))) for number in range(1000)]
    blobs = server.do(lambda: server.store.artifacts.announce_files(artifact, names))
    assert [blob.md5 for blob in blobs] == [md5_of_base64(*item) for item in names]
    assert len({blob.token for blob in blobs}) == 500
    with pytest.raises(ClientError, match="artifact file 'f': md5 'x' must be"):
        server.do(lambda: server.store.artifacts.announce_files(artifact, [("f", "x")]))


def test_what_a_client_announced_and_then_announced_otherwise_is_removed(server: Server) -> None:
    artifact = create(server, {"a": b"2"})
    for content in (b"1", b"2"):
        upload(server, artifact, {"a": content})
        wanted = md5(b"manifest of " + content)
        artifact = server.store.artifacts.require(global_id_of(artifact))
        store_content(
            server,
            server.do(lambda a=artifact, w=wanted: server.store.artifacts.announce_manifest(a, w)),
            b"manifest of " + content,
        )
    assert len(stored_files(server)) == 4
    remove_garbage(server)
    kept = [path.read_bytes() for path in (server.directory / "artifacts").rglob("*") if path.is_file()]
    assert sorted(kept) == [b"2", b"manifest of 2"]


def test_drafts_of_which_nothing_was_heard_for_a_week_are_removed_with_their_contents(server: Server) -> None:
    finished = log(server, {"a": b"shared"})
    old = create(server, {"a": b"shared", "b": b"1"}, run="one")
    upload(server, old, {"a": b"shared", "b": b"1"})
    server.do(lambda: server.store.artifacts.announce_manifest(old, md5(b"x")))
    busy = create(server, {"c": b"2"})
    server.time.pass_s(DRAFT_TIMEOUT_S)
    upload(server, busy, {"c": b"2"})
    keep_house(server)
    assert server.store.artifacts.find(global_id_of(old)) is not None
    server.time.pass_s(1.0)
    keep_house(server)
    assert server.store.artifacts.find(global_id_of(old)) is None
    assert commit(server, busy, manifest({"c": b"2"})).version == 1
    server.time.pass_s(2 * DRAFT_TIMEOUT_S)
    keep_house(server)
    assert [file.name for file in server.store.artifacts.files(finished)] == ["a"]
    assert len(stored_files(server)) == 4  # two contents and their manifests
    server.reopen()


def test_ever_so_many_old_drafts_are_removed_a_few_at_a_time(server: Server) -> None:
    drafts = [create(server, {"a": b"%d" % number}) for number in range(12)]
    server.time.pass_s(DRAFT_TIMEOUT_S + 1)
    left = []
    while not left or left[-1]:
        keep_house(server)
        left.append(sum(server.store.artifacts.find(global_id_of(draft)) is not None for draft in drafts))
    assert left == [7, 2, 0]


def keep_house(server: Server) -> None:
    server.do(lambda: server.store.keep_house(5.0))
    remove_garbage(server)


def test_references_need_no_content(server: Server) -> None:
    artifact = create(server, {"a": b"1"})
    upload(server, artifact, {"a": b"1"})
    elsewhere = {"ref": "s3://bucket/x", "digest": "an etag", "size": 7}
    done = commit(server, artifact, manifest({"a": b"1"}, there=elsewhere))
    assert (done.file_count, done.size_bytes) == (2, 8)
    assert [(file.name, file.reference) for file in server.store.artifacts.files(done)] == [
        ("a", None),
        ("there", "s3://bucket/x"),
    ]


def test_a_collection_has_one_type(server: Server) -> None:
    log(server, {"a": b"1"})
    with pytest.raises(ClientError, match="artifact 'model' is of the type 'model', not 'dataset'"):
        create(server, {"a": b"1"}, type="dataset")


@pytest.mark.parametrize(("alias", "message"), [("v3", "v and a number mean a version"), ("a/b", "a name has")])
def test_an_alias_that_can_not_be_asked_for_is_refused(server: Server, alias: str, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        create(server, {"a": b"1"}, aliases=(alias,))
    artifact = log(server, {"a": b"1"})
    with pytest.raises(ClientError, match=message):
        server.do(lambda: server.store.artifacts.add_aliases(artifact, (alias,)))


def test_deleting_a_version_removes_the_contents_that_no_other_has(server: Server) -> None:
    log(server, {"a": b"shared", "b": b"first"})
    second = log(server, {"a": b"shared", "b": b"second"})
    assert len(stored_files(server)) == 5
    with pytest.raises(ClientError, match="artifact model:v1 has the aliases latest: remove them first"):
        server.do(lambda: server.store.artifacts.delete(second, with_aliases=False))
    server.do(lambda: server.store.artifacts.delete(second, with_aliases=True))
    remove_garbage(server)
    assert len(stored_files(server)) == 3
    assert versions(server) == {"v0": ["latest"]}
    with pytest.raises(NotFoundError):
        server.store.artifacts.require(global_id_of(second))
    assert log(server, {"b": b"third"}).version == 2  # numbers are not used again


def test_contents_deleted_before_a_kill_are_removed_after_the_restart(server: Server) -> None:
    artifact = log(server, {"a": b"1"})
    server.do(lambda: server.store.artifacts.delete(artifact, with_aliases=True))
    server.reopen()
    assert stored_files(server)
    remove_garbage(server)
    assert stored_files(server) == []
    assert server.store.blobs.garbage() == []


def test_a_content_that_comes_again_after_it_was_given_up_is_kept(server: Server) -> None:
    first = log(server, {"a": b"1"})
    server.do(lambda: server.store.artifacts.delete(first, with_aliases=True))
    again = log(server, {"a": b"1"})
    remove_garbage(server)
    (file,) = server.store.artifacts.files(again)
    assert file.blob_id is not None
    assert server.store.blobs.path(server.store.blobs.by_id(file.blob_id)).read_bytes() == b"1"


def test_a_content_that_arrives_after_it_was_given_up_is_not_wanted(server: Server) -> None:
    artifact = create(server, {"a": b"1"})
    blob = server.do(lambda: server.store.artifacts.announce_files(artifact, [("a", md5(b"1"))]))[0]
    server.do(lambda: server.store.artifacts.delete(artifact, with_aliases=True))
    assert not server.do(lambda: server.store.blobs.stored(blob, 1))
    with pytest.raises(NotFoundError, match="no content of an artifact has this address"):
        server.store.blobs.place(blob.token)


def test_a_deleted_run_leaves_its_artifacts_unless_they_are_to_go_too(server: Server) -> None:
    server.start("two")
    kept, gone = log(server, {"a": b"1"}, run="one"), log(server, {"a": b"2"}, run="two")
    server.do(lambda: server.store.artifacts.use(server.run("two"), kept))
    server.do(lambda: server.store.artifacts.delete_of_run(server.run("two")))
    for name in ("one", "two"):
        server.do(lambda name=name: server.store.runs.delete(server.run(name)))
    assert server.store.artifacts.find(global_id_of(gone)) is None
    found = server.store.artifacts.require(global_id_of(kept))
    assert (found.run_id, server.store.artifacts.users(found)) == (None, [])


def test_a_content_is_stored_only_if_it_is_what_was_announced(server: Server) -> None:
    artifact = create(server, {"a": b"right"})
    blob = server.do(lambda: server.store.artifacts.announce_files(artifact, [("a", md5(b"right"))]))[0]
    writer = server.store.blobs.writer(blob)
    writer.write(b"wrong")
    with pytest.raises(ClientError, match=f"not {blob.md5} as announced"):
        writer.finish()
    writer.abandon()
    assert stored_files(server) == []


def test_what_was_coming_in_when_the_server_was_killed_is_removed_at_its_next_start(server: Server) -> None:
    artifact = create(server, {"a": b"right"})
    blob = server.do(lambda: server.store.artifacts.announce_files(artifact, [("a", md5(b"right"))]))[0]
    writer = server.store.blobs.writer(blob)
    writer.write(b"ri")
    assert stored_files(server)
    server.reopen()
    assert stored_files(server) == []
    writer.abandon()


@pytest.mark.parametrize("text", ["", "x", "====", "A" * 24, "a" * 1000, "\ud800"])
def test_what_is_no_md5_sum_is_refused_by_file(text: str) -> None:
    with pytest.raises(ClientError, match=r"artifact file 'f': md5 .* must be the base64 form"):
        md5_of_base64("f", text)


def test_a_manifest_is_read() -> None:
    content = {"a": {"digest": md5(b"1"), "size": 1}, "r": {"digest": "x", "ref": "s3://b/x"}}
    entries = parse_manifest(json.dumps({"version": 1, "contents": content}).encode())
    assert entries == [Entry("a", hashlib.md5(b"1").hexdigest(), None, 1), Entry("r", None, "s3://b/x", 0)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        '{"version": 1}',
        '{"version": 2, "contents": {}}',
        '{"version": 1, "contents": []}',
        '{"version": 1, "contents": {"a": 1}}',
        '{"version": 1, "contents": {"a": {}}}',
        '{"version": 1, "contents": {"a": {"digest": 5}}}',
        '{"version": 1, "contents": {"a": {"digest": "x"}}}',
        '{"version": 1, "contents": {"a": {"digest": "x", "ref": 1}}}',
        '{"version": 1, "contents": {"a": {"digest": "AAAAAAAAAAAAAAAAAAAAAA==", "size": -1}}}',
        '{"version": 1, "contents": {"a": {"digest": "AAAAAAAAAAAAAAAAAAAAAA==", "size": 1e400}}}',
        '{"version": 1, "contents": {"a": {"digest": "AAAAAAAAAAAAAAAAAAAAAA==", "size": "1"}}}',
    ],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ClientError, match=r"^artifact (manifest|file 'a')"):
        parse_manifest(text.encode())
