"""Files of artifacts over HTTP: uploads, which are written as they come, and downloads."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .blobs import Blob
from .bodies import Bodies, blocks
from .errors import GoneError, NotFoundError
from .store import Store

_MD5 = re.compile(r"[0-9a-f]{32}\Z")


def artifact_routes(store: Store, bodies: Bodies) -> list[Route]:
    """The routes. Those below /blob/ are open to whoever knows the token."""
    endpoints = _Endpoints(store, bodies)
    return [
        Route("/blob/{token}", endpoints.upload, methods=["PUT"]),
        Route("/blob/{token}", endpoints.download_by_token),
        # Addresses that the SDK makes up itself.
        Route("/artifactsV2/{rest:path}", endpoints.download_by_md5),
    ]


class _Endpoints:
    def __init__(self, store: Store, bodies: Bodies) -> None:
        self._store = store
        self._bodies = bodies

    async def upload(self, request: Request) -> Response:
        limit_bytes = self._store.limits.artifact_file_bytes
        blob = await self._store.run(lambda: self._store.blobs.place(request.path_params["token"]))
        path = self._store.blobs.path(blob)
        writer = await run_in_threadpool(self._store.blobs.writer, blob)
        try:
            async for piece in blocks(self._bodies.parts(request, limit_bytes)):
                await run_in_threadpool(writer.write, piece)
            await run_in_threadpool(writer.finish)
        finally:
            await run_in_threadpool(writer.abandon)
        await self._note(blob, writer.size_bytes, path)
        return JSONResponse({})

    async def _note(self, blob: Blob, size_bytes: int, path: Path) -> None:
        if not await self._store.run(lambda: self._store.blobs.stored(blob, size_bytes)):
            await run_in_threadpool(path.unlink, missing_ok=True)
            raise GoneError("the artifact of this file was deleted")

    async def download_by_token(self, request: Request) -> Response:
        return self._content(await self._store.run(lambda: self._store.blobs.place(request.path_params["token"])))

    async def download_by_md5(self, request: Request) -> Response:
        md5 = _md5_in(request.path_params["rest"])
        return self._content(await self._store.run(lambda: self._store.blobs.find(md5)) if md5 else None)

    def _content(self, blob: Blob | None) -> Response:
        path = None if blob is None or blob.size_bytes is None else self._store.blobs.path(blob)
        if blob is None or path is None or not path.is_file():
            raise NotFoundError("there is no such content of an artifact")
        # As an attachment of no type: what a run uploads is data, whatever a browser would make of it.
        return FileResponse(path, media_type="application/octet-stream", filename=blob.md5)


def _md5_in(rest: str) -> str | None:
    """The MD5 sum in REGION/ENTITY/PROJECT/COLLECTION/BIRTH/MD5/NAME, or the older REGION/ENTITY/BIRTH/MD5."""
    parts = rest.split("/")
    md5 = parts[3] if len(parts) == 4 else parts[5] if len(parts) > 6 else ""
    return md5 if _MD5.match(md5) else None
