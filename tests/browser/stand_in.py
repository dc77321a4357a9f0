"""A server that gives the pages of sweeps what it was told to, and notes what they ask for."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import plotly.offline
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import wandb_sweep_server
from tests.browser.sweeps import histories, listed, sweep_data

PAGE = Path(wandb_sweep_server.__file__).parent / "page"
# As the server's own. Plotly's WebGL charts make functions of texts.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
CSRF_TOKEN = "token-of-this-cookie"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


class StandIn:
    """What pages are told, and what they asked for.

    Attributes:
        data: Sweep data of the one sweep there is.
        histories: By key.
        run: What is said of any run.
        log: The log of any run.
        posts: Path, CSRF token and body of each request to do something.
        requests: Paths of all requests for data.
        refusal: A status with which data is refused, None if it isn't.
    """

    def __init__(self) -> None:
        self.policy = POLICY
        self.url = ""
        self._streams: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all that was told and asked."""
        self.policy = POLICY
        self.data = sweep_data()
        self.sweeps: list[dict[str, Any]] | None = None
        self.histories = {"loss": histories(self.data)}
        run = {"name": "run", "state": "finished"}
        self.run: dict[str, Any] = {"run": run, "config": {}, "summary": {}, "files": []}
        self.log = ""
        self.answer: tuple[int, dict[str, Any]] = (200, {"state": "PAUSED"})
        self.posts: list[tuple[str, str | None, Any]] = []
        self.requests: list[str] = []
        self.refusal: int | None = None
        self.end_streams()

    def show(self, data: dict[str, Any], **keys: dict[str, Any]) -> None:
        """Tell pages of this sweep from now on. keys: histories by key; without any, those of loss."""
        self.data = data
        self.histories = keys or {"loss": histories(data)}

    @property
    def sweep_path(self) -> str:
        """The path of the sweep's page."""
        sweep = self.data["sweep"]
        return f"/{sweep['entity']}/{sweep['project']}/sweeps/{sweep['id']}"

    @property
    def listener_count(self) -> int:
        """How many pages listen to events."""
        return len(self._streams)

    def emit(self, change: dict[str, Any]) -> None:
        """Tell all pages that listen."""
        self.data["revision"] += 1
        text = json.dumps({"revision": self.data["revision"], **change})
        self._send(f"id: {self.data['revision']}\nevent: change\ndata: {text}\n\n")

    def end_streams(self) -> None:
        """Break off what pages listen to."""
        self._send(None)

    def _send(self, text: str | None) -> None:
        if self._loop is not None:
            for queue in list(self._streams):
                self._loop.call_soon_threadsafe(queue.put_nowait, text)

    def app(self) -> Starlette:
        """The ASGI app."""
        sweep = "/page/data/{entity}/{project}/sweeps/{id}"
        run = "/page/data/{entity}/{project}/runs/{run}"
        return Starlette(
            routes=[
                Route("/page/assets/{name}", self._asset),
                Route("/page/data/sweeps", self._data(lambda _: {"sweeps": self._listed()})),
                Route(sweep, self._data(lambda _: self.data)),
                Route(f"{sweep}/events", self._events),
                Route(f"{sweep}/importance", self._data(lambda _: self._importance())),
                Route(f"{sweep}/keys", self._data(lambda _: {"keys": list(self.histories)})),
                Route(f"{sweep}/history", self._data(lambda request: self.histories[request.query_params["key"]])),
                Route(f"{sweep}/{{action}}", self._post, methods=["POST"]),
                Route(run, self._data(lambda _: self.run)),
                Route(f"{run}/log", self._log),
                Route("/", self._shell("index.html")),
                Route("/blank", self._blank),
                Route("/{entity}/{project}", self._shell("index.html")),
                Route("/{entity}/{project}/sweeps/{id}", self._shell("sweep.html")),
                Route("/{entity}/{project}/runs/{run}", self._shell("run.html")),
            ]
        )

    def _listed(self) -> list[dict[str, Any]]:
        return [listed(self.data)] if self.sweeps is None else self.sweeps

    def _importance(self) -> dict[str, Any]:
        return {key: self.data[key] for key in ("importance", "importance_by", "importance_note")}

    def _shell(self, name: str) -> Any:
        async def shell(_: Request) -> Response:
            text = (PAGE / name).read_text()
            text = text.replace("{{csrf_token}}", CSRF_TOKEN).replace("{{asset_version}}", "1")
            return HTMLResponse(text, headers={"Content-Security-Policy": self.policy})

        return shell

    async def _blank(self, _: Request) -> Response:
        return HTMLResponse("<!doctype html><link rel=icon href=data:,><body></body>")

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name == "plotly.js":
            return Response(plotly.offline.get_plotlyjs(), media_type="text/javascript")
        path = PAGE / name
        return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})

    def _data(self, read: Any) -> Any:
        async def answer(request: Request) -> Response:
            self.requests.append(request.url.path)
            if self.refusal is not None:
                return JSONResponse({"errors": [{"message": "refused by this test"}]}, self.refusal)
            return JSONResponse(read(request))

        return answer

    async def _log(self, request: Request) -> Response:
        tail = int(request.query_params.get("tail", 10**9))
        return PlainTextResponse("".join(self.log.splitlines(keepends=True)[-tail:]))

    async def _post(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/page/data")
        self.posts.append((path, request.headers.get("X-CSRF-Token"), await request.json()))
        status, body = self.answer
        return JSONResponse(body, status)

    async def _events(self, _: Request) -> Response:
        if self.refusal is not None:
            return Response(status_code=self.refusal)
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | None] = asyncio.Queue()

        async def texts() -> AsyncIterator[str]:
            self._streams.add(queue)
            try:
                yield ": here\n\n"
                while (text := await queue.get()) is not None:
                    yield text
            finally:
                self._streams.discard(queue)

        return StreamingResponse(texts(), media_type="text/event-stream")


@contextmanager
def running() -> Iterator[StandIn]:
    """A stand-in that answers."""
    stand_in = StandIn()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        stand_in.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Open event streams don't hold up its end.
        config = uvicorn.Config(stand_in.app(), log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield stand_in
        finally:
            stand_in.end_streams()
            server.should_exit = True
            thread.join()
