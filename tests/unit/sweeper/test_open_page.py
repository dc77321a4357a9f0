"""How a sweep's page is opened without its secret being seen by others."""

from __future__ import annotations

import io
import json
import stat
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner

from hydra_plugins.hydra_wandb_sweeper._cli import main
from hydra_plugins.hydra_wandb_sweeper._client import SweepRef
from hydra_plugins.hydra_wandb_sweeper._errors import SweepError
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger
from hydra_plugins.hydra_wandb_sweeper._open_page import (
    Page,
    has_screen,
    page_of,
    page_of_directory,
    page_path,
    show,
    tell_terminal,
)
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from hydra_plugins.hydra_wandb_sweeper._watch import Watch
from tests.unit.sweeper.test_client import Answer, ScriptedServer
from tests.unit.sweeper.test_ledger import RECORD

SWEEP = SweepRef("me", "my project", "ab12")
LINK = "http://127.0.0.1:1/page/login?token=secret&next=%2Fme"


@pytest.fixture
def script() -> Iterator[ScriptedServer]:
    script = ScriptedServer()
    yield script
    script.close()


@pytest.fixture
def local(script: ScriptedServer, tmp_path: Path) -> ServerRef:
    """An embedded server that makes the link."""
    script.answers = [Answer(200, {"url": LINK})]
    address = {"url": script.url, "api_key": "key", "pid": 1, "host": "127.0.0.1", "instance": "i"}
    (tmp_path / "server.json").write_text(json.dumps(address))
    return ServerRef("local", str(tmp_path))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_named_by_address", [False, True])
def test_an_embedded_server_is_asked_for_a_link_to_the_sweep(
    script: ScriptedServer, local: ServerRef, is_named_by_address: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "key")
    server = ServerRef("wandb", script.url, is_own=True) if is_named_by_address else local
    assert page_of(server, SWEEP, "http://plain") == Page(LINK, is_secret=True)
    ((path, body, _),) = script.requests
    assert (path, body) == ("/page/login-links", {"next": "/me/my%20project/sweeps/ab12"})


def test_the_page_of_w_and_b_is_known_without_asking() -> None:
    server = ServerRef("wandb", "https://api.wandb.ai")
    assert page_of(server, SWEEP, "https://wandb.ai/me/p/sweeps/ab12") == Page("https://wandb.ai/me/p/sweeps/ab12")


def test_names_are_quoted_in_a_page_s_path() -> None:
    assert page_path(SweepRef("a b", "ü#?", "x")) == "/a%20b/%C3%BC%23%3F/sweeps/x"


def test_a_terminal_is_told_the_link_and_no_log_is(local: ServerRef, caplog: pytest.LogCaptureFixture) -> None:
    terminal = Terminal()
    with caplog.at_level(0):
        tell_terminal(local, SWEEP, terminal)
    assert LINK in terminal.getvalue()
    assert "secret" not in caplog.text


def test_what_is_no_terminal_is_told_nothing(script: ScriptedServer, local: ServerRef) -> None:
    redirected = io.StringIO()
    tell_terminal(local, SWEEP, redirected)
    assert (redirected.getvalue(), script.requests) == ("", [])
    tell_terminal(ServerRef("wandb", "https://api.wandb.ai"), SWEEP, terminal := Terminal())
    assert terminal.getvalue() == ""


def test_a_sweep_begins_without_a_link_too(
    script: ScriptedServer, local: ServerRef, caplog: pytest.LogCaptureFixture
) -> None:
    script.answers = [Answer(404, {"errors": [{"message": "not available in this server"}]})]
    tell_terminal(local, SWEEP, terminal := Terminal())
    assert terminal.getvalue() == ""
    assert "There is no link to the sweep's page: " in caplog.text
    assert "not available in this server" in caplog.text


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that the user's browser was given: a real one would appear on the screen."""
    opened: list[str] = []

    class Browser(webbrowser.BaseBrowser):
        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
            opened.append(url)
            return True

    monkeypatch.setenv("BROWSER", "recorded")
    webbrowser.register("recorded", None, Browser("recorded"), preferred=True)
    return opened


def test_the_browser_is_given_a_file_that_only_its_owner_can_read(
    opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert show(Page(LINK, is_secret=True))
    (address,) = opened
    assert "secret" not in address
    file = Path(unquote(urlsplit(address).path))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    targets = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            targets.append(dict(attrs).get("content"))

    Reader().feed(file.read_text())
    assert targets == [f"0; url={LINK}"]


def test_an_address_that_is_no_secret_is_given_as_it_is(opened: list[str]) -> None:
    assert show(Page("https://wandb.ai/me/p/sweeps/ab12"))
    assert opened == ["https://wandb.ai/me/p/sweeps/ab12"]


@pytest.mark.parametrize(
    ("environ", "platform", "has"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({}, "darwin", True),
    ],
)
def test_a_browser_is_opened_where_somebody_sees_it(environ: dict[str, str], platform: str, has: bool) -> None:
    assert has_screen(environ, platform) == has


def test_where_no_browser_is_the_address_is_for_the_user_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda url: False)  # as where none is installed
    at_wandb = replace(RECORD, server=ServerRef("wandb", "https://api.wandb.ai"), url="https://wandb.ai/me/proj")
    Ledger.create(tmp_path, at_wandb, "supervisor")
    done = CliRunner().invoke(main, ["open", str(tmp_path)])
    assert done.output.splitlines() == [at_wandb.url, "No browser was found; open the address yourself."]


def test_a_sweep_that_is_worked_on_gets_no_second_server(tmp_path: Path) -> None:
    ledger = Ledger.create(
        tmp_path / "sweep", replace(RECORD, server=ServerRef("local", str(tmp_path))), "supervisor"
    )
    watch = Watch(ledger.root)
    assert watch.keep()
    try:
        with pytest.raises(SweepError, match=r"is away for now\. Try again in a moment"):
            page_of_directory(ledger.directory)
    finally:
        watch.leave()
