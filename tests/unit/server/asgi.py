"""The app in this very process: a request is a function call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from requests.auth import _basic_auth_str

from tests.unit.server.support import Server
from wandb_sweep_server.app import AccessLimits, Activity, build_app
from wandb_sweep_server.pages.events import Pace

KEY = "local-" + "0" * 40


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The text of an error as W&B's clients look for it."""
        (error,) = self.json()["errors"]
        return str(error["message"])


class App:
    """The app on a store that tests can look into."""

    def __init__(self, server: Server, limits: AccessLimits | None = None, pace: Pace | None = None) -> None:
        self.server = server
        self.activity = Activity(lambda: server.time.now_s)
        self._app = build_app(server.store, KEY, "i1", self.activity, limits=limits, pace=pace)
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        *,
        key: str | None = KEY,
        machine: str = "10.0.0.1",
        **headers: str,
    ) -> Answer:
        """The answer to a request. body: in parts; when there are no more, the client says nothing more, unless it
        is one bytes object."""
        parts = [body, None] if isinstance(body, bytes) else list(body)
        return self._loop.run_until_complete(self._ask(method, path, parts, key, machine, headers))

    async def _ask(
        self, method: str, path: str, parts: list[Any], key: str | None, machine: str, headers: dict[str, str]
    ) -> Answer:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for part in parts:
            queue.put_nowait({"type": "http.request", "body": part or b"", "more_body": part is not None})
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        path, _, query = path.partition("?")
        given = {"host": "h"} | ({"authorization": _basic_auth_str("api", key)} if key is not None else {})
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": quote(path, safe="/%").encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": (machine, 1),
            "server": ("h", 80),
        }
        await self._app(scope, queue.get, send)  # type: ignore[arg-type]
        start = sent[0]
        return Answer(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )

    def graphql(self, query: str, **variables: Any) -> Answer:
        return self.ask("POST", "/graphql", json.dumps({"query": query, "variables": variables}).encode())
