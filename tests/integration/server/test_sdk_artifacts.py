"""Artifacts of the unmodified SDK: logged, used, looked at, changed, deleted; and what is refused.

Starting the SDK takes longest, so each version runs one script, and each test looks at a part of what it tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.server.client import Client
from tests.integration.server.conftest import new_project
from tests.integration.server.sdk import Sdk, User
from wandb_sweep_server.launch import ServerAddress

ATTEMPT = """
import contextlib, datetime, io, os, pathlib, time

def attempt(work):
    # What came of it, or the words in which it failed, printed or raised.
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return work()
    except Exception as error:
        return f"refused: {error} {printed.getvalue()}"
"""
SCRIPT = (
    ATTEMPT
    + """
def make(name="model", kind="model", **more):
    artifact = wandb.Artifact(name, kind, metadata={"accuracy": 0.5}, description="the best", **more)
    artifact.add_dir("data")
    return artifact

def log(artifact, **more):
    run.log_artifact(artifact, **more).wait(timeout=60)
    return artifact

def tree(root):
    return {str(p.relative_to(root)): p.read_text() for p in sorted(pathlib.Path(root).rglob("*")) if p.is_file()}

pathlib.Path("data/deep").mkdir(parents=True)
pathlib.Path("data/one.txt").write_text("1")
pathlib.Path("data/deep/empty").write_text("")
told = {}
run = wandb.init(id="logger")
first = log(make(), aliases=["best"])
told["first"] = [first.version, sorted(first.aliases), first.size, first.state, first.metadata, first.description]
told["same"] = [log(make(), aliases=["again"]).version, sorted(run.use_artifact("model:v0").aliases)]
second = make()
with second.new_file("new.txt") as file:
    file.write("2")
second.add_reference("https://example.invalid/there", name="there", checksum=False)
told["second"] = [log(second).version, sorted(second.manifest.entries)]
draft = run.use_artifact("model:best").new_draft()
draft.remove("one.txt")
told["draft"] = [log(draft).version, sorted(draft.manifest.entries)]
whole = wandb.Artifact("whole", "model")
whole.add_reference(run.use_artifact("model:v0").get_entry("one.txt").ref_url(), name="part.txt")
table = wandb.Table(columns=["a"], data=[[1], [2]])
first_home, second_home = wandb.Artifact("home", "tables"), wandb.Artifact("second-home", "tables")
first_home.add(table, "rows")
run.log_artifact(first_home)  # known by the id that the client gave it, until it has one of the server
second_home.add(table, "rows")
log(whole), log(second_home)
told["parts"] = tree(wandb.Api().artifact(f"{run.entity}/{run.project}/whole:v0").download(root="whole"))
told["rows"] = wandb.Api().artifact(f"{run.entity}/{run.project}/second-home:v0").get("rows").data
told["download"] = tree(run.use_artifact("model:v0").download(root="downloaded"))
run.log({"table": table})
lasting = make("other")
lasting.ttl = datetime.timedelta(days=3)
told["refused"] = dict(
    ttl=attempt(lambda: log(lasting)),
    incremental=attempt(lambda: log(make("other", incremental=True))),
    distributed=attempt(lambda: run.upsert_artifact(make("other"), distributed_id="d").wait(timeout=60)),
    link=attempt(lambda: run.link_artifact(first, "local/model-registry/m")),
    missing=attempt(lambda: run.use_artifact("nothing:latest")),
    kind=attempt(lambda: log(make("model", "dataset"))),
)
run.finish()

api = wandb.Api()
project = f"{run.entity}/{run.project}"
logger = api.run(run.path)
told["logged"] = [artifact.name for artifact in logger.logged_artifacts()]
told["used"] = sorted(artifact.name for artifact in logger.used_artifacts())
found = api.artifact(f"{project}/model:best")
told["found"] = [found.name, found.version, found.type, dict(found.metadata), found.logged_by().id, found.file_count]
told["used_by"] = [user.id for user in found.used_by()]
told["files"] = [[file.name, file.size] for file in api.artifact(f"{project}/model:v1").files()]
told["downloaded"] = tree(found.download(root="again"))
found.verify("again")
told["entry"] = pathlib.Path(found.get_entry("one.txt").download("entry")).read_text()
told["exist"] = [api.artifact_exists(f"{project}/{name}") for name in ("model:v0", "model:v9", "other:v0")]
told["types"] = sorted(kind.name for kind in api.artifact_types(project))
told["collections"] = [collection.name for collection in api.artifact_collections(project, "model")]
told["versions"] = [artifact.name for artifact in api.artifacts("model", f"{project}/model")]
found.aliases.append("prod")
found.aliases.remove("best")
found.metadata["epoch"] = 3
found.description = "changed"
found.save()
changed = wandb.Api().artifact(f"{project}/model:prod")
told["aliases"] = sorted(changed.aliases)
changed = wandb.Api().artifact(f"{project}/model:v0")  # by an alias, wandb 0.19 takes it for a link
told["changed"] = [changed.version, changed.metadata, changed.description]
told["with_aliases"] = attempt(lambda: changed.delete())
changed.delete(delete_aliases=True)
told["left"] = [artifact.name for artifact in wandb.Api().artifacts("model", f"{project}/model")]
result(told)
"""
)


@pytest.fixture(scope="module")
def told(sdk: Sdk, server: ServerAddress, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the script tells."""
    user = User(sdk, server, tmp_path_factory.mktemp("artifacts"), new_project())
    yield {**user.result(SCRIPT), "project": user.project}
    user.end()


