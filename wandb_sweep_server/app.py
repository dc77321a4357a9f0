"""The HTTP surface."""

from __future__ import annotations

import base64
import hmac
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import __version__
from .artifact_http import artifact_routes
from .bodies import Bodies, BodyLimits, blocks
from .connections import Connections
from .error_answers import HANDLERS, SECRET_PATHS, answer, errors
from .errors import BusyError, ClientError, GoneError, NotFoundError
from .files import SMALL_BYTES
from .filestream import parse_post
from .graphql_http import GraphQLEndpoint
from .pages.access import PageAccess
from .pages.events import Pace
from .pages.gate import ASSETS_PATH, LOGIN_PATH, PageGate, looks_on
from .pages.routes import Pages
from .records import Run
from .store import Store
from .suggestions import Suggester
from .throttle import Rate, Throttle

# What may be asked for without the key: a probe; uploads and contents of artifacts, whose address is a secret itself
# (the SDK sends no credentials with them); wandb 0.31's telemetry, which a 404 turns off; and what pages are made of.
_OPEN_PATHS = ("/healthz", *SECRET_PATHS, "/sdk/otel/", ASSETS_PATH)

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
    pace: Pace | None = None,
) -> Gate:
    """Return the ASGI app.

    instance: a name of this very process, shown to whoever probes it. connections: are told of requests. pace: of the
    events that open pages get.
    """
    limits = limits or AccessLimits()
    bodies = Bodies(limits.bodies)
    access = PageAccess(api_key, store.clock)
    pages = Pages(store, bodies, access, pace)
    suggester = Suggester(store.run, store.suggestions)
    endpoints = _Endpoints(store, suggester, instance, bodies)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await suggester.close()
        pages.close()
        store.close()

    app = Starlette(
        routes=[
            Route("/healthz", endpoints.health),
            Route("/graphql", endpoints.graphql, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/file_stream", endpoints.file_stream, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/{name:path}", endpoints.download),
            *artifact_routes(store, bodies),
            Route("/upload/{token}", endpoints.upload, methods=["PUT"]),
            *pages.routes(),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    gate = PageGate(access)
    return Gate(app, api_key, gate, pages.streams.end, activity, connections or Connections(), limits)


class Gate:
    """Lets in who has the key, or for pages a cookie, and doesn't ask too often; and notes that somebody came.

    end_streams: to be called when the server is about to end, which else would wait for whoever listens.
    """

    def __init__(
        self,
        app: ASGIApp,
        api_key: str,
        pages: PageGate,
        end_streams: Callable[[], None],
        activity: Activity,
        connections: Connections,
        limits: AccessLimits,
    ) -> None:
        self._app = app
        self._key = api_key.encode()
        self._pages = pages
        self.end_streams = end_streams
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
        # Pages that were left open keep no server alive.
        if not looks_on(scope["method"], scope["path"]):
            self._activity.note()
        client = scope["client"]
        has_key = self._has_key(scope)
        is_known = has_key or self._pages.admits(scope)
        scope.setdefault("state", {})["has_key"] = has_key
        self._connections.request_began(client)
        try:
            refusal = self._refusal(scope, client[0] if client else "", is_known=is_known)
            await (refusal or self._app)(scope, receive, self._pages.guarded(scope, send))
        finally:
            self._connections.request_ended(client, has_key=is_known)

    def _refusal(self, scope: Scope, machine: str, *, is_known: bool) -> Response | None:
        path = scope["path"]
        is_open = path.startswith(_OPEN_PATHS)
        # Where links lead to, which nobody shall try out; what is wrong with one is said there.
        may_pass = is_known or is_open or path == LOGIN_PATH
        # Whoever has the key is let in however often others on the same machine, a login node perhaps, have none.
        wait_s = (self._requests if is_known else self._open if is_open else self._strangers).wait_s(machine)
        if wait_s:
            whose = "" if is_known or is_open else " without the right API key"
            message = f"too many requests{whose} from {machine}; try again in {math.ceil(wait_s)} s"
            return answer(BusyError(message, retry_after_s=wait_s))
        if may_pass:
            return None
        if (page := self._pages.refusal(scope)) is not None:
            return page
        message = "this server needs its API key: set WANDB_API_KEY to the one in its server.json"
        return JSONResponse(errors(message), 401)

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
        chunks = blocks(self._bodies.parts(request, self._store.limits.file_bytes))
        first = await anext(chunks)
        if len(first) <= SMALL_BYTES:
            await self._store.run(lambda: self._store.files.keep(self._store.files.by_token(token), first))
        else:
            await self._take_large(token, first, chunks)
        return JSONResponse({})

    async def _take_large(self, token: str, first: bytes, rest: AsyncIterator[bytes]) -> None:
        """Store a file."""
        file, path = await self._store.run(lambda: self._store.files.place(token))
        # Not in the store's thread: heartbeats don't wait for a large file on a slow disk.
        part = await run_in_threadpool(self._store.files.partial)
        try:
            await run_in_threadpool(part.write, first)
            async for chunk in rest:
                await run_in_threadpool(part.write, chunk)
            await run_in_threadpool(part.finish, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise ClientError(f"file {file.name!r}: a part of its name is a file, or it is a directory") from error
        finally:
            await run_in_threadpool(part.discard)
        if not await self._store.run(lambda: self._store.file_arrived(file, part.size_bytes)):
            raise GoneError("the run of this file was deleted")

    def _run(self, request: Request) -> Run:
        entity, project_name, run_name = (request.path_params[k] for k in ("entity", "project", "run"))
        project = self._store.projects.find(entity, project_name)
        run = self._store.runs.by_name(project.id, run_name) if project else None
        if run is None:
            if project:
                self._store.runs.check_deleted(project.id, run_name)
            raise NotFoundError(f"run {entity}/{project_name}/{run_name} does not exist")
        return run
