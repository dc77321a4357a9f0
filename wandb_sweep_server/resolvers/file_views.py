"""Files of runs and of artifacts, which are one type to clients."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from wandb_sweep_server.artifact_files import ArtifactFile
from wandb_sweep_server.artifacts import Artifact
from wandb_sweep_server.blobs import Blob
from wandb_sweep_server.records import Run, RunFile, global_id

from .context import store_of, time_text

if TYPE_CHECKING:
    from .context import Info


def run_file(info: Info, run: Run, file: RunFile) -> dict[str, Any]:
    """A file of a run."""

    def url(_: Info, upload: bool = False) -> str:
        if upload:
            return f"{info.context.base_url}/upload/{file.token}"
        project = store_of(info).projects.by_id(run.project_id)
        return f"{info.context.base_url}/files/{project.entity}/{project.name}/{run.name}/{file.name}"

    return {
        "id": global_id("File", file.id),
        "name": file.name,
        "displayName": file.name,
        "sizeBytes": file.size_bytes,
        "updatedAt": time_text(file.updated_at),
        "url": url,
        "directUrl": url,
    }


def artifact_file(info: Info, artifact: Artifact, file: ArtifactFile, blob: Blob | None) -> dict[str, Any]:
    """A file of an artifact. blob: its content; None for a reference, which is listed too, since the SDK downloads by
    this list."""
    url = _url(info, blob) if blob else file.reference
    digest = base64.b64encode(bytes.fromhex(blob.md5)).decode() if blob else None
    return {
        "id": global_id("ArtifactFile", artifact.id) + quote(file.name),
        "name": file.name,
        "displayName": file.name,
        "sizeBytes": file.size_bytes,
        "updatedAt": time_text(artifact.updated_at),
        "storagePath": blob.md5 if blob else None,
        "digest": digest,
        "md5": digest,
        "url": lambda *_, **__: url,
        "directUrl": url,
        "artifact": artifact,
    }


def place(info: Info, artifact: Artifact, name: str, blob: Blob | None) -> dict[str, Any]:
    """Where a client is to put a file of an artifact that it is about to log; nowhere if it is there already."""
    is_missing = blob is not None and blob.size_bytes is None
    return {
        "id": global_id("ArtifactFile", artifact.id) + quote(name),
        "name": name,
        "displayName": name,
        "storagePath": blob.md5 if blob else None,
        "uploadUrl": _url(info, blob) if blob and is_missing else None,
        "uploadHeaders": [],
        "directUrl": _url(info, blob) if blob else None,
        "artifact": artifact,
    }


def _url(info: Info, blob: Blob) -> str:
    return f"{info.context.base_url}/blob/{blob.token}"