def test_an_artifact_is_logged_with_version_aliases_and_metadata(told: dict[str, Any]) -> None:
    assert told["first"] == ["v0", ["best", "latest"], 1, "COMMITTED", {"accuracy": 0.5}, "the best"]


def test_the_same_content_is_the_same_version_and_new_content_a_new_one(told: dict[str, Any]) -> None:
    assert told["same"] == ["v0", ["again", "best", "latest"]]
    assert told["second"] == ["v1", ["deep/empty", "new.txt", "one.txt", "there"]]
    assert told["draft"] == ["v2", ["deep/empty"]]


def test_an_artifact_is_downloaded_as_it_was(told: dict[str, Any]) -> None:
    assert told["download"] == told["downloaded"] == {"one.txt": "1", "deep/empty": ""}
    assert told["entry"] == "1"
    assert told["files"][:3] == [["deep/empty", 0], ["new.txt", 1], ["one.txt", 1]]
    assert [name for name, _ in told["files"]] == ["deep/empty", "new.txt", "one.txt", "there"]


def test_parts_of_other_artifacts_come_along(told: dict[str, Any]) -> None:
    assert told["parts"] == {"part.txt": "1"}
    assert told["rows"] == [[1], [2]]


def test_it_is_known_who_logged_and_who_used_an_artifact(told: dict[str, Any]) -> None:
    assert told["logged"][:3] == ["model:v0", "model:v1", "model:v2"]
    assert "run-logger-table:v0" in told["logged"]  # what a table in run.log() becomes
    assert told["used"] == ["model:v0"]
    assert told["used_by"] == ["logger"]
    assert told["found"][-2:] == ["logger", 2]


def test_artifacts_are_found_by_name_alias_version_and_type(told: dict[str, Any]) -> None:
    assert told["found"][:4] == ["model:best", "v0", "model", {"accuracy": 0.5}]
    assert told["exist"] == [True, False, False]
    assert told["types"] == ["model", "run_table", "tables"]
    assert told["collections"] == ["model", "whole"]
    assert told["versions"] == ["model:v2", "model:v1", "model:v0"]


def test_an_artifact_is_changed_and_deleted(told: dict[str, Any]) -> None:
    assert told["changed"] == ["v0", {"accuracy": 0.5, "epoch": 3}, "changed"]
    assert told["aliases"] == ["again", "prod"]
    assert "artifact model:v0 has the aliases again, prod" in told["with_aliases"]
    assert told["left"] == ["model:v2", "model:v1"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("ttl", "a time to live of artifacts (ttl) is not available in this server"),
        ("incremental", "artifact manifests of the type INCREMENTAL (incremental=True) are not available here"),
        ("distributed", "artifacts that several runs write (run.upsert_artifact) are not available in this server"),
        ("missing", "'nothing:latest' not found"),
        ("kind", "already exists with type 'model'"),
    ],
)
def test_what_is_not_there_is_refused_in_words_that_users_see(told: dict[str, Any], what: str, words: str) -> None:
    assert words in told["refused"][what]


def test_linking_to_a_registry_is_refused_by_name(sdk: Sdk, told: dict[str, Any]) -> None:
    if sdk.version < (0, 20):
        pytest.skip("wandb 0.19 prints the server's words from another process, and goes on")
    assert "linkArtifact: not available in this server" in told["refused"]["link"]


def test_a_run_that_was_refused_something_ends_as_usual(told: dict[str, Any], client: Client) -> None:
    assert client.run(told["project"], "logger")["state"] == "finished"
