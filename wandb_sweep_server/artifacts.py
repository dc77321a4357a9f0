"""Artifacts: versions of files that runs log and use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import jsontext
from .artifact_files import ArtifactFile, ArtifactFiles
from .blobs import Blob, Blobs, md5_of_base64
from .clock import Clock
from .database import Database
from .errors import ClientError, NotFoundError
from .manifests import Entry
from .projects import check_name
from .records import Project, Run, record, row_id_of

LATEST = "latest"
DRAFT_TIMEOUT_S = 7 * 86_400.0
_DRAFTS_AT_ONCE = 5
_VERSION = re.compile(r"v(0|[1-9]\d{0,15})\Z", re.ASCII)


@dataclass(frozen=True)
class Collection:
    """A name, with all versions of what it stands for."""

    id: int
    project_id: int
    name: str
    type: str
    next_version: int
    created_at: float


@dataclass(frozen=True)
class Artifact:
    """One version; `version` is None until everything of it has arrived. `metadata` and `tags` are JSON text."""

    id: int
    collection_id: int
    run_id: int | None
    client_id: str | None
    version: int | None
    digest: str
    description: str | None
    metadata: str | None
    tags: str
    wanted_aliases: str
    history_step: int | None
    manifest_blob_id: int | None
    size_bytes: int
    file_count: int
    created_at: float
    updated_at: float


@dataclass(frozen=True)
class NewArtifact:
    """What a client says of an artifact that it is about to log. metadata: JSON text."""

    name: str
    type: str
    digest: str
    client_id: str | None = None
    description: str | None = None
    metadata: str | None = None
    tags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    history_step: int | None = None


class Artifacts:
    """Artifacts from their announcement to their deletion."""

    def __init__(self, database: Database, clock: Clock, blobs: Blobs, manifest_bytes: int) -> None:
        """manifest_bytes: how large the list of an artifact's files may be."""
        self._db = database
        self._clock = clock
        self._blobs = blobs
        self._files = ArtifactFiles(database, blobs)
        self._manifest_bytes = manifest_bytes

    # finding them

    def collection(self, collection_id: int) -> Collection:
        """The collection of a row that refers to it."""
        found = record(Collection, self._db.row("SELECT * FROM artifact_collections WHERE id = ?", (collection_id,)))
        if found is None:
            raise LookupError(f"artifact collection row {collection_id} is missing")
        return found

    def collection_by_name(self, project_id: int, name: str) -> Collection | None:
        """The collection of that name, or None."""
        sql = "SELECT * FROM artifact_collections WHERE project_id = ? AND name = ?"
        return record(Collection, self._db.row(sql, (project_id, name)))

    def collections(self, project_id: int, type_name: str | None = None) -> list[Collection]:
        """All collections of a project in which something was finished, or those of a type; oldest first."""
        sql = (
            "SELECT * FROM artifact_collections "
            "WHERE project_id = ? AND type = COALESCE(?, type) AND next_version > 0 ORDER BY id"
        )
        return [Collection(**dict(row)) for row in self._db.rows(sql, (project_id, type_name))]

    def find(self, global_id: str) -> Artifact | None:
        """The artifact with that opaque id, or None."""
        row_id = row_id_of("Artifact", global_id)
        return None if row_id is None else record(Artifact, self._db.row(_BY_ID, (row_id,)))

    def require(self, global_id: str) -> Artifact:
        """The artifact with that opaque id.

        Raises:
            NotFoundError: There is none.
        """
        found = self.find(global_id)
        if found is None:
            raise NotFoundError(f"artifact with id {global_id!r} does not exist")
        return found

    def by_client_id(self, client_id: str) -> Artifact | None:
        """The artifact that a client made up that id for, or None."""
        return record(Artifact, self._db.row("SELECT * FROM artifacts WHERE client_id = ?", (client_id,)))

    def by_name(self, project_id: int, name: str) -> Artifact | None:
        """The artifact of a name such as `model`, `model:v3` or `model:best`, or None."""
        collection_name, _, alias = name.partition(":")
        collection = self.collection_by_name(project_id, collection_name)
        return None if collection is None else self.by_alias(collection, alias or LATEST)

    def by_alias(self, collection: Collection, alias: str) -> Artifact | None:
        """The version of a collection that has an alias or is meant by `v3`, or None."""
        version = _VERSION.match(alias)
        if version:
            sql = "SELECT * FROM artifacts WHERE collection_id = ? AND version = ?"
            return record(Artifact, self._db.row(sql, (collection.id, int(version[1]))))
        sql = (
            "SELECT artifacts.* FROM artifact_aliases JOIN artifacts ON artifacts.id = artifact_id "
            "WHERE artifact_aliases.collection_id = ? AND alias = ?"
        )
        return record(Artifact, self._db.row(sql, (collection.id, alias)))

    def versions(self, collection: Collection) -> list[Artifact]:
        """All versions of a collection, the newest first."""
        sql = "SELECT * FROM artifacts WHERE collection_id = ? AND version IS NOT NULL ORDER BY version DESC"
        return [Artifact(**dict(row)) for row in self._db.rows(sql, (collection.id,))]

    def latest(self, collection: Collection) -> Artifact | None:
        """The newest version, or None."""
        sql = "SELECT * FROM artifacts WHERE collection_id = ? ORDER BY version DESC LIMIT 1"
        found = record(Artifact, self._db.row(sql, (collection.id,)))
        return None if found is None or found.version is None else found

    def aliases(self, artifact: Artifact) -> list[str]:
        """The aliases of an artifact, its version not among them."""
        sql = "SELECT alias FROM artifact_aliases WHERE artifact_id = ? ORDER BY alias"
        return [row["alias"] for row in self._db.rows(sql, (artifact.id,))]

    def files(self, artifact: Artifact) -> list[ArtifactFile]:
        """The files of an artifact that has arrived."""
        return [] if artifact.version is None else self._files.of_artifact(artifact.id)

    # logging them

    def create(self, project: Project, run: Run | None, new: NewArtifact) -> Artifact:
        """Begin to log an artifact, unless the latest version of its collection has the same content.

        Args:
            project: Where it belongs.
            run: That logs it, if any does.
            new: What it is.

        Returns:
            The artifact, whose files are to be announced if it has no version yet.

        Raises:
            ClientError: A name is wrong, or the collection is of another type.
        """
        known = self.by_client_id(new.client_id) if new.client_id else None
        if known is not None:
            return known
        collection = self._collection_for(project, new)
        latest = self.latest(collection)
        if latest is not None and latest.digest == new.digest:
            self.add_aliases(latest, new.aliases)
            self._link(run, latest, is_output=True)
            return self._reload(latest)
        for alias in new.aliases:
            _check_alias(alias)
        now_s = self._clock.wall_s()
        artifact_id = self._db.insert(
            "artifacts",
            {
                "collection_id": collection.id,
                "run_id": run.id if run else None,
                "client_id": new.client_id,
                "digest": new.digest,
                "description": new.description,
                "metadata": new.metadata,
                "tags": jsontext.dumps(sorted(set(new.tags))),
                "wanted_aliases": jsontext.dumps(new.aliases),
                "history_step": new.history_step,
                "created_at": now_s,
                "updated_at": now_s,
            },
        )
        return Artifact(**dict(self._db.rows(_BY_ID, (artifact_id,))[0]))

    def _collection_for(self, project: Project, new: NewArtifact) -> Collection:
        known = self.collection_by_name(project.id, new.name)
        if known is None:
            columns = {"name": check_name("artifact", new.name), "type": check_name("artifact type", new.type)}
            row = {"project_id": project.id, **columns, "created_at": self._clock.wall_s()}
            return self.collection(self._db.insert("artifact_collections", row))
        if known.type != new.type:
            raise ClientError(f"artifact {new.name!r} is of the type {known.type!r}, not {new.type!r}")
        return known

    def announce_manifest(self, artifact: Artifact, md5_base64: str) -> Blob | None:
        """A place for an artifact's manifest; None as long as the client doesn't know its MD5 sum.

        Raises:
            ClientError: The MD5 sum is none, or the artifact is finished.
        """
        self._check_unfinished(artifact)
        if not md5_base64:
            return None
        md5 = md5_of_base64("manifest", md5_base64)
        blob = self._blobs.announce([md5])[md5]
        self._db.update("artifacts", artifact.id, {"manifest_blob_id": blob.id, "updated_at": self._clock.wall_s()})
        if artifact.manifest_blob_id is not None:
            self._blobs.discard_unused([artifact.manifest_blob_id])
        return blob

    def announce_files(self, artifact: Artifact, wanted: Sequence[tuple[str, str]]) -> list[Blob]:
        """Places for files of an artifact (name, MD5 sum in base64), in their order; some may be there already.

        Raises:
            ClientError: An MD5 sum is none, or the artifact is finished.
        """
        self._check_unfinished(artifact)
        self._db.update("artifacts", artifact.id, {"updated_at": self._clock.wall_s()})
        return self._files.announce(artifact.id, wanted)

    def _check_unfinished(self, artifact: Artifact) -> None:
        if artifact.version is not None:
            raise ClientError(f"artifact {self.name(artifact)} is finished: log a new version")

    def manifest(self, artifact: Artifact) -> Blob:
        """The manifest of an artifact that is to be finished, which has arrived and is not too large to be read.

        Raises:
            ClientError: It hasn't, or is.
        """
        blob = self._blobs.by_id(artifact.manifest_blob_id) if artifact.manifest_blob_id is not None else None
        if blob is None or blob.size_bytes is None:
            raise ClientError("this artifact can't be finished: its manifest was not uploaded")
        if blob.size_bytes > self._manifest_bytes:
            raise ClientError(
                f"this artifact can't be finished: its manifest has {blob.size_bytes} bytes, and this server "
                f"reads at most {self._manifest_bytes}; divide its files among several artifacts"
            )
        return blob

    def commit(self, artifact: Artifact, entries: Sequence[Entry]) -> Artifact:
        """Finish an artifact whose files and manifest have arrived: it gets its version and aliases.

        entries: what its manifest lists. To read that takes seconds, so it is done outside of the store.

        Raises:
            ClientError: Something is missing.
        """
        if artifact.version is not None:
            return artifact
        self._files.settle(artifact.id, entries)
        return self._finish(artifact, len(entries), sum(entry.size_bytes for entry in entries))

    def _finish(self, artifact: Artifact, file_count: int, size_bytes: int) -> Artifact:
        collection = self.collection(artifact.collection_id)
        version = collection.next_version
        self._db.update("artifact_collections", collection.id, {"next_version": version + 1})
        columns = {"version": version, "file_count": file_count, "size_bytes": size_bytes}
        self._db.update("artifacts", artifact.id, {**columns, "updated_at": self._clock.wall_s()})
        self.add_aliases(artifact, (LATEST, *jsontext.loads(artifact.wanted_aliases)))
        if artifact.run_id is not None:
            self._db.execute(_LINK, (artifact.run_id, artifact.id, 1))
        return self._reload(artifact)

    # using and changing them

    def _link(self, run: Run | None, artifact: Artifact, *, is_output: bool) -> None:
        if run is not None:
            self._db.execute(_LINK, (run.id, artifact.id, int(is_output)))

    def use(self, run: Run, artifact: Artifact) -> None:
        """A run uses an artifact."""
        self._link(run, artifact, is_output=False)

    def of_run(self, run: Run, *, is_output: bool) -> list[Artifact]:
        """The artifacts that a run has logged, or those that it used."""
        sql = (
            "SELECT artifacts.* FROM artifacts_of_runs JOIN artifacts ON artifacts.id = artifact_id "
            "WHERE artifacts_of_runs.run_id = ? AND is_output = ? ORDER BY artifacts.id"
        )
        return [Artifact(**dict(row)) for row in self._db.rows(sql, (run.id, int(is_output)))]

    def users(self, artifact: Artifact) -> list[Run]:
        """The runs that use an artifact."""
        sql = (
            "SELECT runs.* FROM artifacts_of_runs JOIN runs ON runs.id = artifacts_of_runs.run_id "
            "WHERE artifact_id = ? AND NOT is_output ORDER BY runs.id"
        )
        return [Run(**dict(row)) for row in self._db.rows(sql, (artifact.id,))]

    def add_aliases(self, artifact: Artifact, aliases: tuple[str, ...]) -> None:
        """Give aliases to a version; they are taken from the one that had them.

        Raises:
            ClientError: An alias looks like a version, or has a character that a name can't have.
        """
        for alias in aliases:
            self._db.execute(
                "INSERT OR REPLACE INTO artifact_aliases (collection_id, alias, artifact_id) VALUES (?, ?, ?)",
                (artifact.collection_id, _check_alias(alias), artifact.id),
            )

    def remove_aliases(self, artifact: Artifact, aliases: tuple[str, ...]) -> None:
        """Take aliases from a version."""
        sql = "DELETE FROM artifact_aliases WHERE artifact_id = ? AND alias = ?"
        self._db.executemany(sql, [(artifact.id, alias) for alias in aliases])

    def edit(self, artifact: Artifact, columns: dict[str, Any]) -> Artifact:
        """Set description, metadata or tags."""
        self._db.update("artifacts", artifact.id, {**columns, "updated_at": self._clock.wall_s()})
        return self._reload(artifact)

    def delete(self, artifact: Artifact, *, with_aliases: bool) -> None:
        """Remove a version for good; contents that no other has are removed later.

        Raises:
            ClientError: It has aliases, and they are not to go with it.
        """
        aliases = self.aliases(artifact)
        if aliases and not with_aliases:
            raise ClientError(
                f"artifact {self.name(artifact)} has the aliases {', '.join(aliases)}: "
                "remove them first, or delete it with delete_aliases=True"
            )
        blob_ids = self._blobs_of(artifact)
        for table in ("artifact_aliases", "artifact_files", "artifacts_of_runs"):
            self._db.execute(f"DELETE FROM {table} WHERE artifact_id = ?", (artifact.id,))  # noqa: S608
        self._db.execute("DELETE FROM artifacts WHERE id = ?", (artifact.id,))
        self._blobs.discard_unused(blob_ids)
        newest = self.latest(self.collection(artifact.collection_id))
        if LATEST in aliases and newest is not None:
            self.add_aliases(newest, (LATEST,))

    def delete_of_run(self, run: Run) -> None:
        """Remove all that a run has logged, finished or not."""
        for row in self._db.rows("SELECT * FROM artifacts WHERE run_id = ?", (run.id,)):
            self.delete(Artifact(**dict(row)), with_aliases=True)

    def delete_old_drafts(self) -> None:
        """Remove some of those that were begun and never finished, and of which nothing was heard for 7 days.

        Some: each may have many files, and others wait meanwhile. The next call goes on.
        """
        sql = "SELECT * FROM artifacts WHERE version IS NULL AND updated_at < ? ORDER BY updated_at LIMIT ?"
        for row in self._db.rows(sql, (self._clock.wall_s() - DRAFT_TIMEOUT_S, _DRAFTS_AT_ONCE)):
            self.delete(Artifact(**dict(row)), with_aliases=True)

    def _blobs_of(self, artifact: Artifact) -> list[int]:
        manifest = [] if artifact.manifest_blob_id is None else [artifact.manifest_blob_id]
        return self._files.blob_ids(artifact.id) + manifest

    def name(self, artifact: Artifact) -> str:
        """As users call it, such as `model:v3`."""
        return f"{self.collection(artifact.collection_id).name}:v{artifact.version}"

    def _reload(self, artifact: Artifact) -> Artifact:
        return Artifact(**dict(self._db.rows(_BY_ID, (artifact.id,))[0]))


_BY_ID = "SELECT * FROM artifacts WHERE id = ?"
_LINK = "INSERT OR IGNORE INTO artifacts_of_runs (run_id, artifact_id, is_output) VALUES (?, ?, ?)"


def _check_alias(alias: str) -> str:
    if _VERSION.match(alias):
        raise ClientError(f"artifact alias {alias!r}: v and a number mean a version; take another name")
    return check_name("artifact alias", alias)
