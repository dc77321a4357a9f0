"""Visitors of the pages of an app in this process: with a cookie, with the key, or with nothing; and who listens."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.unit.server.asgi import KEY, Answer, App
from tests.unit.server.support import Server
from wandb_sweep_server.pages.events import Pace
from wandb_sweep_server.records import Agent, Sweep

QUICK = Pace(pause_s=0.0, silence_s=60.0)
PAGE = {"accept": "text/html,*/*"}


@dataclass
class Visitor:
    """A browser. cookie: as it sends it, "" if it has none."""

    app: App
    cookie: str = ""

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        given = {"cookie": self.cookie} if self.cookie else {}
        return self.app.ask(method, path, body, key=None, **given, **headers)

    def follow(self, link: str) -> Answer:
        """Open a link, and keep the cookie that comes."""
        parts = urlsplit(link)
        answer = self.get(f"{parts.path}?{parts.query}", **PAGE)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def csrf_token(self, path: str = "/") -> str:
        """What is in the page."""
        match = re.search(r'name="csrf-token" content="([^"]*)"', self.get(path, **PAGE).body.decode())
        assert match is not None
        return match[1]

    def act(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Press a button."""
        return self.ask("POST", path, json.dumps(body or {}).encode(), x_csrf_token=self.csrf_token(), **headers)


def new_link(app: App, path: str = "/") -> str:
    """A link, made with the key."""
    answer = app.ask("POST", "/page/login-links", json.dumps({"next": path}).encode(), key=KEY)
    assert answer.status == 200, answer.body
    return str(answer.json()["url"])


def token_in(link: str) -> str:
    return parse_qs(urlsplit(link).query)["token"][0]


def visitor(app: App) -> Visitor:
    """A browser that was let in."""
    visitor = Visitor(app)
    visitor.follow(new_link(app))
    assert visitor.cookie
    return visitor


def data_path(sweep: Sweep, rest: str = "") -> str:
    return f"/page/data/local/p/sweeps/{sweep.name}{rest}"


class Listener:
    """Whoever listens to the events of a sweep, with the key."""

    def __init__(self, app: App, sweep: Sweep, after: int | None = None, **headers: str) -> None:
        self._app = app
        query = "" if after is None else f"?after={after}"
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._left = asyncio.Event()
        self._task = app.loop.create_task(
            app.stream(data_path(sweep, f"/events{query}"), self._sent, self._left, headers)
        )

    def next(self) -> dict[str, Any]:
        """The data of the next event, which has to come."""
        for text in self._texts():
            if "event: change" in text:
                self.is_quiet()
                return dict(json.loads(text.partition("data: ")[2]))
        raise AssertionError("the stream ended")

    def begins(self) -> bool:
        """Wait until the server listens to what happens."""
        has_begun = next(self._texts()).startswith("retry: ")
        self.is_quiet()
        return has_begun

    def reloads(self) -> bool:
        """Whether the page is told to read all again."""
        return any("event: reload" in text for text in self._texts())

    def sign_of_life(self) -> str:
        """The next comment."""
        return next(text for text in self._texts() if text.startswith(":"))

    def _texts(self) -> Iterator[str]:
        while True:
            message = self._app.loop.run_until_complete(asyncio.wait_for(self._sent.get(), 60))
            if message["type"] == "http.response.body":
                if not message.get("more_body"):
                    return
                yield message["body"].decode()

    def is_quiet(self) -> bool:
        """Whether nothing comes, now that the store has nothing left to do."""
        self._app.loop.run_until_complete(self._app.settle())
        return self._sent.empty()

    def ends(self) -> None:
        """Wait for the end of the stream."""
        for _ in self._texts():
            pass
        self._app.loop.run_until_complete(self._task)

    def leave(self) -> None:
        """Close the page."""
        self._left.set()
        self._app.loop.run_until_complete(self._task)


def finish_trial(server: Server, sweep: Sweep, agent: Agent, **summary: Any) -> str:
    """A trial from its claim to its end; returns the run's name."""
    name = server.claim(agent)
    server.start(name, sweep)
    files = {"wandb-summary.json": {"content": [json.dumps(summary)]}}
    server.post(name, {"files": files, "complete": True, "exitcode": 0})
    return name


MakeApp = Callable[..., App]
