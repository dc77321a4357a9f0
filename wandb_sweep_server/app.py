"""The HTTP surface."""

from __future__ import annotations

import base64
import errno
import hmac
import logging
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import __version__
from .artifact_http import artifact_routes
from .bodies import Bodies, BodyLimits, blocks
from .connections import Connections
from .errors import BusyError, ClientError, GoneError, NotFoundError, RetryLaterError
from .filestream import parse_post
from .graphql_http import GraphQLEndpoint
from .records import Run
from .store import Store
from .suggestions import Suggester
from .throttle import Rate, Throttle

log = logging.getLogger(__name__)

# What may be asked for without the key: a probe; uploads and contents of artifacts, whose address is a secret itself
# (the SDK sends no credentials with them); and wandb 0.31's telemetry, which a 404 turns off.
_OPEN_PATHS = ("/healthz", "/upload/", "/blob/", "/sdk/otel/")

_DISK_AGAIN_S = 5.0
# What a run uploads is data, whatever a browser would make of it.
_ATTACHMENT = {"Content-Disposition": "attachment", "Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class AccessLimits:
    """requests: of one machine, many times what 1,000 agents and their trials send. strangers: its requests without
    the key. The key itself is too long to be guessed; this keeps those who try from taking others' time."""

    requests: Rate = field(default_factory=lambda: Rate(burst=20_000, per_s=5_000.0))
    strangers: Rate = field(default_factory=lambda: Rate(burst=200, per_s=2.0))
    bodies: BodyLimits = field(default_factory=BodyLimits)


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


def build_app(
    store: Store,
    api_key: str,
    instance: str,
    activity: Activity,
    *,
    connections: Connections | None = None,
    limits: AccessLimits | None = None,
) -> ASGIApp:
    """Return the ASGI app.

    instance: a name of this very process, shown to whoever probes it. connections: are told of requests.
    """
    limits = limits or AccessLimits()
    bodies = Bodies(limits.bodies)
    suggester = Suggester(store.run, store.suggestions)
    endpoints = _Endpoints(store, suggester, instance, bodies)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await suggester.close()
        store.close()

    app = Starlette(
        routes=[
            Route("/healthz", endpoints.health),
            Route("/graphql", endpoints.graphql, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/file_stream", endpoints.file_stream, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/{name:path}", endpoints.download),
            *artifact_routes(store, bodies),
            Route("/upload/{token}", endpoints.upload, methods=["PUT"]),
        ],
        exception_handlers={
            ClientError: _client_error,
            ClientDisconnect: _client_left,
            # What the disk is to blame for. Clients ask again on a 503, and so lose nothing.
            sqlite3.OperationalError: _storage_error,
            OSError: _storage_error,
            404: _not_found,
            405: _not_found,
            Exception: _server_error,
        },
        lifespan=lifespan,
    )
    return _Gate(app, api_key, activity, connections or Connections(), limits)


class _Gate:
    """Lets in who has the key and doesn't ask too often, and notes that somebody came."""

    def __init__(
        self, app: ASGIApp, api_key: str, activity: Activity, connections: Connections, limits: AccessLimits
    ) -> None:
        self._app = app
        self._key = api_key.encode()
        self._activity = activity
        self._connections = connections
        self._requests = Throttle(limits.requests)
        # What needs no key counts by itself, or a stranger could use up what those with the key may ask.
        self._open = Throttle(limits.requests)
        self._strangers = Throttle(limits.strangers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._activity.note()
        client = scope["client"]
        has_key = self._has_key(scope)
        self._connections.request_began(client)
        try:
            refusal = self._refusal(scope["path"], client[0] if client else "", has_key=has_key)
            await (refusal or self._app)(scope, receive, send)
        finally:
            self._connections.request_ended(client, has_key=has_key)

    def _refusal(self, path: str, machine: str, *, has_key: bool) -> Response | None:
        is_open = path.startswith(_OPEN_PATHS)
        may_pass = has_key or is_open
        # Whoever has the key is let in however often others on the same machine, a login node perhaps, have none.
        wait_s = (self._requests if has_key else self._open if is_open else self._strangers).wait_s(machine)
        if wait_s:
            whose = "" if may_pass else " without the right API key"
            return _answer(BusyError(f"too many requests{whose} from {machine}", retry_after_s=wait_s))
        if may_pass:
            return None
        message = "this server needs its API key: set WANDB_API_KEY to the one in its server.json"
        return JSONResponse(_errors(message), 401)

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
    def __init__(self, store: Store, suggester: Suggester, instance: str, bodies: Bodies) -> None:
        self._store = store
        self._bodies = bodies
        self._graphql = GraphQLEndpoint(store, suggester)
        self._instance = instance

    async def health(self, _: Request) -> Response:
        return JSONResponse({"service": "wandb_sweep_server", "version": __version__, "instance": self._instance})

    async def graphql(self, request: Request) -> Response:
        body = await self._bodies.whole(request, self._store.limits.body_bytes)
        return JSONResponse(await self._graphql.answer(body, str(request.base_url).rstrip("/")))

    async def file_stream(self, request: Request) -> Response:
        post = parse_post(await self._bodies.whole(request, self._store.limits.body_bytes))
        run = await self._store.run(lambda: self._store.take_post(self._run(request), post))
        return JSONResponse({"stopped": True} if run.stop_requested else {})

    async def download(self, request: Request) -> Response:
        name = request.path_params["name"]

        def find() -> Path | bytes:
            run = self._run(request)
            content = self._store.files.kept(run, name)
            project = self._store.projects.by_id(run.project_id)
            return self._store.files.path(project, run, name) if content is None else content

        path = await self._store.run(find)
        if isinstance(path, bytes):
            return Response(path, headers=_ATTACHMENT)
        if not path.is_file():
            raise NotFoundError(f"file {name!r} does not exist")
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    async def upload(self, request: Request) -> Response:
        token = request.path_params["token"]
        file, path = await self._store.run(lambda: self._store.files.place(token))
        # Not in the store's thread: heartbeats don't wait for a large file on a slow disk.
        part = await run_in_threadpool(self._store.files.partial)
        try:
            async for chunk in blocks(self._bodies.parts(request, self._store.limits.file_bytes)):
                await run_in_threadpool(part.write, chunk)
            await run_in_threadpool(part.finish, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise ClientError(f"file {file.name!r}: a part of its name is a file, or it is a directory") from error
        finally:
            await run_in_threadpool(part.discard)
        if not await self._store.run(lambda: self._store.file_arrived(file, part.size_bytes)):
            raise GoneError("the run of this file was deleted")
        return JSONResponse({})

    def _run(self, request: Request) -> Run:
        entity, project_name, run_name = (request.path_params[k] for k in ("entity", "project", "run"))
        project = self._store.projects.find(entity, project_name)
        run = self._store.runs.by_name(project.id, run_name) if project else None
        if run is None:
            if project:
                self._store.runs.check_deleted(project.id, run_name)
            raise NotFoundError(f"run {entity}/{project_name}/{run_name} does not exist")
        return run


def _errors(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message}]}


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _client_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ClientError)
    return _answer(error)


