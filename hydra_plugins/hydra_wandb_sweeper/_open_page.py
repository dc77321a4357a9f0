"""The page of a sweep in a browser. An embedded server lets in whoever has one of its links, which work once."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from ._client import SweepRef
from ._errors import SweepError
from ._ledger import Ledger
from ._server import ServerRef, start_if_local
from ._transport import Transport

log = logging.getLogger(__name__)

_PATIENCE_S = 30.0
_FILE = "open.html"


@dataclass(frozen=True)
class Page:
    """A page's address. is_secret: it lets in whoever has it."""

    url: str
    is_secret: bool = False


def page_of_directory(directory: Path) -> Page:
    """Return the page of a directory's sweep; the embedded server of one that has ended is started anew.

    Errors: SweepError, also if the sweep's server is away while it is worked on: where it comes back is for the sweep
    to say, which may want it in a job.
    """
    from wandb_sweep_server.launch import find_running

    from ._commands import is_worked_on

    record = Ledger.open(directory, "").sweep()
    if record.server.is_local and find_running(Path(record.server.place)) is None:
        if is_worked_on(directory):
            raise SweepError(f"The server of the sweep in {directory} is away for now. Try again in a moment.")
        start_if_local(record.server, "127.0.0.1")
    return page_of(record.server, record.sweep, record.url)


def page_of(server: ServerRef, sweep: SweepRef, url: str) -> Page:
    """Return a sweep's page, with an address that lets in. url: for who has a login. Errors: SweepError."""
    if not server.is_embedded:
        return Page(url)
    transport = Transport(server.open, patience_s=_PATIENCE_S)
    try:
        return Page(transport.post("/page/login-links", {"next": page_path(sweep)})["url"], is_secret=True)
    finally:
        transport.close()


def page_path(sweep: SweepRef) -> str:
    """The path of a sweep's page on its server."""
    entity, project, name = (quote(part, safe="") for part in (sweep.entity, sweep.project, sweep.sweep_id))
    return f"/{entity}/{project}/sweeps/{name}"


def tell_terminal(server: ServerRef, sweep: SweepRef, terminal: TextIO) -> None:
    """Write a link to an embedded server's page to a terminal, and to nothing else: logs are read by others too."""
    if not (server.is_embedded and terminal.isatty()):
        return
    try:
        page = page_of(server, sweep, "")
    except SweepError as error:
        log.warning("There is no link to the sweep's page: %s", error)
        return
    terminal.write(f"To look at it in a browser (the link works once, within 10 minutes):\n{page.url}\n")
    terminal.flush()


def has_screen(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """True if somebody would see a browser that is started here."""
    return platform == "darwin" or any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def show(page: Page) -> bool:
    """Open a page in the user's browser; False if there is none. Errors: OSError."""
    import webbrowser

    import platformdirs

    from wandb_sweep_server.durable import write_whole

    if not page.is_secret:
        return webbrowser.open(page.url)
    # Everybody on this machine sees the arguments of a process; the file only its owner can read.
    path = platformdirs.user_cache_path("hydra-wandb-sweeper", appauthor=False) / _FILE
    write_whole(path, _forwarding(page.url).encode(), mode=0o600)
    return webbrowser.open(path.as_uri())


def _forwarding(url: str) -> str:
    import html

    return f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(url, quote=True)}">\n'
