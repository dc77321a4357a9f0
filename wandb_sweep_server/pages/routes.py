"""The routes of pages. Who comes here was let in: see gate."""

from __future__ import annotations

import asyncio
import gzip
import html
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from wandb_sweep_server import jsontext
from wandb_sweep_server.bodies import Bodies
from wandb_sweep_server.errors import ClientError, ForbiddenError, NotFoundError
from wandb_sweep_server.records import Project, Run, Sweep
from wandb_sweep_server.store import Store

from . import notices
from .access import COOKIE_S, PageAccess, cookie_name, is_foreign, local_path
from .assets import Assets
from .controls import act
from .events import Pace, Streams
from .gate import LOGIN_PATH, cookie_in, is_shell
from .histories import MOST_POINTS, SweepHistories
from .importances import Importances
from .run_data import log_text, run_data
from .sweep_list import SweepList
from .sweep_reader import SweepReader

_BODY_BYTES = 2**20
_DEFAULT_POINTS = 200
_MOST_TAIL = 100_000
_SWEEP = "/page/data/{entity}/{project}/sweeps/{sweep}"
_RUN = "/page/data/{entity}/{project}/runs/{run}"


class Pages:
    """Everything behind the routes of pages. access: of the gate before them."""

    def __init__(self, store: Store, bodies: Bodies, access: PageAccess, pace: Pace | None = None) -> None:
        self._store = store
        self._bodies = bodies
        self._access = access
        self._assets = Assets()
        self.streams = Streams(pace or Pace())
        self._importances = Importances.of_this_environment()
        self._reader = SweepReader(store, self.streams.wake, self._importances)
        self._list = SweepList(store)
        self._histories = SweepHistories(store.database, store.run)

    def routes(self) -> list[Route]:
        """The routes; after all others, since those of shells fit nearly every path."""
        return [
            Route("/page/assets/{name}", self.asset),
            Route(LOGIN_PATH, self.log_in),
            Route("/page/login-links", self.new_link, methods=["POST"]),
            Route("/page/data/sweeps", self.sweeps),
            Route(_SWEEP, self.sweep),
            Route(f"{_SWEEP}/events", self.events),
            Route(f"{_SWEEP}/importance", self.importance),
            Route(f"{_SWEEP}/history", self.history),
            Route(f"{_SWEEP}/keys", self.keys),
            Route(f"{_SWEEP}/{{action}}", self.act, methods=["POST"]),
            Route(_RUN, self.run),
            Route(f"{_RUN}/log", self.log),
            Route("/", self._shell("index.html")),
            Route("/{entity}/{project}", self._shell("index.html")),
            Route("/{entity}/{project}/sweeps/{sweep}", self._shell("sweep.html")),
            Route("/{entity}/{project}/runs/{run}", self._shell("run.html")),
        ]

    def close(self) -> None:
        """End what goes on."""
        self.streams.end()
        self._importances.close()

    # --- what has no data in it ---

    def _shell(self, name: str) -> Callable[[Request], Any]:
        async def shell(request: Request) -> Response:
            if not is_shell(request.url.path):
                raise HTTPException(404)
            cookie = cookie_in(request)
            token = self._access.csrf_token(cookie) if cookie is not None and self._access.is_good(cookie) else ""
            text = await run_in_threadpool(self._assets.shell, name)
            return HTMLResponse(text.replace("{{csrf_token}}", html.escape(token)))

        return shell

    async def asset(self, request: Request) -> Response:
        asset = await run_in_threadpool(self._assets.find, request.path_params["name"])
        # Modules import one another by bare names: browsers ask whether theirs is still good. What a shell names, it
        # names with the version.
        is_versioned = request.query_params.get("v") == await run_in_threadpool(lambda: self._assets.version)
        keep = "max-age=31536000, immutable" if is_versioned else "no-cache"
        headers = {"ETag": asset.etag, "Cache-Control": keep, "Vary": "Accept-Encoding"}
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if not _takes_gzip(request):
            return Response(asset.content, media_type=asset.media_type, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return Response(asset.compressed, media_type=asset.media_type, headers=headers)

    # --- the way in ---

    async def new_link(self, request: Request) -> Response:
        if not request.state.has_key:
            raise ForbiddenError("links are made for whoever has the API key")
        body = await self._json(request)
        path = local_path(body.get("next", "/") if isinstance(body, dict) else body)
        address = f"{_base_url(request)}{LOGIN_PATH}?token={self._access.new_link()}&next={quote(path, safe='')}"
        return _answer({"url": address})

    async def log_in(self, request: Request) -> Response:
        path = local_path(request.query_params.get("next", "/"))
        if request.method == "HEAD":  # of a program that looks where links lead
            return HTMLResponse("")
        is_new = self._access.use_link(request.query_params.get("token", ""))
        if self._access.is_good(cookie_in(request)):  # the link was opened once more
            return HTMLResponse(notices.go_on(path))
        if not is_new:
            return HTMLResponse(notices.link_is_used(), 401)
        response = HTMLResponse(notices.go_on(path))
        host, server = request.headers.get("host", ""), request.scope.get("server") or ("", 0)
        name = cookie_name(host, server[1] or 0)
        response.set_cookie(
            name, self._access.new_cookie(), max_age=COOKIE_S, path="/", httponly=True, samesite="strict"
        )
        return response

    # --- data ---

    async def sweeps(self, _: Request) -> Response:
        return _answer({"sweeps": await self._list.read()})

    async def sweep(self, request: Request) -> Response:
        sweep = await self._store.run(lambda: self._found_sweep(request))
        return await _large(request, await self._reader.whole(sweep, _base_url(request)))

    async def events(self, request: Request) -> Response:
        sweep = await self._store.run(lambda: self._found_sweep(request))
        given = request.headers.get("last-event-id") or request.query_params.get("after") or ""
        revision = int(given) if given.isascii() and given.isdigit() and len(given) < 20 else None
        base_url = _base_url(request)
        events = self.streams.follow(
            sweep.id, revision, lambda revision: self._reader.change(sweep, revision, base_url)
        )
        headers = {"X-Accel-Buffering": "no"}  # proxies are to pass them on at once
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def importance(self, request: Request) -> Response:
        sweep = await self._store.run(lambda: self._found_sweep(request))
        return _answer((await self._reader.importance(sweep)).to_json())

    async def history(self, request: Request) -> Response:
        key = request.query_params.get("key")
        if not key:
            raise ClientError("history needs a key, such as ?key=loss")
        points = _number(request, "points", _DEFAULT_POINTS, MOST_POINTS)
        sweep = await self._store.run(lambda: self._found_sweep(request))
        runs = await self._histories.of_key(sweep.id, key, points)
        return await _large(request, await asyncio.to_thread(jsontext.dumps, {"key": key, "runs": runs}))

    async def keys(self, request: Request) -> Response:
        sweep = await self._store.run(lambda: self._found_sweep(request))
        return _answer({"keys": await self._histories.keys(sweep.id)})

    async def run(self, request: Request) -> Response:
        def read() -> dict[str, Any]:
            project, run = self._found_run(request)
            return run_data(self._store, project, run, self._store.clock.wall_s())

        return _answer(await self._store.run(read))

    async def log(self, request: Request) -> Response:
        tail = _number(request, "tail", 0, _MOST_TAIL) or None
        _, run = await self._store.run(lambda: self._found_run(request))
        return StreamingResponse(log_text(self._store, run, tail), media_type="text/plain; charset=utf-8")

    # --- controls ---

    async def act(self, request: Request) -> Response:
        self._check_origin(request)
        body = await self._json(request)
        action = request.path_params["action"]
        return _answer(await self._store.run(lambda: act(self._store, self._found_sweep(request), action, body)))

    def _check_origin(self, request: Request) -> None:
        """Pages of other servers on this host send the cookie along too: its site is the host, whatever the port."""
        if is_foreign(request.headers.get("origin"), request.headers.get("host", "")):
            raise ForbiddenError("this request comes from a page of another server")
        cookie = cookie_in(request)
        if request.state.has_key:  # no browser sends it by itself
            return
        if cookie is None or not self._access.is_own_request(cookie, request.headers.get("x-csrf-token")):
            raise ForbiddenError("this request lacks the page's X-CSRF-Token: reload the page")

    # --- what requests name ---

    async def _json(self, request: Request) -> Any:
        body = await self._bodies.whole(request, _BODY_BYTES)
        try:
            return jsontext.loads(body or b"{}")
        except ValueError as error:
            raise ClientError(f"the request is not valid JSON: {error}") from error

    def _found_project(self, request: Request) -> Project:
        entity, name = request.path_params["entity"], request.path_params["project"]
        project = self._store.projects.find(entity, name)
        if project is None:
            raise NotFoundError(f"project {entity}/{name} does not exist")
        return project

    def _found_sweep(self, request: Request) -> Sweep:
        project, name = self._found_project(request), request.path_params["sweep"]
        sweep = self._store.sweeps.by_name(project.id, name)
        if sweep is None:
            raise NotFoundError(f"sweep {project.entity}/{project.name}/{name} does not exist")
        return sweep

    def _found_run(self, request: Request) -> tuple[Project, Run]:
        project, name = self._found_project(request), request.path_params["run"]
        run = self._store.runs.by_name(project.id, name)
        if run is None:
            self._store.runs.check_deleted(project.id, name)
            raise NotFoundError(f"run {project.entity}/{project.name}/{name} does not exist")
        return project, run


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ClientError(f"{name} = {text!r} must be an integer from 0 to {most}")
    return min(int(text), most)


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _answer(content: Any) -> Response:
    return _json(jsontext.dumps(content))


def _json(text: str | bytes) -> Response:
    return Response(text, media_type="application/json")


async def _large(request: Request, text: str) -> Response:
    """An answer of megabytes: pages come through tunnels, and the quickest way to compress makes it a third."""
    if not _takes_gzip(request):
        return _json(text)
    response = _json(await asyncio.to_thread(lambda: gzip.compress(text.encode(), 1, mtime=0)))
    response.headers.update({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
    return response


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")