def _answer(error: ClientError) -> Response:
    headers = {}
    if isinstance(error, RetryLaterError):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return JSONResponse(_errors(str(error)), error.status, headers)


async def _client_left(*_: object) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _storage_error(request: Request, error: Exception) -> Response:
    if isinstance(error, FileNotFoundError):  # removed with its run a moment ago
        return _answer(NotFoundError("this file is gone"))
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return _answer(ClientError(f"the server's file system can't have such a name: {error.strerror}"))
    log.error("%s %s can't be answered for now: %s", request.method, _shown_path(request), error)
    words = error.strerror if isinstance(error, OSError) else str(error)
    message = f"the server's disk doesn't let it write ({words}); it goes on as soon as that is over"
    return _answer(RetryLaterError(message, retry_after_s=_DISK_AGAIN_S))


async def _not_found(request: Request, _: Exception) -> Response:
    return JSONResponse(_errors(f"{request.method} {request.url.path} is not available in this server"), 404)


async def _server_error(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, _shown_path(request), exc_info=error)
    return JSONResponse(_errors(f"the server failed: {type(error).__name__}; see its log"), 500)


def _shown_path(request: Request) -> str:
    """The path for the log: where no key is needed it has a secret in it."""
    path = request.url.path
    return next((f"{start}…" for start in _OPEN_PATHS if path.startswith(start)), path)
