"""What clients do with artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ariadne import MutationType

from wandb_sweep_server import jsontext
from wandb_sweep_server.artifacts import Artifact, NewArtifact
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.records import Run, global_id
from wandb_sweep_server.runs import parsed_object

from .context import store_of
from .file_views import place

if TYPE_CHECKING:
    from .context import Info

_mutation = MutationType()


@_mutation.field("createArtifact")
def _create(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = store_of(info)
    _refuse_what_is_not_there(input)
    project = store.projects.require(input["entityName"], input["projectName"])
    run = _run_of_input(info, input) if input.get("runName") else None
    (name, *others) = input.get("artifactCollectionNames") or [input.get("artifactCollectionName")]
    if others or not name:
        raise ClientError("createArtifact: an artifact needs exactly one name")
    new = NewArtifact(
        name=name,
        type=input["artifactTypeName"],
        digest=input["digest"],
        client_id=input.get("clientID"),
        description=input.get("description"),
        metadata=_metadata(input),
        tags=tuple(tag["tagName"] for tag in input.get("tags") or ()),
        aliases=tuple(alias["alias"] for alias in input.get("aliases") or ()),
        history_step=input.get("historyStep"),
    )
    return {"artifact": store.artifacts.create(project, run, new)}


def _refuse_what_is_not_there(input: dict[str, Any]) -> None:
    if input.get("distributedID"):
        raise ClientError("artifacts that several runs write (run.upsert_artifact) are not available in this server")
    if input.get("digestAlgorithm") == "MANIFEST_XXH128":
        raise ClientError("the digest algorithm MANIFEST_XXH128 is not available in this server; use MANIFEST_MD5")
    _refuse_ttl(input)


def _refuse_ttl(input: dict[str, Any]) -> None:
    # Zero and less stand for none, or that of the collection, which has none.
    if (input.get("ttlDurationSeconds") or 0) > 0:
        raise ClientError("a time to live of artifacts (ttl) is not available in this server: delete them yourself")


def _metadata(input: dict[str, Any]) -> str | None:
    value = parsed_object("metadata", input.get("metadata"))
    return None if value is None else jsontext.dumps(value)


def _run_of_input(info: Info, input: dict[str, Any]) -> Run:
    store = store_of(info)
    project = store.projects.find(input["entityName"], input["projectName"])
    run = store.runs.by_name(project.id, input["runName"]) if project else None
    if run is None:
        raise NotFoundError(f"run {input['runName']!r} does not exist in project {input['projectName']!r}")
    return run


@_mutation.field("createArtifactManifest")
def _create_manifest(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    kind = input.get("type") or "FULL"
    if kind != "FULL":
        raise ClientError(f"artifact manifests of the type {kind} (incremental=True) are not available here")
    artifacts = store_of(info).artifacts
    artifact = artifacts.require(input["artifactID"])
    blob = artifacts.announce_manifest(artifact, input["digest"])
    file = place(info, artifact, input["name"], blob)
    return {"artifactManifest": {"id": global_id("ArtifactManifest", artifact.id), "file": file}}


@_mutation.field("createArtifactFiles")
def _create_files(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    artifacts = store_of(info).artifacts
    wanted: dict[str, list[tuple[str, str]]] = {}
    for file in input["artifactFiles"]:
        wanted.setdefault(file["artifactID"], []).append((file["name"], file["md5"]))
    found = {id: artifacts.require(id) for id in wanted}
    blobs = {id: iter(artifacts.announce_files(found[id], files)) for id, files in wanted.items()}
    edges = [
        {"node": place(info, found[file["artifactID"]], file["name"], next(blobs[file["artifactID"]]))}
        for file in input["artifactFiles"]
    ]
    return {"files": {"edges": edges, "totalCount": len(edges), "pageInfo": {"hasNextPage": False}}}


@_mutation.field("commitArtifact")
def _commit(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    artifacts = store_of(info).artifacts
    artifact = artifacts.require(input["artifactID"])
    if artifact.version is None:
        artifact = artifacts.commit(artifact, info.context.entries_of(artifacts.manifest(artifact)))
    return {"artifact": artifact}


@_mutation.field("useArtifact")
def _use(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    artifacts = store_of(info).artifacts
    artifact = artifacts.require(input["artifactID"])
    artifacts.use(_run_of_input(info, input), artifact)
    return {"artifact": artifact}


@_mutation.field("updateArtifact")
def _update(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    artifacts = store_of(info).artifacts
    artifact = artifacts.require(input["artifactID"])
    _refuse_ttl(input)
    columns: dict[str, Any] = {"tags": jsontext.dumps(_tags(artifact, input))}
    if input.get("description") is not None:
        columns["description"] = input["description"]
    if input.get("metadata") is not None:
        columns["metadata"] = _metadata(input)
    if input.get("aliases") is not None:
        artifacts.add_aliases(artifact, tuple(alias["alias"] for alias in input["aliases"]))
    return {"artifact": artifacts.edit(artifact, columns)}


def _tags(artifact: Artifact, input: dict[str, Any]) -> list[str]:
    added = {tag["tagName"] for tag in input.get("tagsToAdd") or ()}
    removed = {tag["tagName"] for tag in input.get("tagsToDelete") or ()}
    return sorted({*jsontext.loads(artifact.tags), *added} - removed)


@_mutation.field("addAliases")
def _add_aliases(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    artifacts = store_of(info).artifacts
    artifacts.add_aliases(artifacts.require(input["artifactID"]), _names(input))
    return {"success": True}


@_mutation.field("deleteAliases")
def _delete_aliases(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    artifacts = store_of(info).artifacts
    artifacts.remove_aliases(artifacts.require(input["artifactID"]), _names(input))
    return {"success": True}


def _names(input: dict[str, Any]) -> tuple[str, ...]:
    return tuple(alias["alias"] for alias in input["aliases"])


@_mutation.field("deleteArtifact")
def _delete(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    artifacts = store_of(info).artifacts
    artifact = artifacts.require(input["artifactID"])
    artifacts.delete(artifact, with_aliases=bool(input.get("deleteAliases")))
    return {"artifact": None}


BINDABLES = (_mutation,)
