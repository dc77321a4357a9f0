"""What no SDK of today asks for, and is refused in words all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.server.asgi import App
from tests.unit.server.support import Server
from wandb_sweep_server.app import AccessLimits

CREATE_ARTIFACT = "mutation C($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact { id } } }"
ARTIFACT = {"entityName": "local", "projectName": "p", "artifactTypeName": "model", "digest": "d"}


@pytest.fixture
def app(server: Server) -> Iterator[App]:
    """An app on a store with the run r."""
    server.start("r")
    made = App(server, AccessLimits())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "createArtifact: an artifact needs exactly one name"),
        ({"artifactCollectionNames": ["a", "b"]}, "createArtifact: an artifact needs exactly one name"),
        (
            {"artifactCollectionName": "a", "digestAlgorithm": "MANIFEST_XXH128"},
            "the digest algorithm MANIFEST_XXH128 is not available in this server; use MANIFEST_MD5",
        ),
    ],
)
def test_an_artifact_that_cannot_be_kept_is_refused_by_what_is_wrong(
    app: App, changes: dict[str, Any], words: str
) -> None:
    answer = app.graphql(CREATE_ARTIFACT, input={**ARTIFACT, **changes})
    assert answer.status == 400
    assert words in answer.message


def test_another_key_is_told_which_one_is_meant(app: App) -> None:
    answer = app.ask("POST", "/graphql", b"{}", key="another")
    assert answer.status == 401
    assert answer.message == "this server needs its API key: set WANDB_API_KEY to the one in its server.json"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            'mutation { upsertSweep(input: {projectName: "p", config: "", launchScheduler: "{}"}) { sweep { id } } }',
            "sweeps on launch queues are not available in this server",
        ),
        (
            'query { project(name: "p", entityName: "local") {'
            ' artifactCollections(order: "x") { edges { node { name } } } } }',
            "filters and orders of artifact collections are not available in this server",
        ),
    ],
)
def test_what_this_server_lacks_is_refused_by_name(app: App, query: str, words: str) -> None:
    answer = app.graphql(query)
    assert words in answer.message, answer
