"""The HTTP surface."""

from __future__ import annotations

import base64
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import __version__
from .durable import write_whole
from .errors import ClientError, NotFoundError, TooLargeError
from .filestream import parse_post
from .graphql_http import GraphQLEndpoint
from .records import Run
from .store import Store

log = logging.getLogger(__name__)

# What may be asked for without the key: a probe; uploads, whose address is a secret itself (the SDK sends no
# credentials with them); and wandb 0.31's telemetry, which a 404 turns off.
_OPEN_PATHS = ("/healthz", "/upload/", "/sdk/otel/")


@dataclass
class Activity:
    """When the last request came, for a server that ends when idle."""

    clock_s: Callable[[], float] = time.monotonic
    last_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.last_s = self.clock_s()

    def note(self) -> None:
        """A request came."""
        self.last_s = self.clock_s()

    @property
    def idle_s(self) -> float:
        """Seconds since the last request."""
        return self.clock_s() - self.last_s


def build_app(store: Store, api_key: str, instance: str, activity: Activity) -> ASGIApp:
    """Return the ASGI app. instance: a name of this very process, shown to whoever probes it."""
    endpoints = _Endpoints(store, instance)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        store.close()

    app = Starlette(
        routes=[
            Route("/healthz", endpoints.health),
            Route("/graphql", endpoints.graphql, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/file_stream", endpoints.file_stream, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/{name:path}", endpoints.download),
            Route("/upload/{token}", endpoints.upload, methods=["PUT"]),
        ],
        exception_handlers={
            ClientError: _client_error,
            404: _not_found,
            405: _not_found,
            Exception: _server_error,
        },
        lifespan=lifespan,
    )
    return _Gate(app, api_key, activity)


class _Gate:
    """Lets in who has the key, and notes that somebody came."""

    def __init__(self, app: ASGIApp, api_key: str, activity: Activity) -> None:
        self._app = app
        self._key = api_key.encode()
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._activity.note()
            if not scope["path"].startswith(_OPEN_PATHS) and not self._has_key(scope):
                message = "this server needs its API key: set WANDB_API_KEY to the one in its server.json"
                await JSONResponse(_errors(message), 401)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        header = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, value = header.partition(b" ")
        given = b""
        if kind.lower() == b"bearer":
            given = value.strip()
        elif kind.lower() == b"basic":
            try:
                given = base64.b64decode(value, validate=True).partition(b":")[2]
            except ValueError:
                return False
        return hmac.compare_digest(given, self._key)


class _Endpoints:
    def __init__(self, store: Store, instance: str) -> None:
        self._store = store
        self._graphql = GraphQLEndpoint(store)
        self._instance = instance

    async def health(self, _: Request) -> Response:
        return JSONResponse({"service": "wandb_sweep_server", "version": __version__, "instance": self._instance})

    async def graphql(self, request: Request) -> Response:
        body = await _body(request, self._store.limits.body_bytes)
        return JSONResponse(await self._graphql.answer(body, str(request.base_url).rstrip("/")))

    async def file_stream(self, request: Request) -> Response:
        post = parse_post(await _body(request, self._store.limits.body_bytes))
        run = await self._store.run(lambda: self._store.runs.post(self._run(request), post))
        return JSONResponse({"stopped": True} if run.stop_requested else {})

    async def download(self, request: Request) -> Response:
        def find() -> Path:
            run = self._run(request)
            project = self._store.projects.by_id(run.project_id)
            return self._store.files.path(project, run, request.path_params["name"])

        path = await self._store.run(find)
        if not path.is_file():
            raise NotFoundError(f"file {request.path_params['name']!r} does not exist")
        # As an attachment of no type: what a run uploads is data, whatever a browser would make of it.
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    async def upload(self, request: Request) -> Response:
        token = request.path_params["token"]
        file, path = await self._store.run(lambda: self._store.files.place(token))
        content = await _body(request, self._store.limits.file_bytes)
        try:
            # Not in the store's thread: heartbeats don't wait for a large file on a slow disk.
            await run_in_threadpool(write_whole, path, content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise ClientError(f"file {file.name!r}: a part of its name is a file, or it is a directory") from error
        await self._store.run(lambda: self._store.files.stored(file, len(content)))
        return JSONResponse({})

    def _run(self, request: Request) -> Run:
        entity, project_name, run_name = (request.path_params[k] for k in ("entity", "project", "run"))
        project = self._store.projects.find(entity, project_name)
        run = self._store.runs.by_name(project.id, run_name) if project else None
        if run is None:
            raise NotFoundError(f"run {entity}/{project_name}/{run_name} does not exist")
        return run


async def _body(request: Request, limit_bytes: int) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise TooLargeError(f"the body has more than {limit_bytes} bytes, which is this server's limit")
        chunks.append(chunk)
    return b"".join(chunks)


def _errors(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message}]}


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _client_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ClientError)
    return JSONResponse(_errors(str(error)), error.status)


async def _not_found(request: Request, _: Exception) -> Response:
    return JSONResponse(_errors(f"{request.method} {request.url.path} is not available in this server"), 404)


async def _server_error(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(_errors(f"the server failed: {type(error).__name__}; see its log"), 500)
