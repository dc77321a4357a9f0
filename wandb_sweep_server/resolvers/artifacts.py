"""The fields of artifacts, their collections and types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ariadne import InterfaceType, ObjectType, QueryType, UnionType

from wandb_sweep_server import jsontext
from wandb_sweep_server.artifacts import Artifact, Collection
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.listing import page_bounds, page_of
from wandb_sweep_server.records import Project, Run, global_id, row_id_of

from .context import connection, store_of, time_text
from .file_views import artifact_file, place

if TYPE_CHECKING:
    from .context import Info


@dataclass(frozen=True)
class _Membership:
    """A version as one of its collection."""

    collection: Collection
    artifact: Artifact


@dataclass(frozen=True)
class _Type:
    """A type of artifacts, which is nothing but the word that collections have in common."""

    project_id: int
    name: str


def _page(items: list[Any], after: str | None, first: int | None) -> dict[str, Any]:
    offset, count = page_bounds(after, first)
    page = page_of(items[offset : offset + count + 1], offset, count)
    return {**connection(page), "totalCount": len(items)}


# --- where they begin ---

_query = QueryType()


@_query.field("artifact")
def _artifact_by_id(_: Any, info: Info, id: str) -> Artifact | None:
    return store_of(info).artifacts.find(id)


@_query.field("artifactCollection")
def _collection_by_id(_: Any, info: Info, id: str) -> Collection | None:
    row_id = row_id_of("ArtifactCollection", id)
    return None if row_id is None else store_of(info).artifacts.collection(row_id)


@_query.field("clientIDMapping")
def _server_id(_: Any, info: Info, clientID: str) -> dict[str, str] | None:
    artifact = store_of(info).artifacts.by_client_id(clientID)
    return {"serverID": global_id("Artifact", artifact.id)} if artifact else None


_project = ObjectType("Project")


@_project.field("artifact")
def _artifact_by_name(project: Project, info: Info, name: str, **_: Any) -> Artifact | None:
    return store_of(info).artifacts.by_name(project.id, name)


@_project.field("artifactCollectionMembership")
def _membership_by_name(project: Project, info: Info, name: str) -> _Membership | None:
    artifact = store_of(info).artifacts.by_name(project.id, name)
    return _membership(info, artifact) if artifact else None


def _membership(info: Info, artifact: Artifact) -> _Membership:
    return _Membership(store_of(info).artifacts.collection(artifact.collection_id), artifact)


@_project.field("artifactCollection")
def _collection_by_name(project: Project, info: Info, name: str) -> Collection | None:
    return store_of(info).artifacts.collection_by_name(project.id, name)


@_project.field("artifactCollections")
def _collections(
    project: Project,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    _refuse_selection(filters, order)
    return _page(store_of(info).artifacts.collections(project.id), after, first)


def _refuse_selection(filters: str | None, order: str | None) -> None:
    if order or (filters and jsontext.loads(filters)):
        raise ClientError("filters and orders of artifact collections are not available in this server")


@_project.field("artifactType")
def _type_by_name(project: Project, info: Info, name: str) -> _Type | None:
    return _Type(project.id, name) if store_of(info).artifacts.collections(project.id, name) else None


@_project.field("artifactTypes")
def _types(project: Project, info: Info, after: str | None = None, first: int | None = None) -> dict[str, Any]:
    names = sorted({collection.type for collection in store_of(info).artifacts.collections(project.id)})
    return _page([_Type(project.id, name) for name in names], after, first)


_run = ObjectType("Run")


@_run.field("outputArtifacts")
def _logged(run: Run, info: Info, after: str | None = None, first: int | None = None) -> dict[str, Any]:
    return _page(store_of(info).artifacts.of_run(run, is_output=True), after, first)


@_run.field("inputArtifacts")
def _used(run: Run, info: Info, after: str | None = None, first: int | None = None) -> dict[str, Any]:
    return _page(store_of(info).artifacts.of_run(run, is_output=False), after, first)


# --- an artifact ---

_artifact = ObjectType("Artifact")
for _name, _read in {
    "id": lambda a: global_id("Artifact", a.id),
    "versionIndex": lambda a: a.version,
    "state": lambda a: "PENDING" if a.version is None else "COMMITTED",
    "digestAlgorithm": lambda _: "MANIFEST_MD5",
    "ttlDurationSeconds": lambda _: -1,  # that of the collection, which has none
    "ttlIsInherited": lambda _: True,
    "historyStep": lambda a: a.history_step,
    "size": lambda a: a.size_bytes,
    "fileCount": lambda a: a.file_count,
    "createdAt": lambda a: time_text(a.created_at),
    "updatedAt": lambda a: time_text(a.updated_at),
    "tags": lambda a: [{"id": global_id("Tag", a.id) + name, "name": name} for name in jsontext.loads(a.tags)],
}.items():
    _artifact.set_field(_name, lambda artifact, _, read=_read: read(artifact))


@_artifact.field("artifactSequence")
def _sequence(artifact: Artifact, info: Info) -> Collection:
    return store_of(info).artifacts.collection(artifact.collection_id)


@_artifact.field("artifactType")
def _type_of_artifact(artifact: Artifact, info: Info) -> _Type:
    return _type_of(store_of(info).artifacts.collection(artifact.collection_id))


def _type_of(collection: Collection) -> _Type:
    return _Type(collection.project_id, collection.type)


@_artifact.field("artifactMemberships")
def _memberships(artifact: Artifact, info: Info, **_: Any) -> dict[str, Any]:
    return {"edges": [{"node": _membership(info, artifact)}]}


@_artifact.field("aliases")
def _aliases(artifact: Artifact, info: Info) -> list[dict[str, Any]]:
    artifacts = store_of(info).artifacts
    collection = artifacts.collection(artifact.collection_id)
    return [_alias(artifact, alias, collection) for alias in artifacts.aliases(artifact)]


def _alias(artifact: Artifact, alias: str, collection: Collection) -> dict[str, Any]:
    return {"id": global_id("Alias", artifact.id) + alias, "alias": alias, "artifactCollection": collection}


@_artifact.field("createdBy")
def _created_by(artifact: Artifact, info: Info) -> Run | None:
    return store_of(info).runs.by_id(artifact.run_id) if artifact.run_id is not None else None


@_artifact.field("usedBy")
def _used_by(artifact: Artifact, info: Info, after: str | None = None, first: int | None = None) -> dict[str, Any]:
    return _page(store_of(info).artifacts.users(artifact), after, first)


@_artifact.field("currentManifest")
def _manifest(artifact: Artifact, info: Info) -> dict[str, Any] | None:
    if artifact.manifest_blob_id is None:
        return None
    blob = store_of(info).blobs.by_id(artifact.manifest_blob_id)
    file = place(info, artifact, "wandb_manifest.json", blob)
    return {"id": global_id("ArtifactManifest", artifact.id), "digest": blob.md5, "file": file}


@_artifact.field("files")
def _files(
    artifact: Artifact,
    info: Info,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> dict[str, Any]:
    found = [file for file in store_of(info).artifacts.files(artifact) if not names or file.name in names]
    page = _page(found, after, first)
    for edge in page["edges"]:
        file = edge["node"]
        blob = None if file.blob_id is None else store_of(info).blobs.by_id(file.blob_id)
        edge["node"] = artifact_file(info, artifact, file, blob)
    return page


_creator = UnionType("ArtifactCreator", lambda *_: "Run")

# --- a version in its collection ---

_member = ObjectType("ArtifactCollectionMembership")
_member.set_field("id", lambda m, _: global_id("ArtifactCollectionMembership", m.artifact.id))
_member.set_field("versionIndex", lambda m, _: m.artifact.version)
_member.set_field("createdAt", lambda m, _: time_text(m.artifact.created_at))
_member.set_field("artifactCollection", lambda m, _: m.collection)
_member.set_field("aliases", lambda m, info: _aliases(m.artifact, info))
_member.set_field("files", lambda m, info, **arguments: _files(m.artifact, info, **arguments))

# --- a collection ---

_collection_interface = InterfaceType("ArtifactCollection", lambda *_: "ArtifactSequence")
_collection = ObjectType("ArtifactSequence")
_collection.set_field("id", lambda c, _: global_id("ArtifactCollection", c.id))
_collection.set_field("createdAt", lambda c, _: time_text(c.created_at))
_collection.set_field("updatedAt", lambda c, _: time_text(c.created_at))
_collection.set_field("description", lambda *_: None)
_collection.set_field("project", lambda c, info: store_of(info).projects.by_id(c.project_id))
_collection.set_field("defaultArtifactType", lambda c, _: _type_of(c))
_collection.set_field("digestAlgorithm", lambda *_: "MANIFEST_MD5")
_collection.set_field("latestArtifact", lambda c, info: store_of(info).artifacts.latest(c))
_collection.set_field("tags", lambda *_: {"edges": []})


@_collection.field("aliases")
def _aliases_of_collection(
    collection: Collection, info: Info, after: str | None = None, first: int | None = None
) -> dict[str, Any]:
    artifacts = store_of(info).artifacts
    versions = artifacts.versions(collection)
    found = [_alias(version, alias, collection) for version in versions for alias in artifacts.aliases(version)]
    return _page(found, after, first)


@_collection.field("artifacts")
def _versions(
    collection: Collection,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    wanted = jsontext.loads(filters) if filters else {}
    if order or (wanted and wanted != {"state": "COMMITTED"}):
        raise ClientError("filters and orders of artifact versions are not available in this server")
    page = _page(store_of(info).artifacts.versions(collection), after, first)
    for edge in page["edges"]:
        edge["version"] = f"v{edge['node'].version}"
    return page


@_collection.field("artifactMembership")
def _membership_by_alias(collection: Collection, info: Info, aliasName: str) -> _Membership | None:
    artifact = store_of(info).artifacts.by_alias(collection, aliasName)
    return _Membership(collection, artifact) if artifact else None


# --- a type ---

_type = ObjectType("ArtifactType")
_type.set_field("id", lambda t, _: global_id("ArtifactType", t.project_id) + t.name)
_type.set_field("description", lambda *_: None)


@_type.field("createdAt")
def _first_use(kind: _Type, info: Info) -> str | None:
    first, *_ = store_of(info).artifacts.collections(kind.project_id, kind.name)
    return time_text(first.created_at)


@_type.field("artifact")
def _artifact_of_type(kind: _Type, info: Info, name: str) -> Artifact | None:
    return store_of(info).artifacts.by_name(kind.project_id, name)


@_type.field("artifactCollection")
@_type.field("artifactSequence")
def _collection_of_type(kind: _Type, info: Info, name: str) -> Collection | None:
    found = store_of(info).artifacts.collection_by_name(kind.project_id, name)
    return found if found is not None and found.type == kind.name else None


@_type.field("artifactCollections")
def _collections_of_type(
    kind: _Type,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    _refuse_selection(filters, order)
    return _page(store_of(info).artifacts.collections(kind.project_id, kind.name), after, first)


BINDABLES = (_query, _project, _run, _artifact, _creator, _member, _collection_interface, _collection, _type)
