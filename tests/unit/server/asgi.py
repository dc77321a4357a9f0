"""The app in this very process: a request is a function call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
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
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes | None] = b"",
        *,
        key: str | None = KEY,
        machine: str = "10.0.0.1",
        **headers: str,
    ) -> Answer:
        """The answer to a request. body: in parts, None is its end; when there are no more, the client says nothing
        more. One bytes object is a whole body."""
        parts = iter([body, None] if isinstance(body, bytes) else body)
        return self.loop.run_until_complete(self._ask(method, path, parts, key, machine, headers))

    async def _ask(
        self,
        method: str,
        path: str,
        parts: Iterator[bytes | None],
        key: str | None,
        machine: str,
        headers: dict[str, str],
    ) -> Answer:
        async def receive() -> dict[str, Any]:
            for part in parts:
                return {"type": "http.request", "body": part or b"", "more_body": part is not None}
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(_scope(method, path, key, machine, headers), receive, send)  # type: ignore[arg-type]
        start = sent[0]
        return Answer(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )

    async def stream(
        self, path: str, sent: asyncio.Queue[dict[str, Any]], left: asyncio.Event, headers: dict[str, str]
    ) -> None:
        """An answer that goes on until the client has left: its messages go into a queue."""
        messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> dict[str, Any]:
            if (message := next(messages, None)) is not None:
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        await self._app(_scope("GET", path, KEY, "10.0.0.1", headers), receive, sent.put)  # type: ignore[arg-type]

    async def settle(self) -> None:
        """Let everything happen that is due: what was begun may ask the store, and then something else of it."""
        for _ in range(5):
            await asyncio.sleep(0)
            await self.server.store.run(lambda: None)
            await asyncio.to_thread(lambda: None)
            await asyncio.sleep(0)

    def end_streams(self) -> None:
        """The server is about to end."""
        self._app.end_streams()

    def graphql(self, query: str, **variables: Any) -> Answer:
        return self.ask("POST", "/graphql", json.dumps({"query": query, "variables": variables}).encode())


def _scope(method: str, path: str, key: str | None, machine: str, headers: dict[str, str]) -> dict[str, Any]:
    path, _, query = path.partition("?")
    given = {"host": "h"} | ({"authorization": _basic_auth_str("api", key)} if key is not None else {})
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return {
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
